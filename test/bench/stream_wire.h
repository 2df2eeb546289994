// The messages of held streams: watches and keepalives, as bytes.
//
// A response is walked over once without building anything, because one core has to take what the
// server's core sends to thousands of watchers. Pure; any thread.
#ifndef CAIRN_TEST_BENCH_STREAM_WIRE_H_
#define CAIRN_TEST_BENCH_STREAM_WIRE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::bench {

// The gRPC paths.
inline constexpr char kWatchMethod[] = "/etcdserverpb.Watch/Watch";
inline constexpr char kKeepAliveMethod[] = "/etcdserverpb.Lease/LeaseKeepAlive";
inline constexpr char kGrantMethod[] = "/etcdserverpb.Lease/LeaseGrant";

// What a watcher is asked to be.
struct WatchCreation {
  int64_t watch_id = 0;  // 0: the server chooses
  std::string_view key;
  std::string_view range_end;  // empty: the key alone
  int64_t start_revision = 0;  // 0: from now on
  bool prev_kv = false;
};

// A WatchRequest with a create_request.
void AppendWatchCreate(const WatchCreation& creation, std::string& out);
// A LeaseGrantRequest; `lease_id` 0 lets the server choose.
void AppendGrant(int64_t ttl_seconds, int64_t lease_id, std::string& out);
// A LeaseKeepAliveRequest.
void AppendKeepAlive(int64_t lease_id, std::string& out);

// One event of a watch response. The texts point into the response's bytes.
struct WatchedEvent {
  bool is_delete = false;
  int64_t mod_revision = 0;
  std::string_view key;
  std::string_view value;
};

struct WatchedResponse {
  int64_t watch_id = 0;
  bool created = false;
  bool canceled = false;
  std::string_view cancel_reason;
  std::vector<WatchedEvent> events;
};

// Replaces `response` by what `bytes` say; false if they are not a WatchResponse.
bool ReadWatchResponse(std::string_view bytes, WatchedResponse& response);

// The TTL of a LeaseKeepAliveResponse, 0 for a lease that is gone; absent if it is none.
std::optional<int64_t> ReadKeepAliveTtl(std::string_view bytes);

// The first bytes of a value that carries the moment at which it was sent, in ns of the monotonic
// clock.
inline constexpr size_t kStampBytes = 8;
// Writes `time_ns` over the first kStampBytes of `value`.
void Stamp(int64_t time_ns, char* value);
// The moment in `value`; absent if it is shorter than a stamp.
std::optional<int64_t> StampOf(std::string_view value);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_STREAM_WIRE_H_
