#include "raft/ready.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace cairn::raft {
namespace {

TEST(Ready, NeedsTheLogAlsoForMessagesThatWait) {
  Ready ready;
  EXPECT_FALSE(ready.needs_log());
  ready.messages_now.push_back({});
  EXPECT_FALSE(ready.needs_log());
  ready.messages_after_append.push_back({});
  EXPECT_TRUE(ready.needs_log());
}

TEST(Ready, EveryTraceEventHasItsOwnSentence) {
  std::set<std::string> sentences;
  const int count = static_cast<int>(TraceKind::kSnapshotInstalled) + 1;
  for (int kind = 0; kind < count; ++kind) {
    sentences.insert(Describe({static_cast<TraceKind>(kind), Term(3), MemberId(0xa), Index(7), 1}));
  }
  EXPECT_EQ(sentences.size(), static_cast<size_t>(count));
  EXPECT_EQ(Describe({TraceKind::kBecameLeader, Term(3), MemberId(0), Index(7), 0}),
            "leads at term 3 from entry 7");
}

}  // namespace
}  // namespace cairn::raft
