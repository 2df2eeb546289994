#include "server/corruption_checker.h"

#include <glog/logging.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "mvcc/backend.h"
#include "mvcc/mem_backend.h"
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

// A state in memory that tells when a walk of its history begins.
class WatchedBackend final : public mvcc::Backend {
 public:
  // `on_walk` is called by whoever walks.
  WatchedBackend(std::unique_ptr<mvcc::Backend> inner, std::function<void()> on_walk)
      : inner_(std::move(inner)), on_walk_(std::move(on_walk)) {}

  absl::StatusOr<bool> Get(mvcc::Family family, std::string_view key,
                           absl::FunctionRef<void(std::string_view)> found) const override {
    return inner_->Get(family, key, found);
  }
  std::unique_ptr<mvcc::RowIterator> NewIterator(mvcc::Family family, std::string_view limit,
                                                 mvcc::CacheUse cache_use) const override {
    if (family == mvcc::Family::kRevisions) on_walk_();
    return inner_->NewIterator(family, limit, cache_use);
  }
  std::unique_ptr<mvcc::RowBatch> NewBatch() const override { return inner_->NewBatch(); }
  absl::Status Write(mvcc::RowBatch& batch) override { return inner_->Write(batch); }
  absl::Status Flush() override { return inner_->Flush(); }
  absl::Status Checkpoint(const std::string& path) override { return inner_->Checkpoint(path); }
  int64_t PhysicalSizeBytes() const override { return inner_->PhysicalSizeBytes(); }
  int64_t BufferedBytes() const override { return inner_->BufferedBytes(); }

 private:
  const std::unique_ptr<mvcc::Backend> inner_;
  const std::function<void()> on_walk_;
};

// The warnings that are logged while it lives.
class Warnings final : public google::LogSink {
 public:
  Warnings() { google::AddLogSink(this); }
  ~Warnings() override { google::RemoveLogSink(this); }

  using google::LogSink::send;
  void send(google::LogSeverity severity, const char* /*full_filename*/, const char* /*file*/,
            int /*line*/, const google::LogMessageTime& /*time*/, const char* message,
            size_t message_len) override {
    if (severity == google::GLOG_WARNING) texts.emplace_back(message, message_len);
  }

  std::vector<std::string> texts;
};

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

  StateHash Own() { return HashOf(node_.store()); }
  static StateHash HashOf(const mvcc::Store& store) {
    const auto hash = store.HashKv(mvcc::kCurrent, mvcc::LiveKeys::kHash);
    return {hash->hash_revision, hash->compact_revision, hash->hash, hash->live_hash};
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

TEST_F(CorruptionCheckerTest, AnOwnHashThatTakesLongCostsNobodyTheirPatience) {
  mvcc::MemDisk disk;
  const auto slowly = [this] {
    const auto until = std::chrono::steady_clock::now() + 2 * options_.silent_max;
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
  };
  auto store = mvcc::Store::Open(std::make_unique<WatchedBackend>(disk.Open(), slowly),
                                 {.identity = {.cluster = ClusterId(11), .member = MemberId(22)}});
  ASSERT_TRUE(store.ok()) << store.status();
  StateHash other = HashOf(**store);
  ++other.hash;
  // One is away when it is asked for the first time, and one is behind.
  std::map<MemberId, int> asked;
  node_.answer_call = [&](MemberId to, std::string_view,
                          const std::string&) -> absl::StatusOr<std::string> {
    if (++asked[to] > 1) return Response(State::kReady, other);
    if (to == kTwo) return absl::UnavailableError("no connection");
    return Response(State::kBehind);
  };
  CorruptionChecker checker(options_, **store, node_);
  checker.Check();
  EXPECT_EQ(node_.cluster_state()->alarms, (std::vector<Alarm>{{AlarmKind::kCorrupt, kSelf}}));
}

TEST_F(CorruptionCheckerTest, AStopEndsAHash) {
  mvcc::MemDisk disk;
  CorruptionChecker* checking = nullptr;
  int walks = 0;
  const auto stop = [&] {
    ++walks;
    if (checking != nullptr) checking->Stop();
  };
  auto store = mvcc::Store::Open(std::make_unique<WatchedBackend>(disk.Open(), stop),
                                 {.identity = {.cluster = ClusterId(11), .member = MemberId(22)}});
  ASSERT_TRUE(store.ok()) << store.status();
  // More rows than are read between two looks, and a compaction, so that there are three walks.
  constexpr uint64_t kRows = 1000;
  for (uint64_t i = 1; i <= kRows; ++i) {
    mvcc::Batch batch = (*store)->BeginBatch();
    mvcc::WriteTxn txn = batch.BeginTxn();
    ASSERT_TRUE(txn.Put("key", "value", LeaseId(0)).ok());
    txn.Commit();
    if (i == kRows) {
      ASSERT_TRUE(batch.SetCompactWatermark(Revision(kRows / 2)).ok());
    }
    ASSERT_TRUE(batch.Commit({Index(i), Term(1)}).ok());
  }
  CorruptionChecker checker(options_, **store, node_);
  checking = &checker;
  walks = 0;
  EXPECT_EQ(checker.CheckAtStart().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(walks, 1);
}

TEST_F(CorruptionCheckerTest, WhoComputesAndThenIsSilentIsWaitedForAgain) {
  options_.silent_max = milliseconds(50);
  options_.computing_max = milliseconds(60'000);
  Answer(kTwo, Own().hash);
  bool was_away = false;
  const auto begun = std::chrono::steady_clock::now();
  node_.answer_call = [&](MemberId to, std::string_view,
                          const std::string&) -> absl::StatusOr<std::string> {
    if (to == kTwo) return answers_[to];
    // It computes for longer than a silent one is waited for, restarts, and has it.
    const auto since = std::chrono::steady_clock::now() - begun;
    if (since < 2 * options_.silent_max) return Response(State::kComputing);
    if (!std::exchange(was_away, true)) return absl::UnavailableError("no connection");
    StateHash other = Own();
    ++other.hash;
    return Response(State::kReady, other);
  };
  EXPECT_EQ(AlarmsAfterACheck(), (std::vector<Alarm>{{AlarmKind::kCorrupt, kThree}}));
}

TEST_F(CorruptionCheckerTest, WhoIsRemovedMeanwhileIsNotAccused) {
  Answer(kTwo, Own().hash);
  StateHash other = Own();
  ++other.hash;
  node_.answer_call = [&](MemberId to, std::string_view,
                          const std::string&) -> absl::StatusOr<std::string> {
    if (to == kTwo) return answers_[to];
    node_.members_ = std::make_shared<const Members>(
        Members{{.id = kSelf, .name = "a"}, {.id = kTwo, .name = "b"}});
    return Response(State::kReady, other);
  };
  EXPECT_TRUE(AlarmsAfterACheck().empty());
  EXPECT_EQ(node_.proposals, 0);
}

TEST_F(CorruptionCheckerTest, LearnersDecideNothing) {
  node_.members_ =
      std::make_shared<const Members>(Members{{.id = kSelf, .name = "a"},
                                              {.id = kTwo, .name = "b"},
                                              {.id = kThree, .name = "c", .is_learner = true}});
  Answer(kTwo, Own().hash + 1);
  Answer(kThree, Own().hash);
  EXPECT_EQ(AlarmsAfterACheck(), (std::vector<Alarm>{{AlarmKind::kCorrupt, MemberId(0)}}));
}

TEST_F(CorruptionCheckerTest, BehindAnotherCompactionNobodyDiffersAndTheLogSaysItOnce) {
  for (const MemberId member : {kTwo, kThree}) {
    StateHash other = Own();
    other.compact_revision = other.revision;
    ++other.hash;
    answers_[member] = Response(State::kReady, other);
  }
  const Warnings warnings;
  CorruptionChecker checker(options_, node_.store(), node_);
  checker.Check();
  checker.Check();
  ASSERT_EQ(warnings.texts.size(), 1U);
  EXPECT_TRUE(warnings.texts.front().starts_with("1 of 3 members compared, which is no majority"))
      << warnings.texts.front();
  // Two of three are enough, and what comes after that is news again.
  Answer(kTwo, Own().hash);
  checker.Check();
  EXPECT_EQ(warnings.texts.size(), 1U);
  answers_.clear();
  checker.Check();
  EXPECT_EQ(warnings.texts.size(), 2U);
  EXPECT_TRUE(node_.cluster_state()->alarms.empty());
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
