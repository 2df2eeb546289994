#include "test/sim/member.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/status.h"

namespace cairn::sim {
namespace {

// Turns that one input may lead to, when leases have ever more to say.
constexpr int kTurnsMax = 10;
// Entries that one read of the log gives the applier.
constexpr size_t kApplyReadBytes = 1000;

}  // namespace

Member::Member(World& world, size_t position, server::Config config, const Temper& temper,
               server::AskMembers ask)
    : world_(world),
      position_(position),
      config_(std::move(config)),
      temper_(temper),
      ask_(std::move(ask)) {}

Member::~Member() { TakeDown(); }

absl::Status Member::Start(uint64_t seed) {
  CAIRN_CHECK(!is_up());
  server::Foundation foundation = disk_.foundation();
  foundation.wal_options.segment_bytes = temper_.segment_bytes;
  foundation.ask_members = ask_;
  // Of one size in every encoding, and never used twice.
  foundation.start_nonce = (uint64_t{1} << 62) | (seed >> 8);
  absl::StatusOr<server::Bootstrapped> opened = server::Bootstrap(foundation, config_);
  CAIRN_RETURN_IF_ERROR(opened.status());
  flip_.reset();
  foundation_ = *std::move(opened);
  states_ = disk_.states();
  ++incarnation_;
  id_ = foundation_.identity.member;
  synced_ = foundation_.raft.hard_state;
  synced_last_ = foundation_.wal->last().index;
  unsynced_from_ = kNothing;
  flushed_ = foundation_.store->applied().index;
  marked_ =
      foundation_.recovered.marker.has_value() ? foundation_.recovered.marker->id.index : Index(0);
  if (foundation_.recovered.snapshot_installed.has_value()) {
    marked_ = std::max(marked_, foundation_.recovered.snapshot_installed->id.index);
  }

  server::LeaseManagerOptions leases;
  leases.lessor = {.election_timeout_ms = temper_.election_timeout() / kMillisecond,
                   .checkpoint_interval_ms = temper_.checkpoint_interval_ms};
  leases.now_ms = [this] { return world_.NowMs(position_); };
  leases.renew_on_leader = [this](LeaseId id, World::RenewDone done) {
    const MemberId leader = node_->raft().leader();
    if (leader == MemberId(0) || leader == id_) return false;
    return world_.AskToRenew(*this, leader, id, std::move(done));
  };
  leases.read_barrier = [this](server::LeaseManagerOptions::BarrierDone done) {
    const server::WaiterId id = kBarrier | ++barriers_made_;
    barriers_.emplace(id, std::move(done));
    node_->Read(id);
  };
  leases_ = std::make_unique<server::LeaseManager>(std::move(leases));
  server::NodeCoreOptions options = temper_.node;
  options.raft.id = id_;
  options.raft.random_seed = seed;
  options.start_nonce = static_cast<uint32_t>(seed);
  node_ = std::make_unique<server::NodeCore>(options, std::move(foundation_.raft));
  leases_->Applied(node_->raft().applied(), applier().leases().All());
  lease_driver_ = std::make_unique<server::LeaseDriver>(
      *leases_, *node_, id_, foundation_.start_nonce, options.raft.election_timeout_ticks);
  membership_driver_ =
      std::make_unique<server::MembershipDriver>(*node_, temper_.promotes_learners);
  hub_ = std::make_unique<watch::Hub>(watch::HubOptions{.retained_bytes_max = 4000,
                                                        .batch_bytes = 300,
                                                        .response_bytes = 300,
                                                        .step_revisions = 7,
                                                        .progress_interval_ms = 700},
                                      Revision(0), world_.NowMs(position_));
  feed_ = std::make_unique<server::WatchFeed>(foundation_.store->published().revision);
  foundation_.applier->SetChangeSink(this);
  Turn(/*has_ticked=*/false);
  return absl::OkStatus();
}

void Member::TakeDown() {
  history_.reset();
  is_feed_enabled_ = false;
  feed_.reset();
  hub_.reset();
  membership_driver_.reset();
  lease_driver_.reset();
  node_.reset();
  leases_.reset();
  barriers_.clear();
  writes_.clear();
  in_flight_ = 0;
  can_collect_ = false;
  ranges_.clear();
  log_reads_.clear();
  states_.reset();
  foundation_ = {};
}

void Member::RememberDisk() {
  disk_terms_.clear();
  disk_before_first_ = log().before_first();
  const Index end = std::min(synced_last_ + 1, unsynced_from_);
  for (Index index = disk_before_first_.index + 1; index < end; ++index) {
    const absl::StatusOr<Term> term = log().TermAt(index);
    if (!term.ok()) break;
    disk_terms_.push_back(*term);
  }
}

void Member::Crash(const CrashPlan& plan) {
  if (is_up()) RememberDisk();
  const std::vector<wal::FaultFs::SectorPlace> unsynced =
      plan.flips_bit ? disk_.fs().UnsyncedSectors() : std::vector<wal::FaultFs::SectorPlace>();
  disk_.Crash(plan.seed, plan.is_power_cut, [this] {
    disk_.fs().PowerOff();
    TakeDown();
  });
  if (plan.is_power_cut && !unsynced.empty()) FlipBit(plan.seed, unsynced);
}

void Member::FlipBit(uint64_t seed, const std::vector<wal::FaultFs::SectorPlace>& unsynced) {
  constexpr uint64_t kSectorBytes = 512;
  const wal::FaultFs::SectorPlace& place = unsynced[seed % unsynced.size()];
  const uint64_t offset = place.offset_bytes + (seed >> 16) % kSectorBytes;
  const bool is_log = place.path.starts_with("/data/wal/");
  if (!is_log || disk_.fs().Content(place.path).size() <= offset) return;
  flip_ = {place.path, offset, static_cast<int>((seed >> 32) % 8)};
  disk_.fs().FlipBit(flip_->path, flip_->offset_bytes, flip_->bit);
}

bool Member::TakeBackFlip() {
  if (!flip_.has_value()) return false;
  disk_.fs().FlipBit(flip_->path, flip_->offset_bytes, flip_->bit);
  flip_.reset();
  return true;
}

bool Member::HoldsDurably(raft::EntryId entry) const {
  const raft::EntryId before = is_up() ? log().before_first() : disk_before_first_;
  if (entry.index <= before.index) return true;
  if (!is_up()) {
    const uint64_t place = entry.index - before.index - 1;
    return place < disk_terms_.size() && disk_terms_[place] == entry.term;
  }
  if (entry.index > synced_last_ || entry.index >= unsynced_from_) return false;
  const absl::StatusOr<Term> term = log().TermAt(entry.index);
  return term.ok() && *term == entry.term;
}

// --- The node's turn ---

void Member::Turn(bool has_ticked) {
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    lease_driver_->Run(has_ticked);
    if (has_ticked) membership_driver_->Tick(membership().members);
    has_ticked = false;
    Do(node_->TakeWork());
    leases_->Follow(node_->raft().leader());
    if (!lease_driver_->has_more()) return;
  }
}

void Member::Do(server::Work work) {
  for (server::LogWrite& write : work.log) {
    writes_.push_back({{.hard_state = write.hard_state,
                        .entries = std::move(write.entries),
                        .commit = write.commit},
                       write.number});
  }
  std::move(work.apply.begin(), work.apply.end(), std::back_inserter(ranges_));
  std::move(work.log_reads.begin(), work.log_reads.end(), std::back_inserter(log_reads_));
  for (raft::Message& message : work.messages) {
    CheckPromise(message);
    world_.Send(*this, std::move(message));
  }
  for (const raft::SnapshotWanted& wanted : work.snapshots) world_.SendSnapshot(*this, wanted);
  for (const server::WaiterId read : work.reads_ready) FinishRead(read, /*is_ready=*/true);
  for (const server::WaiterId read : work.reads_refused) FinishRead(read, /*is_ready=*/false);
  for (const server::RefusedProposal& refused : work.refused) {
    world_.SawGivenUp(*this, refused.id);
  }
  for (const raft::TraceEvent& event : work.trace) world_.SawTrace(*this, event);
}

void Member::FinishRead(server::WaiterId id, bool is_ready) {
  if ((id & kBarrier) == 0) {
    return is_ready ? world_.SawReadReady(*this, id) : world_.SawGivenUp(*this, id);
  }
  const auto barrier = barriers_.extract(id);
  if (barrier.empty()) return;
  barrier.mapped()(is_ready ? absl::OkStatus() : absl::UnavailableError("leader changed"));
}

// What leaves for the network must be true of the disk at that moment (thesis figure 3.1).
void Member::CheckPromise(const raft::Message& message) {
  // A vote of an earlier term than the disk's can never be given to another any more.
  const auto holds_vote = [&](Term term, MemberId vote) {
    return synced_.term > term || (synced_.term == term && synced_.vote == vote);
  };
  std::string_view broken;
  if (synced_.term < message.term) broken = "names a term that is not durable";
  if (const auto* reply = std::get_if<raft::VoteReply>(&message.body)) {
    const bool is_vote = reply->is_granted && !reply->is_pre_vote;
    if (is_vote && !holds_vote(reply->campaign_term, message.to)) {
      broken = "is a vote that is not durable";
    }
  } else if (const auto* request = std::get_if<raft::VoteRequest>(&message.body)) {
    if (!request->is_pre_vote && !holds_vote(request->campaign_term, id_)) {
      broken = "asks for votes before its own is durable";
    }
  } else if (const auto* accepted = std::get_if<raft::AppendAccepted>(&message.body)) {
    // Of an earlier term: it was so, before one sync made it durable together with what superseded
    // it. The vote of that later term came after it, too.
    const bool is_over = message.term < synced_.term;
    if (!is_over && accepted->match > std::max(synced_last_, log().before_first().index)) {
      broken = "accepts what is not durable";
    }
  }
  if (!broken.empty()) world_.Violated(*this, fmt::format("a message {}", broken));
}

// --- The log ---

absl::Status Member::BeginLog() {
  CAIRN_CHECK(can_begin_log());
  std::vector<wal::Append> batch;
  for (const Pending& pending : writes_) {
    batch.push_back(pending.append);
    ++in_flight_;
    if (!pending.append.entries.empty()) {
      unsynced_from_ = std::min(unsynced_from_, pending.append.entries.front().index);
    }
  }
  return foundation_.wal->Write(batch);
}

absl::Status Member::FinishLog() {
  CAIRN_CHECK_GT(in_flight_, 0u);
  CAIRN_RETURN_IF_ERROR(foundation_.wal->Sync());
  uint64_t number = 0;
  for (; in_flight_ > 0; --in_flight_) {
    const Pending& pending = writes_.front();
    if (pending.append.hard_state.has_value()) synced_ = *pending.append.hard_state;
    if (pending.append.marker.has_value()) {
      marked_ = std::max(marked_, pending.append.marker->id.index);
      can_collect_ = true;
    }
    number = std::max(number, pending.number);
    writes_.pop_front();
  }
  synced_last_ = log().last().index;
  unsynced_from_ = kNothing;
  if (temper_.makes_spares && !log().has_spare()) {
    // A full disk shows when the segment is full, too.
    foundation_.wal->MakeSpare([] { return true; }).IgnoreError();
  }
  if (number > 0) node_->LogDurable(number);
  Turn(/*has_ticked=*/false);
  return absl::OkStatus();
}

absl::Status Member::SyncLog() {
  if (in_flight_ > 0) CAIRN_RETURN_IF_ERROR(FinishLog());
  while (can_begin_log()) {
    CAIRN_RETURN_IF_ERROR(BeginLog());
    CAIRN_RETURN_IF_ERROR(FinishLog());
  }
  return absl::OkStatus();
}

void Member::AnswerLogRead(bool fails) {
  const raft::LogRead read = log_reads_.front();
  log_reads_.pop_front();
  raft::LogReadAnswer answer{.peer = read.peer, .term = read.term, .from = read.from};
  const absl::StatusOr<Term> before = log().TermAt(read.from - 1);
  absl::StatusOr<std::vector<raft::Entry>> entries;  // Not OK.
  if (before.ok()) {
    entries = log().ReadEntries(read.from, read.limit, read.max_bytes);
  } else {
    entries = before.status();
  }
  if (entries.ok() && !fails) {
    answer.term_before = *before;
    answer.entries = *std::move(entries);
  } else if (absl::IsOutOfRange(entries.status())) {
    answer.is_removed = true;
  }
  node_->EntriesRead(std::move(answer));
  Turn(/*has_ticked=*/false);
}

absl::Status Member::FlushAndMark() {
  CAIRN_ASSIGN_OR_RETURN(const mvcc::EntryApplied durable, foundation_.store->Flush());
  flushed_ = durable.index;
  if (durable.index == Index(0)) return absl::OkStatus();
  writes_.push_back(
      {{.marker = wal::Marker{{durable.term, durable.index}}, .commit = durable.index}, 0});
  return absl::OkStatus();
}

absl::StatusOr<size_t> Member::Collect(Index pinned_from) {
  can_collect_ = false;
  const wal::Pins pins{.tail = temper_.tail, .pins = {{wal::PinKind::kSnapshot, 0, pinned_from}}};
  CAIRN_ASSIGN_OR_RETURN(const size_t removed, foundation_.wal->CollectCovered(flushed_, pins));
  const Index gone = log().before_first().index;
  if (gone > marked_ || gone > flushed_) {
    world_.Violated(*this, fmt::format("the log has lost entries through {}; it is marked through "
                                       "{}, the state is durable through {}",
                                       gone, marked_, flushed_));
  }
  return removed;
}

// --- The state ---

std::vector<raft::Entry> Member::NextEntries(size_t count) {
  server::ApplyRange& range = ranges_.front();
  if (range.entries.empty()) {
    auto read = log().ReadEntries(range.range.first, range.range.limit, kApplyReadBytes);
    CAIRN_CHECK(read.ok(), read.status().ToString());
    range.entries = *std::move(read);
  }
  const auto end =
      range.entries.begin() + static_cast<std::ptrdiff_t>(std::min(count, range.entries.size()));
  std::vector<raft::Entry> entries(range.entries.begin(), end);
  range.entries.erase(range.entries.begin(), end);
  range.range.first = entries.back().index + 1;
  if (range.range.empty()) ranges_.pop_front();
  return entries;
}

absl::Status Member::Apply(size_t count) {
  const std::vector<raft::Entry> entries = NextEntries(count);
  for (std::span<const raft::Entry> left(entries); !left.empty();) {
    CAIRN_ASSIGN_OR_RETURN(server::Applier::Result result, foundation_.applier->Apply(left));
    const std::span<const raft::Entry> batch = left.first(result.entries);
    left = left.subspan(result.entries);
    // First, so that who hears through the leases of an end finds it known.
    world_.SawApplied(*this, batch, result);
    leases_->Applied(batch.back().index, result.leases);
    TellApplied(batch.back().index, result);
  }
  Turn(/*has_ticked=*/false);
  return absl::OkStatus();
}

void Member::TellApplied(Index applied, server::Applier::Result& result) {
  is_removed_ = is_removed_ || result.self_removed;
  if (result.configuration.has_value()) {
    node_->ConfigurationApplied(std::move(result.configuration->first),
                                result.configuration->second);
  }
  node_->Applied(applied);
}

absl::StatusOr<bool> Member::RemoveSome(int rows_max) {
  CAIRN_ASSIGN_OR_RETURN(const mvcc::RemovalStep step,
                         foundation_.store->FindRemovalStep(rows_max));
  if (step.empty()) return false;
  return foundation_.applier->ApplyRemoval(step);
}

void Member::OnCommitted(std::span<const mvcc::Change> changes, Revision revision) {
  world_.SawChanges(*this, changes);
  has_changed_ = true;
  feed_->OnCommitted(changes, revision);
}

void Member::OnReplaced(Revision revision) {
  has_changed_ = true;
  feed_->OnReplaced(revision);
}

}  // namespace cairn::sim
