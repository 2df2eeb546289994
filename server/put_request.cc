#include "server/put_request.h"

#include "base/coding.h"

namespace cairn::server {

namespace {

// The wire format's types of fields.
enum WireType : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

// As deep as Protobuf lets groups nest in what it does not know.
constexpr int kGroupDepthMax = 100;

// A tag is a varint of at most 32 bits, as Protobuf reads it; field number 0 does not exist.
bool TakeTag(std::string_view& from, uint32_t& field, uint32_t& wire_type) {
  uint64_t tag = 0;
  if (!base::TakeVarint(from, tag) || tag > UINT32_MAX) return false;
  field = static_cast<uint32_t>(tag >> 3);
  wire_type = static_cast<uint32_t>(tag & 7);
  return field != 0;
}

bool TakeLengthDelimited(std::string_view& from, std::string_view& bytes) {
  std::string_view rest = from;
  uint64_t size_bytes = 0;
  if (!base::TakeVarint(rest, size_bytes) || size_bytes > rest.size()) return false;
  bytes = rest.substr(0, size_bytes);
  rest.remove_prefix(size_bytes);
  from = rest;
  return true;
}

bool SkipField(std::string_view& from, uint32_t field, uint32_t wire_type, int depth) {
  uint64_t number = 0;
  uint32_t number32 = 0;
  std::string_view bytes;
  switch (wire_type) {
    case kVarint:
      return base::TakeVarint(from, number);
    case kFixed64:
      return base::TakeLittle64(from, number);
    case kBytes:
      return TakeLengthDelimited(from, bytes);
    case kFixed32:
      return base::TakeLittle32(from, number32);
    case kStartGroup:
      if (depth >= kGroupDepthMax) return false;
      while (true) {
        uint32_t inner_field = 0;
        uint32_t inner_type = 0;
        if (!TakeTag(from, inner_field, inner_type)) return false;
        if (inner_type == kEndGroup) return inner_field == field;
        if (!SkipField(from, inner_field, inner_type, depth + 1)) return false;
      }
    default:
      return false;
  }
}

}  // namespace

bool DecodePutRequest(std::string_view bytes, PutRequestView& request) {
  request = PutRequestView();
  while (!bytes.empty()) {
    uint32_t field = 0;
    uint32_t wire_type = 0;
    if (!TakeTag(bytes, field, wire_type)) return false;
    uint64_t number = 0;
    if ((field == 1 || field == 2) && wire_type == kBytes) {
      if (!TakeLengthDelimited(bytes, field == 1 ? request.key : request.value)) return false;
    } else if (field >= 3 && field <= 6 && wire_type == kVarint) {
      if (!base::TakeVarint(bytes, number)) return false;
      if (field == 3) request.lease = static_cast<int64_t>(number);
      if (field == 4) request.prev_kv = number != 0;
      if (field == 5) request.ignore_value = number != 0;
      if (field == 6) request.ignore_lease = number != 0;
    } else if (!SkipField(bytes, field, wire_type, 0)) {
      return false;
    }
  }
  return true;
}

PutRequestView ViewOf(const etcdserverpb::PutRequest& request) {
  return {.key = request.key(),
          .value = request.value(),
          .lease = request.lease(),
          .prev_kv = request.prev_kv(),
          .ignore_value = request.ignore_value(),
          .ignore_lease = request.ignore_lease()};
}

}  // namespace cairn::server
