#include "raft/log.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cairn::raft {
namespace {

Entry At(uint64_t term, uint64_t index, std::string text = "x") {
  return {Term(term), Index(index), EntryKind::kCommand,
          std::make_shared<const std::string>(std::move(text))};
}

EntryId Id(uint64_t term, uint64_t index) { return {Term(term), Index(index)}; }

// Entries 1..n with the given terms.
Log WithTerms(const std::vector<uint64_t>& terms, uint64_t commit = 0) {
  std::vector<Entry> entries;
  for (const uint64_t term : terms) entries.push_back(At(term, entries.size() + 1));
  const EntryId last = terms.empty() ? EntryId{} : Id(terms.back(), terms.size());
  const EntryId before = terms.empty() ? last : EntryId{};
  return Log(before, Index(0), last, Index(commit), std::move(entries));
}

TEST(LogSlice, KnowsItsRules) {
  const std::vector<Entry> good = {At(1, 5), At(2, 6)};
  EXPECT_TRUE((LogSlice{Id(1, 4), good}).IsValid(Term(2)));
  EXPECT_FALSE((LogSlice{Id(1, 4), good}).IsValid(Term(1)));  // Above the leader's term.
  EXPECT_FALSE((LogSlice{Id(1, 3), good}).IsValid(Term(2)));  // A gap.
  EXPECT_FALSE((LogSlice{Id(2, 4), good}).IsValid(Term(2)));  // The term falls.
  EXPECT_EQ((LogSlice{Id(1, 4), good}).last(), Id(2, 6));
  EXPECT_EQ((LogSlice{Id(1, 4), {}}).last(), Id(1, 4));
}

TEST(Log, MatchesByTermAboveTheCommitIndex) {
  const Log log = WithTerms({1, 1, 2, 2}, 2);
  EXPECT_TRUE(log.Matches(Id(2, 4)));
  EXPECT_FALSE(log.Matches(Id(3, 4)));
  EXPECT_FALSE(log.Matches(Id(2, 5)));
  EXPECT_TRUE(log.Matches(Id(1, 1)));
}

TEST(Log, MergeKeepsWhatAgreesAndDropsWhatDoesNot) {
  struct Case {
    const char* name;
    EntryId previous;
    std::vector<Entry> entries;
    std::optional<Index> dropped;
    EntryId last;
  };
  for (const Case& c : {
           Case{"all known", Id(1, 1), {At(1, 2), At(2, 3)}, std::nullopt, Id(2, 4)},
           Case{"new at the end", Id(2, 4), {At(3, 5)}, std::nullopt, Id(3, 5)},
           Case{"conflict", Id(1, 2), {At(3, 3)}, Index(3), Id(3, 3)},
           Case{"conflict after agreement", Id(1, 2), {At(2, 3), At(3, 4)}, Index(4), Id(3, 4)},
           Case{"nothing", Id(2, 4), {}, std::nullopt, Id(2, 4)},
       }) {
    SCOPED_TRACE(c.name);
    Log log = WithTerms({1, 1, 2, 2}, 1);
    EXPECT_EQ(log.Merge({c.previous, c.entries}), c.dropped);
    EXPECT_EQ(log.last(), c.last);
  }
}

// Written, superseded, and written again as before, while the first write is still under way: its
// completion must not make the third one durable.
TEST(Log, CompletionOfASupersededWriteCountsOnlyBelowTheConflict) {
  Log log = WithTerms({1});
  log.Append(EntryKind::kEmpty, nullptr, Term(1));  // 1/2
  EXPECT_EQ(log.TakeUnwritten().size(), 1u);
  log.WriteStarted(1);
  log.Merge({Id(1, 1), std::vector{At(2, 2)}});  // 2/2 instead
  EXPECT_EQ(log.TakeUnwritten().front().term, Term(2));
  log.WriteStarted(2);
  log.WriteFinished(1);
  EXPECT_EQ(log.durable(), Index(1));
  log.WriteFinished(2);
  EXPECT_EQ(log.durable(), Index(2));
}

TEST(Log, AppliesOnlyWhatIsCommittedAndDurable) {
  Log log = WithTerms({1});
  for (int i = 0; i < 3; ++i) log.Append(EntryKind::kEmpty, nullptr, Term(1));
  log.CommitTo(Index(3));
  EXPECT_EQ(log.apply_limit(), Index(2));  // Only entry 1 is on the disk.
  log.TakeUnwritten();
  log.WriteStarted(1);
  log.WriteFinished(1);
  EXPECT_EQ(log.apply_limit(), Index(4));  // Entry 4 is on the disk, but not committed.
  log.StartApplying(Index(4));
  log.Applied(Index(3));
  EXPECT_EQ(log.applied(), Index(3));
}

TEST(Log, BackOffSkipsWholeTerms) {
  const Log log = WithTerms({1, 1, 1, 4, 4, 5, 5}, 1);
  const Index foot = log.commit();
  EXPECT_EQ(log.LastAtMost(Term(4), Index(7), foot), Id(4, 5));
  EXPECT_EQ(log.LastAtMost(Term(3), Index(7), foot), Id(1, 3));
  EXPECT_EQ(log.LastAtMost(Term(5), Index(100), foot), Id(5, 7));
  EXPECT_EQ(log.LastAtMost(Term(0), Index(7), foot), Id(0, 1));
  EXPECT_EQ(log.LastAtMost(Term(9), Index(1), foot), Id(0, 1));
}

TEST(Log, SliceIsBoundedInBytesButNeverEmptyForThat) {
  Log log = WithTerms({1, 1, 1});
  EXPECT_EQ(log.Slice(Index(1), Index(4), 0).size(), 1u);
  EXPECT_EQ(log.Slice(Index(1), Index(4), 2).size(), 2u);
  EXPECT_EQ(log.Slice(Index(1), Index(4), 100).size(), 3u);
  EXPECT_TRUE(log.Slice(Index(2), Index(2), 100).empty());
}

TEST(Log, TrimKeepsWhatIsUncommittedOrNotDurable) {
  Log log = WithTerms({1, 1, 1, 1}, 2);
  log.Trim(Index(0), size_t{1} << 20);
  EXPECT_EQ(log.before_tail(), Index(0));
  log.Trim(Index(1), size_t{1} << 20);  // Entry 1 is needed by nobody.
  EXPECT_EQ(log.before_tail(), Index(1));
  log.Trim(Index(0), 0);  // Over the bound: what may go goes.
  EXPECT_EQ(log.before_tail(), Index(2));
  EXPECT_EQ(log.TermAt(Index(2)), Term(1));
  EXPECT_EQ(log.TermAt(Index(1)), std::nullopt);
  EXPECT_TRUE(log.Slice(Index(2), Index(4), 100).empty());
}

TEST(Log, RestartInMidLogKnowsTheTermBeforeItsTail) {
  const Log log(Id(1, 7), Index(5), Id(2, 9), Index(8), {At(2, 8), At(2, 9)});
  EXPECT_EQ(log.before_tail(), Index(7));
  EXPECT_EQ(log.TermAt(Index(7)), Term(1));
  EXPECT_EQ(log.TermAt(Index(8)), Term(2));
  EXPECT_EQ(log.committed(), Id(2, 8));
  EXPECT_TRUE(log.Matches(Id(2, 7)));
  EXPECT_EQ(log.durable(), Index(9));
  const Log edge(Id(1, 7), Index(5), Id(2, 9), Index(7), {At(2, 8), At(2, 9)});
  EXPECT_EQ(edge.committed(), Id(1, 7));
}

TEST(Log, ResetContinuesFromASnapshot) {
  Log log = WithTerms({1, 1}, 1);
  log.Append(EntryKind::kEmpty, nullptr, Term(1));
  log.TakeUnwritten();
  log.WriteStarted(1);
  log.Reset(Id(3, 20));
  log.WriteFinished(1);
  EXPECT_EQ(log.last(), Id(3, 20));
  EXPECT_EQ(log.durable(), Index(20));
  EXPECT_EQ(log.apply_limit(), Index(21));
  EXPECT_FALSE(log.HasUnwritten());
}

}  // namespace
}  // namespace cairn::raft
