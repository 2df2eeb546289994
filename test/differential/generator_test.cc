#include "test/differential/generator.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace cairn::test {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;

Knowledge Busy() {
  Knowledge knowledge;
  knowledge.revision = 1000;
  knowledge.compacted = 400;
  return knowledge;
}

TEST(Generator, SameSeedGivesTheSameStream) {
  const Knowledge knowledge = Busy();
  Generator one(7, &knowledge);
  Generator same(7, &knowledge);
  Generator other(9, &knowledge);
  int different = 0;
  for (int i = 0; i < 500; ++i) {
    const std::string description = Describe(one.Next());
    ASSERT_EQ(description, Describe(same.Next()));
    different += description != Describe(other.Next()) ? 1 : 0;
  }
  EXPECT_GT(different, 400);
}

int DepthOf(const TxnRequest& request) {
  int depth = 1;
  for (const auto* branch : {&request.success(), &request.failure()}) {
    for (const RequestOp& op : *branch) {
      if (op.has_request_txn()) depth = std::max(depth, 1 + DepthOf(op.request_txn()));
    }
  }
  return depth;
}

// Every class of request that the run promises comes up.
TEST(Generator, ReachesEveryKindOfRequest) {
  const Knowledge knowledge = Busy();
  Generator generator(1, &knowledge);
  std::map<std::string, int> seen;
  for (int i = 0; i < 30'000; ++i) {
    const Operation operation = generator.Next();
    ++seen[std::string(NameOf(operation))];
    if (HasUnknownSort(operation)) ++seen["unknown sort"];
    if (const auto* range = std::get_if<RangeRequest>(&operation)) {
      if (range->key().empty()) ++seen["empty key"];
      if (range->revision() > knowledge.revision) ++seen["future"];
      if (range->revision() > 0 && range->revision() < knowledge.compacted) ++seen["compacted"];
      if (range->revision() < 0) ++seen["negative revision"];
      if (range->limit() < 0) ++seen["negative limit"];
      if (range->range_end() == std::string(1, '\0')) ++seen["open end"];
      if (!range->range_end().empty() && range->range_end() < range->key()) ++seen["inverted"];
      if (range->keys_only()) ++seen["keys only"];
      if (range->count_only()) ++seen["count only"];
      if (range->serializable()) ++seen["serializable"];
      if (range->min_mod_revision() != 0 || range->max_create_revision() != 0) ++seen["filter"];
      ++seen[RangeRequest::SortTarget_Name(range->sort_target())];
      ++seen[RangeRequest::SortOrder_Name(range->sort_order())];
    }
    if (const auto* put = std::get_if<etcdserverpb::PutRequest>(&operation)) {
      if (put->lease() != 0) ++seen["lease"];
      if (put->ignore_value()) ++seen["ignore value"];
      if (put->ignore_value() && !put->value().empty()) ++seen["ignore value conflict"];
      if (put->ignore_lease()) ++seen["ignore lease"];
      if (put->value().size() >= 4096) ++seen["long value"];
    }
    if (const auto* txn = std::get_if<TxnRequest>(&operation)) {
      ++seen["depth " + std::to_string(DepthOf(*txn))];
      if (txn->success_size() > 128) ++seen["too many operations"];
      if (MayDeleteThenPut(*txn)) ++seen["delete then put"];
      for (const auto& compare : txn->compare()) {
        ++seen["target " + std::to_string(compare.target())];
        ++seen["result " + std::to_string(compare.result())];
        if (!compare.range_end().empty()) ++seen["compared range"];
        if (compare.target_union_case() == etcdserverpb::Compare::TARGET_UNION_NOT_SET) {
          ++seen["compared with nothing"];
        }
      }
      for (const RequestOp& op : txn->success()) {
        if (op.request_case() == RequestOp::REQUEST_NOT_SET) ++seen["empty operation"];
      }
    }
    if (const auto* compaction = std::get_if<etcdserverpb::CompactionRequest>(&operation)) {
      ++seen[compaction->physical() ? "physical" : "not physical"];
      if (compaction->revision() <= knowledge.compacted) ++seen["compaction of compacted"];
      if (compaction->revision() > knowledge.revision) ++seen["compaction of the future"];
    }
  }
  for (const char* kind : {"Range",
                           "RangeStream",
                           "Put",
                           "DeleteRange",
                           "Txn",
                           "Compact",
                           "HashKV",
                           "unknown sort",
                           "empty key",
                           "future",
                           "compacted",
                           "negative revision",
                           "negative limit",
                           "open end",
                           "inverted",
                           "keys only",
                           "count only",
                           "serializable",
                           "filter",
                           "KEY",
                           "VERSION",
                           "CREATE",
                           "MOD",
                           "VALUE",
                           "NONE",
                           "ASCEND",
                           "DESCEND",
                           "lease",
                           "ignore value",
                           "ignore value conflict",
                           "ignore lease",
                           "long value",
                           "depth 1",
                           "depth 2",
                           "depth 3",
                           "depth 4",
                           "too many operations",
                           "delete then put",
                           "target 0",
                           "target 1",
                           "target 2",
                           "target 3",
                           "target 4",
                           "target 9",
                           "result 0",
                           "result 1",
                           "result 2",
                           "result 3",
                           "result 9",
                           "compared range",
                           "compared with nothing",
                           "empty operation",
                           "physical",
                           "not physical",
                           "compaction of compacted",
                           "compaction of the future"}) {
    EXPECT_GT(seen[kind], 0) << kind;
  }
}

TEST(Generator, KeepsAwayFromWhatVersionsDisagreeOn) {
  Knowledge knowledge;
  knowledge.revision = 50;
  knowledge.compacted = 10;
  for (int64_t revision = 20; revision <= 50; ++revision) {
    knowledge.delete_then_put.insert(revision);
  }
  Generator generator(3, &knowledge);
  for (int i = 0; i < 20'000; ++i) {
    const Operation operation = generator.Next();
    if (const auto* compaction = std::get_if<etcdserverpb::CompactionRequest>(&operation)) {
      EXPECT_FALSE(knowledge.delete_then_put.contains(compaction->revision()));
    }
    if (const auto* hash = std::get_if<etcdserverpb::HashKVRequest>(&operation)) {
      EXPECT_FALSE(knowledge.delete_then_put.contains(hash->revision()));
      EXPECT_NE(hash->revision(), knowledge.compacted);
      EXPECT_NE(hash->revision(), 0);
    }
  }
}

TEST(MayDeleteThenPut, OnlyWithADeleteToTheEndOfAllKeys) {
  const auto parse = [](const std::string& text) {
    TxnRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    return request;
  };
  const std::string put = "success { request_put { key: 'k' } } ";
  EXPECT_TRUE(MayDeleteThenPut(
      parse(put + "success { request_delete_range { key: 'a' range_end: '\\0' } }")));
  EXPECT_TRUE(MayDeleteThenPut(
      parse(put +
            "failure { request_txn { success { request_delete_range { key: 'a' range_end: '\\0' } "
            "} } }")));
  EXPECT_FALSE(MayDeleteThenPut(
      parse(put + "success { request_delete_range { key: 'l' range_end: 'z' } }")));
  EXPECT_FALSE(
      MayDeleteThenPut(parse("success { request_delete_range { key: 'a' range_end: '\\0' } }")));
}

TEST(MayDeleteThenKeep, OnlyWithAPutThatKeepsSomething) {
  const auto may = [](const std::string& put) {
    TxnRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        "success { request_delete_range { key: 'a' range_end: '\\0' } } success { request_put { " +
            put + " } }",
        &request));
    return MayDeleteThenKeep(request);
  };
  EXPECT_FALSE(may("key: 'k'"));
  EXPECT_TRUE(may("key: 'k' ignore_value: true"));
  EXPECT_TRUE(may("key: 'k' ignore_lease: true"));
}

}  // namespace
}  // namespace cairn::test
