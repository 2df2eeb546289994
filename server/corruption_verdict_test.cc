#include "server/corruption_verdict.h"

#include <gtest/gtest.h>

namespace cairn::server {
namespace {

MemberHash At(uint64_t member, uint32_t hash, int64_t revision = 9, int64_t compacted = 3) {
  return {MemberId(member), StateHash{Revision(revision), Revision(compacted), hash}};
}
MemberHash Silent(uint64_t member) { return {MemberId(member), std::nullopt}; }
MemberHash Learner(MemberHash member) {
  member.is_learner = true;
  return member;
}

// Whose reads of the present say something else than history.
MemberHash OtherLive(MemberHash member) {
  ++member.hash->live_hash;
  return member;
}

struct Case {
  const char* name;
  std::vector<MemberHash> members;
  std::vector<uint64_t> corrupt;
  size_t compared;
  bool has_quorum = true;
};

const Case kCases[] = {
    {"alone", {At(1, 5)}, {}, 1},
    {"all alike", {At(1, 5), At(2, 5), At(3, 5)}, {}, 3},
    {"one differs", {At(1, 5), At(2, 5), At(3, 6)}, {3}, 3},
    {"one differs in what lives", {At(1, 5), At(2, 5), OtherLive(At(3, 5))}, {3}, 3},
    {"whoever asks differs", {At(1, 6), At(2, 5), At(3, 5)}, {1}, 3},
    {"one against one", {At(1, 5), At(2, 6)}, {0}, 2},
    {"three opinions", {At(1, 5), At(2, 6), At(3, 7)}, {0}, 3},
    {"two differ, each its own way", {At(1, 5), At(9, 7), At(4, 6), At(5, 5), At(6, 5)}, {4, 9}, 5},
    {"two of five differ alike", {At(1, 5), At(2, 6), At(3, 6), At(4, 5), At(5, 5)}, {2, 3}, 5},
    {"a majority needs all members", {At(1, 5), At(2, 5), At(3, 6), Silent(4), Silent(5)}, {0}, 3},
    {"silent ones say nothing", {At(1, 5), Silent(2), Silent(3)}, {}, 1, false},
    {"another compaction is no other opinion", {At(1, 5), At(2, 6, 9, 4), At(3, 5)}, {}, 2},
    {"another revision neither", {At(1, 5), At(2, 6, 8, 3), At(3, 5)}, {}, 2},
    {"but the one that can be compared counts", {At(1, 5), At(2, 6, 9, 4), At(3, 7)}, {0}, 2},
    {"a learner that differs is named", {At(1, 5), At(2, 5), Learner(At(3, 6))}, {3}, 3},
    {"so is one that asks", {Learner(At(1, 6)), At(2, 5)}, {1}, 2},
    {"learners do not outvote", {At(1, 5), Learner(At(2, 6)), Learner(At(3, 6))}, {2, 3}, 3},
    {"nor are they counted", {At(1, 5), At(2, 5), At(3, 6), Learner(Silent(4))}, {3}, 3},
    {"nor do they help", {At(1, 5), Learner(At(2, 5)), At(3, 6)}, {0}, 3},
    {"learners are no majority", {At(1, 5), Learner(At(2, 5)), Silent(3)}, {}, 2, false},
};

TEST(CorruptionVerdictTest, NamesWhoDiffers) {
  for (const Case& c : kCases) {
    const CorruptionVerdict verdict = JudgeHashes(c.members);
    std::vector<MemberId> expected;
    for (const uint64_t id : c.corrupt) expected.emplace_back(id);
    EXPECT_EQ(verdict.corrupt, expected) << c.name;
    EXPECT_EQ(verdict.compared, c.compared) << c.name;
    EXPECT_EQ(verdict.has_quorum, c.has_quorum) << c.name;
  }
}

}  // namespace
}  // namespace cairn::server
