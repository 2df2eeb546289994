#include "test/differential/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace cairn::test {
namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::Compare;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::HashKVRequest;
using etcdserverpb::PutRequest;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;

constexpr int kNumberedKeys = 30;
// As deep as a client would ever go, and one more.
constexpr int kNestingMax = 3;
// etcd's default of --max-txn-ops.
constexpr int kTxnOperationsMax = 128;
// Values around Cairn's own border between inline and separate values.
constexpr int kLongValueBytes = 4096;
constexpr size_t kRecentValues = 32;
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();
// The end of a range that means: all keys from the first on.
const std::string kFromKey(1, '\0');

bool IsUnknownSort(const RangeRequest& request) {
  return !RangeRequest::SortOrder_IsValid(request.sort_order()) ||
         !RangeRequest::SortTarget_IsValid(request.sort_target());
}

bool HasUnknownSort(const TxnRequest& request) {
  const auto is_unknown = [](const RequestOp& op) {
    return (op.has_request_range() && IsUnknownSort(op.request_range())) ||
           (op.has_request_txn() && HasUnknownSort(op.request_txn()));
  };
  return std::any_of(request.success().begin(), request.success().end(), is_unknown) ||
         std::any_of(request.failure().begin(), request.failure().end(), is_unknown);
}

struct Writes {
  bool open_delete = false;
  bool put = false;
  bool keeping_put = false;
};

void CollectWrites(const TxnRequest& request, Writes& writes) {
  for (const auto* branch : {&request.success(), &request.failure()}) {
    for (const RequestOp& op : *branch) {
      writes.put |= op.has_request_put();
      writes.keeping_put |= op.request_put().ignore_value() || op.request_put().ignore_lease();
      writes.open_delete |=
          op.has_request_delete_range() && op.request_delete_range().range_end() == kFromKey;
      if (op.has_request_txn()) CollectWrites(op.request_txn(), writes);
    }
  }
}

}  // namespace

std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (prefix.empty()) return kFromKey;
  ++prefix.back();
  return prefix;
}

std::vector<std::string> BusyKeys() {
  std::vector<std::string> keys;
  for (int i = 0; i < kNumberedKeys; ++i) keys.push_back(fmt::format("k{:02}", i));
  for (const char* key : {"a", "b", "ab", "abc", "k", "k0", "k1", "kz"}) keys.emplace_back(key);
  keys.push_back(std::string("\0", 1));
  keys.push_back(std::string("\0\0", 2));
  keys.push_back(std::string("b\0", 2));
  for (const char* key : {"\xff", "\xff\xff", "\xff\x01", "k0\xff"}) keys.emplace_back(key);
  keys.emplace_back(300, 'x');
  return keys;
}

bool MayCompact(const Knowledge& knowledge, int64_t revision) {
  return !knowledge.delete_then_put.contains(revision);
}

bool MayHash(const Knowledge& knowledge, int64_t revision) {
  // Revision 0 may stick to the value of a compaction at 0, and a compacted revision to the value
  // that its compaction stored.
  return revision != 0 && revision != knowledge.compacted && knowledge.compaction_is_finished &&
         !knowledge.delete_then_put.contains(revision);
}

bool HasUnknownSort(const Operation& operation) {
  if (const auto* range = std::get_if<RangeRequest>(&operation)) return IsUnknownSort(*range);
  if (const auto* stream = std::get_if<RangeStream>(&operation)) {
    return IsUnknownSort(stream->request);
  }
  if (const auto* txn = std::get_if<TxnRequest>(&operation)) return HasUnknownSort(*txn);
  return false;
}

bool MayDeleteThenPut(const TxnRequest& request) {
  Writes writes;
  CollectWrites(request, writes);
  return writes.open_delete && writes.put;
}

bool MayDeleteThenKeep(const etcdserverpb::TxnRequest& request) {
  Writes writes;
  CollectWrites(request, writes);
  return writes.open_delete && writes.keeping_put;
}

Generator::Generator(uint64_t seed, const Knowledge* knowledge)
    : random_(seed), knowledge_(knowledge), values_are_unique_(seed % 2 == 0), keys_(BusyKeys()) {}

Operation Generator::Next() {
  const int64_t choice = random_.Below(1000);
  if (choice < 270) return Put();
  if (choice < 534) return Range();
  if (choice < 537) return UnknownSortTxn();
  if (choice < 540) {
    RangeRequest request = Range();
    if (request.key().empty()) request.set_key(random_.Pick(keys_));
    MakeSortUnknown(request);
    return request;
  }
  if (choice < 580) return RangeStream{StreamedRange()};
  if (choice < 665) return DeleteRange();
  if (choice < 920) return Txn(0);
  if (choice < 925) return CrowdedTxn();
  if (choice < 940) return Compaction();
  if (choice < 955) return Hash();
  if (!knowledge_->with_leases) return Put();
  return LeaseOperation();
}

// No lease is ever due within a run.
Operation Generator::LeaseOperation() {
  static constexpr std::array<int64_t, 12> kIds = {1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -9, kInt64Min};
  static constexpr std::array<int64_t, 5> kTtls = {1'000'000, 2'000'000, 9'000'000'000,
                                                   9'000'000'001, kInt64Max};
  const int64_t id = random_.Pick(kIds);
  const int64_t choice = random_.Below(100);
  if (choice < 35 || knowledge_->leases.empty()) {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(id);
    grant.set_ttl(random_.Pick(kTtls));
    return grant;
  }
  if (choice < 50) {
    etcdserverpb::LeaseRevokeRequest revoke;
    revoke.set_id(id);
    return revoke;
  }
  if (choice < 65) {
    etcdserverpb::LeaseKeepAliveRequest renewal;
    renewal.set_id(id);
    return renewal;
  }
  if (choice < 70) return etcdserverpb::LeaseLeasesRequest();
  etcdserverpb::LeaseTimeToLiveRequest left;
  left.set_id(id);
  left.set_keys(random_.Chance(80));
  return left;
}

std::string Generator::Key() {
  const int64_t choice = random_.Below(100);
  if (choice < 2) return "";
  if (choice < 5) return random_.Bytes(static_cast<size_t>(random_.Between(1, 4)));
  return random_.Pick(keys_);
}

std::string Generator::RangeEnd(const std::string& key) {
  const int64_t choice = random_.Below(100);
  if (choice < 25) return PrefixEnd(key);
  if (choice < 60) return PrefixEnd(key.substr(0, 1));
  if (choice < 70) return kFromKey;
  return random_.Pick(keys_);  // half of these are inverted
}

std::string Generator::Value() {
  const int64_t choice = random_.Below(100);
  std::string value;
  if (choice < 4) {
    value = random_.Bytes(static_cast<size_t>(random_.Between(0, 20)));
  } else if (choice < 7) {
    value = std::string(static_cast<size_t>(kLongValueBytes + random_.Between(-2, 2)), 'v');
  } else if (choice < 50 || values_are_unique_) {
    value = fmt::format("value {}", next_value_);
  } else {
    value = fmt::format("v{}", random_.Below(6));
  }
  if (values_are_unique_) value += fmt::format(" #{}", next_value_);
  ++next_value_;
  if (recent_values_.size() < kRecentValues) {
    recent_values_.push_back(value);
  } else {
    recent_values_[static_cast<size_t>(next_value_) % kRecentValues] = value;
  }
  return value;
}

int64_t Generator::AskedRevision() {
  const int64_t current = knowledge_->revision;
  const int64_t oldest = std::max<int64_t>(knowledge_->compacted, 1);
  const int64_t choice = random_.Below(100);
  if (choice < 50) return 0;
  if (choice < 78) return random_.Between(oldest, current);
  if (choice < 84) return current;
  if (choice < 91) return oldest + random_.Between(-2, 1);
  if (choice < 95) return current + random_.Between(1, 3);
  if (choice < 98) return -random_.Between(1, 5);
  return random_.Chance(50) ? kInt64Max : kInt64Min;
}

int64_t Generator::FilterRevision() {
  const int64_t choice = random_.Below(100);
  if (choice < 90) return 0;
  if (choice < 98) return random_.Between(1, knowledge_->revision + 2);
  return -random_.Between(1, 5);
}

int64_t Generator::Lease() {
  const int64_t choice = random_.Below(100);
  if (choice < 85) return 0;
  if (choice < 97 && !knowledge_->leases.empty()) {
    return *std::next(knowledge_->leases.begin(),
                      random_.Below(static_cast<int64_t>(knowledge_->leases.size())));
  }
  if (choice < 97) return 0;
  return random_.Chance(50) ? random_.Between(100, 200) : -random_.Between(1, 200);
}

RangeRequest Generator::Range() {
  static constexpr std::array<int64_t, 9> kLimits = {1, 1, 2, 3, 5, 10, 40, -1, kInt64Max};
  RangeRequest request;
  request.set_key(Key());
  if (random_.Chance(65)) request.set_range_end(RangeEnd(request.key()));
  if (random_.Chance(10)) {
    request.set_key(kFromKey);
    request.set_range_end(kFromKey);
  }
  if (random_.Chance(40)) request.set_limit(random_.Pick(kLimits));
  request.set_revision(AskedRevision());
  if (random_.Chance(45)) {
    request.set_sort_order(static_cast<RangeRequest::SortOrder>(random_.Below(3)));
    request.set_sort_target(static_cast<RangeRequest::SortTarget>(random_.Below(5)));
  }
  request.set_serializable(random_.Chance(30));
  request.set_keys_only(random_.Chance(15));
  request.set_count_only(random_.Chance(10));
  request.set_min_mod_revision(FilterRevision());
  request.set_max_mod_revision(FilterRevision());
  request.set_min_create_revision(FilterRevision());
  request.set_max_create_revision(FilterRevision());
  return request;
}

void Generator::MakeSortUnknown(RangeRequest& request) {
  static constexpr std::array<int, 4> kUnknown = {-1, 5, 77, std::numeric_limits<int>::max()};
  if (random_.Chance(50)) {
    request.set_sort_order(static_cast<RangeRequest::SortOrder>(random_.Pick(kUnknown)));
  } else {
    request.set_sort_target(static_cast<RangeRequest::SortTarget>(random_.Pick(kUnknown)));
  }
}

// A transaction with an unknown number and no other fault, so that the answer is certain.
TxnRequest Generator::UnknownSortTxn() {
  TxnRequest request;
  PutRequest* put = request.add_success()->mutable_request_put();
  put->set_key(random_.Pick(keys_));
  put->set_value(Value());
  TxnRequest* nested = request.add_failure()->mutable_request_txn();
  RequestOp* op = random_.Chance(50) ? request.add_success() : nested->add_failure();
  op->mutable_request_range()->set_key(random_.Pick(keys_));
  MakeSortUnknown(*op->mutable_request_range());
  return request;
}

RangeRequest Generator::StreamedRange() {
  RangeRequest request = Range();
  if (random_.Chance(10)) return request;
  request.clear_sort_order();
  request.clear_sort_target();
  request.clear_min_mod_revision();
  request.clear_max_mod_revision();
  request.clear_min_create_revision();
  request.clear_max_create_revision();
  return request;
}

PutRequest Generator::Put() {
  PutRequest request;
  request.set_key(Key());
  request.set_prev_kv(random_.Chance(30));
  request.set_ignore_value(random_.Chance(6));
  request.set_ignore_lease(random_.Chance(6));
  if (!request.ignore_value() || random_.Chance(20)) request.set_value(Value());
  if (!request.ignore_lease() || random_.Chance(20)) request.set_lease(Lease());
  return request;
}

DeleteRangeRequest Generator::DeleteRange() {
  DeleteRangeRequest request;
  request.set_key(Key());
  const int64_t choice = random_.Below(100);
  if (choice < 15) {
    request.set_range_end(PrefixEnd(request.key()));
  } else if (choice < 20) {
    request.set_range_end(random_.Pick(keys_));
  } else if (choice < 22) {
    request.set_range_end(kFromKey);
  }
  request.set_prev_kv(random_.Chance(40));
  return request;
}

Compare Generator::Comparison() {
  etcdserverpb::Compare compare;
  compare.set_key(Key());
  if (random_.Chance(15)) compare.set_range_end(RangeEnd(compare.key()));
  compare.set_result(static_cast<Compare::CompareResult>(random_.Chance(3) ? random_.Between(-1, 9)
                                                                           : random_.Below(4)));
  int64_t target = random_.Below(5);
  // Which member of the union is set: the one that fits the target, another one, or none (5).
  const int64_t member = random_.Chance(90) ? target : random_.Below(6);
  if (random_.Chance(3)) target = random_.Between(-1, 9);
  compare.set_target(static_cast<Compare::CompareTarget>(target));
  const int64_t revision = random_.Chance(20) ? 0 : random_.Between(1, knowledge_->revision + 1);
  if (member == 0) compare.set_version(random_.Between(-1, 3));
  if (member == 1) compare.set_create_revision(revision);
  if (member == 2) compare.set_mod_revision(revision);
  if (member == 3) {
    compare.set_value(recent_values_.empty() ? "" : random_.Pick(recent_values_));
  }
  if (member == 4) compare.set_lease(Lease());
  return compare;
}

RequestOp Generator::Op(int depth) {
  RequestOp op;
  const int64_t choice = random_.Below(100);
  if (choice < 40) {
    *op.mutable_request_put() = Put();
  } else if (choice < 75) {
    *op.mutable_request_range() = Range();
  } else if (choice < 87) {
    *op.mutable_request_delete_range() = DeleteRange();
  } else if (choice < 99) {
    if (depth < kNestingMax) {
      *op.mutable_request_txn() = Txn(depth + 1);
    } else {
      *op.mutable_request_range() = Range();
    }
  }
  return op;  // one in a hundred says nothing
}

TxnRequest Generator::Txn(int depth) {
  TxnRequest request;
  const int64_t compares = random_.Chance(40) ? 0 : random_.Between(1, 3);
  for (int64_t i = 0; i < compares; ++i) *request.add_compare() = Comparison();
  for (int64_t i = random_.Below(4); i > 0; --i) *request.add_success() = Op(depth);
  for (int64_t i = random_.Below(4); i > 0; --i) *request.add_failure() = Op(depth);
  return request;
}

// Around the limit of operations, flat or through nesting.
TxnRequest Generator::CrowdedTxn() {
  TxnRequest request;
  RangeRequest range;
  range.set_key(random_.Pick(keys_));
  const auto fill = [&](TxnRequest& txn, int64_t count) {
    for (int64_t i = 0; i < count; ++i) *txn.add_success()->mutable_request_range() = range;
  };
  if (random_.Chance(50)) {
    fill(request, kTxnOperationsMax + random_.Between(-1, 2));
    return request;
  }
  const int64_t outer = random_.Between(1, kTxnOperationsMax - 1);
  fill(request, outer - 1);
  fill(*request.add_success()->mutable_request_txn(),
       kTxnOperationsMax - outer + random_.Between(-1, 2));
  return request;
}

CompactionRequest Generator::Compaction() {
  CompactionRequest request;
  const int64_t oldest = std::max<int64_t>(knowledge_->compacted, 1);
  const int64_t choice = random_.Below(100);
  if (choice < 75) {
    // Mostly a little, so that old revisions stay to be asked for.
    const int64_t span = knowledge_->revision - oldest;
    request.set_revision(oldest + random_.Between(0, random_.Chance(80) ? span / 3 : span));
  } else if (choice < 85) {
    request.set_revision(oldest - random_.Between(0, 3));
  } else {
    request.set_revision(AskedRevision());
  }
  while (!MayCompact(*knowledge_, request.revision())) request.set_revision(request.revision() - 1);
  request.set_physical(random_.Chance(60));
  return request;
}

Operation Generator::Hash() {
  HashKVRequest request;
  request.set_revision(AskedRevision());
  // etcd answers revisions below 0 like 0, and 0 like the current one.
  if (request.revision() <= 0) request.set_revision(knowledge_->revision);
  // Where versions disagree, a plain read of all keys takes its place.
  if (MayHash(*knowledge_, request.revision())) return request;
  RangeRequest range;
  range.set_key(kFromKey);
  range.set_range_end(kFromKey);
  return range;
}

}  // namespace cairn::test
