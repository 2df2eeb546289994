#include "raft/test_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>
#include <type_traits>

#include "base/check.h"

namespace cairn::raft {
namespace {

std::string DescribeId(EntryId id) { return fmt::format("{}/{}", id.term, id.index); }

std::string DescribeBody(const VoteRequest& body) {
  return fmt::format("{}{} term={} last={}", body.is_pre_vote ? "PreVote" : "Vote",
                     body.is_transfer ? "(transfer)" : "", body.campaign_term,
                     DescribeId(body.last));
}
std::string DescribeBody(const VoteReply& body) {
  return fmt::format("{} {}", body.is_pre_vote ? "PreVoteReply" : "VoteReply",
                     body.is_granted ? "granted" : "refused");
}
std::string DescribeBody(const AppendRequest& body) {
  std::string text =
      fmt::format("Append previous={} commit={}", DescribeId(body.previous), body.commit);
  for (const Entry& entry : body.entries) text += " " + DescribeEntry(entry);
  return text;
}
std::string DescribeBody(const AppendAccepted& body) {
  return fmt::format("Accepted match={}", body.match);
}
std::string DescribeBody(const AppendRejected& body) {
  return fmt::format("Rejected previous={} hint={}", DescribeId(body.previous),
                     DescribeId(body.hint));
}
std::string DescribeBody(const Heartbeat& body) {
  return fmt::format("Heartbeat commit={} round={}", body.commit, body.round);
}
std::string DescribeBody(const HeartbeatReply& body) {
  return fmt::format("HeartbeatReply round={}", body.round);
}
std::string DescribeBody(const StaleTerm&) { return "StaleTerm"; }
std::string DescribeBody(const ForwardedProposals& body) {
  return fmt::format("Forwarded {}", body.proposals.size());
}
std::string DescribeBody(const ReadIndexRequest& body) {
  return fmt::format("ReadIndex context={}", body.context);
}
std::string DescribeBody(const ReadIndexReply& body) {
  return fmt::format("ReadIndexReply context={} index={}", body.context, body.index);
}
std::string DescribeBody(const TimeoutNow&) { return "TimeoutNow"; }

std::string DescribeBody(const RefusedProposals& refused) {
  return fmt::format("RefusedProposals of {}", refused.ids.size());
}

std::string EncodeMembers(const std::vector<MemberId>& members) {
  return fmt::format("{}", fmt::join(members, ","));
}

std::vector<MemberId> DecodeMembers(std::string_view text) {
  std::vector<MemberId> members;
  while (!text.empty()) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    CAIRN_CHECK(error == std::errc(), std::string(text));
    members.push_back(MemberId(value));
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (!text.empty()) text.remove_prefix(1);
  }
  return members;
}

}  // namespace

std::string DescribeEntry(const Entry& entry) {
  switch (entry.kind) {
    case EntryKind::kEmpty:
      return fmt::format("{}/{}", entry.term, entry.index);
    case EntryKind::kConfiguration:
      return fmt::format("{}/{}[{}]", entry.term, entry.index, *entry.data);
    case EntryKind::kCommand:
      return fmt::format("{}/{}'{}'", entry.term, entry.index, *entry.data);
  }
  CAIRN_CHECK(false);
}

std::string DescribeMessage(const Message& message) {
  return fmt::format("{}->{} t{} {}", message.from, message.to, message.term,
                     std::visit([](const auto& body) { return DescribeBody(body); }, message.body));
}

std::string EncodeConfiguration(const Configuration& configuration) {
  std::string text = "voters=" + EncodeMembers(configuration.voters);
  if (!configuration.outgoing.empty()) {
    text += " outgoing=" + EncodeMembers(configuration.outgoing);
  }
  if (!configuration.learners.empty()) {
    text += " learners=" + EncodeMembers(configuration.learners);
  }
  if (!configuration.learners_next.empty()) {
    text += " learners_next=" + EncodeMembers(configuration.learners_next);
  }
  return text;
}

Configuration DecodeConfiguration(std::string_view text) {
  Configuration configuration;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    const size_t equals = word.find('=');
    CAIRN_CHECK(equals != std::string_view::npos, std::string(word));
    const std::string_view key = word.substr(0, equals);
    const std::vector<MemberId> members = DecodeMembers(word.substr(equals + 1));
    if (key == "voters") configuration.voters = members;
    if (key == "outgoing") configuration.outgoing = members;
    if (key == "learners") configuration.learners = members;
    if (key == "learners_next") configuration.learners_next = members;
  }
  return configuration;
}

// --- TestMember ---

TestMember::TestMember(TestCluster& cluster, CoreOptions options, Configuration initial)
    : cluster_(cluster), options_(options) {
  configurations_[Index(0)] = std::move(initial);
  Restart(options.random_seed, 0);
}

EntryId TestMember::DiskLast() const {
  if (log_.empty()) return marker_;
  return {.term = log_.back().term, .index = log_.back().index};
}

const Configuration& TestMember::ConfigurationAt(Index index) const {
  return std::prev(configurations_.upper_bound(index))->second;
}

void TestMember::Restart(uint64_t seed, size_t tail_extra) {
  CAIRN_CHECK(!is_up());
  options_.random_seed = seed;
  state_.resize(flushed_);
  configurations_.erase(configurations_.upper_bound(Index(flushed_)), configurations_.end());
  RestoredState restored;
  restored.hard_state = hard_state_;
  restored.configuration = ConfigurationAt(Index(flushed_));
  restored.applied = {flushed_ == 0 ? Term(0) : state_.back().term, Index(flushed_)};
  restored.before_first = marker_;
  restored.last = DiskLast();
  const Index commit = std::max(hard_state_.commit, Index(flushed_));
  Index first = commit + 1;
  first = first - std::min<uint64_t>(tail_extra, first - marker_.index - 1);
  for (const Entry& entry : log_) {
    if (entry.index >= first) restored.entries.push_back(entry);
  }
  restored.before_entries = first == marker_.index + 1
                                ? marker_
                                : EntryId{log_.at(first - marker_.index - 2).term, first - 1};
  apply_limit_ = Index(flushed_) + 1;
  last_ready_ = 0;
  core_ = std::make_unique<Core>(options_, std::move(restored));
  Drain();
}

void TestMember::Crash(size_t writes_kept) {
  CAIRN_CHECK(is_up());
  for (size_t i = 0; i < std::min(writes_kept, writes_.size()); ++i) WriteToDisk(writes_[i]);
  writes_.clear();
  log_reads_.clear();
  core_.reset();
}

void TestMember::Input(const std::function<void(Core&)>& input) {
  const CoreStatus before = core_->Status();
  input(*core_);
  const CoreStatus after = core_->Status();
  for (const std::string& violation :
       {CheckMember(after), CheckStep(before, after), cluster_.checker.SawMember(after)}) {
    if (!violation.empty()) cluster_.Report(fmt::format("member {}: {}", id(), violation));
  }
  CheckProgress(before, after);
}

void TestMember::CheckProgress(const CoreStatus& before, const CoreStatus& after) {
  const bool is_leader = after.role == RoleKind::kLeader;
  if (is_leader && (before.role != RoleKind::kLeader || before.term != after.term)) {
    cluster_.SawElected(after.term);
    CheckElected(after);
  }
  if (is_leader && after.confirmed_round > 0) {
    cluster_.SawRoundConfirmed(id(), after.term, after.confirmed_round);
  }
  if (after.commit > before.commit) CheckCommitted(before, after);
}

void TestMember::CheckElected(const CoreStatus& status) {
  const EntryId committed = cluster_.checker.last_committed();
  // Elected by votes that came late: a later term has committed already, so this one cannot.
  if (status.term < committed.term) return;
  const Term held = committed.index <= status.last.index
                        ? TermAt(committed.index).value_or(committed.term)
                        : committed.term;
  if (held != committed.term) {
    cluster_.Report(
        fmt::format("leader {} of term {} holds at {} an entry of term {}, but one of "
                    "term {} was committed",
                    id(), status.term, committed.index, held, committed.term));
  }
  // Any majority of neighbouring configurations shares a member; beyond that there is no promise.
  const Index in_force = configurations_.rbegin()->first;
  const auto behind = std::distance(cluster_.changes.upper_bound(in_force), cluster_.changes.end());
  if (behind > 1) {
    cluster_.Report(
        fmt::format("leader {} of term {} was elected by the configuration of entry "
                    "{}, {} changes behind",
                    id(), status.term, in_force, behind));
  }
}

void TestMember::CheckCommitted(const CoreStatus& before, const CoreStatus& after) {
  for (Index index = before.commit + 1; index <= after.commit; ++index) {
    const std::optional<Term> term = TermAt(index);
    if (!term.has_value()) continue;  // A snapshot came instead of the entries.
    const std::string violation = cluster_.checker.SawCommitted(id(), {*term, index});
    if (!violation.empty()) cluster_.Report(violation);
  }
  const bool leads_on = before.role == RoleKind::kLeader && after.role == RoleKind::kLeader &&
                        before.term == after.term;
  if (!leads_on) return;
  const EntryId committed{TermAt(after.commit).value_or(Term(0)), after.commit};
  if (committed.term != after.term) {
    cluster_.Report(fmt::format("leader {} of term {} commits {} by counting (thesis 3.6.2)", id(),
                                after.term, DescribeId(committed)));
  }
  // What a leader takes for committed survives the loss of any minority.
  const Configuration& configuration = after.configuration;
  if (!cluster_.IsDurableAtMajority(configuration.voters, committed) ||
      (!configuration.outgoing.empty() &&
       !cluster_.IsDurableAtMajority(configuration.outgoing, committed))) {
    cluster_.Report(fmt::format("leader {} of term {} commits {}, which no quorum holds durably",
                                id(), after.term, DescribeId(committed)));
  }
}

std::optional<Term> TestMember::TermAt(Index index) const {
  const std::vector<Entry> found = core_->Entries(index, index + 1, 1);
  if (!found.empty()) return found.front().term;
  if (index == marker_.index) return marker_.term;
  if (index < marker_.index || index > DiskLast().index) return std::nullopt;
  return log_.at(index - marker_.index - 1).term;
}

bool TestMember::HoldsDurably(EntryId entry) const {
  if (entry.index <= marker_.index) return true;
  return entry.index <= DiskLast().index &&
         log_.at(entry.index - marker_.index - 1).term == entry.term;
}

void TestMember::CheckPromise(const Message& message) {
  // A vote of an earlier term than the disk's can never be given to another any more.
  const auto holds_vote = [&](Term term, MemberId vote) {
    return hard_state_.term > term || (hard_state_.term == term && hard_state_.vote == vote);
  };
  std::string_view broken;
  if (hard_state_.term < message.term) broken = "names a term that is not durable";
  if (const auto* vote = std::get_if<VoteReply>(&message.body)) {
    const bool is_vote = vote->is_granted && !vote->is_pre_vote;
    if (is_vote && !holds_vote(vote->campaign_term, message.to)) {
      broken = "is a vote that is not durable";
    }
  } else if (const auto* request = std::get_if<VoteRequest>(&message.body)) {
    if (!request->is_pre_vote && !holds_vote(request->campaign_term, id())) {
      broken = "asks for votes before its own is durable";
    }
  } else if (const auto* accepted = std::get_if<AppendAccepted>(&message.body)) {
    // One of an earlier term leaves when its entries were durable, or later: another term may have
    // superseded them.
    const bool is_of_now = hard_state_.term == message.term;
    if (is_of_now && accepted->match > DiskLast().index) broken = "accepts what is not durable";
  }
  if (!broken.empty()) {
    cluster_.Report(fmt::format("message {} {}", DescribeMessage(message), broken));
  }
}

void TestMember::Send(Message message) {
  CheckPromise(message);
  if (const auto* heartbeat = std::get_if<Heartbeat>(&message.body)) {
    cluster_.SawRoundSent(id(), message.term, heartbeat->round);
  }
  cluster_.Post(std::move(message));
}

void TestMember::CheckReadState(const ReadState& read) {
  const auto asked = cluster_.reads.find(read.context);
  CAIRN_CHECK(asked != cluster_.reads.end());
  cluster_.reads_answered[read.context] = read.index;
  if (read.index < asked->second) {
    cluster_.Report(fmt::format("read {} got index {}, but {} was committed when it was asked for",
                                read.context, read.index, asked->second));
  }
}

void TestMember::Drain() {
  while (core_->HasReady()) {
    Ready ready;
    Input([&](Core& core) { ready = core.TakeReady(); });
    const std::string violation = CheckReady(ready, apply_limit_);
    if (!violation.empty()) cluster_.Report(fmt::format("member {}: {}", id(), violation));
    if (ready.number != ++last_ready_) cluster_.Report("Ready numbers skip");
    apply_limit_ = ready.committed.limit;
    for (const TraceEvent& event : ready.trace) {
      ++cluster_.traced[event.kind];
      if (cluster_.keeps_story) {
        cluster_.story.push_back(fmt::format("{} {}", id(), Describe(event)));
      }
    }
    for (const ReadState& read : ready.read_states) CheckReadState(read);
    for (const uint64_t context : ready.refused_reads) cluster_.reads_refused.insert(context);
    for (const LogRead& read : ready.log_reads) log_reads_.push_back(read);
    for (const SnapshotWanted& wanted : ready.snapshots) {
      cluster_.snapshots.emplace_back(id(), wanted);
    }
    const bool needs_log = ready.needs_log();
    for (Message& message : ready.messages_now) Send(std::move(message));
    if (needs_log) {
      writes_.push_back({ready.number, ready.hard_state, std::move(ready.entries), ready.commit,
                         std::move(ready.messages_after_append)});
    }
  }
}

void TestMember::WriteToDisk(const Write& write) {
  if (write.hard_state.has_value()) {
    hard_state_.term = write.hard_state->term;
    hard_state_.vote = write.hard_state->vote;
  }
  for (const Entry& entry : write.entries) {
    CAIRN_CHECK_GT(entry.index, marker_.index);
    CAIRN_CHECK_LE(entry.index, DiskLast().index + 1);
    log_.resize(entry.index - marker_.index - 1);
    log_.push_back(entry);
  }
  hard_state_.commit = std::max(hard_state_.commit, std::min(write.commit, DiskLast().index));
}

void TestMember::CompleteWrites(size_t count) {
  uint64_t number = 0;
  if (is_disk_stalled_) return;
  for (; count > 0 && !writes_.empty(); --count) {
    Write write = std::move(writes_.front());
    writes_.pop_front();
    WriteToDisk(write);
    number = write.number;
    for (Message& message : write.after) Send(std::move(message));
  }
  if (number > 0) Input([&](Core& core) { core.LogDurable(number); });
}

void TestMember::Apply(size_t count) {
  Index applied = core_->applied();
  for (; count > 0 && applied + 1 < apply_limit_; --count) {
    const Index index = applied + 1;
    // From memory, else from the disk, as a real applier would.
    std::vector<Entry> found = core_->Entries(index, index + 1, 1);
    if (found.empty()) {
      CAIRN_CHECK_GT(index, marker_.index);
      found.push_back(log_.at(index - marker_.index - 1));
    }
    const Entry& entry = found.front();
    CAIRN_CHECK_EQ(entry.index, index);
    CAIRN_CHECK(index <= DiskLast().index, "applied before it was durable");
    const std::string violation = cluster_.checker.SawApplied(id(), entry);
    if (!violation.empty()) cluster_.Report(violation);
    state_.push_back(entry);
    applied = index;
    if (entry.kind == EntryKind::kConfiguration) {
      configurations_[index] = DecodeConfiguration(*entry.data);
      cluster_.changes.insert(index);
      Input([&](Core& core) { core.ConfigurationApplied(configurations_[index], index); });
    }
    Input([&](Core& core) { core.Applied(index); });
  }
}

void TestMember::AnswerLogRead(bool fails) {
  if (log_reads_.empty()) return;
  const LogRead read = log_reads_.front();
  log_reads_.pop_front();
  LogReadAnswer answer{.peer = read.peer, .term = read.term, .from = read.from};
  answer.is_removed = read.from <= marker_.index;
  if (!answer.is_removed && !fails) {
    answer.term_before =
        read.from - 1 == marker_.index ? marker_.term : log_.at(read.from - marker_.index - 2).term;
    size_t bytes = 0;
    for (Index index = read.from; index < read.limit && index <= DiskLast().index; ++index) {
      const Entry& entry = log_.at(index - marker_.index - 1);
      bytes += entry.data_bytes();
      if (bytes > read.max_bytes && !answer.entries.empty()) break;
      answer.entries.push_back(entry);
    }
  }
  Input([&](Core& core) { core.EntriesRead(std::move(answer)); });
}

void TestMember::Compact(Index index) {
  index = std::min(index, Index(flushed_));
  if (index <= marker_.index) return;
  log_.erase(log_.begin(), log_.begin() + static_cast<std::ptrdiff_t>(index - marker_.index));
  marker_ = {.term = state_.at(index.value() - 1).term, .index = index};
}

void TestMember::InstallFrom(const TestMember& from) {
  const EntryId snapshot{.term = from.state_.at(from.flushed_ - 1).term, .index = from.flushed()};
  bool is_wanted = false;
  Input([&](Core& core) { is_wanted = core.BeginInstall(snapshot); });
  if (!is_wanted) return;
  Drain();
  CompleteWrites(writes_.size());
  state_.assign(from.state_.begin(),
                from.state_.begin() + static_cast<std::ptrdiff_t>(from.flushed_));
  flushed_ = from.flushed_;
  configurations_ = from.configurations_;
  configurations_.erase(configurations_.upper_bound(snapshot.index), configurations_.end());
  marker_ = snapshot;
  log_.clear();
  hard_state_.commit = snapshot.index;
  apply_limit_ = snapshot.index + 1;
  Input([&](Core& core) { core.FinishInstall(snapshot, ConfigurationAt(snapshot.index)); });
}

// --- TestCluster ---

TestCluster::TestCluster(Options options, const Configuration& initial)
    : options_(std::move(options)) {
  for (const auto* list : {&initial.voters, &initial.outgoing, &initial.learners}) {
    for (const MemberId id : *list) {
      if (!has(id)) AddMember(id, initial);
    }
  }
}

void TestCluster::AddMember(MemberId id, const Configuration& initial) {
  CoreOptions options = options_.core;
  options.id = id;
  options.random_seed = options_.seed * 1000 + id.value();
  members_[id] = std::make_unique<TestMember>(*this, options, initial);
}

std::vector<MemberId> TestCluster::ids() const {
  std::vector<MemberId> all;
  for (const auto& [id, member] : members_) all.push_back(id);
  return all;
}

void TestCluster::Post(Message message) {
  if (IsBlocked(message.from, message.to)) return;
  network_.push_back(std::move(message));
}

std::string TestCluster::Deliver(size_t position, bool keeps_copy) {
  const Message message = network_.at(position);
  if (!keeps_copy) {
    network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(position));
  }
  if (!options_.cut_spares_under_way && IsBlocked(message.from, message.to)) return {};
  std::string text = keeps_story ? DescribeMessage(message) : std::string();
  if (keeps_story) story.push_back(text);
  const auto to = members_.find(message.to);
  if (to == members_.end() || !to->second->is_up()) return text;
  to->second->Input([&](Core& core) { core.Step(message); });
  return text;
}

size_t TestCluster::Stabilize(size_t deliveries_max) {
  size_t deliveries = 0;
  for (bool is_busy = true; is_busy && deliveries < deliveries_max;) {
    is_busy = false;
    for (auto& [id, member] : members_) {
      if (!member->is_up()) continue;
      member->Drain();
      const bool writes = member->pending_writes() > 0 && !member->is_disk_stalled();
      if (writes || member->pending_reads() > 0 || !member->all_applied()) is_busy = true;
      member->CompleteWrites(std::numeric_limits<size_t>::max());
      member->Apply(std::numeric_limits<size_t>::max());
      member->AnswerLogRead(false);
      member->Drain();
    }
    while (!snapshots.empty()) {
      HandleSnapshot(false);
      is_busy = true;
    }
    // Only what is there now: answers come in the next turn.
    for (size_t count = network_.size(); count > 0; --count) {
      Deliver(0);
      ++deliveries;
      is_busy = true;
    }
  }
  return deliveries;
}

void TestCluster::Elect(MemberId id) {
  TestMember& candidate = member(id);
  const Term before = candidate.core().term();
  for (int tick = 0; tick < 1000; ++tick) {
    const CoreStatus status = candidate.core().Status();
    if (status.role != RoleKind::kFollower || status.term != before) break;
    candidate.Input([](Core& core) { core.Tick(); });
  }
  Stabilize();
}

MemberId TestCluster::leader() const {
  MemberId found;
  Term term;
  for (const auto& [id, member] : members_) {
    if (!member->is_up() || !member->core().is_leader()) continue;
    if (member->core().term() > term) {
      term = member->core().term();
      found = id;
    }
  }
  return found;
}

void TestCluster::Read(MemberId id, uint64_t context) {
  reads[context] = checker.committed();
  member(id).Input([&](Core& core) { core.ReadIndex(context); });
}

void TestCluster::HandleSnapshot(bool fails) {
  if (snapshots.empty()) return;
  const auto [from, wanted] = snapshots.front();
  snapshots.pop_front();
  TestMember& sender = member(from);
  if (!sender.is_up() || sender.core().term() != wanted.term) return;
  const auto to = members_.find(wanted.peer);
  const bool arrives = !fails && to != members_.end() && to->second->is_up() &&
                       !to->second->is_disk_stalled() && !IsBlocked(from, wanted.peer) &&
                       sender.flushed() >= wanted.index;
  if (arrives) to->second->InstallFrom(sender);
  sender.Input([&, peer = wanted.peer](Core& core) {
    core.SnapshotStatus(peer, sender.flushed(), arrives);
  });
}

bool TestCluster::IsDurableAtMajority(const std::vector<MemberId>& voters, EntryId entry) const {
  size_t holders = 0;
  for (const MemberId id : voters) {
    const auto found = members_.find(id);
    if (found != members_.end() && found->second->HoldsDurably(entry)) ++holders;
  }
  return 2 * holders > voters.size();
}

void TestCluster::SawElected(Term term) { elected_at_.try_emplace(term, ++events_); }

void TestCluster::SawRoundSent(MemberId leader, Term term, uint64_t round) {
  rounds_sent_at_[{leader, term}].try_emplace(round, ++events_);
}

void TestCluster::SawRoundConfirmed(MemberId leader, Term term, uint64_t round) {
  auto& sent = rounds_sent_at_[{leader, term}];
  const auto found = sent.find(round);
  if (found == sent.end()) return;  // Checked before, or nobody had to be asked.
  for (auto later = elected_at_.upper_bound(term); later != elected_at_.end(); ++later) {
    if (later->second < found->second) {
      Report(
          fmt::format("leader {} of term {} is confirmed by round {}, sent after the election "
                      "of term {}",
                      leader, term, round, later->first));
    }
  }
  sent.erase(sent.begin(), std::next(found));
}

void TestCluster::Report(const std::string& violation) {
  if (violation_.empty()) violation_ = violation;
}

}  // namespace cairn::raft
