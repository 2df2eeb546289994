#include "server/corruption_checker.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/cluster_state.h"
#include "server/fake_node.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using State = HashProgress::State;

// The fake node's own id.
constexpr MemberId kSelf(22);
constexpr MemberId kTwo(30);
constexpr MemberId kThree(31);

class CorruptionCheckerTest : public testing::Test {
 protected:
  CorruptionCheckerTest() {
    node_.status_.leader = kSelf;
    node_.members_ = std::make_shared<const Members>(Members{
        {.id = kSelf, .name = "a"}, {.id = kTwo, .name = "b"}, {.id = kThree, .name = "c"}});
    etcdserverpb::PutRequest put;
    put.set_key("key");
    EXPECT_TRUE(node_.Apply(CommandKind::kPut, put.SerializeAsString()).status.ok());
    options_.ask_again = milliseconds(1);
    options_.silent_max = milliseconds(20);
    options_.computing_max = milliseconds(20);
    // Only as the tests ask.
    options_.interval = milliseconds(0);
    node_.answer_call = [this](MemberId to, std::string_view method,
                               const std::string&) -> absl::StatusOr<std::string> {
      EXPECT_EQ(method, kHashStateMethod);
      const auto answer = answers_.find(to);
      if (answer == answers_.end()) return absl::UnavailableError("no connection");
      return answer->second;
    };
  }

  StateHash Own() {
    const auto hash = node_.store().HashKv(mvcc::kCurrent);
    return {hash->hash_revision, hash->compact_revision, hash->hash};
  }
  static std::string Response(State state, const StateHash& hash = {}) {
    rpc::ServiceTable table;
    RegisterHashCalls(
        ClusterId(1),
        [&](Revision) {
          return HashProgress{state, hash};
        },
        table);
    const auto bytes = rpc::CallUnary(table, "/cairn.peer.Peer/HashState",
                                      EncodeHashRequest(ClusterId(1), Revision(1)));
    return bytes.value_or("");
  }
  void Answer(MemberId member, uint32_t hash) {
    StateHash other = Own();
    other.hash = hash;
    answers_[member] = Response(State::kReady, other);
  }
  std::vector<Alarm> AlarmsAfterACheck() {
    CorruptionChecker checker(options_, node_.store(), node_);
    checker.Check();
    return node_.cluster_state()->alarms;
  }

  FakeNode node_;
  // Of the members that answer.
  std::map<MemberId, absl::StatusOr<std::string>> answers_;
  CorruptionCheckerOptions options_;
};

TEST_F(CorruptionCheckerTest, MembersThatAreAlikeRaiseNothing) {
  Answer(kTwo, Own().hash);
  Answer(kThree, Own().hash);
  EXPECT_TRUE(AlarmsAfterACheck().empty());
  EXPECT_EQ(node_.called.size(), 2U);
}

TEST_F(CorruptionCheckerTest, TheLeaderRaisesTheAlarmForWhoDiffersOnce) {
  Answer(kTwo, Own().hash);
  Answer(kThree, Own().hash + 1);
  const std::vector<Alarm> expected = {{AlarmKind::kCorrupt, kThree}};
  EXPECT_EQ(AlarmsAfterACheck(), expected);
  EXPECT_EQ(node_.proposals, 1);
  EXPECT_EQ(AlarmsAfterACheck(), expected);
  EXPECT_EQ(node_.proposals, 1);
}

TEST_F(CorruptionCheckerTest, TheLeaderMayBeWhoDiffers) {
  Answer(kTwo, Own().hash + 1);
  Answer(kThree, Own().hash + 1);
  EXPECT_EQ(AlarmsAfterACheck(), (std::vector<Alarm>{{AlarmKind::kCorrupt, kSelf}}));
}

TEST_F(CorruptionCheckerTest, WithoutAMajorityNobodyIsNamed) {
  Answer(kTwo, Own().hash + 1);
  EXPECT_EQ(AlarmsAfterACheck(), (std::vector<Alarm>{{AlarmKind::kCorrupt, MemberId(0)}}));
}

TEST_F(CorruptionCheckerTest, WhoDoesNotAnswerIsAskedAgainAndThenLeftOut) {
  Answer(kTwo, Own().hash);
  EXPECT_TRUE(AlarmsAfterACheck().empty());
  EXPECT_GT(node_.called.size(), 3U);
  // What is compacted there needs no second question.
  node_.called.clear();
  answers_[kThree] = api::ToStatus(api::Error::kCompacted);
  EXPECT_TRUE(AlarmsAfterACheck().empty());
  EXPECT_EQ(node_.called.size(), 2U);
  node_.called.clear();
  for (const State state : {State::kBehind, State::kComputing}) {
    answers_[kThree] = Response(state);
    EXPECT_TRUE(AlarmsAfterACheck().empty());
    EXPECT_GT(node_.called.size(), 3U);
  }
}

TEST_F(CorruptionCheckerTest, WhoLostTheLeadMeanwhileRaisesNothing) {
  Answer(kTwo, Own().hash + 1);
  node_.status_.leader = kTwo;
  EXPECT_TRUE(AlarmsAfterACheck().empty());
  EXPECT_EQ(node_.proposals, 0);
}

TEST_F(CorruptionCheckerTest, AtAStartOnlyADifferenceOfItsOwnCounts) {
  CorruptionChecker checker(options_, node_.store(), node_);
  // Nobody answers.
  EXPECT_TRUE(checker.CheckAtStart().ok());
  Answer(kTwo, Own().hash);
  Answer(kThree, Own().hash + 1);
  EXPECT_TRUE(checker.CheckAtStart().ok());
  Answer(kTwo, Own().hash + 1);
  const absl::Status status = checker.CheckAtStart();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(base::Message(status).starts_with("16 found data inconsistency with peers"))
      << status;
  // One against one: it may be the other.
  answers_.erase(kThree);
  EXPECT_EQ(checker.CheckAtStart().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(node_.proposals, 0);
}

TEST_F(CorruptionCheckerTest, TellsOthersItsHashOnce) {
  CorruptionChecker checker(options_, node_.store(), node_);
  const Revision at = Own().revision;
  EXPECT_EQ(checker.HashAt(at + 1)->state, State::kBehind);
  const auto await = [&](Revision revision) {
    absl::StatusOr<HashProgress> progress = HashProgress{State::kComputing, {}};
    while (progress.ok() && progress->state == State::kComputing) {
      progress = checker.HashAt(revision);
    }
    return progress;
  };
  absl::StatusOr<HashProgress> progress = await(at);
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->state, State::kReady);
  EXPECT_EQ(progress->hash, Own());
  // The next one is of what is there then.
  EXPECT_EQ(checker.HashAt(at)->state, State::kComputing);
  EXPECT_EQ(await(at)->hash, Own());
  // Two that ask in turn, a leader and a member that starts, do not take it from each other.
  EXPECT_EQ(checker.HashAt(at)->state, State::kComputing);
  EXPECT_EQ(checker.HashAt(at - 1)->state, State::kComputing);
  EXPECT_EQ(await(at)->hash, Own());
  EXPECT_EQ(await(at - 1)->hash.revision, at - 1);
  etcdserverpb::CompactionRequest compaction;
  compaction.set_revision(at.value());
  EXPECT_TRUE(node_.Apply(CommandKind::kCompact, compaction.SerializeAsString()).status.ok());
  EXPECT_EQ(await(at - 1).status(), api::ToStatus(api::Error::kCompacted));
}

}  // namespace
}  // namespace cairn::server
