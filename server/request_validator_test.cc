#include "server/request_validator.h"

#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/coding.h"

namespace cairn::server {
namespace {

using api::Error;
using etcdserverpb::Compare;
using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;

RequestOp PutOp(std::string key) {
  RequestOp op;
  op.mutable_request_put()->set_key(std::move(key));
  return op;
}

RequestOp DeleteOp(std::string key, std::string range_end = "") {
  RequestOp op;
  op.mutable_request_delete_range()->set_key(std::move(key));
  op.mutable_request_delete_range()->set_range_end(std::move(range_end));
  return op;
}

RequestOp RangeOp(std::string key, std::string range_end = "") {
  RequestOp op;
  op.mutable_request_range()->set_key(std::move(key));
  op.mutable_request_range()->set_range_end(std::move(range_end));
  return op;
}

TxnRequest Txn(std::vector<RequestOp> success, std::vector<RequestOp> failure = {}) {
  TxnRequest txn;
  for (RequestOp& op : success) *txn.add_success() = std::move(op);
  for (RequestOp& op : failure) *txn.add_failure() = std::move(op);
  return txn;
}

RequestOp Nested(std::vector<RequestOp> success, std::vector<RequestOp> failure = {}) {
  RequestOp op;
  *op.mutable_request_txn() = Txn(std::move(success), std::move(failure));
  return op;
}

// One operation in a transaction of its own, without copying it.
RequestOp Wrap(RequestOp inner) {
  RequestOp op;
  *op.mutable_request_txn()->add_success() = std::move(inner);
  return op;
}

std::vector<RequestOp> Puts(int count) {
  std::vector<RequestOp> ops;
  for (int i = 0; i < count; ++i) ops.push_back(PutOp("p" + std::to_string(i)));
  return ops;
}

// The reason of a refusal; none for OK.
std::optional<Error> Reason(const absl::Status& status) {
  if (status.ok()) return std::nullopt;
  EXPECT_TRUE(api::FindError(status)) << status;
  return api::FindError(status);
}

std::optional<Error> ReasonOf(const TxnRequest& txn) {
  return Reason(ValidateTxn(txn, kTxnOpsMaxDefault));
}

TEST(ValidateRange, NamesTheFirstFault) {
  RangeRequest request;
  request.set_sort_order(static_cast<RangeRequest::SortOrder>(9));
  EXPECT_EQ(Reason(ValidateRange(request)), Error::kKeyNotProvided);
  request.set_key("k");
  EXPECT_EQ(Reason(ValidateRange(request)), Error::kInvalidSortOption);
  request.set_sort_order(RangeRequest::DESCEND);
  EXPECT_TRUE(ValidateRange(request).ok());
  request.set_sort_target(static_cast<RangeRequest::SortTarget>(-1));
  EXPECT_EQ(Reason(ValidateRange(request)), Error::kInvalidSortOption);
  request.set_sort_target(RangeRequest::VALUE);
  EXPECT_TRUE(ValidateRange(request).ok());
}

TEST(ValidatePut, NamesTheFirstFault) {
  PutRequestView put{.value = "v", .lease = 1, .ignore_value = true, .ignore_lease = true};
  EXPECT_EQ(Reason(ValidatePut(put)), Error::kKeyNotProvided);
  put.key = "k";
  EXPECT_EQ(Reason(ValidatePut(put)), Error::kValueProvided);
  put.value = "";
  EXPECT_EQ(Reason(ValidatePut(put)), Error::kLeaseProvided);
  put.lease = 0;
  EXPECT_TRUE(ValidatePut(put).ok());
}

TEST(ValidateDeleteRange, NeedsAKey) {
  etcdserverpb::DeleteRangeRequest request;
  EXPECT_EQ(Reason(ValidateDeleteRange(request)), Error::kKeyNotProvided);
  request.set_key("k");
  EXPECT_TRUE(ValidateDeleteRange(request).ok());
}

struct TxnCase {
  const char* name;
  TxnRequest txn;
  std::optional<Error> reason;
};

TEST(ValidateTxn, ChecksInEtcdsOrder) {
  TxnRequest empty_compare = Txn({PutOp("")});
  empty_compare.add_compare();
  TxnRequest many_compares;
  for (int i = 0; i < 129; ++i) many_compares.add_compare();
  TxnRequest bad_value = Txn({PutOp("k")});
  bad_value.mutable_success(0)->mutable_request_put()->set_value("v");
  bad_value.mutable_success(0)->mutable_request_put()->set_ignore_value(true);
  RequestOp bad_sort = RangeOp("k");
  bad_sort.mutable_request_range()->set_sort_order(static_cast<RangeRequest::SortOrder>(3));

  std::vector<RequestOp> outer = Puts(99);
  std::vector<RequestOp> inner;
  for (int i = 0; i < 28; ++i) inner.push_back(PutOp("i" + std::to_string(i)));
  outer.push_back(Nested(inner));
  const TxnRequest fits = Txn(outer);
  inner.push_back(PutOp("one more"));
  outer.back() = Nested(inner);
  const TxnRequest passes = Txn(outer);

  const TxnCase cases[] = {
      {"nothing", TxnRequest(), std::nullopt},
      {"128 operations", Txn(Puts(128)), std::nullopt},
      {"129 operations", Txn(Puts(129)), Error::kTooManyOperations},
      {"129 operations in failure", Txn({}, Puts(129)), Error::kTooManyOperations},
      {"count before empty compares", many_compares, Error::kTooManyOperations},
      {"compares before operations", empty_compare, Error::kKeyNotProvided},
      {"100 outer leave 28", fits, std::nullopt},
      {"29 are too many", passes, Error::kTooManyOperations},
      {"unset operation", Txn({RequestOp()}), Error::kKeyNotFound},
      {"unset operation, nested", Txn({}, {Nested({RequestOp()})}), Error::kKeyNotFound},
      {"empty key in failure", Txn({PutOp("a")}, {DeleteOp("")}), Error::kKeyNotProvided},
      {"value with ignore_value", bad_value, Error::kValueProvided},
      {"bad sort, nested in failure", Txn({}, {Nested({}, {bad_sort})}), Error::kInvalidSortOption},
      {"fields before duplicates", Txn({PutOp("a"), PutOp("a"), PutOp("")}),
       Error::kKeyNotProvided},
  };
  for (const TxnCase& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(ReasonOf(each.txn), each.reason);
  }
}

TEST(ValidateTxn, FindsDuplicateKeysAsEtcdDoes) {
  const std::string from_key(1, '\0');
  const std::optional<Error> ok;
  const std::optional<Error> twice = Error::kDuplicateKey;
  const TxnCase cases[] = {
      {"put twice", Txn({PutOp("a"), PutOp("a")}), twice},
      {"put twice in failure", Txn({}, {PutOp("a"), PutOp("a")}), twice},
      {"once in each branch", Txn({PutOp("a")}, {PutOp("a")}), ok},
      {"put and delete", Txn({PutOp("a"), DeleteOp("a")}), twice},
      {"delete and put", Txn({DeleteOp("a"), PutOp("a")}), twice},
      {"put in a deleted range", Txn({PutOp("b"), DeleteOp("a", "c")}), twice},
      {"put at the range's end", Txn({PutOp("c"), DeleteOp("a", "c")}), ok},
      {"put before a deleted point", Txn({PutOp("a"), DeleteOp("b")}), ok},
      {"deletes may overlap", Txn({DeleteOp("a", "c"), DeleteOp("b"), DeleteOp("b", "d")}), ok},
      {"put in a union of deletes", Txn({DeleteOp("a", "c"), DeleteOp("b", "d"), PutOp("c")}),
       twice},
      {"reads are free", Txn({PutOp("a"), RangeOp("a"), RangeOp("a", "b")}), ok},
      {"delete to the end of all keys", Txn({PutOp("b"), DeleteOp("a", from_key)}), ok},
      {"delete with the end below", Txn({PutOp("b"), DeleteOp("c", "a")}), ok},
      {"delete with end and key equal", Txn({PutOp("c"), DeleteOp("c", "c")}), ok},
      {"put, and put nested", Txn({PutOp("a"), Nested({PutOp("a")})}), twice},
      {"put nested in failure, and put", Txn({Nested({}, {PutOp("a")}), PutOp("a")}), twice},
      {"put in both nested branches", Txn({Nested({PutOp("a")}, {PutOp("a")})}), ok},
      {"put in both nested branches and beside",
       Txn({Nested({PutOp("a")}, {PutOp("a")}), PutOp("a")}), twice},
      {"put in two siblings", Txn({Nested({PutOp("a")}), Nested({PutOp("a")})}), twice},
      {"put in two siblings' unlike branches",
       Txn({Nested({PutOp("a")}), Nested({}, {PutOp("a")})}), twice},
      {"both branches, then a sibling",
       Txn({Nested({PutOp("a")}, {PutOp("a")}), Nested({}, {PutOp("a")})}), twice},
      {"deep in unlike branches",
       Txn({Nested({Nested({PutOp("a")}), PutOp("b")}, {Nested({}, {PutOp("a")})})}), ok},
      {"deep below and above", Txn({Nested({Nested({Nested({PutOp("a")})}), PutOp("a")})}), twice},
      {"put nested under a delete", Txn({Nested({PutOp("b")}), DeleteOp("a", "c")}), twice},
      {"delete nested beside a put", Txn({PutOp("b"), Nested({DeleteOp("a", "c")})}), twice},
      {"delete in a sibling before", Txn({Nested({DeleteOp("a")}), Nested({PutOp("a")})}), twice},
      {"delete in a sibling after", Txn({Nested({PutOp("a")}), Nested({DeleteOp("a")})}), ok},
      {"put and delete in unlike branches", Txn({Nested({PutOp("a")}, {DeleteOp("a")})}), ok},
      {"delete and put in unlike branches", Txn({Nested({DeleteOp("a")}, {PutOp("a")})}), ok},
  };
  for (const TxnCase& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(ReasonOf(each.txn), each.reason);
  }
}

// The rules as etcd runs them: sets are built bottom up, every put is looked at on every level.
struct Oracle {
  struct Touched {
    std::set<std::string> puts;
    std::vector<std::pair<std::string, std::string>> deletes;  // Half-open.
  };

  bool duplicate = false;

  static bool Covers(const Touched& touched, const std::string& key) {
    for (const auto& [first, limit] : touched.deletes) {
      if (first <= key && key < limit) return true;
    }
    return false;
  }

  Touched Walk(const google::protobuf::RepeatedPtrField<RequestOp>& ops) {
    Touched touched;
    for (const RequestOp& op : ops) {
      if (!op.has_request_delete_range()) continue;
      const auto& request = op.request_delete_range();
      touched.deletes.emplace_back(
          request.key(), request.range_end().empty() ? request.key() + '\0' : request.range_end());
    }
    for (const RequestOp& op : ops) {
      if (!op.has_request_txn()) continue;
      const Touched then = Walk(op.request_txn().success());
      const Touched otherwise = Walk(op.request_txn().failure());
      for (const std::string& key : then.puts) {
        duplicate |= touched.puts.contains(key) || Covers(touched, key);
      }
      for (const std::string& key : otherwise.puts) {
        duplicate |= touched.puts.contains(key) || Covers(touched, key);
      }
      for (const Touched* each : {&then, &otherwise}) {
        touched.puts.insert(each->puts.begin(), each->puts.end());
        touched.deletes.insert(touched.deletes.end(), each->deletes.begin(), each->deletes.end());
      }
    }
    for (const RequestOp& op : ops) {
      if (!op.has_request_put()) continue;
      duplicate |= Covers(touched, op.request_put().key());
      duplicate |= !touched.puts.insert(op.request_put().key()).second;
    }
    return touched;
  }
};

class RandomTxn {
 public:
  explicit RandomTxn(uint64_t seed) : random_(seed) {}

  TxnRequest Make(int depth) {
    TxnRequest txn;
    for (int i = Below(4); i > 0; --i) *txn.add_success() = Op(depth);
    for (int i = Below(4); i > 0; --i) *txn.add_failure() = Op(depth);
    return txn;
  }

 private:
  int Below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  // Few keys in small requests and many in large ones, so that both answers are common.
  std::string Key() { return std::to_string(Below(60)); }

  RequestOp Op(int depth) {
    switch (Below(depth > 0 ? 6 : 3)) {
      case 0:
        return PutOp(Key());
      case 1:
        return Below(2) == 0 ? DeleteOp(Key()) : DeleteOp(Key(), Key());
      case 2:
        return PutOp(Key());
      default: {
        RequestOp op;
        *op.mutable_request_txn() = Make(depth - 1);
        return op;
      }
    }
  }

  std::mt19937_64 random_;
};

TEST(ValidateTxn, AgreesWithTheNaiveRulesOnRandomTransactions) {
  int refused = 0;
  constexpr int kRounds = 20000;
  for (uint64_t seed = 0; seed < kRounds; ++seed) {
    const TxnRequest txn = RandomTxn(seed).Make(static_cast<int>(seed % 5));
    Oracle oracle;
    oracle.Walk(txn.success());
    oracle.Walk(txn.failure());
    refused += oracle.duplicate ? 1 : 0;
    ASSERT_EQ(ReasonOf(txn), oracle.duplicate ? std::optional(Error::kDuplicateKey) : std::nullopt)
        << "seed " << seed << "\n"
        << txn.DebugString();
  }
  EXPECT_GT(refused, kRounds / 20);
  EXPECT_LT(refused, kRounds * 19 / 20);
}

// The worst shapes that the operation budget lets through, some 15 ms of CPU each. A walk that
// takes a nested transaction apart once for each level above it would run into the test's time
// limit.
TEST(ValidateTxn, TakesNoTimeForAdversarialNests) {
  int next_key = 0;
  const auto key = [&] { return std::to_string(1'000'000 + next_key++); };
  const auto leaf = [&](int ops) {
    std::vector<RequestOp> list;
    for (int i = 0; i < ops; ++i) list.push_back(i % 2 == 0 ? PutOp(key()) : DeleteOp(key()));
    return list;
  };
  // Both branches of 64 transactions hold 64 operations each.
  std::vector<RequestOp> wide;
  for (int i = 0; i < 64; ++i) wide.push_back(Nested(leaf(64), leaf(64)));
  // A chain as deep as it may be, above a tree of pairs.
  std::function<RequestOp(int)> tree = [&](int depth) {
    if (depth == 0) return Nested(leaf(2), leaf(2));
    return Nested({tree(depth - 1), tree(depth - 1)}, {tree(depth - 1), DeleteOp(key(), key())});
  };
  RequestOp chain = tree(8);
  for (int i = 0; i < 100; ++i) {
    chain = Wrap(std::move(chain));
    *chain.mutable_request_txn()->add_failure() = DeleteOp(key());
  }
  const TxnRequest requests[] = {Txn(wide, wide), Txn({chain})};
  for (const TxnRequest& request : requests) {
    const std::clock_t start = std::clock();
    EXPECT_EQ(ReasonOf(request), std::nullopt);
    const double milliseconds = 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    RecordProperty("milliseconds", std::to_string(milliseconds));
  }
}

RequestOp Chain(int depth) {
  RequestOp op = PutOp("k");
  for (int i = 1; i < depth; ++i) op = Wrap(std::move(op));
  return op;
}

TEST(ParseTxn, TakesWhateverTheBudgetAllows) {
  const std::string deepest = Txn({Chain(128)}).SerializeAsString();
  TxnRequest parsed;
  ASSERT_TRUE(ParseTxn(deepest, parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), deepest);
  EXPECT_EQ(ReasonOf(parsed), std::nullopt);

  TxnRequest deeper;
  const std::string one_more = Txn({Chain(129)}).SerializeAsString();
  ASSERT_TRUE(ParseTxn(one_more, deeper).ok());
  EXPECT_EQ(ReasonOf(deeper), Error::kTooManyOperations);
}

TEST(ParseTxn, RefusesWhatNestsWithoutEnd) {
  TxnRequest parsed;
  EXPECT_EQ(Reason(ParseTxn(Txn({Chain(300)}).SerializeAsString(), parsed)),
            Error::kTooManyOperations);
  // Thousands of levels, without Protobuf to build them.
  std::string bytes;
  while (bytes.size() < 20'000) {
    for (const char tag : {'\x22', '\x12'}) {  // request_txn in an operation in success.
      std::string length;
      base::AppendVarint(length, bytes.size());
      bytes = tag + length + bytes;
    }
  }
  EXPECT_EQ(Reason(ParseTxn(bytes, parsed)), Error::kTooManyOperations);
}

TEST(ParseTxn, RefusesBytesThatAreNoTransaction) {
  TxnRequest parsed;
  const std::string bytes = Txn({PutOp("key"), Nested({DeleteOp("a", "b")})}).SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    const absl::Status status = ParseTxn(cut, parsed);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInternal) << status;
    EXPECT_EQ(status.ok(), TxnRequest().ParseFromString(cut));
  }
  EXPECT_EQ(ParseTxn("\xff\xff", parsed).code(), absl::StatusCode::kInternal);
}

TEST(TxnCost, CountsTheDearerBranch) {
  EXPECT_EQ(PutCostBytes("key", "value"), 256 + 8);
  const RequestOp put = PutOp("key");
  EXPECT_EQ(TxnCostBytes(Txn({DeleteOp("a"), RangeOp("b")})), 0);
  EXPECT_EQ(TxnCostBytes(Txn({put}, {put, put})), 2 * 259);
  EXPECT_EQ(TxnCostBytes(Txn({put, Nested({put}, {put, put})}, {put})), 3 * 259);
}

TEST(ReadOnlyTxn, IsOneOfPlainRanges) {
  RequestOp local = RangeOp("a");
  local.mutable_request_range()->set_serializable(true);
  EXPECT_TRUE(IsReadOnly(TxnRequest()));
  EXPECT_TRUE(IsSerializable(TxnRequest()));
  EXPECT_TRUE(IsReadOnly(Txn({RangeOp("a")}, {local})));
  EXPECT_FALSE(IsSerializable(Txn({RangeOp("a")}, {local})));
  EXPECT_TRUE(IsSerializable(Txn({local}, {local})));
  EXPECT_FALSE(IsReadOnly(Txn({RangeOp("a")}, {PutOp("a")})));
  EXPECT_FALSE(IsReadOnly(Txn({Nested({RangeOp("a")})})));
}

}  // namespace
}  // namespace cairn::server
