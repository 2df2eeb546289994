// Protobuf's encoding, as far as the load driver needs it: fields one by one, no message classes.
//
// Pure; any thread.
#ifndef CAIRN_TEST_BENCH_PROTO_BYTES_H_
#define CAIRN_TEST_BENCH_PROTO_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::bench {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

inline void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

// proto3 leaves zero out.
inline void AppendNumber(uint32_t field, uint64_t value, std::string& out) {
  if (value == 0) return;
  AppendVarint(field << 3 | kVarint, out);
  AppendVarint(value, out);
}

inline void AppendBytes(uint32_t field, std::string_view value, std::string& out) {
  AppendVarint(field << 3 | kBytes, out);
  AppendVarint(value.size(), out);
  out.append(value);
}

// Takes a number off the front of `bytes`; false if they end or overflow first.
inline bool TakeVarint(std::string_view& bytes, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// One field of a message, whatever its type.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;      // of a varint
  std::string_view bytes;  // of a length-delimited field
};

// Takes one field off the front of `bytes`; false if they are not a message. The field points into
// them.
inline bool TakeField(std::string_view& bytes, Field& field) {
  uint64_t tag = 0;
  if (!TakeVarint(bytes, tag)) return false;
  field = {.number = static_cast<uint32_t>(tag >> 3)};
  uint64_t length = 0;
  switch (tag & 7) {
    case kVarint:
      return TakeVarint(bytes, field.value);
    case kFixed64:
      length = 8;
      break;
    case kFixed32:
      length = 4;
      break;
    case kBytes:
      if (!TakeVarint(bytes, length)) return false;
      break;
    default:
      return false;
  }
  if (length > bytes.size()) return false;
  field.bytes = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return true;
}

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_PROTO_BYTES_H_
