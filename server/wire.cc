#include "server/wire.h"

namespace cairn::server::wire {

namespace {

// As deep as Protobuf lets groups nest in what it does not know.
constexpr int kGroupDepthMax = 100;

bool SkipAt(std::string_view& from, uint32_t field, uint32_t type, int depth) {
  uint64_t number = 0;
  uint32_t number32 = 0;
  std::string_view bytes;
  switch (type) {
    case kVarint:
      return base::TakeVarint(from, number);
    case kFixed64:
      return base::TakeLittle64(from, number);
    case kBytes:
      return TakeField(from, bytes);
    case kFixed32:
      return base::TakeLittle32(from, number32);
    case kStartGroup:
      if (depth >= kGroupDepthMax) return false;
      while (true) {
        uint32_t inner_field = 0;
        uint32_t inner_type = 0;
        if (!TakeTag(from, inner_field, inner_type)) return false;
        if (inner_type == kEndGroup) return inner_field == field;
        if (!SkipAt(from, inner_field, inner_type, depth + 1)) return false;
      }
    default:
      return false;
  }
}

}  // namespace

bool TakeTag(std::string_view& from, uint32_t& field, uint32_t& type) {
  uint64_t tag = 0;
  if (!base::TakeVarint(from, tag) || tag > UINT32_MAX) return false;
  field = static_cast<uint32_t>(tag >> 3);
  type = static_cast<uint32_t>(tag & 7);
  return field != 0;
}

bool TakeField(std::string_view& from, std::string_view& bytes) {
  uint64_t size_bytes = 0;
  return base::TakeVarint(from, size_bytes) && base::TakeBytes(from, size_bytes, bytes);
}

bool Skip(std::string_view& from, uint32_t field, uint32_t type) {
  return SkipAt(from, field, type, 0);
}

}  // namespace cairn::server::wire
