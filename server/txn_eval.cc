#include "server/txn_eval.h"

#include <algorithm>
#include <span>
#include <utility>

#include "api/errors.h"
#include "base/check.h"
#include "base/status.h"
#include "server/range_reader.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using etcdserverpb::Compare;
using etcdserverpb::RequestOp;
using etcdserverpb::ResponseOp;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using mvcc::KeyValueView;

int Sign(int64_t a, int64_t b) { return a < b ? -1 : a > b ? 1 : 0; }

// How the key-value stands to the operand: below 0, 0, above 0. An operand that is not the target's
// is the zero value.
int Order(const Compare& compare, const KeyValueView& kv) {
  switch (compare.target()) {
    case Compare::VERSION:
      return Sign(kv.version, compare.version());
    case Compare::CREATE:
      return Sign(kv.create_revision.value(), compare.create_revision());
    case Compare::MOD:
      return Sign(kv.mod_revision.value(), compare.mod_revision());
    case Compare::VALUE:
      return kv.value.compare(compare.value());
    case Compare::LEASE:
      return Sign(kv.lease.value(), compare.lease());
    default:
      return 0;
  }
}

bool Holds(const Compare& compare, const KeyValueView& kv) {
  const int order = Order(compare, kv);
  switch (compare.result()) {
    case Compare::EQUAL:
      return order == 0;
    case Compare::NOT_EQUAL:
      return order != 0;
    case Compare::GREATER:
      return order > 0;
    case Compare::LESS:
      return order < 0;
    default:
      return true;
  }
}

absl::StatusOr<bool> Holds(const KvSource& source, const Compare& compare) {
  const RequestRange range = RangeOf(compare.key(), compare.range_end());
  const bool by_value = compare.target() == Compare::VALUE;
  const mvcc::Values values = by_value ? mvcc::Values::kFetch : mvcc::Values::kSkip;
  bool found = false;
  bool holds = true;
  const auto visit = [&](const KeyValueView& kv) {
    found = true;
    holds = Holds(compare, kv);
    return holds;
  };
  if (range.is_single_key) {
    CAIRN_RETURN_IF_ERROR(source.Get(compare.key(), mvcc::kCurrent, visit, values).status());
  } else {
    const mvcc::ScanOptions options = {.range = range.keys, .values = values};
    const auto restart = [&] {
      found = false;
      holds = true;
    };
    CAIRN_RETURN_IF_ERROR(source.Scan(options, visit, restart).status());
  }
  if (found) return holds;
  // Nothing there compares as a key with zeros, but has no value that anything could equal or not.
  return !by_value && Holds(compare, KeyValueView());
}

absl::Status DecidePathInto(const KvSource& source, const TxnRequest& request, TxnPath& path) {
  bool succeeded = true;
  for (const Compare& compare : request.compare()) {
    CAIRN_ASSIGN_OR_RETURN(succeeded, Holds(source, compare));
    if (!succeeded) break;
  }
  path.push_back(succeeded);
  for (const RequestOp& op : BranchOf(request, succeeded)) {
    if (op.request_case() != RequestOp::kRequestTxn) continue;
    CAIRN_RETURN_IF_ERROR(DecidePathInto(source, op.request_txn(), path));
  }
  return absl::OkStatus();
}

// Puts a response together in two passes over the same tree: sizes first, because a message's
// length stands before it, then bytes, each copied once at most however deep they nest.
class TxnResponseEncoder {
 public:
  TxnResponseEncoder(const TxnPath& path, const std::vector<OpResult>& results, ResponseBuffer& out)
      : path_(path), results_(results), body_bytes_(path.size()), out_(out) {}

  // False when the buffer refuses.
  bool Encode(const TxnRequest& request) {
    const size_t size_bytes = Measure(request);
    CAIRN_CHECK_EQ(next_txn_, path_.size());
    CAIRN_CHECK_EQ(next_result_, results_.size());
    next_txn_ = 0;
    next_result_ = 0;
    if (!Write(request)) return false;
    CAIRN_CHECK_EQ(out_.size_bytes(), size_bytes);
    return true;
  }

 private:
  // A nested transaction's header is there, and empty.
  static constexpr size_t kEmptyHeaderBytes = wire::FieldBytes(0);

  static size_t HeaderBytes(const OpResult& result) {
    return wire::NumberFieldBytes(static_cast<uint64_t>(result.header_revision.value()));
  }
  // The response of a plain operation: its header and its body.
  static size_t MessageBytes(const OpResult& result) {
    return wire::FieldBytes(HeaderBytes(result)) + result.small.size() + result.large.size_bytes();
  }

  size_t Measure(const TxnRequest& request) {
    const size_t txn = next_txn_++;
    const bool succeeded = path_[txn];
    size_t size_bytes = wire::NumberFieldBytes(succeeded ? 1 : 0);
    for (const RequestOp& op : BranchOf(request, succeeded)) {
      const size_t message_bytes = op.request_case() == RequestOp::kRequestTxn
                                       ? kEmptyHeaderBytes + Measure(op.request_txn())
                                       : MessageBytes(results_[next_result_++]);
      size_bytes += wire::FieldBytes(wire::FieldBytes(message_bytes));
    }
    body_bytes_[txn] = size_bytes;
    return size_bytes;
  }

  bool Write(const TxnRequest& request) {
    const bool succeeded = path_[next_txn_++];
    std::string start;
    wire::AppendNumberField(start, TxnResponse::kSucceededFieldNumber, succeeded ? 1 : 0);
    if (!out_.Append(start)) return false;
    for (const RequestOp& op : BranchOf(request, succeeded)) {
      start.clear();
      if (op.request_case() == RequestOp::kRequestTxn) {
        const size_t message_bytes = kEmptyHeaderBytes + body_bytes_[next_txn_];
        StartOp(ResponseOp::kResponseTxnFieldNumber, message_bytes, start);
        wire::AppendFieldStart(start, TxnResponse::kHeaderFieldNumber, 0);
        if (!out_.Append(start) || !Write(op.request_txn())) return false;
      } else {
        if (!WriteResult(op, results_[next_result_++], start)) return false;
      }
    }
    return true;
  }

  bool WriteResult(const RequestOp& op, const OpResult& result, std::string& start) {
    // The oneofs of request and response number their members alike.
    StartOp(static_cast<uint32_t>(op.request_case()), MessageBytes(result), start);
    wire::AppendFieldStart(start, TxnResponse::kHeaderFieldNumber, HeaderBytes(result));
    wire::AppendNumberField(start, etcdserverpb::ResponseHeader::kRevisionFieldNumber,
                            static_cast<uint64_t>(result.header_revision.value()));
    start.append(result.small);
    const std::span<const rpc::Slice> slices = result.large.slices();
    return out_.Append(start) &&
           std::all_of(slices.begin(), slices.end(),
                       [this](const rpc::Slice& slice) { return out_.AppendSlice(slice); });
  }

  static void StartOp(uint32_t field, size_t message_bytes, std::string& to) {
    wire::AppendFieldStart(to, TxnResponse::kResponsesFieldNumber, wire::FieldBytes(message_bytes));
    wire::AppendFieldStart(to, field, message_bytes);
  }

  const TxnPath& path_;
  const std::vector<OpResult>& results_;
  std::vector<size_t> body_bytes_;  // Of each transaction, without header.
  ResponseBuffer& out_;
  size_t next_txn_ = 0;
  size_t next_result_ = 0;
};

static_assert(static_cast<int>(RequestOp::kRequestRange) == ResponseOp::kResponseRangeFieldNumber);
static_assert(static_cast<int>(RequestOp::kRequestPut) == ResponseOp::kResponsePutFieldNumber);
static_assert(static_cast<int>(RequestOp::kRequestDeleteRange) ==
              ResponseOp::kResponseDeleteRangeFieldNumber);
static_assert(static_cast<int>(RequestOp::kRequestTxn) == ResponseOp::kResponseTxnFieldNumber);

absl::Status CheckBranch(const TxnRequest& request, bool succeeded, mvcc::Published state) {
  for (const RequestOp& op : BranchOf(request, succeeded)) {
    CAIRN_RETURN_IF_ERROR(CheckTxnRange(op.request_range(), state));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<OpResult>> ReadBranch(const KvSource& source, const TxnRequest& request,
                                                 bool succeeded, Revision header_revision,
                                                 ResponseBuffer& out) {
  std::vector<OpResult> results;
  size_t size_bytes = 0;
  for (const RequestOp& op : BranchOf(request, succeeded)) {
    ResponseBuffer part = out.Another();
    const absl::Status read = ReadRange(source, op.request_range(), part).status();
    out.WaitedIn(part);
    CAIRN_RETURN_IF_ERROR(read);
    size_bytes += part.size_bytes();
    // What will not be sent is not read to the end.
    if (size_bytes > out.size_bytes_max()) return out.TooLarge();
    results.push_back({.header_revision = header_revision, .small = {}, .large = part.Finish()});
  }
  return results;
}

bool IsCompacted(const absl::Status& status) {
  return api::FindError(status) == api::Error::kCompacted;
}

}  // namespace

absl::StatusOr<TxnPath> DecidePath(const KvSource& source, const TxnRequest& request) {
  TxnPath path;
  CAIRN_RETURN_IF_ERROR(DecidePathInto(source, request, path));
  return path;
}

bool EncodeTxnResponse(const TxnRequest& request, const TxnPath& path,
                       const std::vector<OpResult>& results, ResponseBuffer& out) {
  return TxnResponseEncoder(path, results, out).Encode(request);
}

absl::Status CheckTxnRange(const etcdserverpb::RangeRequest& request, mvcc::Published state) {
  const Revision revision(request.revision());
  if (revision == mvcc::kCurrent) return absl::OkStatus();
  if (revision > state.revision) return api::ToStatus(api::Error::kFutureRevision);
  if (revision < state.watermark) return api::ToStatus(api::Error::kCompacted);
  return absl::OkStatus();
}

bool IsSmallReadTxn(const TxnRequest& request) {
  const auto is_single_key = [](const auto& each) { return each.range_end().empty(); };
  const auto is_small = [&](const RequestOp& op) { return is_single_key(op.request_range()); };
  // One branch is taken.
  const int operations = std::max(request.success_size(), request.failure_size());
  return request.compare_size() + operations <= kSmallTxnReadsMax &&
         std::all_of(request.compare().begin(), request.compare().end(), is_single_key) &&
         std::all_of(request.success().begin(), request.success().end(), is_small) &&
         std::all_of(request.failure().begin(), request.failure().end(), is_small);
}

absl::StatusOr<Revision> EvaluateReadTxn(const mvcc::Store& store, const TxnRequest& request,
                                         ResponseBuffer& out, mvcc::IsStopping is_stopping) {
  const StoreSource source(store, is_stopping);
  while (true) {
    const mvcc::Published state = store.published();
    const PinnedSource pinned(source, state.revision);
    // A revision that is readable by the check and compacted when it is read was overtaken
    // meanwhile. Then a newer state is chosen, whose check refuses what the request itself names.
    absl::StatusOr<TxnPath> path = DecidePath(pinned, request);
    if (IsCompacted(path.status())) continue;
    if (!path.ok()) return path.status();
    CAIRN_RETURN_IF_ERROR(CheckBranch(request, path->front(), state));
    absl::StatusOr<std::vector<OpResult>> results =
        ReadBranch(pinned, request, path->front(), state.revision, out);
    if (IsCompacted(results.status())) continue;
    if (!results.ok()) return results.status();
    if (!EncodeTxnResponse(request, *path, *results, out)) return out.refusal();
    return state.revision;
  }
}

}  // namespace cairn::server
