// Several node cores that talk to each other: what a proposal goes through when the leader changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/lease_driver.h"
#include "server/lease_manager.h"
#include "server/node_core.h"

namespace cairn::server {
namespace {

constexpr int kMembers = 3;

// Three members with instant state machines, a network that the test cuts, and disks that are
// perfect until the test has one stand still.
class Cluster {
 public:
  explicit Cluster(size_t uncommitted_bytes_max = raft::CoreOptions().uncommitted_bytes_max) {
    for (uint64_t id = 1; id <= kMembers; ++id) {
      raft::RestoredState restored;
      restored.hard_state = {.term = Term(1), .commit = Index(1)};
      restored.configuration.voters = {MemberId(1), MemberId(2), MemberId(3)};
      restored.applied = {Term(1), Index(1)};
      restored.last = {Term(1), Index(1)};
      NodeCoreOptions options;
      options.raft.id = MemberId(id);
      options.raft.random_seed = id;
      options.start_nonce = static_cast<uint32_t>(id);
      options.proposal_wait_ticks = 70;
      options.raft.uncommitted_bytes_max = uncommitted_bytes_max;
      nodes_.emplace(id, std::make_unique<NodeCore>(options, std::move(restored)));
    }
  }

  NodeCore& node(uint64_t id) { return *nodes_.at(id); }
  std::vector<std::string>& applied(uint64_t id) { return applied_[id]; }
  std::vector<RefusedProposal>& refused() { return refused_; }
  std::vector<WaiterId>& reads_ready() { return reads_ready_; }
  std::vector<WaiterId>& reads_refused() { return reads_refused_; }
  // Nobody hears `id` or is heard by it; whoever sends it proposals is told that they did not
  // leave.
  void Cut(uint64_t id) { cut_ = id; }
  // Nothing that `id` forwards arrives, which it is told. 0: all is well again.
  void CutForwarding(uint64_t id) { mute_ = id; }

  // From now on nothing that `id` writes becomes durable. 0: all disks take everything again.
  void Stall(uint64_t id) {
    if (id != 0) {
      stalled_.insert(id);
      return;
    }
    stalled_.clear();
    for (const auto& [waiting, number] : std::exchange(unwritten_, {})) {
      node(waiting).LogDurable(number);
    }
  }

  void Tick() {
    for (auto& [id, node] : nodes_) node->Tick();
    Run();
  }
  // Until nothing moves.
  void Run() {
    for (bool is_busy = true; is_busy;) {
      is_busy = false;
      for (auto& [id, node] : nodes_) is_busy = Do(id, *node) || is_busy;
      std::deque<raft::Message> messages = std::exchange(messages_, {});
      for (raft::Message& message : messages) Deliver(std::move(message));
      is_busy = is_busy || !messages.empty();
    }
  }
  uint64_t ElectLeader() {
    for (int i = 0; i < 200; ++i) {
      Tick();
      for (auto& [id, node] : nodes_) {
        if (id != cut_ && node->IsLeaderReady()) return id;
      }
    }
    return 0;
  }
  void Propose(uint64_t at, std::string data, raft::EntryKind kind = raft::EntryKind::kCommand) {
    std::vector<NodeCore::QueuedProposal> proposals;
    proposals.push_back({++next_id_, {kind, std::make_shared<const std::string>(std::move(data))}});
    node(at).Propose(std::move(proposals));
  }
  uint64_t Other(uint64_t id) const { return id % kMembers + 1; }

 private:
  bool Do(uint64_t id, NodeCore& node) {
    Work work = node.TakeWork();
    const bool is_busy = !work.empty();
    for (const LogWrite& write : work.log) {
      if (stalled_.contains(id)) {
        unwritten_.emplace_back(id, write.number);
      } else {
        node.LogDurable(write.number);
      }
    }
    for (const ApplyRange& apply : work.apply) {
      for (const raft::Entry& entry : apply.entries) {
        if (entry.data != nullptr) applied_[id].push_back(*entry.data);
      }
      node.Applied(apply.range.limit - 1);
    }
    refused_.insert(refused_.end(), work.refused.begin(), work.refused.end());
    reads_ready_.insert(reads_ready_.end(), work.reads_ready.begin(), work.reads_ready.end());
    reads_refused_.insert(reads_refused_.end(), work.reads_refused.begin(),
                          work.reads_refused.end());
    for (raft::Message& message : work.messages) messages_.push_back(std::move(message));
    return is_busy;
  }
  void Deliver(raft::Message message) {
    const uint64_t from = message.from.value();
    const uint64_t to = message.to.value();
    const bool is_forwarded = std::holds_alternative<raft::ForwardedProposals>(message.body);
    const bool is_cut = from == cut_ || to == cut_ || (from == mute_ && is_forwarded);
    if (!is_cut) return node(to).Step(std::move(message));
    if (!is_forwarded) return;
    std::vector<raft::Message> undelivered;
    undelivered.push_back(std::move(message));
    node(from).Undelivered(std::move(undelivered));
  }

  std::map<uint64_t, std::unique_ptr<NodeCore>> nodes_;
  std::map<uint64_t, std::vector<std::string>> applied_;
  std::vector<RefusedProposal> refused_;
  std::vector<WaiterId> reads_ready_;
  std::vector<WaiterId> reads_refused_;
  std::deque<raft::Message> messages_;
  uint64_t cut_ = 0;
  uint64_t mute_ = 0;
  std::set<uint64_t> stalled_;
  std::vector<std::pair<uint64_t, uint64_t>> unwritten_;  // Members and numbers.
  WaiterId next_id_ = 0;
};

using Commands = std::vector<std::string>;

TEST(NodeCoreCluster, AnyMemberTakesProposals) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  cluster.Propose(leader, "a");
  cluster.Run();
  cluster.Propose(cluster.Other(leader), "b");
  for (int i = 0; i < 3; ++i) cluster.Tick();
  for (uint64_t id = 1; id <= kMembers; ++id) EXPECT_EQ(cluster.applied(id), (Commands{"a", "b"}));
}

TEST(NodeCoreCluster, AHandOverLosesNoProposal) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t target = cluster.Other(leader);
  const uint64_t third = cluster.Other(target);
  ASSERT_TRUE(cluster.node(leader).TransferLeadership(MemberId(target)));
  // While it is under way: at the old leader, and forwarded to it.
  cluster.Propose(leader, "at the old leader");
  cluster.Propose(third, "forwarded to it");
  cluster.Run();
  EXPECT_TRUE(cluster.node(target).IsLeaderReady());
  for (int i = 0; i < 3; ++i) cluster.Tick();
  for (uint64_t id = 1; id <= kMembers; ++id) {
    Commands commands = cluster.applied(id);
    std::sort(commands.begin(), commands.end());
    EXPECT_EQ(commands, (Commands{"at the old leader", "forwarded to it"})) << id;
  }
  EXPECT_TRUE(cluster.refused().empty());
}

// Reads that the old leader was asked for, and cannot answer any more, are asked of the new one.
TEST(NodeCoreCluster, AHandOverLosesNoRead) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t target = cluster.Other(leader);
  const uint64_t third = cluster.Other(target);
  cluster.Cut(leader);  // Nothing is answered yet.
  cluster.node(leader).Read(1);
  cluster.node(third).Read(2);
  cluster.Run();
  EXPECT_TRUE(cluster.reads_ready().empty());
  cluster.Cut(0);
  ASSERT_TRUE(cluster.node(leader).TransferLeadership(MemberId(target)));
  cluster.node(leader).Read(3);
  cluster.Run();
  EXPECT_TRUE(cluster.node(target).IsLeaderReady());
  // At once for who knows of the change; the other hears of it with the next heartbeat.
  cluster.Tick();
  std::sort(cluster.reads_ready().begin(), cluster.reads_ready().end());
  EXPECT_EQ(cluster.reads_ready(), (std::vector<WaiterId>{1, 2, 3}));
  EXPECT_TRUE(cluster.reads_refused().empty());
}

// While a round is under way reads gather for the next one, which is one for all of them.
TEST(NodeCoreCluster, ReadsThatComeDuringARoundShareTheNextOne) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t follower = cluster.Other(leader);
  NodeCore& node = cluster.node(follower);
  EXPECT_TRUE(node.TakesReads());
  node.Read(1);
  const Work first = node.TakeWork();
  EXPECT_FALSE(node.TakesReads());
  node.Read(2);
  node.Read(3);
  EXPECT_TRUE(node.TakeWork().messages.empty());
  ASSERT_EQ(first.messages.size(), 1u);
  cluster.node(leader).Step(first.messages[0]);
  cluster.Run();
  EXPECT_EQ(cluster.reads_ready(), (std::vector<WaiterId>{1, 2, 3}));
}

TEST(NodeCoreCluster, ForgetsReadsThatNobodyWaitsFor) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  cluster.Cut(leader);
  NodeCore& node = cluster.node(leader);
  while (node.raft().is_leader()) cluster.Tick();
  for (const WaiterId id : {1, 2, 3}) {
    node.Read(id);
    cluster.Run();  // Leaderless by now.
  }
  node.Read(4);  // Not asked for yet.
  node.Read(5);
  node.KeepReads([](WaiterId id) { return id == 2 || id == 5; });
  cluster.Cut(0);
  for (int i = 0; i < 30 && cluster.reads_ready().size() < 2; ++i) cluster.Tick();
  std::sort(cluster.reads_ready().begin(), cluster.reads_ready().end());
  EXPECT_EQ(cluster.reads_ready(), (std::vector<WaiterId>{2, 5}));
  EXPECT_TRUE(cluster.reads_refused().empty());
}

// Its client had better ask somebody else; one that never found a leader waits like its client.
TEST(NodeCoreCluster, AReadWhoseLeaderIsLostForGoodIsRefusedInTime) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  cluster.Cut(leader);
  cluster.node(leader).Read(1);
  cluster.Run();
  cluster.node(leader).Read(3);  // Behind the round of the first, but there was a leader.
  while (cluster.node(leader).raft().is_leader()) cluster.Tick();
  cluster.node(leader).Read(2);
  cluster.Run();
  EXPECT_TRUE(cluster.reads_refused().empty());
  const uint32_t timeout_ticks = raft::CoreOptions().election_timeout_ticks;
  for (uint32_t i = 0; i < 2 * timeout_ticks; ++i) cluster.Tick();
  std::sort(cluster.reads_refused().begin(), cluster.reads_refused().end());
  EXPECT_EQ(cluster.reads_refused(), (std::vector<WaiterId>{1, 3}));
  cluster.Cut(0);
  for (uint32_t i = 0; i < timeout_ticks && cluster.reads_ready().empty(); ++i) cluster.Tick();
  EXPECT_EQ(cluster.reads_ready(), std::vector<WaiterId>{2});
}

TEST(NodeCoreCluster, WhatDidNotReachADeadLeaderReachesTheNextOne) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t follower = cluster.Other(leader);
  cluster.Cut(leader);
  cluster.Propose(follower, "a");
  cluster.Run();
  EXPECT_TRUE(cluster.applied(follower).empty());
  const uint64_t next = cluster.ElectLeader();
  ASSERT_NE(next, leader);
  for (int i = 0; i < 3; ++i) cluster.Tick();
  EXPECT_EQ(cluster.applied(follower), Commands{"a"});
  EXPECT_TRUE(cluster.refused().empty());
}

// A link that is broken one way: the leader is known all the time, and nothing gets there.
TEST(NodeCoreCluster, WhatNeverReachesAKnownLeaderIsDroppedInTime) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t follower = cluster.Other(leader);
  cluster.CutForwarding(follower);
  cluster.Propose(follower, "a");
  for (int i = 0; i < 40; ++i) cluster.Tick();
  // Younger, so it waits on when the first has gone.
  cluster.Propose(follower, "b");
  for (int i = 0; i < 31; ++i) cluster.Tick();
  EXPECT_EQ(cluster.node(follower).raft().leader(), MemberId(leader));
  cluster.CutForwarding(0);
  for (int i = 0; i < 3; ++i) cluster.Tick();
  EXPECT_EQ(cluster.applied(leader), Commands{"b"});
  ASSERT_EQ(cluster.refused().size(), 1u);
  EXPECT_EQ(cluster.refused()[0].id, 1u);
  EXPECT_EQ(cluster.refused()[0].reason, RefusalReason::kNoLeader);
}

// As many as the leader takes are on their way: a client hears of it from any member, at once.
TEST(NodeCoreCluster, WhatTheLeaderRefusesIsRefusedAtItsOrigin) {
  Cluster cluster(/*uncommitted_bytes_max=*/200);
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t follower = cluster.Other(leader);
  cluster.Stall(follower);
  cluster.Stall(cluster.Other(follower));
  cluster.Propose(follower, std::string(150, 'a'));
  cluster.Run();
  EXPECT_TRUE(cluster.refused().empty());
  cluster.Propose(follower, std::string(150, 'b'));
  cluster.Run();
  ASSERT_EQ(cluster.refused().size(), 1u);
  EXPECT_EQ(cluster.refused()[0].id, 2u);
  EXPECT_EQ(cluster.refused()[0].reason, RefusalReason::kTooManyRequests);
  // The numbers of an earlier start mean nothing.
  cluster.node(follower).Step({MemberId(leader), MemberId(follower),
                               cluster.node(leader).raft().term(),
                               raft::RefusedProposals{77, {1}}});
  cluster.Run();
  EXPECT_EQ(cluster.refused().size(), 1u);
  cluster.Stall(0);
  for (int i = 0; i < 3; ++i) cluster.Tick();
  EXPECT_EQ(cluster.applied(follower), Commands{std::string(150, 'a')});
}

// A leader takes one change at a time, and refuses two together with whatever comes along.
TEST(NodeCoreCluster, ChangesAmongWhatComesBackTakeNothingWithThem) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  const uint64_t follower = cluster.Other(leader);
  cluster.CutForwarding(follower);
  cluster.Propose(follower, "a");
  cluster.Propose(follower, "change 1", raft::EntryKind::kConfiguration);
  cluster.Propose(follower, "change 2", raft::EntryKind::kConfiguration);
  cluster.Propose(follower, "b");
  // Not again before the next tick: nobody is kept busy by a link that is broken.
  for (int i = 0; i < 3; ++i) cluster.Tick();
  cluster.CutForwarding(0);
  for (int i = 0; i < 3; ++i) cluster.Tick();
  for (const uint64_t id : {leader, follower}) {
    Commands commands = cluster.applied(id);
    std::sort(commands.begin(), commands.end());
    EXPECT_EQ(commands, (Commands{"a", "b", "change 1", "change 2"})) << id;
  }
}

TEST(NodeCoreCluster, WhatIsHeldBackForALeaderThatNeverComesIsDroppedInTime) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  cluster.Cut(leader);
  // The old leader alone: it appends, steps down for want of a quorum, and holds back.
  for (int i = 0; i < 30; ++i) cluster.Tick();
  EXPECT_FALSE(cluster.node(leader).raft().is_leader());
  cluster.Propose(leader, "a");
  for (int i = 0; i < 71; ++i) cluster.Tick();
  ASSERT_EQ(cluster.refused().size(), 1u);
  EXPECT_EQ(cluster.refused()[0].reason, RefusalReason::kNoLeader);
}

// It is not woken for half a minute (SIGSTOP, a machine that was suspended), and its ticks with it:
// by those it was confirmed a moment ago, while another may have come to lead and to end its
// leases.
TEST(NodeCoreCluster, ALeaderThatStoodStillRenewsNothingBeforeAQuorumHasAnswered) {
  Cluster cluster;
  const uint64_t leader = cluster.ElectLeader();
  ASSERT_NE(leader, 0u);
  lease::Milliseconds now_ms = 0;
  LeaseManager leases({.lessor = {.election_timeout_ms = 1000, .checkpoint_interval_ms = 300'000},
                       .wait = std::chrono::seconds(7),
                       .now_ms = [&now_ms] { return now_ms; }});
  LeaseDriver driver(leases, cluster.node(leader), MemberId(leader), /*start_nonce=*/1,
                     raft::CoreOptions().election_timeout_ticks);
  const auto tick = [&] {
    now_ms += 100;
    cluster.Tick();
    driver.Run(/*is_tick=*/true);
  };
  const lease::LeaseFacts granted{.granted = Index(1), .ttl_s = 10};
  leases.Applied(Index(1), std::vector{lease::LeaseUpdate{LeaseId(7), granted}});
  leases.Applied(Index(1), std::vector{lease::LeaseUpdate{LeaseId(8), granted}});
  for (int i = 0; i < 15; ++i) tick();
  EXPECT_EQ(leases.Renew(LeaseId(7)), 10);
  // A little less than an election timeout without a tick shows nothing yet.
  now_ms += 700;
  EXPECT_EQ(leases.Renew(LeaseId(7)), 10);

  now_ms += 30'000;
  EXPECT_EQ(leases.Renew(LeaseId(7)), std::nullopt);
  std::vector<int64_t> answers;
  leases.RenewLater(LeaseId(7),
                    [&](const absl::StatusOr<int64_t>& ttl_s) { answers.push_back(*ttl_s); });
  // Its own tick comes before anything that others have sent.
  cluster.node(leader).Tick();
  driver.Run(/*is_tick=*/true);
  EXPECT_FALSE(leases.is_confirmed());
  EXPECT_EQ(leases.Renew(LeaseId(7)), std::nullopt);
  EXPECT_TRUE(leases.TakeDue(LeaseDriver::kKeysPerEntryMax).empty());
  EXPECT_TRUE(answers.empty());

  // The others have stood still as well, so it leads on; but the leases are due, and who comes too
  // late does not overtake the end.
  cluster.Run();
  tick();
  EXPECT_TRUE(leases.is_confirmed());
  EXPECT_TRUE(answers.empty());
  EXPECT_TRUE(leases.Find(LeaseId(7))->is_revoking);
  EXPECT_TRUE(leases.Find(LeaseId(8))->is_revoking);
  leases.Applied(Index(9), std::vector{lease::LeaseUpdate{LeaseId(7), std::nullopt}});
  EXPECT_EQ(answers, std::vector<int64_t>{0});
}

// The leader's threads are well, but its disk takes nothing any more: it hands over in time, and
// has no say over leases, those it holds for long due included.
TEST(NodeCoreCluster, ALeaderWhoseLogDoesNotReturnHandsOverAndEndsNoLease) {
  Cluster cluster;
  const uint64_t sick = cluster.ElectLeader();
  ASSERT_NE(sick, 0u);
  lease::Milliseconds now_ms = 0;
  LeaseManager leases({.lessor = {.election_timeout_ms = 1000, .checkpoint_interval_ms = 300'000},
                       .now_ms = [&now_ms] { return now_ms; }});
  LeaseDriver driver(leases, cluster.node(sick), MemberId(sick), /*start_nonce=*/1,
                     raft::CoreOptions().election_timeout_ticks);
  driver.Run(/*is_tick=*/true);
  EXPECT_TRUE(leases.is_primary());
  const lease::LeaseFacts granted{.granted = Index(1), .ttl_s = 10};
  leases.Applied(Index(1), std::vector{lease::LeaseUpdate{LeaseId(7), granted}});

  cluster.Stall(sick);
  cluster.Propose(sick, "a");
  cluster.Run();
  EXPECT_EQ(cluster.applied(cluster.Other(sick)), Commands{"a"});  // Two of three hold it.
  int ticks = 0;
  for (; cluster.node(sick).raft().is_leader(); ++ticks) {
    ASSERT_LE(ticks, static_cast<int>(raft::CoreOptions().log_stall_ticks));
    cluster.Tick();
    driver.Run(/*is_tick=*/true);
  }
  EXPECT_EQ(ticks, static_cast<int>(raft::CoreOptions().log_stall_ticks));
  EXPECT_FALSE(leases.is_primary());
  const uint64_t next = cluster.node(sick).raft().leader().value();
  ASSERT_NE(next, 0u);
  EXPECT_NE(next, sick);
  EXPECT_TRUE(cluster.node(next).IsLeaderReady());

  // The lease is long due by the clock of the one that led.
  now_ms = 1'000'000;
  for (int i = 0; i < 50; ++i) {
    cluster.Tick();
    driver.Run(/*is_tick=*/true);
    EXPECT_TRUE(leases.TakeDue(LeaseDriver::kKeysPerEntryMax).empty());
  }
  EXPECT_EQ(cluster.node(sick).raft().leader(), MemberId(next));
  cluster.Propose(cluster.Other(sick), "b");
  cluster.Run();
  for (uint64_t id = 1; id <= kMembers; ++id) {
    if (id == sick) continue;
    EXPECT_EQ(cluster.applied(id), (Commands{"a", "b"})) << id;
  }
  cluster.Stall(0);
  for (int i = 0; i < 3; ++i) cluster.Tick();
  EXPECT_EQ(cluster.applied(sick), (Commands{"a", "b"}));
  EXPECT_TRUE(cluster.refused().empty());
}

}  // namespace
}  // namespace cairn::server
