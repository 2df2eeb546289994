#include "test/sim/member.h"

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "base/check.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::sim {
namespace {

// Small enough that a run fills many.
constexpr uint64_t kSegmentBytes = 8192;

void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

}  // namespace

Member::Member(server::Config config, server::NodeCoreOptions options, Observer observer,
               uint64_t seed)
    : config_(std::move(config)), options_(options), observer_(std::move(observer)) {
  Restart(seed);
}

void Member::Restart(uint64_t seed) {
  CAIRN_CHECK(!is_up());
  absl::StatusOr<server::Bootstrapped> opened = server::Bootstrap(
      {fs_, "/data/wal", {.segment_bytes = kSegmentBytes}, [this] { return disk_.Open(); }},
      config_);
  CheckOk(opened.status());
  foundation_ = *std::move(opened);
  id_ = foundation_.identity.member;
  flushed_ = foundation_.store->applied().index;
  options_.raft.id = id_;
  // Not the member's own nonce, which is no child of the seed.
  options_.raft.random_seed = seed;
  options_.start_nonce = static_cast<uint32_t>(seed);
  node_ = std::make_unique<server::NodeCore>(options_, std::move(foundation_.raft));
  Drain();
}

void Member::Crash(uint64_t seed, size_t written, bool is_power_cut) {
  CAIRN_CHECK(is_up());
  for (size_t i = 0; i < std::min(written, writes_.size()); ++i) Write(writes_[i]);
  node_.reset();
  writes_.clear();
  ranges_.clear();
  log_reads_.clear();
  disk_.Crash(seed % (disk_.unflushed_batches() + 1));
  fs_.PowerOff();
  foundation_ = {};
  if (is_power_cut) {
    fs_.Crash(seed);
  } else {
    fs_.Restart();
  }
}

void Member::Drain() {
  for (server::Work work = node_->TakeWork(); !work.empty(); work = node_->TakeWork()) {
    for (const raft::SnapshotWanted& wanted : work.snapshots) {
      // A leader that does not know yet how far the peer is. Segments are kept for the slowest, so
      // the peer would refuse the snapshot: it holds that much.
      const Index flushed = observer_.flushed(wanted.peer);
      CAIRN_CHECK_GE(flushed, foundation_.wal->before_first().index);
      node_->SnapshotStatus(wanted.peer, flushed, true);
    }
    for (raft::Message& message : work.messages) observer_.send(std::move(message));
    std::move(work.log.begin(), work.log.end(), std::back_inserter(writes_));
    std::move(work.apply.begin(), work.apply.end(), std::back_inserter(ranges_));
    std::move(work.log_reads.begin(), work.log_reads.end(), std::back_inserter(log_reads_));
    for (const server::WaiterId read : work.reads_ready) observer_.read_ready(read);
    for (const server::WaiterId read : work.reads_refused) observer_.gave_up(read);
    for (const server::RefusedProposal& refused : work.refused) observer_.gave_up(refused.id);
    for (const raft::TraceEvent& event : work.trace) observer_.traced(event);
  }
}

void Member::Write(const server::LogWrite& write) {
  const wal::Append append{
      .hard_state = write.hard_state, .entries = write.entries, .commit = write.commit};
  CheckOk(foundation_.wal->Write({&append, 1}));
}

void Member::WriteLog(size_t count) {
  count = std::min(count, writes_.size());
  if (count == 0) return;
  for (size_t i = 0; i < count; ++i) Write(writes_[i]);
  CheckOk(foundation_.wal->Sync());
  const uint64_t number = writes_[count - 1].number;
  writes_.erase(writes_.begin(), writes_.begin() + static_cast<std::ptrdiff_t>(count));
  node_->LogDurable(number);
}

std::vector<raft::Entry> Member::NextEntries(size_t count) {
  server::ApplyRange& range = ranges_.front();
  if (range.entries.empty()) {
    auto read = foundation_.wal->ReadEntries(range.range.first, range.range.limit, 1000);
    CheckOk(read.status());
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

void Member::Apply(size_t count) {
  if (ranges_.empty()) return;
  const std::vector<raft::Entry> entries = NextEntries(count);
  absl::StatusOr<server::Applier::Result> result = foundation_.applier->Apply(entries);
  CheckOk(result.status());
  for (const raft::Entry& entry : entries) observer_.applied(entry);
  if (result->configuration.has_value()) {
    node_->ConfigurationApplied(std::move(result->configuration->first),
                                result->configuration->second);
  }
  node_->Applied(entries.back().index);
}

void Member::AnswerLogRead(bool fails) {
  if (log_reads_.empty()) return;
  const raft::LogRead read = log_reads_.front();
  log_reads_.pop_front();
  raft::LogReadAnswer answer{.peer = read.peer, .term = read.term, .from = read.from};
  const absl::StatusOr<Term> before = foundation_.wal->TermAt(read.from - 1);
  answer.is_removed = absl::IsOutOfRange(before.status());
  if (before.ok() && !fails) {
    answer.term_before = *before;
    auto entries = foundation_.wal->ReadEntries(read.from, read.limit, read.max_bytes);
    // What was durable when it was asked for may be superseded since; the answer is stale then.
    if (entries.ok()) answer.entries = *std::move(entries);
  }
  node_->EntriesRead(std::move(answer));
}

void Member::FlushAndTrim(Index needed) {
  const absl::StatusOr<mvcc::EntryApplied> durable = foundation_.store->Flush();
  CheckOk(durable.status());
  flushed_ = durable->index;
  // The entry may be in a write that still waits; what is applied is durable, so it is not.
  if (durable->index == Index(0)) return;
  const wal::Append append{.marker = wal::Marker{{durable->term, durable->index}},
                           .commit = durable->index};
  CheckOk(foundation_.wal->Write({&append, 1}));
  CheckOk(foundation_.wal->Sync());
  CheckOk(foundation_.wal->CollectCovered(std::min(needed, durable->index)).status());
}

}  // namespace cairn::sim
