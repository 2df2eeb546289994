// Protobuf's wire format, field by field, for the few messages that are read or written without an
// object.
//
// Pure functions over views; nothing is copied.
#ifndef CAIRN_SERVER_WIRE_H_
#define CAIRN_SERVER_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/coding.h"

namespace cairn::server::wire {

enum Type : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

// Each takes its part off the front of `from`. False when the input is cut or no encoding; `from`
// is unspecified then.

// A field's number (never 0) and type.
[[nodiscard]] bool TakeTag(std::string_view& from, uint32_t& field, uint32_t& type);
// What a kBytes field holds.
[[nodiscard]] bool TakeField(std::string_view& from, std::string_view& bytes);
// Everything that follows the tag of a field whose meaning does not matter.
[[nodiscard]] bool Skip(std::string_view& from, uint32_t field, uint32_t type);

// Writing. Tags of fields 1..15 are one byte.
constexpr char Tag(uint32_t field, Type type) { return static_cast<char>(field << 3 | type); }

// What a kBytes field of `size_bytes` takes, its tag included.
constexpr size_t FieldBytes(size_t size_bytes) {
  return 1 + static_cast<size_t>(base::VarintBytes(size_bytes)) + size_bytes;
}
// What a kVarint field takes, its tag included; 0 for the value 0, which is absent.
constexpr size_t NumberFieldBytes(uint64_t value) {
  return value == 0 ? 0 : 1 + static_cast<size_t>(base::VarintBytes(value));
}

// The tag and length of a kBytes field: its content is to follow.
inline char* StoreFieldStart(char* to, uint32_t field, size_t size_bytes) {
  *to++ = Tag(field, kBytes);
  return base::StoreVarint(to, size_bytes);
}
inline void AppendFieldStart(std::string& to, uint32_t field, size_t size_bytes) {
  to.push_back(Tag(field, kBytes));
  base::AppendVarint(to, size_bytes);
}
// Nothing for 0.
inline char* StoreNumberField(char* to, uint32_t field, uint64_t value) {
  if (value == 0) return to;
  *to++ = Tag(field, kVarint);
  return base::StoreVarint(to, value);
}
inline void AppendNumberField(std::string& to, uint32_t field, uint64_t value) {
  if (value == 0) return;
  to.push_back(Tag(field, kVarint));
  base::AppendVarint(to, value);
}

}  // namespace cairn::server::wire

#endif  // CAIRN_SERVER_WIRE_H_
