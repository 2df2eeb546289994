// A snapshot under the threads of a running follower: readers, a watcher's feed, removal and the
// leader's appends go on around it.
#include "server/node_install.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/log_pins.h"
#include "server/membership.h"
#include "server/test_member.h"
#include "server/watch_feed.h"

namespace cairn::server {
namespace {

constexpr char kCopy[] = "copy";
constexpr Term kTerm{3};

Config ThreeMembers() {
  Config config = TestConfig();
  config.initial_cluster = {{"n1", {"http://localhost:2380"}},
                            {"n2", {"http://localhost:2381"}},
                            {"n3", {"http://localhost:2382"}}};
  return config;
}

const Members kMembers = InitialMembers(ThreeMembers().initial_cluster, "etcd-cluster");
const MemberId kSelf = DeriveMemberId({"http://localhost:2380"}, "etcd-cluster");
const MemberId kLeader = DeriveMemberId({"http://localhost:2381"}, "etcd-cluster");

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

std::vector<raft::Entry> History(uint64_t first, uint64_t last) {
  std::vector<raft::Entry> entries;
  for (uint64_t index = first; index <= last; ++index) {
    if (index <= kMembers.size()) {
      entries.push_back(BootstrapEntries(kMembers)[index - 1]);
      continue;
    }
    etcdserverpb::PutRequest request;
    request.set_key("key " + std::to_string(index % 5));
    request.set_value("value " + std::to_string(index));
    entries.push_back(
        {kTerm, Index(index), raft::EntryKind::kCommand,
         std::make_shared<const std::string>(EncodeCommand(
             {.kind = CommandKind::kPut, .proposer = kLeader, .nonce = 1, .sequence = index},
             request.SerializeAsString()))});
  }
  return entries;
}

// Hears what the follower answers.
class FakePeers final : public AbsentPeers {
 public:
  void Send(std::vector<raft::Message> messages) override {
    base::MutexLock lock(mutex_);
    for (const raft::Message& message : messages) {
      if (const auto* accepted = std::get_if<raft::AppendAccepted>(&message.body)) {
        match_ = std::max(match_, accepted->match);
        changed_.SignalAll();
      }
    }
  }

  void WaitMatch(Index index) {
    base::MutexLock lock(mutex_);
    while (match_ < index) changed_.Wait(mutex_);
  }

 private:
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  Index match_ ABSL_GUARDED_BY(mutex_);
};

class NodeInstallTest : public testing::Test {
 protected:
  NodeInstallTest() {
    auto store = mvcc::Store::Open(ahead_disk_.Open(), {.identity = {Cluster(), kLeader}});
    CheckOk(store.status());
    ahead_ = *std::move(store);
    auto applier = Applier::Open(*ahead_, {.id = kLeader, .nonce = 1});
    CheckOk(applier.status());
    ahead_applier_ = *std::move(applier);
    Start();
  }
  ~NodeInstallTest() override { runner_.reset(); }

  static ClusterId Cluster() {
    return DeriveClusterId({kMembers[0].id, kMembers[1].id, kMembers[2].id});
  }

  void Start() {
    auto opened = Bootstrap(disk_.foundation(), ThreeMembers());
    CheckOk(opened.status());
    member_ = *std::move(opened);
    feed_ = std::make_unique<WatchFeed>(member_.store->published().revision);
    member_.applier->SetChangeSink(feed_.get());
    NodeRunnerOptions options = TestRunnerOptions(member_);
    options.peers = &peers_;
    options.pins = &pins_;
    // Nobody campaigns.
    options.core.raft.election_timeout_ticks = 1'000'000;
    options.on_fatal = [](const absl::Status& error) { CheckOk(error); };
    runner_ = std::make_unique<NodeRunner>(std::move(options), std::move(member_.raft),
                                           *member_.wal, *member_.store, *member_.applier);
    install_ = std::make_unique<NodeInstall>(*runner_);
  }

  // Entries [first, last] from the leader, all committed.
  void Append(uint64_t first, uint64_t last) {
    const Term before = first - 1 <= kMembers.size() ? Term(1) : kTerm;
    runner_->Step({{kLeader, kSelf, kTerm,
                    raft::AppendRequest{.previous = {before, Index(first - 1)},
                                        .commit = Index(last),
                                        .entries = History(first, last)}}});
  }

  // Lets the state ahead go on through `last` and puts a copy of it where snapshots arrive.
  void Arrive(uint64_t last) {
    CheckOk(ahead_applier_->Apply(History(ahead_->applied().index.value() + 1, last)).status());
    ahead_disk_.Remove(kCopy);
    CheckOk(ahead_->Checkpoint(kCopy).status());
    disk_.rows().Copy(ahead_disk_, kCopy, disk_.states()->fresh_path());
  }

  void Install() {
    const std::unique_ptr<StateHome> states = disk_.states();
    const auto outcome = InstallSnapshot(
        {{Cluster(), kSelf}, kTerm}, *states, [] { return absl::OkStatus(); }, *install_);
    CheckOk(outcome.status());
    ASSERT_TRUE(outcome->is_installed);
    member_.store->CloseReplaced();
    CheckOk(states->RemovePrevious());
  }

  TestDisk disk_;
  mvcc::MemDisk ahead_disk_;
  std::unique_ptr<mvcc::Store> ahead_;
  std::unique_ptr<Applier> ahead_applier_;
  FakePeers peers_;
  LogPins pins_;
  Bootstrapped member_;
  std::unique_ptr<WatchFeed> feed_;
  std::unique_ptr<NodeRunner> runner_;
  std::unique_ptr<NodeInstall> install_;
};

TEST_F(NodeInstallTest, TheLeaderHearsOfItAndAppendsGoOn) {
  Append(4, 20);
  peers_.WaitMatch(Index(20));
  feed_->Enable([] {});
  Arrive(50);
  Install();
  peers_.WaitMatch(Index(50));
  EXPECT_EQ(runner_->status().applied, Index(50));
  EXPECT_EQ(member_.wal->before_first(), (raft::EntryId{kTerm, Index(50)}));
  WatchFeed::Batch batch;
  ASSERT_TRUE(feed_->Fetch(batch));
  EXPECT_TRUE(batch.has_gap);
  EXPECT_EQ(batch.through, ahead_->published().revision);
  Append(51, 60);
  peers_.WaitMatch(Index(60));
  CheckOk(runner_->Stop());
  EXPECT_EQ(member_.store->applied().index, Index(60));
  CheckOk(ahead_applier_->Apply(History(51, 60)).status());
  EXPECT_EQ(member_.store->HashKv(mvcc::kCurrent)->hash, ahead_->HashKv(mvcc::kCurrent)->hash);
}

TEST_F(NodeInstallTest, AgainAndAgainUnderReaders) {
  Append(4, 10);
  peers_.WaitMatch(Index(10));
  // The members come with the first entries, which may be in the log and not applied yet.
  while (runner_->members()->size() < 3) std::this_thread::yield();
  std::atomic<bool> is_done{false};
  std::latch running(2);
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      running.count_down();
      Revision last;
      while (!is_done) {
        const auto read = member_.store->Scan(
            {.range = mvcc::KeyRange::All()}, [](const mvcc::KeyValueView&) { return true; },
            [] {});
        CheckOk(read.status());
        EXPECT_GE(read->point.current, last);
        last = read->point.current;
        EXPECT_TRUE(runner_->members()->size() == 3);
        // As the trimmer does.
        const auto durable = member_.store->Flush();
        CheckOk(durable.status());
        CheckOk(runner_->MarkDurable({durable->term, durable->index}));
      }
    });
  }
  running.wait();
  uint64_t at = 10;
  for (int round = 0; round < 20; ++round) {
    Arrive(at + 30);
    // Appends that the installation makes way for, or that make it unneeded.
    Append(at + 1, at + 5);
    Install();
    at += 30;
    Append(at + 1, at + 10);
    at += 10;
    peers_.WaitMatch(Index(at));
  }
  is_done = true;
  for (std::thread& reader : readers) reader.join();
  CheckOk(runner_->Stop());
  CheckOk(ahead_applier_->Apply(History(ahead_->applied().index.value() + 1, at)).status());
  EXPECT_EQ(member_.store->HashKv(mvcc::kCurrent)->hash, ahead_->HashKv(mvcc::kCurrent)->hash);
  // The next start has the same.
  runner_.reset();
  const uint32_t hash = ahead_->HashKv(mvcc::kCurrent)->hash;
  member_ = {};
  Start();
  EXPECT_EQ(member_.store->applied().index, Index(at));
  EXPECT_EQ(member_.store->HashKv(mvcc::kCurrent)->hash, hash);
}

TEST_F(NodeInstallTest, AfterAStopNothingIsBegun) {
  CheckOk(runner_->Stop());
  EXPECT_TRUE(absl::IsCancelled(install_->SyncTerm(kTerm)));
  EXPECT_TRUE(absl::IsCancelled(install_->BeginInstall({kTerm, Index(9)}).status()));
  EXPECT_TRUE(absl::IsCancelled(install_->DrainApply()));
  EXPECT_TRUE(absl::IsCancelled(install_->RecordInstalled({{kTerm, Index(9)}, "x"})));
  install_->AbandonInstall();
}

}  // namespace
}  // namespace cairn::server
