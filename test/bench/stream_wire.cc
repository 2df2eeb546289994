#include "test/bench/stream_wire.h"

#include <cstring>

#include "test/bench/proto_bytes.h"

namespace cairn::bench {
namespace {

// mvccpb.KeyValue.
bool ReadKeyValue(std::string_view bytes, WatchedEvent& event) {
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return false;
    if (field.number == 1) event.key = field.bytes;
    if (field.number == 3) event.mod_revision = static_cast<int64_t>(field.value);
    if (field.number == 5) event.value = field.bytes;
  }
  return true;
}

// mvccpb.Event.
bool ReadEvent(std::string_view bytes, WatchedEvent& event) {
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return false;
    if (field.number == 1) event.is_delete = field.value == 1;
    if (field.number == 2 && !ReadKeyValue(field.bytes, event)) return false;
  }
  return true;
}

}  // namespace

void AppendWatchCreate(const WatchCreation& creation, std::string& out) {
  std::string request;
  AppendBytes(1, creation.key, request);
  if (!creation.range_end.empty()) AppendBytes(2, creation.range_end, request);
  AppendNumber(3, static_cast<uint64_t>(creation.start_revision), request);
  AppendNumber(6, creation.prev_kv, request);
  AppendNumber(7, static_cast<uint64_t>(creation.watch_id), request);
  AppendBytes(1, request, out);  // WatchRequest.create_request
}

void AppendGrant(int64_t ttl_seconds, int64_t lease_id, std::string& out) {
  AppendNumber(1, static_cast<uint64_t>(ttl_seconds), out);
  AppendNumber(2, static_cast<uint64_t>(lease_id), out);
}

void AppendKeepAlive(int64_t lease_id, std::string& out) {
  AppendNumber(1, static_cast<uint64_t>(lease_id), out);
}

bool ReadWatchResponse(std::string_view bytes, WatchedResponse& response) {
  response.watch_id = 0;
  response.created = false;
  response.canceled = false;
  response.cancel_reason = {};
  response.events.clear();
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return false;
    switch (field.number) {
      case 2:
        response.watch_id = static_cast<int64_t>(field.value);
        break;
      case 3:
        response.created = field.value != 0;
        break;
      case 4:
        response.canceled = field.value != 0;
        break;
      case 6:
        response.cancel_reason = field.bytes;
        break;
      case 11:
        if (!ReadEvent(field.bytes, response.events.emplace_back())) return false;
        break;
      default:
        break;
    }
  }
  return true;
}

std::optional<int64_t> ReadKeepAliveTtl(std::string_view bytes) {
  int64_t ttl = 0;
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return std::nullopt;
    if (field.number == 3) ttl = static_cast<int64_t>(field.value);
  }
  return ttl;
}

void Stamp(int64_t time_ns, char* value) { std::memcpy(value, &time_ns, kStampBytes); }

std::optional<int64_t> StampOf(std::string_view value) {
  if (value.size() < kStampBytes) return std::nullopt;
  int64_t time_ns = 0;
  std::memcpy(&time_ns, value.data(), kStampBytes);
  return time_ns;
}

}  // namespace cairn::bench
