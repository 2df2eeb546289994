#include "test/sim/clients.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/check.h"
#include "server/membership.h"
#include "server/membership_rules.h"
#include "test/sim/cluster.h"

namespace cairn::sim {
namespace {

constexpr uint64_t kKeys = 8;
constexpr int64_t kTtlMax_s = 6;

}  // namespace

Clients::Clients(Cluster& cluster, const Temper& temper)
    : cluster_(cluster), temper_(temper), ledger_(temper) {}

void Clients::Operate() {
  Member* const member = cluster_.RandomUp();
  if (member == nullptr) return;
  Refresh();
  const uint64_t dice = cluster_.random().Below(100);
  if (dice < 38) {
    Put(*member);
  } else if (dice < 46) {
    Delete(*member);
  } else if (dice < 54) {
    Txn(*member);
  } else if (dice < 57) {
    Compact(*member);
  } else if (dice < 70) {
    ReadKey(*member);
  } else if (dice < 74) {
    Grant(*member);
  } else if (dice < 86) {
    KeepAlive(*member);
  } else if (dice < 87) {
    Revoke(*member);
  } else if (dice < 91) {
    Watch();
  } else if (dice < 95) {
    if (temper_.changes_members) ChangeMembers(*member);
  } else if (dice < 97) {
    if (temper_.transfers) Transfer();
  }
}

std::string Clients::RandomKey() { return fmt::format("key {}", cluster_.random().Below(kKeys)); }

// --- Writes ---

void Clients::Propose(Member& member, server::CommandKind kind, const std::string& body,
                      Asked asked) {
  const uint64_t sequence = ++sequence_;
  asked.position = member.position();
  asked.incarnation = member.incarnation();
  asked.at = cluster_.now();
  asked_[sequence] = asked;
  const std::string payload = server::EncodeCommand(
      {.kind = kind, .proposer = member.id(), .nonce = member.start_nonce(), .sequence = sequence},
      body);
  cluster_.AtMember(member, cluster_.Delay(), [sequence, payload](Member& self) {
    self.node().Propose(
        {{sequence, {raft::EntryKind::kCommand, std::make_shared<const std::string>(payload)}}});
    self.Turn(/*has_ticked=*/false);
  });
}

void Clients::Put(Member& member) {
  etcdserverpb::PutRequest request;
  request.set_key(RandomKey());
  request.set_value(
      fmt::format("{} {}", sequence_ + 1, std::string(cluster_.random().Below(120), 'v')));
  const std::vector<LeaseId> leases = ledger_.Alive();
  if (!leases.empty() && cluster_.Chance(30)) {
    request.set_lease(leases[cluster_.random().Below(leases.size())].value());
  }
  Propose(member, server::CommandKind::kPut, request.SerializeAsString(), {});
}

void Clients::Delete(Member& member) {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(RandomKey());
  if (cluster_.Chance(20)) request.set_range_end("key 9");
  Propose(member, server::CommandKind::kDeleteRange, request.SerializeAsString(), {});
}

// Puts one key if another one exists, else deletes a range and puts two.
void Clients::Txn(Member& member) {
  etcdserverpb::TxnRequest request;
  etcdserverpb::Compare& compare = *request.add_compare();
  compare.set_key(RandomKey());
  compare.set_target(etcdserverpb::Compare::VERSION);
  compare.set_result(etcdserverpb::Compare::GREATER);
  compare.set_version(static_cast<int64_t>(cluster_.random().Below(3)));
  etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(RandomKey());
  put.set_value(fmt::format("txn {}", sequence_ + 1));
  etcdserverpb::DeleteRangeRequest& gone = *request.add_failure()->mutable_request_delete_range();
  gone.set_key("key 0");
  gone.set_range_end("key 3");
  for (const char* key : {"key 5", "key 6"}) {
    etcdserverpb::PutRequest& other = *request.add_failure()->mutable_request_put();
    other.set_key(key);
    other.set_value(fmt::format("txn {}", sequence_ + 1));
  }
  Propose(member, server::CommandKind::kTxn, request.SerializeAsString(), {});
}

void Clients::Compact(Member& member) {
  etcdserverpb::CompactionRequest request;
  const auto current = static_cast<uint64_t>(member.store().published().revision.value());
  request.set_revision(1 + static_cast<int64_t>(cluster_.random().Below(current)));
  Propose(member, server::CommandKind::kCompact, request.SerializeAsString(),
          {.kind = Kind::kCompact});
}

void Clients::ReadKey(Member& member) {
  const server::WaiterId id = ++sequence_;
  reads_[id] = {member.position(), acknowledged_};
  cluster_.AtMember(member, cluster_.Delay(), [id](Member& self) {
    self.node().Read(id);
    self.Turn(/*has_ticked=*/false);
  });
}

void Clients::SawReadReady(Member& member, server::WaiterId id) {
  const auto read = reads_.find(id);
  if (read == reads_.end()) return;
  const Revision seen = member.store().published().revision;
  cluster_.counts().Add(What::kRead);
  if (seen < read->second.at_least) {
    cluster_.Report(fmt::format("a read at member {} sees revision {}, but {} was acknowledged",
                                member.position(), seen, read->second.at_least));
  }
  reads_.erase(read);
  const std::string key = RandomKey();
  const History::Change* const expected = cluster_.history().Find(key, seen);
  Revision found;
  const absl::Status status = member.store()
                                  .Get(key, mvcc::kCurrent,
                                       [&](const mvcc::KeyValueView& row) {
                                         found = row.mod_revision;
                                         return true;
                                       })
                                  .status();
  CAIRN_CHECK(status.ok(), status.ToString());
  const bool exists = expected != nullptr && !expected->is_deletion();
  if (found != (exists ? expected->revision.main : Revision(0))) {
    cluster_.Report(
        fmt::format("member {} at revision {} has {} at {}", member.position(), seen, key, found));
  }
}

void Clients::SawGivenUp(server::WaiterId id) {
  reads_.erase(id);
  if (asked_.erase(id) == 0) return;
  cluster_.counts().Add(What::kRefused);
  given_up_.insert(id);
  if (applied_at_.contains(id)) {
    cluster_.Report(fmt::format("proposal {} is refused, but applied", id));
  }
}

// --- Leases ---

void Clients::Grant(Member& member) {
  if (ledger_.size() >= 40 * temper_.leases_at_once) return;
  if (ledger_.Alive().size() >= temper_.leases_max) return;
  const int64_t ttl_s = 1 + static_cast<int64_t>(cluster_.random().Below(kTtlMax_s));
  for (size_t i = 0; i < temper_.leases_at_once; ++i) GrantOne(member, ttl_s);
}

void Clients::GrantOne(Member& member, int64_t ttl_s) {
  const LeaseId id(1000 + ++leases_granted_);
  etcdserverpb::LeaseGrantRequest request;
  request.set_id(id.value());
  request.set_ttl(ttl_s);
  ledger_.Proposed(id, request.ttl());
  Propose(member, server::CommandKind::kLeaseGrant, request.SerializeAsString(),
          {.kind = Kind::kGrant, .lease = id});
}

// Also of leases that have ended, perhaps while the member that is asked stood still.
void Clients::KeepAllAlive() {
  Member* const primary = cluster_.RandomPrimary();
  if (primary == nullptr) return;
  cluster_.AtMember(*primary, cluster_.Delay(),
                    [this, leases = ledger_.EverPromised()](Member& self) {
                      for (const LeaseId id : leases)
                        Renew(self, id, [](const absl::StatusOr<int64_t>&) {});
                      self.Turn(/*has_ticked=*/false);
                    });
}

void Clients::KeepAlive(Member& member) {
  if (cluster_.Chance(10)) return KeepAllAlive();
  const std::vector<LeaseId> leases =
      cluster_.Chance(20) ? ledger_.EverPromised() : ledger_.Alive();
  if (leases.empty()) return;
  const LeaseId id = leases[cluster_.random().Below(leases.size())];
  // Half of them ask one that takes itself for the leader, as a client does that stays with it.
  Member* const primary = cluster_.RandomPrimary();
  const Member& asked = primary != nullptr && cluster_.Chance(50) ? *primary : member;
  cluster_.AtMember(asked, cluster_.Delay(), [this, id](Member& self) {
    if (self.leases().is_primary()) {
      Renew(self, id, [](const absl::StatusOr<int64_t>&) {});
    } else {
      // What the leader answers it writes into the book itself.
      self.leases().RenewLater(id, [](const absl::StatusOr<int64_t>&) {});
    }
    self.Turn(/*has_ticked=*/false);
  });
}

void Clients::Renew(Member& leader, LeaseId id, const World::RenewDone& done) {
  const Microseconds asked = cluster_.now();
  const size_t position = leader.position();
  if (ledger_.HasEnded(id)) cluster_.counts().Add(What::kEndedLeaseAsked);
  leader.leases().RenewLater(
      id, [this, id, asked, position, done](const absl::StatusOr<int64_t>& ttl_s) {
        if (ttl_s.ok()) {
          // An answer that had to wait counts from when it was asked for: it was given later.
          const std::string violation =
              *ttl_s > 0 ? ledger_.Promised(id, asked) : ledger_.Denied(id, asked);
          cluster_.Note(position, *ttl_s > 0 ? "renews lease" : "knows no lease",
                        static_cast<uint64_t>(id.value()));
          if (!violation.empty()) cluster_.Report(violation);
          if (*ttl_s > 0) cluster_.counts().Add(What::kLeaseRenewed);
        }
        done(ttl_s);
      });
}

void Clients::Revoke(Member& member) {
  const std::vector<LeaseId> leases = ledger_.Alive();
  if (leases.empty()) return;
  const LeaseId id = leases[cluster_.random().Below(leases.size())];
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(id.value());
  ledger_.RevocationProposed(id);
  Propose(member, server::CommandKind::kLeaseRevoke, request.SerializeAsString(),
          {.kind = Kind::kRevoke, .lease = id});
}

// --- Members ---

void Clients::ChangeMembers(Member& member) {
  const raft::Configuration& now = member.membership().configuration;
  server::MembershipChange change;
  Asked asked{.position = member.position(),
              .incarnation = member.incarnation(),
              .kind = Kind::kChange,
              .at = cluster_.now(),
              .lease = {}};
  const uint64_t dice = cluster_.random().Below(10);
  if (dice < 4) {
    AddMember(member, change, asked);
  } else if (dice < 7) {
    Promote(change, asked);
  } else if (now.voters.size() > 1) {
    const MemberId gone = now.voters[cluster_.random().Below(now.voters.size())];
    change.steps.push_back({server::ChangeKind::kRemove, {.id = gone}});
    asked.change = server::ChangeKind::kRemove;
    // A replacement in one step, through a joint phase.
    if (cluster_.Chance(40)) AddMember(member, change, asked);
  }
  if (change.steps.empty()) return;
  const uint64_t sequence = ++sequence_;
  change.proposer = {member.id(), member.start_nonce(), sequence};
  asked_[sequence] = asked;
  auto data = std::make_shared<const std::string>(EncodeChange(change));
  cluster_.AtMember(member, cluster_.Delay(), [sequence, data](Member& self) {
    self.node().Propose({{sequence, {raft::EntryKind::kConfiguration, data}}});
    self.Turn(/*has_ticked=*/false);
  });
}

void Clients::AddMember(Member& /*member*/, server::MembershipChange& change, Asked& asked) {
  if (cluster_.members_alive() >= temper_.members_max || cluster_.members_ever() > 40) return;
  const std::vector<std::string> urls = {
      fmt::format("http://a{}:2380", cluster_.members_ever() + sequence_)};
  server::Member added;
  added.id = server::DeriveAddedMemberId(urls, static_cast<int64_t>(sequence_));
  added.peer_urls = urls;
  const bool is_learner = cluster_.Chance(50);
  if (change.steps.empty()) {
    asked.change = is_learner ? server::ChangeKind::kAddLearner : server::ChangeKind::kAddVoter;
  }
  if (is_learner) change.learners_max = kLearnersMax;
  cluster_.Plan(added.id);
  change.steps.push_back(
      {is_learner ? server::ChangeKind::kAddLearner : server::ChangeKind::kAddVoter,
       std::move(added)});
}

void Clients::Promote(server::MembershipChange& change, Asked& asked) {
  Member* const leader = cluster_.Leader();
  if (leader == nullptr) return;
  for (const MemberId id : leader->membership().configuration.learners) {
    if (!server::CheckLearnerReady(leader->node().raft().Status(), id).ok()) continue;
    change.steps.push_back({server::ChangeKind::kPromoteLearner, {.id = id}});
    asked.change = server::ChangeKind::kPromoteLearner;
    return;
  }
}

void Clients::Transfer() {
  Member* const leader = cluster_.Leader();
  if (leader == nullptr) return;
  const std::vector<MemberId>& voters = leader->membership().configuration.voters;
  if (voters.empty()) return;
  const MemberId target = voters[cluster_.random().Below(voters.size())];
  cluster_.AtMember(*leader, cluster_.Delay(), [target](Member& self) {
    self.node().TransferLeadership(target);
    self.Turn(/*has_ticked=*/false);
  });
}

// --- What is applied and answered ---

void Clients::SawApplied(Member& member, std::span<const raft::Entry> entries,
                         const server::Applier::Result& result) {
  for (const raft::Entry& entry : entries) {
    if (entry.index <= applied_through_) continue;
    applied_through_ = entry.index;
    SawEntry(entry);
  }
  for (const lease::LeaseUpdate& update : result.leases) {
    if (update.facts.has_value()) {
      if (update.facts->checkpoint_ms.has_value()) {
        cluster_.counts().Add(What::kLeaseCheckpointed);
      }
      continue;
    }
    if (ledger_.HasEnded(update.id)) continue;
    cluster_.counts().Add(ledger_.IsRevoked(update.id) ? What::kLeaseRevoked : What::kLeaseExpired);
    const std::string violation = ledger_.Ended(update.id, cluster_.now());
    if (!violation.empty()) cluster_.Report(violation);
  }
  for (const auto* outcomes : {&result.outcomes, &result.changes}) {
    for (const auto& [sequence, outcome] : *outcomes) SawOutcome(member, sequence, outcome);
  }
}

void Clients::SawEntry(const raft::Entry& entry) {
  if (entry.kind != raft::EntryKind::kCommand) return;
  const auto command = server::DecodeCommand(*entry.data);
  CAIRN_CHECK(command.ok());
  const uint64_t sequence = command->header.sequence;
  if (sequence == 0) return;  // Of a leader's own making.
  if (given_up_.contains(sequence)) {
    cluster_.Report(fmt::format("proposal {} is applied, but was refused", sequence));
  }
  const auto [known, is_new] = applied_at_.try_emplace(sequence, entry.index);
  if (!is_new) {
    cluster_.Report(fmt::format("proposal {} is applied at {} and at {}", sequence, known->second,
                                entry.index));
  }
}

void Clients::SawOutcome(const Member& member, uint64_t sequence,
                         const server::Node::Outcome& outcome) {
  const auto found = asked_.find(sequence);
  if (found == asked_.end()) return;
  const Asked asked = found->second;
  asked_.erase(found);
  if (asked.position != member.position() || asked.incarnation != member.incarnation()) {
    cluster_.Report(
        fmt::format("proposal {} is answered by a member that was not asked", sequence));
  }
  if (!outcome.status.ok()) {
    cluster_.counts().Add(What::kRefused);
    return;
  }
  cluster_.counts().Add(What::kAcknowledged);
  acknowledged_ = std::max(acknowledged_, outcome.revision);
  Acknowledge(asked, outcome);
}

void Clients::Acknowledge(const Asked& asked, const server::Node::Outcome& /*outcome*/) {
  Counts& counts = cluster_.counts();
  switch (asked.kind) {
    case Kind::kGrant: {
      counts.Add(What::kLeaseGranted);
      // It was granted after it was asked for.
      const std::string violation = ledger_.Promised(asked.lease, asked.at);
      if (!violation.empty()) cluster_.Report(violation);
      return;
    }
    case Kind::kCompact:
      return counts.Add(What::kCompaction);
    case Kind::kChange:
      switch (asked.change) {
        case server::ChangeKind::kAddVoter:
          return counts.Add(What::kVoterAdded);
        case server::ChangeKind::kAddLearner:
          return counts.Add(What::kLearnerAdded);
        case server::ChangeKind::kPromoteLearner:
          return counts.Add(What::kPromoted);
        default:
          return counts.Add(What::kRemoved);
      }
    case Kind::kPlain:
    case Kind::kRevoke:
      return;
  }
}

void Clients::SawCrash(const Member& member) {
  std::erase_if(asked_,
                [&](const auto& asked) { return asked.second.position == member.position(); });
  std::erase_if(reads_,
                [&](const auto& read) { return read.second.position == member.position(); });
  for (Watcher& watcher : watchers_) {
    if (watcher.incarnation == 0 || watcher.position != member.position()) continue;
    watcher.incarnation = 0;
    watcher.is_created = false;
  }
}

// --- Watches ---

void Clients::Watch() {
  base::Random& random = cluster_.random();
  if (watchers_.size() < temper_.watches) {
    Watcher watcher;
    watcher.key = RandomKey();
    if (cluster_.Chance(60)) watcher.range_end = "key 9";
    watcher.skips_puts = cluster_.Chance(10);
    watcher.skips_deletions = cluster_.Chance(10);
    watcher.wants_previous = cluster_.Chance(40);
    watcher.progress_notify = cluster_.Chance(50);
    if (cluster_.Chance(60)) {
      const auto last = static_cast<uint64_t>(cluster_.history().last().value());
      watcher.next = Revision(1 + static_cast<int64_t>(random.Below(last + 5)));
    }
    cluster_.counts().Add(What::kWatchCreated);
    watchers_.push_back(std::move(watcher));
    return;
  }
  if (watchers_.empty()) return;
  Watcher& watcher = watchers_[random.Below(watchers_.size())];
  Member* const member =
      watcher.incarnation == 0 ? nullptr : cluster_.UpAt(watcher.position, watcher.incarnation);
  if (member == nullptr) return;
  const watch::StreamId stream = watcher.stream;
  const uint64_t dice = random.Below(10);
  if (dice < 4) {
    cluster_.AtMember(*member, cluster_.Delay(),
                      [stream](Member& self) { self.RequestProgress(stream); });
  } else if (dice < 7) {
    cluster_.counts().Add(What::kSlowClient);
    member->SetBlocked(stream, true);
    cluster_.AtMember(*member, static_cast<Microseconds>(random.Below(2 * kSecond)),
                      [stream](Member& self) {
                        self.SetBlocked(stream, false);
                        self.WatchTurn();
                      });
  } else {
    // It goes to another member, and on from where it was.
    member->CloseStream(stream);
    watcher.incarnation = 0;
    watcher.is_created = false;
  }
}

void Clients::Refresh() {
  for (Watcher& watcher : watchers_) {
    if (watcher.incarnation == 0) Connect(watcher);
  }
}

void Clients::Connect(Watcher& watcher) {
  Member* const member = cluster_.RandomUp();
  if (member == nullptr) return;
  // One that began "from now on" and heard nothing of it begins anew.
  if (watcher.next > Revision(0)) cluster_.counts().Add(What::kWatchResumed);
  watcher.position = member->position();
  watcher.incarnation = member->incarnation();
  watcher.stream = member->OpenStream();
  member->CreateWatch(watcher.stream, watcher.Request());
}

Watcher* Clients::FindWatcher(const Member& member, watch::StreamId stream) {
  for (Watcher& watcher : watchers_) {
    if (watcher.position == member.position() && watcher.incarnation == member.incarnation() &&
        watcher.stream == stream) {
      return &watcher;
    }
  }
  return nullptr;
}

void Clients::SawMessage(Member& member, watch::StreamId stream, const watch::Message& message) {
  Watcher* const watcher = FindWatcher(member, stream);
  if (watcher == nullptr) return;
  const std::string violation = watcher->Take(message, cluster_.history(), cluster_.counts());
  if (violation.empty()) return;
  cluster_.Report(
      fmt::format("member {}, watch of {}: {}", member.position(), watcher->key, violation));
}

bool Clients::AreWatchersDone() const {
  return std::ranges::all_of(watchers_, [&](const Watcher& watcher) {
    return watcher.HasAll(cluster_.history(), cluster_.history().last());
  });
}

}  // namespace cairn::sim
