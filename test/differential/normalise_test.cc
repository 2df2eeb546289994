#include "test/differential/normalise.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace cairn::test {
namespace {

using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

std::string Normal(const Operation& operation, Response response,
                   const ReferenceRules& rules = {}) {
  Outcome outcome{.code = 0, .text = "", .response = std::move(response)};
  Normalise(operation, rules, outcome);
  return Encode(outcome);
}

struct Case {
  const char* name;
  const char* request;
  const char* one;
  const char* other;
  bool equal;
};

void ExpectAll(const std::vector<Case>& cases, const ReferenceRules& rules = {}) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto request = Parse<RangeRequest>(c.request);
    EXPECT_EQ(Normal(request, Parse<RangeResponse>(c.one), rules) ==
                  Normal(request, Parse<RangeResponse>(c.other), rules),
              c.equal);
  }
}

TEST(Normalise, HeaderKeepsRevisionAndWhatIsSet) {
  ExpectAll({
      {"other ids", "", "header { cluster_id: 1 member_id: 2 revision: 3 raft_term: 4 }",
       "header { cluster_id: 5 member_id: 6 revision: 3 raft_term: 7 }", true},
      {"other revision", "", "header { revision: 3 }", "header { revision: 4 }", false},
      {"no id", "", "header { cluster_id: 1 revision: 3 }", "header { revision: 3 }", false},
      {"no header", "", "header { }", "", false},
  });
}

TEST(Normalise, TiesMayStandInAnyOrder) {
  const char* ab = "kvs { key: 'a' version: 1 } kvs { key: 'b' version: 1 }";
  const char* ba = "kvs { key: 'b' version: 1 } kvs { key: 'a' version: 1 }";
  ExpectAll({
      {"by version", "sort_target: VERSION", ab, ba, true},
      {"by key", "", ab, ba, false},
      {"by create revision", "sort_target: CREATE",
       "kvs { key: 'a' create_revision: 1 } kvs { key: 'b' create_revision: 2 }",
       "kvs { key: 'b' create_revision: 2 } kvs { key: 'a' create_revision: 1 }", false},
      {"ties of two values", "sort_target: VALUE",
       "kvs { key: 'a' value: 'x' } kvs { key: 'b' value: 'x' } kvs { key: 'c' value: 'y' }",
       "kvs { key: 'b' value: 'x' } kvs { key: 'a' value: 'x' } kvs { key: 'c' value: 'y' }", true},
      {"another row", "sort_target: VERSION", ab,
       "kvs { key: 'a' version: 1 } kvs { key: 'c' version: 1 }", false},
  });
}

TEST(Normalise, AnyOfTheEqualOnesMayStandAtTheCut) {
  ExpectAll({
      {"cut in a tie", "sort_target: MOD limit: 2",
       "kvs { key: 'a' mod_revision: 1 } kvs { key: 'b' mod_revision: 2 } more: true count: 3",
       "kvs { key: 'a' mod_revision: 1 } kvs { key: 'c' mod_revision: 2 } more: true count: 3",
       true},
      {"not cut", "sort_target: MOD",
       "kvs { key: 'a' mod_revision: 1 } kvs { key: 'b' mod_revision: 2 } count: 2",
       "kvs { key: 'a' mod_revision: 1 } kvs { key: 'c' mod_revision: 2 } count: 2", false},
      {"before the tie at the cut", "sort_target: MOD limit: 2",
       "kvs { key: 'a' mod_revision: 1 } kvs { key: 'b' mod_revision: 2 } more: true",
       "kvs { key: 'c' mod_revision: 1 } kvs { key: 'b' mod_revision: 2 } more: true", false},
      {"another order at the cut", "sort_target: MOD limit: 1",
       "kvs { mod_revision: 1 } more: true", "kvs { mod_revision: 2 } more: true", false},
  });
}

TEST(Normalise, AllowListAppliesOnlyToOlderReferences) {
  const std::vector<Case> with_lease = {{"lease of keys_only", "keys_only: true",
                                         "kvs { key: 'a' lease: 7 }", "kvs { key: 'a' }", true}};
  ExpectAll(with_lease, {.keys_only_drops_lease = false});
  ExpectAll({{"newer", "keys_only: true", "kvs { lease: 7 }", "kvs { }", false}});
  ExpectAll({{"not keys_only", "", "kvs { lease: 7 }", "kvs { }", false}},
            {.keys_only_drops_lease = false});
}

TEST(Normalise, ReachesIntoTheTakenBranch) {
  const auto request = Parse<TxnRequest>(
      "success { request_range { key: 'x' } } "
      "failure { request_txn { success { request_range { sort_target: VERSION } } } }");
  const auto nested = [](const char* rows) {
    return Parse<TxnResponse>(std::string("responses { response_txn { succeeded: true responses { "
                                          "response_range { ") +
                              rows + " } } } }");
  };
  EXPECT_EQ(Normal(request, nested("kvs { key: 'a' } kvs { key: 'b' }")),
            Normal(request, nested("kvs { key: 'b' } kvs { key: 'a' }")));
  EXPECT_NE(Normal(request, nested("kvs { key: 'a' }")),
            Normal(request, nested("kvs { key: 'b' }")));
}

TEST(Normalise, ErrorsAreComparedByCodeAndText) {
  const Outcome one{.code = 3, .text = "a", .response = {}};
  const Outcome other_text{.code = 3, .text = "b", .response = {}};
  const Outcome other_code{.code = 5, .text = "a", .response = {}};
  EXPECT_NE(Encode(one), Encode(other_text));
  EXPECT_NE(Encode(one), Encode(other_code));
}

TEST(RulesOf, FollowsTheVersion) {
  EXPECT_TRUE(RulesOf({3, 7, 3}).keys_only_drops_lease);
  EXPECT_FALSE(RulesOf({3, 6, 9}).keys_only_drops_lease);
  EXPECT_TRUE(RulesOf({3, 6, 0}).refuses_unknown_sort);
  EXPECT_FALSE(RulesOf({3, 5, 16}).refuses_unknown_sort);
  EXPECT_TRUE(RulesOf({3, 5, 16}).keeps_deletion_at_compaction);
  EXPECT_FALSE(RulesOf({3, 5, 15}).keeps_deletion_at_compaction);
  EXPECT_TRUE(RulesOf({3, 4, 34}).keeps_deletion_at_compaction);
  EXPECT_FALSE(RulesOf({3, 4, 23}).keeps_deletion_at_compaction);
}

}  // namespace
}  // namespace cairn::test
