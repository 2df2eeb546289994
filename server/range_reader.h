// A RangeRequest answered: rows go from the store into encoded chunks, without an object per row.
//
// Everything a range can ask for (etcd-semantics.md section 3): a past revision, limit, order,
// filters, keys or count only. Works over the published store and inside a transaction alike.
// Stateless; any thread that may use the source. Does not check the request's form:
// request_validator.h has.
#ifndef CAIRN_SERVER_RANGE_READER_H_
#define CAIRN_SERVER_RANGE_READER_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "api/rpc.pb.h"
#include "mvcc/types.h"
#include "server/kv_source.h"
#include "server/response_buffer.h"

namespace cairn::server {

// What a thread that must not be held up may spend on one read.
struct ReadEffort {
  int64_t rows_max = 0;  // Looked at, deleted ones too (ScanOptions::effort_max).
  size_t bytes_max = 0;
};
// For RPC threads (design section 3): a millisecond of work at most. Also covers the walk that
// counts the keys behind a limit.
inline constexpr ReadEffort kSmallRead = {.rows_max = 1000, .bytes_max = size_t{256} << 10};

// `kv` as a field of a message. False when the budget refuses.
bool AppendKeyValue(ResponseBuffer& out, uint32_t field, const mvcc::KeyValueView& kv);

// Writes the response but its header (kvs, more, count) to `out`. Its header's revision is the
// result's `current`. `out` must be empty and is unspecified after an error.
// OUT_OF_RANGE: compacted or future revision, in etcd's words; UNAVAILABLE: the response budget is
// spent; others: the backend's.
absl::StatusOr<mvcc::ReadPoint> ReadRange(const KvSource& source,
                                          const etcdserverpb::RangeRequest& request,
                                          ResponseBuffer& out);

// The same while it takes no more than `effort`; none, with `out` empty, if it would: do it where
// there is time.
absl::StatusOr<std::optional<mvcc::ReadPoint>> TryReadRange(
    const KvSource& source, const etcdserverpb::RangeRequest& request, ReadEffort effort,
    ResponseBuffer& out);

// RangeStream: one range as a run of messages, all at the revision that the first one saw. It holds
// a position, no view: between messages nothing is pinned but the revision's number. One thread at
// a time.
class RangeStreamReader {
 public:
  // UNIMPLEMENTED, in etcd's words, for what a stream cannot do: any order but ascending keys, and
  // filters by revision. A target without an order passes, as in etcd, and orders nothing.
  static absl::Status Check(const etcdserverpb::RangeRequest& request);

  // Messages carry about `message_bytes` of rows at most, or one row.
  RangeStreamReader(etcdserverpb::RangeRequest request, size_t message_bytes);

  struct Message {
    // The message has a header (with `header_revision`), `more` and `count`, and is the last one.
    bool is_last = false;
    Revision header_revision;
  };
  // Writes the fields of the next RangeResponse, without header, to `out`, which must be empty.
  // Errors as ReadRange's: "compacted" also when the watermark has passed the revision since. Not
  // after the last one.
  absl::StatusOr<Message> Next(const KvSource& source, ResponseBuffer& out);

 private:
  const etcdserverpb::RangeRequest request_;
  const size_t message_bytes_;
  // The first message is for a client that is waiting for something to show.
  static constexpr int64_t kFirstMessageRows = 10;

  bool started_ = false;
  std::string resume_key_;
  Revision at_;
  Revision header_revision_;
  int64_t rows_sent_ = 0;
  int64_t rows_per_message_ = kFirstMessageRows;
};

// Wraps a RangeResponse into a RangeStreamResponse. `response` is a whole RangeResponse.
rpc::SliceList WrapStreamMessage(const rpc::SliceList& response);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_RANGE_READER_H_
