#include "base/coding.h"

namespace cairn::base {

namespace {

template <typename Value, Value (*kLoad)(const char*)>
bool TakeFixed(std::string_view& from, Value& value) {
  if (from.size() < sizeof value) return false;
  value = kLoad(from.data());
  from.remove_prefix(sizeof value);
  return true;
}

}  // namespace

bool TakeLittle32(std::string_view& from, uint32_t& value) {
  return TakeFixed<uint32_t, LoadLittle32>(from, value);
}
bool TakeLittle64(std::string_view& from, uint64_t& value) {
  return TakeFixed<uint64_t, LoadLittle64>(from, value);
}
bool TakeBig32(std::string_view& from, uint32_t& value) {
  return TakeFixed<uint32_t, LoadBig32>(from, value);
}
bool TakeBig64(std::string_view& from, uint64_t& value) {
  return TakeFixed<uint64_t, LoadBig64>(from, value);
}

bool TakeVarint(std::string_view& from, uint64_t& value) {
  uint64_t result = 0;
  for (size_t i = 0; i < from.size() && i < kVarintBytesMax; ++i) {
    const auto byte = static_cast<uint8_t>(from[i]);
    // The tenth byte holds the one bit that is left of 64.
    if (i == kVarintBytesMax - 1 && byte > 1) return false;
    result |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      value = result;
      from.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool TakeBytes(std::string_view& from, size_t size_bytes, std::string_view& bytes) {
  if (from.size() < size_bytes) return false;
  bytes = from.substr(0, size_bytes);
  from.remove_prefix(size_bytes);
  return true;
}

}  // namespace cairn::base
