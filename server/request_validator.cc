#include "server/request_validator.h"

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <climits>
#include <functional>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/status.h"
#include "base/text_map.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

// A transaction and its operation are two Protobuf messages; the innermost operation holds one
// more.
constexpr int kMessageDepthMax = 2 * kTxnDepthMax + 2;

// What etcd adds to the bytes of a key and a value for what a row costs besides.
constexpr int64_t kPutOverheadBytes = 256;

absl::Status ValidateOp(const RequestOp& op, int64_t ops_max);

absl::Status ValidateOps(const TxnRequest& request, int64_t ops_max) {
  const int64_t ops =
      std::max({request.compare_size(), request.success_size(), request.failure_size()});
  if (ops > ops_max) return ToStatus(Error::kTooManyOperations);
  for (const auto& compare : request.compare()) {
    if (compare.key().empty()) return ToStatus(Error::kKeyNotProvided);
  }
  for (const Ops* branch : {&request.success(), &request.failure()}) {
    for (const RequestOp& op : *branch) CAIRN_RETURN_IF_ERROR(ValidateOp(op, ops_max - ops));
  }
  return absl::OkStatus();
}

absl::Status ValidateOp(const RequestOp& op, int64_t ops_max) {
  switch (op.request_case()) {
    case RequestOp::kRequestRange:
      return ValidateRange(op.request_range());
    case RequestOp::kRequestPut:
      return ValidatePut(ViewOf(op.request_put()));
    case RequestOp::kRequestDeleteRange:
      return ValidateDeleteRange(op.request_delete_range());
    case RequestOp::kRequestTxn:
      return ValidateOps(op.request_txn(), ops_max);
    case RequestOp::REQUEST_NOT_SET:
      break;
  }
  return ToStatus(Error::kKeyNotFound);
}

// Finds a key that one run of a branch could put twice.
//
// Two puts may both run unless they stand in different branches of one transaction: that is told by
// the innermost list of operations or transaction that holds both. In a walk in depth, it is enough
// to look at neighbouring puts of a key (every innermost holder of a pair is also one of some
// neighbours), and of the holders still open the innermost that was entered before the earlier put.
class DoublePutFinder {
 public:
  bool Finds(const Ops& branch) {
    Enter(Holder::kList);
    for (const RequestOp& op : branch) {
      if (op.request_case() == RequestOp::kRequestPut && SeenBeside(op.request_put().key())) {
        return true;
      }
      if (op.request_case() == RequestOp::kRequestTxn && FindsInTxn(op.request_txn())) return true;
    }
    open_.pop_back();
    return false;
  }

  bool saw_puts() const { return !last_put_.empty(); }

 private:
  enum class Holder : bool { kList, kTxn };
  struct Open {
    int64_t entered;
    Holder holder;
  };

  bool FindsInTxn(const TxnRequest& txn) {
    Enter(Holder::kTxn);
    if (Finds(txn.success()) || Finds(txn.failure())) return true;
    open_.pop_back();
    return false;
  }

  void Enter(Holder holder) { open_.push_back({++clock_, holder}); }

  bool SeenBeside(std::string_view key) {
    const auto [it, first] = last_put_.try_emplace(key, ++clock_);
    if (first) return false;
    const int64_t earlier = std::exchange(it->second, clock_);
    const auto after =
        std::upper_bound(open_.begin(), open_.end(), earlier,
                         [](int64_t time, const Open& open) { return time < open.entered; });
    return std::prev(after)->holder == Holder::kList;
  }

  int64_t clock_ = 0;
  std::vector<Open> open_;
  absl::flat_hash_map<std::string_view, int64_t, base::TextHash, std::equal_to<>> last_put_;
};

// Keys that deletes cover, for the question whether any of some puts is among them.
class DeletedKeys {
 public:
  void Add(const DeleteRangeRequest& request) {
    if (request.range_end().empty()) {
      points_.insert(request.key());
    } else {
      // An end that is not above the key covers nothing; etcd takes the end "\0", which means "to
      // the end of the key space", for one of these too, and clients rely on what that lets
      // through.
      AddRange(request.key(), request.range_end());
    }
  }

  bool Covers(std::string_view key) const {
    if (points_.contains(key)) return true;
    const auto after = ranges_.upper_bound(key);
    return after != ranges_.begin() && key < std::prev(after)->second;
  }

  size_t size() const { return points_.size() + ranges_.size(); }

  bool CoversAnyOf(const absl::btree_set<std::string_view>& puts) const {
    if (puts.size() <= size()) {
      return std::any_of(puts.begin(), puts.end(), [this](auto key) { return Covers(key); });
    }
    for (std::string_view point : points_) {
      if (puts.contains(point)) return true;
    }
    for (const auto& [first, limit] : ranges_) {
      const auto put = puts.lower_bound(first);
      if (put != puts.end() && *put < limit) return true;
    }
    return false;
  }

  void Merge(DeletedKeys other) {
    if (other.size() > size()) std::swap(*this, other);
    points_.insert(other.points_.begin(), other.points_.end());
    for (const auto& [first, limit] : other.ranges_) AddRange(first, limit);
  }

 private:
  // Ranges are kept disjoint, so that one look to the left tells.
  void AddRange(std::string_view first, std::string_view limit) {
    if (limit <= first) return;
    auto it = ranges_.upper_bound(first);
    if (it != ranges_.begin() && std::prev(it)->second >= first) {
      --it;
      first = it->first;
    }
    while (it != ranges_.end() && it->first <= limit) {
      limit = std::max(limit, it->second);
      it = ranges_.erase(it);
    }
    ranges_.emplace(first, limit);
  }

  absl::btree_set<std::string_view> points_;
  absl::btree_map<std::string_view, std::string_view> ranges_;  // First to limit.
};

// What a list of operations puts and deletes, nested ones included.
struct Touched {
  absl::btree_set<std::string_view> puts;
  DeletedKeys deletes;
};

// Collects a list; false when it could put a key and delete it. A put is compared with the deletes
// of its own list, and with those of nested transactions that stand before its own: not with those
// of later ones, as in etcd. The smaller of two sets is always poured into the larger, and looked
// up in it, so a key is touched O(log n) times however deep its transaction nests.
bool CollectTouched(const Ops& branch, Touched& touched) {
  for (const RequestOp& op : branch) {
    if (op.request_case() == RequestOp::kRequestDeleteRange) {
      touched.deletes.Add(op.request_delete_range());
    }
  }
  for (const RequestOp& op : branch) {
    if (op.request_case() != RequestOp::kRequestTxn) continue;
    Touched nested[2];
    if (!CollectTouched(op.request_txn().success(), nested[0])) return false;
    if (!CollectTouched(op.request_txn().failure(), nested[1])) return false;
    for (const Touched& one : nested) {
      if (touched.deletes.CoversAnyOf(one.puts)) return false;
    }
    for (Touched& one : nested) {
      if (one.puts.size() > touched.puts.size()) std::swap(one.puts, touched.puts);
      touched.puts.insert(one.puts.begin(), one.puts.end());
      touched.deletes.Merge(std::move(one.deletes));
    }
  }
  for (const RequestOp& op : branch) {
    if (op.request_case() != RequestOp::kRequestPut) continue;
    if (touched.deletes.Covers(op.request_put().key())) return false;
    touched.puts.insert(op.request_put().key());
  }
  return true;
}

bool HasDeletes(const Ops& branch) {
  return std::any_of(branch.begin(), branch.end(), [](const RequestOp& op) {
    return op.request_case() == RequestOp::kRequestDeleteRange ||
           (op.request_case() == RequestOp::kRequestTxn &&
            (HasDeletes(op.request_txn().success()) || HasDeletes(op.request_txn().failure())));
  });
}

bool HasDuplicates(const Ops& branch) {
  DoublePutFinder finder;
  if (finder.Finds(branch)) return true;
  if (!finder.saw_puts() || !HasDeletes(branch)) return false;
  Touched touched;
  return !CollectTouched(branch, touched);
}

// Whether bytes that could not be parsed hold a transaction nested deeper than kTxnDepthMax. Keeps
// what is left of each open level, one transaction or operation each, instead of recursing.
bool NestsTooDeep(std::string_view bytes) {
  std::vector<std::string_view> open = {bytes};
  while (!open.empty()) {
    if (open.size() > 2 * kTxnDepthMax) return true;
    if (open.back().empty()) {
      open.pop_back();
      continue;
    }
    uint32_t field = 0;
    uint32_t type = 0;
    if (!wire::TakeTag(open.back(), field, type)) return false;
    const bool is_txn = open.size() % 2 == 1;
    const bool opens = is_txn ? field == TxnRequest::kSuccessFieldNumber ||
                                    field == TxnRequest::kFailureFieldNumber
                              : field == RequestOp::kRequestTxnFieldNumber;
    if (type == wire::kBytes && opens) {
      std::string_view inner;
      if (!wire::TakeField(open.back(), inner)) return false;
      open.push_back(inner);
    } else if (!wire::Skip(open.back(), field, type)) {
      return false;
    }
  }
  return false;
}

int64_t BranchCostBytes(const Ops& branch) {
  int64_t cost_bytes = 0;
  for (const RequestOp& op : branch) {
    if (op.request_case() == RequestOp::kRequestPut) {
      cost_bytes += PutCostBytes(op.request_put().key(), op.request_put().value());
    } else if (op.request_case() == RequestOp::kRequestTxn) {
      cost_bytes += TxnCostBytes(op.request_txn());
    }
  }
  return cost_bytes;
}

bool AllRanges(const Ops& branch, bool serializable_only) {
  return std::all_of(branch.begin(), branch.end(), [&](const RequestOp& op) {
    return op.request_case() == RequestOp::kRequestRange &&
           (!serializable_only || op.request_range().serializable());
  });
}

}  // namespace

absl::Status ValidateRange(const RangeRequest& request) {
  if (request.key().empty()) return ToStatus(Error::kKeyNotProvided);
  if (!RangeRequest::SortOrder_IsValid(request.sort_order()) ||
      !RangeRequest::SortTarget_IsValid(request.sort_target())) {
    return ToStatus(Error::kInvalidSortOption);
  }
  return absl::OkStatus();
}

absl::Status ValidatePut(const PutRequestView& request) {
  if (request.key.empty()) return ToStatus(Error::kKeyNotProvided);
  if (request.ignore_value && !request.value.empty()) return ToStatus(Error::kValueProvided);
  if (request.ignore_lease && request.lease != 0) return ToStatus(Error::kLeaseProvided);
  return absl::OkStatus();
}

absl::Status ValidateDeleteRange(const DeleteRangeRequest& request) {
  if (request.key().empty()) return ToStatus(Error::kKeyNotProvided);
  return absl::OkStatus();
}

absl::Status ValidateTxn(const TxnRequest& request, int64_t txn_ops_max) {
  CAIRN_RETURN_IF_ERROR(ValidateOps(request, txn_ops_max));
  if (HasDuplicates(request.success()) || HasDuplicates(request.failure())) {
    return ToStatus(Error::kDuplicateKey);
  }
  return absl::OkStatus();
}

absl::Status ParseTxn(std::string_view bytes, TxnRequest& request) {
  if (bytes.size() <= INT_MAX) {
    google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                 static_cast<int>(bytes.size()));
    input.SetRecursionLimit(kMessageDepthMax);
    if (request.ParseFromCodedStream(&input) && input.ConsumedEntireMessage()) {
      return absl::OkStatus();
    }
  }
  if (NestsTooDeep(bytes)) return ToStatus(Error::kTooManyOperations);
  return base::Error(absl::StatusCode::kInternal,
                     "grpc: error unmarshalling request: {} bytes are no valid {}", bytes.size(),
                     request.GetTypeName());
}

int64_t PutCostBytes(std::string_view key, std::string_view value) {
  return kPutOverheadBytes + static_cast<int64_t>(key.size() + value.size());
}

int64_t TxnCostBytes(const TxnRequest& request) {
  return std::max(BranchCostBytes(request.success()), BranchCostBytes(request.failure()));
}

bool IsReadOnly(const TxnRequest& request) {
  return AllRanges(request.success(), false) && AllRanges(request.failure(), false);
}

bool IsSerializable(const TxnRequest& request) {
  return AllRanges(request.success(), true) && AllRanges(request.failure(), true);
}

}  // namespace cairn::server
