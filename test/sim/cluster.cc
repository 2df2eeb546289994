#include "test/sim/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <variant>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "server/command.h"
#include "server/config.h"
#include "server/node_core.h"

namespace cairn::sim {
namespace {

constexpr std::array<uint64_t, 5> kClockPercents = {0, 20, 100, 100, 200};
constexpr size_t kEventsMax = 60;
constexpr size_t kNetworkMax = 300;
constexpr int kSettleRounds = 400;

server::Config ConfigOf(size_t self, size_t members) {
  server::Config config;
  config.name = fmt::format("n{}", self);
  config.initial_cluster_token = "sim";
  for (size_t i = 0; i < members; ++i) {
    config.initial_cluster.push_back({fmt::format("n{}", i), {fmt::format("http://m{}:2380", i)}});
  }
  std::rotate(config.initial_cluster.begin(),
              config.initial_cluster.begin() + static_cast<std::ptrdiff_t>(self),
              config.initial_cluster.end());
  return config;
}

}  // namespace

Cluster::Cluster(uint64_t seed) : random_(seed) {
  const size_t size = 1 + random_.Below(5);
  chaos_ = 1 + random_.Below(4);
  heal_percent_ = 1 + random_.Below(random_.Below(2) == 0 ? 5 : 60);
  server::NodeCoreOptions options;
  options.raft.election_timeout_ticks = 4 + static_cast<uint32_t>(random_.Below(7));
  options.raft.heartbeat_ticks = 1;
  options.raft.log_stall_ticks = 2 * options.raft.election_timeout_ticks;
  // So small that windows fill, tails are cut and the log is read back.
  options.raft.append_bytes_max = 300;
  options.raft.inflight_bytes_max = 2000;
  options.raft.tail_bytes_max = 1000 + random_.Below(10'000);
  options.raft.uncommitted_bytes_max = 20'000;
  before_.resize(size);
  was_up_.resize(size, false);
  for (size_t i = 0; i < size; ++i) {
    members_.push_back(
        std::make_unique<Member>(ConfigOf(i, size), options, ObserverOf(i), random_.Next()));
    positions_[members_[i]->id()] = i;
  }
}

Cluster::~Cluster() = default;

Observer Cluster::ObserverOf(size_t position) {
  return {.send =
              [this](raft::Message message) {
                if (!blocked_.contains({message.from, message.to})) {
                  network_.push_back(std::move(message));
                }
              },
          .applied = [this, position](const raft::Entry& entry) { SawApplied(position, entry); },
          .read_ready =
              [this](server::WaiterId id) {
                const auto read = reads_.find(id);
                CAIRN_CHECK(read != reads_.end());
                Member& member = *members_[read->second.member];
                const Revision seen = member.store().published().revision;
                if (seen < read->second.revision) {
                  Report(fmt::format("a read at {} saw revision {}, but {} was acknowledged before",
                                     member.id(), seen, read->second.revision));
                }
                ++counts_.reads;
                reads_.erase(read);
              },
          .gave_up =
              [this](server::WaiterId id) {
                reads_.erase(id);
                proposed_.erase(id);
              },
          .traced =
              [this, position](const raft::TraceEvent& event) {
                if (event.kind == raft::TraceKind::kBecameLeader) ++counts_.elections;
                Note(fmt::format("member {} {}", position, raft::Describe(event)));
              },
          .flushed = [this](MemberId id) { return members_[positions_.at(id)]->flushed(); }};
}

void Cluster::Report(std::string finding) {
  if (!finding_.empty()) return;
  finding_ = fmt::format("step {}: {}", step_, finding);
}

void Cluster::Note(std::string event) {
  events_.push_back(fmt::format("{}: {}", step_, event));
  if (events_.size() > kEventsMax) events_.pop_front();
}

Verdict Cluster::Run(int steps) {
  for (step_ = 0; step_ < steps; ++step_) {
    Step();
    for (size_t i = 0; i < members_.size(); ++i) Check(i);
    if (!finding_.empty()) return Verdict::kWrong;
  }
  return Settle();
}

void Cluster::Check(size_t position) {
  Member& member = *members_[position];
  if (!member.is_up()) {
    was_up_[position] = false;
    return;
  }
  raft::CoreStatus after = member.node().raft().Status();
  for (const std::string& violation :
       {raft::CheckMember(after),
        was_up_[position] ? raft::CheckStep(before_[position], after) : std::string(),
        checker_.SawMember(after)}) {
    if (!violation.empty()) Report(fmt::format("member {}: {}", position, violation));
  }
  before_[position] = std::move(after);
  was_up_[position] = true;
}

void Cluster::SawApplied(size_t position, const raft::Entry& entry) {
  Member& member = *members_[position];
  ++counts_.applied;
  const std::string violation = checker_.SawApplied(member.id(), entry);
  if (!violation.empty()) Report(violation);
  const Revision revision = member.store().published().revision;
  // Within a batch nothing is published.
  if (member.store().applied().index == entry.index) {
    const Revision first = revision_at_.try_emplace(entry.index, revision).first->second;
    if (first != revision) {
      Report(fmt::format("member {} is at revision {} after entry {}, another at {}", position,
                         revision, entry.index, first));
    }
  }
  if (entry.kind != raft::EntryKind::kCommand) return;
  const auto command = server::DecodeCommand(*entry.data);
  CAIRN_CHECK(command.ok());
  const uint64_t sequence = command->header.sequence;
  const auto [known, is_new] = applied_at_.try_emplace(sequence, entry.index);
  if (known->second != entry.index) {
    Report(fmt::format("proposal {} is applied at {} and at {}", sequence, known->second,
                       entry.index));
  }
  if (proposed_.contains(sequence) && proposed_.at(sequence) == position) {
    proposed_.erase(sequence);
    ++counts_.acknowledged;
    acknowledged_ = std::max(acknowledged_, entry.index);
    acknowledged_revision_ = std::max(acknowledged_revision_, revision);
  }
}

void Cluster::Step() {
  const size_t position = random_.Below(members_.size());
  Member& member = *members_[position];
  if (!member.is_up()) {
    if (random_.Below(20) == 0) {
      Note(fmt::format("member {} restarts", position));
      member.Restart(random_.Next());
    }
    return;
  }
  const uint64_t dice = random_.Below(1000);
  if (dice < 200) {
    const auto clock = clock_percent_.find(member.id());
    const uint64_t percent = clock == clock_percent_.end() ? 100 : clock->second;
    uint64_t ticks = percent / 100;
    if (random_.Below(100) < percent % 100) ++ticks;
    for (; ticks > 0; --ticks) member.node().Tick();
  } else if (dice < 500) {
    DeliverSome();
  } else if (dice < 955) {
    DoWork(member, position, dice);
  } else {
    Disturb(member, position);
  }
  if (member.is_up() && random_.Below(3) > 0) member.Drain();
}

void Cluster::DoWork(Member& member, size_t position, uint64_t dice) {
  if (dice < 680) {
    member.WriteLog(1 + random_.Below(3));
  } else if (dice < 800) {
    member.Apply(1 + random_.Below(4));
  } else if (dice < 860) {
    ProposeAt(member, position);
  } else if (dice < 890) {
    const uint64_t id = ++sequence_;
    reads_[id] = {position, acknowledged_revision_};
    member.node().Read(id);
  } else if (dice < 935) {
    ++counts_.log_reads;
    member.AnswerLogRead(random_.Below(10) == 0);
  } else {
    ++counts_.trims;
    const Index needed = NeededByAll();
    member.FlushAndTrim(needed);
    Note(fmt::format("member {} is durable through {} and keeps entries above {}", position,
                     member.flushed(), needed));
  }
}

Index Cluster::NeededByAll() const {
  // Whoever restarts has at least what it flushed, and asks for nothing at or below it.
  Index needed = members_.front()->flushed();
  for (const auto& member : members_) needed = std::min(needed, member->flushed());
  return needed;
}

void Cluster::ProposeAt(Member& member, size_t position) {
  std::vector<server::NodeCore::QueuedProposal> proposals;
  for (uint64_t count = 1 + random_.Below(3); count > 0; --count) {
    const uint64_t sequence = ++sequence_;
    const uint64_t dice = random_.Below(20);
    server::CommandHeader header{
        .kind = server::CommandKind::kPut, .proposer = member.id(), .sequence = sequence};
    std::string body;
    if (dice == 0) {
      etcdserverpb::CompactionRequest request;
      request.set_revision(1 + static_cast<int64_t>(random_.Below(static_cast<uint64_t>(
                                   member.store().published().revision.value()))));
      header.kind = server::CommandKind::kCompact;
      body = request.SerializeAsString();
      ++counts_.compactions;
    } else if (dice < 4) {
      etcdserverpb::DeleteRangeRequest request;
      request.set_key(fmt::format("key {}", random_.Below(10)));
      if (dice == 1) request.set_range_end("key 9");
      header.kind = server::CommandKind::kDeleteRange;
      body = request.SerializeAsString();
    } else {
      etcdserverpb::PutRequest request;
      request.set_key(fmt::format("key {}", random_.Below(10)));
      request.set_value(std::string(random_.Below(100), 'v') + fmt::format("{}", sequence));
      body = request.SerializeAsString();
    }
    proposed_[sequence] = position;
    proposals.push_back({sequence,
                         {raft::EntryKind::kCommand,
                          std::make_shared<const std::string>(EncodeCommand(header, body))}});
  }
  member.node().Propose(std::move(proposals));
}

void Cluster::DeliverSome() {
  for (uint64_t count = 1 + random_.Below(12); count > 0 && !network_.empty(); --count) {
    const size_t at = random_.Below(4) < chaos_ ? random_.Below(network_.size()) : 0;
    raft::Message message = network_[at];
    const uint64_t fate = random_.Below(100);
    // A forwarded proposal travels once: its stream does not repeat it.
    const bool may_repeat = !std::holds_alternative<raft::ForwardedProposals>(message.body);
    const bool is_repeated = fate >= chaos_ && fate < 2 * chaos_ && may_repeat;
    if (!is_repeated) network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at));
    if (is_repeated) ++counts_.repeated;
    if (fate < chaos_) {
      ++counts_.lost;
      continue;
    }
    Deliver(std::move(message));
  }
  while (network_.size() > kNetworkMax) network_.pop_front();
}

void Cluster::Deliver(raft::Message message) {
  Member& to = *members_[positions_.at(message.to)];
  if (to.is_up()) to.node().Step(std::move(message));
}

void Cluster::Isolate(MemberId id) {
  ++counts_.cut;
  for (const auto& member : members_) {
    blocked_.insert({id, member->id()});
    blocked_.insert({member->id(), id});
  }
}

void Cluster::Heal() {
  blocked_.clear();
  clock_percent_.clear();
}

void Cluster::Kill(Member& member, bool is_power_cut) {
  const size_t position = positions_.at(member.id());
  ++(is_power_cut ? counts_.powerless : counts_.killed);
  Note(fmt::format("member {} {}", position, is_power_cut ? "loses power" : "is killed"));
  member.Crash(random_.Next(), random_.Below(member.pending_writes() + 1), is_power_cut);
  // Their clients do not learn what became of them.
  std::erase_if(proposed_, [&](const auto& proposal) { return proposal.second == position; });
  std::erase_if(reads_, [&](const auto& read) { return read.second.member == position; });
}

void Cluster::CutPower() {
  for (const auto& member : members_) {
    if (member->is_up()) Kill(*member, true);
  }
}

void Cluster::Disturb(Member& member, size_t position) {
  const uint64_t dice = random_.Below(40);
  if (dice < chaos_) {
    Kill(member, random_.Below(2) == 0);
  } else if (dice < 2 * chaos_) {
    ++counts_.cut;
    blocked_.insert({member.id(), members_[random_.Below(members_.size())]->id()});
  } else if (dice < 3 * chaos_) {
    Note(fmt::format("member {} is cut off", position));
    Isolate(member.id());
  } else if (dice < 12) {
    return;
  } else if (dice < 27) {
    if (random_.Below(100) < heal_percent_) Heal();
  } else if (dice < 30) {
    ++counts_.clocks;
    clock_percent_[member.id()] = kClockPercents.at(random_.Below(kClockPercents.size()));
    if (member.node().raft().is_leader() && random_.Below(2) == 0) Isolate(member.id());
  } else if (dice == 30 && random_.Below(5) < chaos_) {
    CutPower();
  }
}

Verdict Cluster::Settle() {
  Heal();
  Note("the faults end");
  for (const auto& member : members_) {
    if (!member->is_up()) member->Restart(random_.Next());
  }
  for (int round = 0; round < kSettleRounds; ++round) {
    for (size_t i = 0; i < members_.size(); ++i) {
      Member& member = *members_[i];
      member.node().Tick();
      member.Drain();
      member.WriteLog(1000);
      member.Apply(1000);
      member.AnswerLogRead(false);
      member.Drain();
      for (size_t count = network_.size(); count > 0; --count) {
        raft::Message message = std::move(network_.front());
        network_.pop_front();
        Deliver(std::move(message));
      }
      Check(i);
    }
    if (!finding_.empty()) return Verdict::kWrong;
    if (!IsSettled()) continue;
    CompareStates();
    return finding_.empty() ? Verdict::kGood : Verdict::kWrong;
  }
  Report("no common end of the log");
  for (size_t i = 0; i < members_.size(); ++i) {
    const raft::CoreStatus status = members_[i]->node().raft().Status();
    finding_ += fmt::format("\n  {}: {} at term {}, commit {}, last {}/{}, applied {}", i,
                            raft::RoleName(status.role), status.term, status.commit,
                            status.last.term, status.last.index, status.applied);
  }
  return Verdict::kStuck;
}

bool Cluster::IsSettled() {
  Index last;
  bool has_leader = false;
  for (const auto& member : members_) {
    const raft::Core& core = member->node().raft();
    if (!core.is_leader()) continue;
    has_leader = core.HasCommittedInTerm() && core.IsLeadershipConfirmed();
    last = core.last().index;
  }
  return has_leader && std::all_of(members_.begin(), members_.end(), [&](const auto& member) {
           return member->is_idle() && member->node().raft().applied() == last;
         });
}

void Cluster::CompareStates() {
  const mvcc::Store& first = members_.front()->store();
  if (first.applied().index < acknowledged_) {
    Report(fmt::format("entry {} was acknowledged, but the log ends at {}", acknowledged_,
                       first.applied().index));
  }
  const auto hash = first.Hash();
  CAIRN_CHECK(hash.ok());
  for (const auto& member : members_) {
    const mvcc::Store& store = member->store();
    const auto other = store.Hash();
    CAIRN_CHECK(other.ok());
    if (store.published() != first.published() || *other != *hash) {
      Report(fmt::format("members differ: revision {} and {}", first.published().revision,
                         store.published().revision));
    }
  }
}

}  // namespace cairn::sim
