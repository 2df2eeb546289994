#include "server/range_reader.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/status.h"
#include "mvcc/key_value.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using mvcc::KeyValueView;
using mvcc::ReadPoint;
using mvcc::ScanOptions;
using mvcc::ScanResult;

// A sorted read takes from the budget in pieces of this size.
constexpr size_t kSortChargeBytes = size_t{64} << 10;

enum class Order { kIndex, kAscending, kDescending };

Order OrderOf(const RangeRequest& request) {
  const bool by_key = request.sort_target() == RangeRequest::KEY;
  if (request.sort_order() == RangeRequest::DESCEND) return Order::kDescending;
  // Rows come in the order of their keys; any other target without an order is ascending.
  return by_key ? Order::kIndex : Order::kAscending;
}

bool HasFilters(const RangeRequest& request) {
  return request.min_mod_revision() != 0 || request.max_mod_revision() != 0 ||
         request.min_create_revision() != 0 || request.max_create_revision() != 0;
}

bool Passes(const RangeRequest& request, const KeyValueView& kv) {
  const auto within = [](int64_t value, int64_t min, int64_t max) {
    return (min == 0 || value >= min) && (max == 0 || value <= max);
  };
  return within(kv.mod_revision.value(), request.min_mod_revision(), request.max_mod_revision()) &&
         within(kv.create_revision.value(), request.min_create_revision(),
                request.max_create_revision());
}

// etcd 3.7 answers keys_only from its index, which knows no leases; sorting by value makes it read
// the rows after all.
bool KeepsLease(const RangeRequest& request) {
  return !request.keys_only() || request.sort_target() == RangeRequest::VALUE;
}

mvcc::Values ValuesFor(const RangeRequest& request) {
  const bool needed = !request.keys_only() || request.sort_target() == RangeRequest::VALUE;
  return needed ? mvcc::Values::kFetch : mvcc::Values::kSkip;
}

// The row as the client gets it.
KeyValueView Shown(const RangeRequest& request, KeyValueView kv) {
  if (request.keys_only()) kv.value = {};
  if (!KeepsLease(request)) kv.lease = LeaseId();
  return kv;
}

// kv as an element of `kvs`. False when the budget refuses.
bool AppendRow(ResponseBuffer& out, const KeyValueView& kv) {
  return AppendKeyValue(out, RangeResponse::kKvsFieldNumber, kv);
}

bool AppendTail(ResponseBuffer& out, bool more, int64_t count) {
  std::string tail;
  wire::AppendNumberField(tail, RangeResponse::kMoreFieldNumber, more ? 1 : 0);
  wire::AppendNumberField(tail, RangeResponse::kCountFieldNumber, static_cast<uint64_t>(count));
  return out.Append(tail);
}

// The rows of a sorted read: all, or with a limit the best so far.
class SortedRows {
 public:
  SortedRows(const RangeRequest& request, ResponseBuffer& out)
      : request_(request), out_(out), descending_(OrderOf(request) == Order::kDescending) {}

  // False when the budget refuses.
  bool Add(const KeyValueView& kv) {
    Candidate candidate = {.number = Number(kv), .sequence = sequence_++};
    if (request_.sort_target() == RangeRequest::VALUE) candidate.text = kv.value;
    const KeyValueView shown = Shown(request_, kv);
    const auto before = [this](const Row& a, const Row& b) { return Before(a.View(), b.View()); };
    if (request_.limit() > 0 && static_cast<int64_t>(rows_.size()) >= request_.limit()) {
      if (!Before(candidate, rows_.front().View())) return true;
      std::pop_heap(rows_.begin(), rows_.end(), before);
      Assign(rows_.back(), candidate, shown);
      std::push_heap(rows_.begin(), rows_.end(), before);
    } else {
      Assign(rows_.emplace_back(), candidate, shown);
      if (request_.limit() > 0) std::push_heap(rows_.begin(), rows_.end(), before);
    }
    return Charge();
  }

  int64_t added() const { return sequence_; }
  size_t size_bytes() const { return size_bytes_; }

  // Writes the rows in order. False when the budget refuses.
  bool Emit() {
    std::sort(rows_.begin(), rows_.end(),
              [this](const Row& a, const Row& b) { return Before(a.View(), b.View()); });
    for (Row& row : rows_) {
      if (!out_.Append(row.encoded)) return false;
      size_bytes_ -= row.encoded.size();
      row.encoded = std::string();
      // What has moved to the answer is counted there.
      while (charged_bytes_ > HeldBytes() + kSortChargeBytes) {
        charges_.pop_back();
        charged_bytes_ -= kSortChargeBytes;
      }
    }
    return true;
  }

  void Clear() {
    rows_.clear();
    charges_.clear();
    sequence_ = 0;
    size_bytes_ = 0;
    charged_bytes_ = 0;
  }

 private:
  // What decides a row's place: the target, then the key (rows come in its order).
  struct Candidate {
    int64_t number = 0;
    int64_t sequence = 0;
    std::string_view text;
  };
  struct Row {
    int64_t number = 0;
    int64_t sequence = 0;
    std::string text;
    std::string encoded;  // As an element of `kvs`.

    Candidate View() const { return {number, sequence, text}; }
  };

  int64_t Number(const KeyValueView& kv) const {
    switch (request_.sort_target()) {
      case RangeRequest::VERSION:
        return kv.version;
      case RangeRequest::CREATE:
        return kv.create_revision.value();
      case RangeRequest::MOD:
        return kv.mod_revision.value();
      case RangeRequest::VALUE:
        return 0;
      default:
        return sequence_;
    }
  }

  bool Before(const Candidate& a, const Candidate& b) const {
    if (a.number != b.number) return (a.number < b.number) != descending_;
    if (const int order = a.text.compare(b.text); order != 0) return (order < 0) != descending_;
    return a.sequence < b.sequence;
  }

  void Assign(Row& row, const Candidate& candidate, const KeyValueView& shown) {
    size_bytes_ -= row.encoded.size() + row.text.size();
    row.number = candidate.number;
    row.sequence = candidate.sequence;
    row.text = candidate.text;
    const size_t row_bytes = mvcc::EncodedKeyValueBytes(shown);
    row.encoded.resize(wire::FieldBytes(row_bytes));
    mvcc::StoreKeyValue(
        wire::StoreFieldStart(row.encoded.data(), RangeResponse::kKvsFieldNumber, row_bytes),
        shown);
    size_bytes_ += row.encoded.size() + row.text.size();
  }

  size_t HeldBytes() const { return size_bytes_ + rows_.size() * sizeof(Row); }

  bool Charge() {
    while (charged_bytes_ + kSortChargeBytes < HeldBytes()) {
      std::optional<ResponseBudget::Charge> charge = out_.Charge(kSortChargeBytes);
      if (!charge) return false;
      charges_.push_back(*std::move(charge));
      charged_bytes_ += kSortChargeBytes;
    }
    return true;
  }

  const RangeRequest& request_;
  ResponseBuffer& out_;
  const bool descending_;
  std::vector<Row> rows_;  // With a limit: a heap, the last in order on top.
  int64_t sequence_ = 0;
  size_t size_bytes_ = 0;
  size_t charged_bytes_ = 0;
  std::vector<ResponseBudget::Charge> charges_;
};

// One range read, with or without a bound on its effort.
class RangeRead {
 public:
  RangeRead(const KvSource& source, const RangeRequest& request, const ReadEffort* effort,
            ResponseBuffer& out)
      : source_(source),
        request_(request),
        effort_(effort),
        out_(out),
        range_(RangeOf(request.key(), request.range_end())),
        at_(Revision(request.revision())),
        sorted_(request, out) {}

  absl::StatusOr<std::optional<ReadPoint>> Run() {
    absl::StatusOr<ReadPoint> point = range_.is_single_key    ? ReadOne()
                                      : request_.count_only() ? Count()
                                                              : ReadMany();
    if (too_large_) {
      out_.Clear();
      return std::nullopt;
    }
    if (!point.ok()) return point.status();
    if (refused_ || !AppendTail(out_, more_, count_)) return out_.refusal();
    return *point;
  }

 private:
  absl::StatusOr<ReadPoint> ReadOne() {
    const mvcc::Values values = request_.count_only() ? mvcc::Values::kSkip : ValuesFor(request_);
    return source_.Get(
        request_.key(), at_,
        [this](const KeyValueView& kv) {
          count_ = 1;
          if (!request_.count_only() && Passes(request_, kv)) {
            refused_ = !AppendRow(out_, Shown(request_, kv));
          }
          return false;
        },
        values);
  }

  absl::StatusOr<ReadPoint> Count() {
    if (effort_ != nullptr) return CountSome(range_.keys, at_);
    CAIRN_ASSIGN_OR_RETURN(ScanResult result, source_.Count(range_.keys, at_));
    count_ = result.count;
    return result.point;
  }

  // Adds the keys of a range to the count while the effort lasts.
  absl::StatusOr<ReadPoint> CountSome(const mvcc::KeyRange& keys, Revision at) {
    const int64_t counted_before = count_;
    const ScanOptions options = {
        .range = keys, .at = at, .values = mvcc::Values::kSkip, .effort_max = effort_->rows_max};
    CAIRN_ASSIGN_OR_RETURN(ScanResult result,
                           source_.Scan(
                               options,
                               [this](const KeyValueView&) {
                                 too_large_ = ++count_ > effort_->rows_max;
                                 return !too_large_;
                               },
                               [this, counted_before] { count_ = counted_before; }));
    if (result.is_cut) too_large_ = true;
    return result.point;
  }

  absl::StatusOr<ReadPoint> ReadMany() {
    const bool in_order = OrderOf(request_) == Order::kIndex;
    // A target without an order cuts before it sorts (etcd-semantics.md section 3).
    cuts_first_ =
        in_order || (request_.sort_order() == RangeRequest::NONE && !HasFilters(request_));
    const ScanOptions options = {
        .range = range_.keys,
        .at = at_,
        .values = ValuesFor(request_),
        .count_rest = effort_ == nullptr,
        .effort_max = effort_ == nullptr ? mvcc::kAnyEffort : effort_->rows_max};
    CAIRN_ASSIGN_OR_RETURN(ScanResult result, source_.Scan(
                                                  options,
                                                  [this, in_order](const KeyValueView& kv) {
                                                    return in_order ? VisitInOrder(kv)
                                                                    : VisitSorted(kv);
                                                  },
                                                  [this] { Restart(); }));
    if (result.is_cut) too_large_ = true;
    if (too_large_ || refused_) return result.point;
    if (!in_order) {
      more_ = request_.limit() > 0 && sorted_.added() > request_.limit();
      refused_ = !sorted_.Emit();
    }
    if (effort_ == nullptr) {
      count_ = result.count;
    } else if (stopped_) {
      return CountAfterStop(result.point);
    }
    return result.point;
  }

  // Counts what follows the row that stopped a small read, without its values.
  absl::StatusOr<ReadPoint> CountAfterStop(const ReadPoint& point) {
    stop_key_.push_back('\0');
    absl::StatusOr<ReadPoint> counted = CountSome({stop_key_, range_.keys.limit}, point.revision);
    if (!counted.ok() && at_ <= mvcc::kCurrent) {
      // Lost to a compaction, which a read at the current revision never tells: begin again.
      too_large_ = true;
    }
    if (!counted.ok()) return counted;
    return point;
  }

  // Notes one more row; false when the effort ends with it.
  bool Spend(const KeyValueView& kv, size_t bytes) {
    if (effort_ == nullptr) return true;
    ++count_;
    too_large_ = count_ > effort_->rows_max || bytes + kv.value.size() > effort_->bytes_max;
    return !too_large_;
  }

  bool VisitInOrder(const KeyValueView& kv) {
    if (!Spend(kv, out_.size_bytes())) return false;
    if (!Passes(request_, kv)) return true;
    if (request_.limit() > 0 && rows_ == request_.limit()) {
      more_ = true;
      return Stop(kv);
    }
    ++rows_;
    refused_ = !AppendRow(out_, Shown(request_, kv));
    return !refused_;
  }

  bool VisitSorted(const KeyValueView& kv) {
    if (!Spend(kv, sorted_.size_bytes())) return false;
    if (!Passes(request_, kv)) return true;
    refused_ = !sorted_.Add(kv);
    if (refused_) return false;
    if (cuts_first_ && request_.limit() > 0 && sorted_.added() > request_.limit()) return Stop(kv);
    return true;
  }

  bool Stop(const KeyValueView& kv) {
    stopped_ = true;
    if (effort_ != nullptr) stop_key_ = kv.key;
    return false;
  }

  void Restart() {
    out_.Clear();
    sorted_.Clear();
    rows_ = 0;
    count_ = 0;
    more_ = false;
    stopped_ = false;
    refused_ = false;
    too_large_ = false;
  }

  const KvSource& source_;
  const RangeRequest& request_;
  const ReadEffort* const effort_;  // Null: none.
  ResponseBuffer& out_;
  const RequestRange range_;
  const Revision at_;
  SortedRows sorted_;
  bool cuts_first_ = false;

  int64_t rows_ = 0;  // Written in order.
  int64_t count_ = 0;
  bool more_ = false;
  bool stopped_ = false;
  std::string stop_key_;
  bool refused_ = false;    // By the budget.
  bool too_large_ = false;  // For the effort.
};

}  // namespace

bool AppendKeyValue(ResponseBuffer& out, uint32_t field, const KeyValueView& kv) {
  const size_t message_bytes = mvcc::EncodedKeyValueBytes(kv);
  const size_t field_bytes = wire::FieldBytes(message_bytes);
  char* to = out.Reserve(field_bytes);
  if (to == nullptr) return false;
  to = wire::StoreFieldStart(to, field, message_bytes);
  mvcc::StoreKeyValue(to, kv);
  out.Advance(field_bytes);
  return true;
}

absl::StatusOr<ReadPoint> ReadRange(const KvSource& source, const RangeRequest& request,
                                    ResponseBuffer& out) {
  CAIRN_ASSIGN_OR_RETURN(std::optional<ReadPoint> point,
                         RangeRead(source, request, nullptr, out).Run());
  return *point;
}

absl::StatusOr<std::optional<ReadPoint>> TryReadRange(const KvSource& source,
                                                      const RangeRequest& request,
                                                      ReadEffort effort, ResponseBuffer& out) {
  return RangeRead(source, request, &effort, out).Run();
}

absl::Status RangeStreamReader::Check(const RangeRequest& request) {
  // Without an order the target means nothing to a stream, unlike to Range (etcd 3.7).
  if (request.sort_order() != RangeRequest::NONE && OrderOf(request) != Order::kIndex) {
    return api::ToStatus(api::Error::kRangeStreamSortOrder);
  }
  if (HasFilters(request)) return api::ToStatus(api::Error::kRangeStreamRevisionFilter);
  return absl::OkStatus();
}

RangeStreamReader::RangeStreamReader(RangeRequest request, size_t message_bytes)
    : request_(std::move(request)),
      message_bytes_(message_bytes),
      resume_key_(request_.key()),
      at_(request_.revision()) {}

absl::StatusOr<RangeStreamReader::Message> RangeStreamReader::Next(const KvSource& source,
                                                                   ResponseBuffer& out) {
  const RequestRange range = RangeOf(request_.key(), request_.range_end());
  if (range.is_single_key || request_.count_only()) {
    CAIRN_ASSIGN_OR_RETURN(ReadPoint point, ReadRange(source, request_, out));
    return Message{.is_last = true, .header_revision = point.current};
  }
  int64_t rows = 0;
  bool refused = false;
  bool full = false;
  bool at_limit = false;
  std::string stop_key;
  const auto visit = [&](const KeyValueView& kv) {
    at_limit = request_.limit() > 0 && rows_sent_ + rows == request_.limit();
    full = rows > 0 && (rows == rows_per_message_ ||
                        out.size_bytes() + kv.key.size() + kv.value.size() > message_bytes_);
    if (at_limit || full) {
      stop_key = kv.key;
      return false;
    }
    ++rows;
    refused = !AppendRow(out, Shown(request_, kv));
    return !refused;
  };
  const auto restart = [&] {
    out.Clear();
    rows = 0;
    refused = full = at_limit = false;
  };
  const ScanOptions options = {
      .range = {resume_key_, range.keys.limit}, .at = at_, .values = ValuesFor(request_)};
  CAIRN_ASSIGN_OR_RETURN(ScanResult result, source.Scan(options, visit, restart));
  if (refused) return out.refusal();
  if (!started_) {
    started_ = true;
    at_ = result.point.revision;
    header_revision_ = result.point.current;
  }
  rows_sent_ += rows;
  if (full && !at_limit) {
    resume_key_ = std::move(stop_key);
    rows_per_message_ *= 2;
    return Message{};
  }
  int64_t count = rows_sent_;
  if (at_limit) {
    CAIRN_ASSIGN_OR_RETURN(ScanResult rest, source.Count({stop_key, range.keys.limit}, at_));
    count += rest.count;
  }
  if (!AppendTail(out, at_limit, count)) return out.refusal();
  return Message{.is_last = true, .header_revision = header_revision_};
}

rpc::SliceList WrapStreamMessage(const rpc::SliceList& response) {
  std::string start;
  wire::AppendFieldStart(start, etcdserverpb::RangeStreamResponse::kRangeResponseFieldNumber,
                         response.size_bytes());
  rpc::SliceList message(std::move(start));
  for (const rpc::Slice& slice : response.slices()) message.Append(slice);
  return message;
}

}  // namespace cairn::server
