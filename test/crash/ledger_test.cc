#include "test/crash/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"

namespace cairn::test {
namespace {

using mvccpb::KeyValue;
using testing::HasSubstr;

KeyValue Row(const std::string& key, const std::string& value, int64_t mod, int64_t create,
             int64_t version) {
  KeyValue row;
  row.set_key(key);
  row.set_value(value);
  row.set_mod_revision(mod);
  row.set_create_revision(create);
  row.set_version(version);
  return row;
}

Write PutOf(int writer, const std::string& key, const std::string& value) {
  return {.writer = writer, .effects = {{key, value}}};
}

std::string MessageOf(const absl::Status& status) { return std::string(base::Message(status)); }

// a was put at 2 and 3, b at 4, both by writer 1.
class LedgerTest : public testing::Test {
 protected:
  LedgerTest() {
    EXPECT_TRUE(ledger_.Acknowledge(PutOf(1, "a", "first"), 2, 1).ok());
    EXPECT_TRUE(ledger_.Acknowledge(PutOf(1, "a", "second"), 3, 2).ok());
    EXPECT_TRUE(ledger_.Acknowledge(PutOf(1, "b", "third"), 4, 3).ok());
  }
  const KeyValue a_ = Row("a", "second", 3, 2, 2);
  const KeyValue b_ = Row("b", "third", 4, 4, 1);
  Ledger ledger_;
};

TEST_F(LedgerTest, AcceptsWhatWasAcknowledged) {
  EXPECT_TRUE(ledger_.Recover(4, {a_, b_}).ok());
  EXPECT_TRUE(ledger_.CheckAt(2, {Row("a", "first", 2, 2, 1)}).ok());
  EXPECT_TRUE(ledger_.CheckAt(3, {a_}).ok());
}

TEST_F(LedgerTest, FindsALostWrite) {
  EXPECT_THAT(MessageOf(ledger_.Recover(4, {a_})), HasSubstr("b must have value third"));
}

TEST_F(LedgerTest, FindsAnOlderValue) {
  EXPECT_FALSE(ledger_.Recover(4, {Row("a", "first", 2, 2, 1), b_}).ok());
}

TEST_F(LedgerTest, FindsAWrongVersion) {
  EXPECT_FALSE(ledger_.Recover(4, {Row("a", "second", 3, 2, 3), b_}).ok());
}

TEST_F(LedgerTest, FindsARevisionThatWentBack) {
  EXPECT_THAT(MessageOf(ledger_.Recover(3, {a_, b_})),
              HasSubstr("at revision 3 after 4 was acknowledged"));
}

TEST_F(LedgerTest, FindsARevisionIssuedTwice) {
  EXPECT_THAT(MessageOf(ledger_.Acknowledge(PutOf(2, "c", "x"), 4, 1)), HasSubstr("issued twice"));
}

TEST_F(LedgerTest, FindsARevisionOutOfOrder) {
  EXPECT_THAT(MessageOf(ledger_.Acknowledge(PutOf(2, "c", "x"), 5, 7)), HasSubstr("after"));
}

TEST_F(LedgerTest, FindsAKeyThatNobodyWrote) {
  EXPECT_THAT(MessageOf(ledger_.Recover(5, {a_, b_, Row("z", "?", 5, 5, 1)})),
              HasSubstr("never acknowledged"));
}

TEST_F(LedgerTest, FindsAWrongPast) {
  ASSERT_TRUE(ledger_.Recover(4, {a_, b_}).ok());
  EXPECT_FALSE(ledger_.CheckAt(2, {a_}).ok());
  EXPECT_FALSE(ledger_.CheckAt(3, {a_, b_}).ok());
  EXPECT_FALSE(ledger_.CheckAt(4, {a_}).ok());
}

TEST_F(LedgerTest, OpenPutMayBeThereOrNot) {
  Ledger other = ledger_;
  ledger_.LeaveOpen(PutOf(1, "a", "open"));
  other.LeaveOpen(PutOf(1, "a", "open"));
  EXPECT_TRUE(ledger_.Recover(4, {a_, b_}).ok());
  EXPECT_EQ(ledger_.open_applied(), 0);
  EXPECT_TRUE(other.Recover(5, {Row("a", "open", 5, 2, 3), b_}).ok());
  EXPECT_EQ(other.open_applied(), 1);
}

TEST_F(LedgerTest, OpenPutMustNotTakeAUsedRevision) {
  ledger_.LeaveOpen(PutOf(1, "a", "open"));
  EXPECT_THAT(MessageOf(ledger_.Recover(4, {Row("a", "open", 4, 2, 3), b_})),
              HasSubstr("issued twice"));
}

TEST_F(LedgerTest, OpenTransactionIsAllOrNothing) {
  const Write open{.writer = 1, .effects = {{"a", "x"}, {"b", std::nullopt}, {"c", "y"}}};
  const KeyValue new_a = Row("a", "x", 5, 2, 3);
  const KeyValue new_c = Row("c", "y", 5, 5, 1);
  struct Case {
    const char* name;
    std::vector<KeyValue> rows;
    bool ok;
  } const cases[] = {
      {"nothing", {a_, b_}, true},
      {"all", {new_a, new_c}, true},
      {"without the deletion", {new_a, b_, new_c}, false},
      {"without the last put", {new_a}, false},
      {"only the last put", {a_, b_, new_c}, false},
      {"only the deletion", {a_}, false},
      {"two revisions", {new_a, Row("c", "y", 6, 6, 1)}, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Ledger ledger = ledger_;
    ledger.LeaveOpen(open);
    EXPECT_EQ(ledger.Recover(6, c.rows).ok(), c.ok);
  }
}

TEST_F(LedgerTest, OpenDeletionHasAnUnknownRevision) {
  ledger_.LeaveOpen({.writer = 1, .effects = {{"a", std::nullopt}}});
  ASSERT_TRUE(ledger_.Recover(8, {b_}).ok());
  // Between the last row of a and now anything may be read; outside of it not.
  EXPECT_TRUE(ledger_.CheckAt(5, {a_, b_}).ok());
  EXPECT_TRUE(ledger_.CheckAt(5, {b_}).ok());
  EXPECT_FALSE(ledger_.CheckAt(3, {}).ok());
  EXPECT_FALSE(ledger_.CheckAt(8, {a_, b_}).ok());
}

TEST_F(LedgerTest, CounterGapsNeedOpenWrites) {
  ASSERT_TRUE(ledger_.AcknowledgeCount("one", 1, 5, 4).ok());
  ASSERT_TRUE(ledger_.AcknowledgeCount("three", 3, 7, 5).ok());
  Ledger with_open = ledger_;
  const KeyValue counter = Row(kCounterKey, "three", 7, 5, 3);
  EXPECT_THAT(MessageOf(ledger_.Recover(7, {a_, b_, counter})), HasSubstr("2 known and 0 open"));
  with_open.LeaveCountOpen("two");
  EXPECT_TRUE(with_open.Recover(7, {a_, b_, counter}).ok());
}

TEST_F(LedgerTest, CounterMustNotGoBack) {
  ASSERT_TRUE(ledger_.AcknowledgeCount("one", 1, 5, 4).ok());
  ASSERT_TRUE(ledger_.AcknowledgeCount("two", 2, 6, 5).ok());
  EXPECT_FALSE(ledger_.Recover(6, {a_, b_, Row(kCounterKey, "one", 5, 5, 1)}).ok());
}

}  // namespace
}  // namespace cairn::test
