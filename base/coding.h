// Fixed-width and varint byte coding.
//
// Big endian preserves order when encoded bytes are compared as unsigned (state keys); little
// endian is for records that are only decoded (log). Varints are protobuf's base-128. Decoders
// never read past the view they are given: they return false (or nothing) on a short input.
#ifndef CAIRN_BASE_CODING_H_
#define CAIRN_BASE_CODING_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cairn::base {

static_assert(std::endian::native == std::endian::little, "written for little-endian machines");

inline void StoreLittle32(char* to, uint32_t value) { std::memcpy(to, &value, sizeof value); }
inline void StoreLittle64(char* to, uint64_t value) { std::memcpy(to, &value, sizeof value); }
inline void StoreBig32(char* to, uint32_t value) { StoreLittle32(to, __builtin_bswap32(value)); }
inline void StoreBig64(char* to, uint64_t value) { StoreLittle64(to, __builtin_bswap64(value)); }

inline uint32_t LoadLittle32(const char* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline uint64_t LoadLittle64(const char* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline uint32_t LoadBig32(const char* from) { return __builtin_bswap32(LoadLittle32(from)); }
inline uint64_t LoadBig64(const char* from) { return __builtin_bswap64(LoadLittle64(from)); }

inline void AppendLittle32(std::string& to, uint32_t value) {
  char bytes[sizeof value];
  StoreLittle32(bytes, value);
  to.append(bytes, sizeof bytes);
}
inline void AppendLittle64(std::string& to, uint64_t value) {
  char bytes[sizeof value];
  StoreLittle64(bytes, value);
  to.append(bytes, sizeof bytes);
}
inline void AppendBig32(std::string& to, uint32_t value) {
  char bytes[sizeof value];
  StoreBig32(bytes, value);
  to.append(bytes, sizeof bytes);
}
inline void AppendBig64(std::string& to, uint64_t value) {
  char bytes[sizeof value];
  StoreBig64(bytes, value);
  to.append(bytes, sizeof bytes);
}

// The most bytes a 64-bit varint takes.
inline constexpr int kVarintBytesMax = 10;

// Bytes that AppendVarint would add, 1..10.
constexpr int VarintBytes(uint64_t value) { return (std::bit_width(value | 1) + 6) / 7; }

// Writes `value` at `to`, which must have room for VarintBytes(value), and returns the end.
inline char* StoreVarint(char* to, uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<char>(value);
  return to;
}

inline void AppendVarint(std::string& to, uint64_t value) {
  char bytes[kVarintBytesMax];
  to.append(bytes, static_cast<size_t>(StoreVarint(bytes, value) - bytes));
}

// Each takes its value off the front of `from`; false, with `from` unchanged, when the input is too
// short or (varint) longer than 64 bits.
bool TakeLittle32(std::string_view& from, uint32_t& value);
bool TakeLittle64(std::string_view& from, uint64_t& value);
bool TakeBig32(std::string_view& from, uint32_t& value);
bool TakeBig64(std::string_view& from, uint64_t& value);
bool TakeVarint(std::string_view& from, uint64_t& value);
bool TakeBytes(std::string_view& from, size_t size_bytes, std::string_view& bytes);

}  // namespace cairn::base

#endif  // CAIRN_BASE_CODING_H_
