#include "cmd/cairnutl/opened_state.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cmd/cairnutl/layered_backend.h"
#include "cmd/cairnutl/log_look.h"
#include "mvcc/rocks_backend.h"
#include "server/applier.h"
#include "server/bootstrap.h"
#include "server/installed_at.h"
#include "server/snapshot/inspect.h"
#include "wal/inspector.h"
#include "wal/posix_fs.h"

namespace cairn::cairnutl {

namespace {

// A tool reads once: little is worth keeping.
constexpr int64_t kMemoryBytes = int64_t{64} << 20;
// What is applied as one batch in a replay.
constexpr size_t kReplayEntriesMax = 1000;
constexpr size_t kReplayBytesMax = size_t{4} << 20;

// Nothing when there is no such row, as in a state of which nothing was ever flushed.
absl::StatusOr<std::optional<mvcc::FormatRow>> ReadFormatRow(const mvcc::Backend& backend) {
  mvcc::FormatRow format;
  bool is_readable = false;
  CAIRN_ASSIGN_OR_RETURN(
      const bool is_there,
      backend.Get(mvcc::Family::kMeta, mvcc::kFormatKey,
                  [&](std::string_view row) { is_readable = mvcc::DecodeFormatRow(row, format); }));
  if (!is_there) return std::optional<mvcc::FormatRow>();
  if (is_readable) return format;
  return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is unreadable",
                     mvcc::kFormatKey);
}

// Whether `log` and a state of `format` that is applied through `applied` are of one member and one
// history.
absl::Status CheckFits(const wal::LogReport& log, const mvcc::FormatRow& format,
                       mvcc::EntryApplied applied) {
  if (!log.is_readable()) {
    return base::Error(absl::StatusCode::kDataLoss, "the log cannot be replayed: {}",
                       log.verdict.message);
  }
  if (log.identity.cluster != format.cluster || log.identity.member != format.member) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "the log is of member {:x} of cluster {:x}, the state of member {:x} of "
                       "cluster {:x}; name --wal-dir of the same member",
                       log.identity.member, log.identity.cluster, format.member, format.cluster);
  }
  CAIRN_RETURN_IF_ERROR(server::CheckLogMeetsState(log.state.before_first(), log.last, applied));
  if (!log.state.Knows(applied.index) || applied.index == Index(0)) return absl::OkStatus();
  const Term term = log.state.TermAt(applied.index);
  if (term == applied.term) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "the state has applied index {} at term {}, but the log has term {} there",
                     applied.index, applied.term, term);
}

// Applies what a start would: what is known to be committed, and, where this member is the sole
// voter, everything, because what its own log holds is committed.
class Replayer {
 public:
  Replayer(server::Applier& applier, MemberId self, Index committed)
      : applier_(applier), self_(self), committed_(committed) {}

  // False when nothing more is to be applied.
  bool Take(const raft::Entry& entry) {
    if (entry.index > committed_ && !is_sole_voter_) {
      if (!Apply() || !IsSoleVoter()) return false;
      is_sole_voter_ = true;
    }
    // It may change who votes.
    if (entry.kind == raft::EntryKind::kConfiguration) is_sole_voter_ = false;
    entries_.push_back(entry);
    bytes_ += entry.data_bytes();
    return (entries_.size() < kReplayEntriesMax && bytes_ < kReplayBytesMax) || Apply();
  }

  absl::Status Finish() {
    Apply();
    return status_;
  }

 private:
  bool IsSoleVoter() const {
    const raft::Configuration& configuration = applier_.membership().configuration;
    return configuration.voters == std::vector{self_} && configuration.outgoing.empty();
  }

  bool Apply() {
    if (status_.ok() && !entries_.empty()) status_ = applier_.Apply(entries_).status();
    entries_.clear();
    bytes_ = 0;
    return status_.ok();
  }

  server::Applier& applier_;
  const MemberId self_;
  const Index committed_;
  bool is_sole_voter_ = false;  // As of the entries taken so far.
  std::vector<raft::Entry> entries_;
  size_t bytes_ = 0;
  absl::Status status_;
};

}  // namespace

bool IsSnapshotFile(const WhereToLook& where) {
  std::error_code error;
  return std::filesystem::is_regular_file(where.directory, error);
}

absl::StatusOr<std::unique_ptr<mvcc::Backend>> OpenRows(const std::string& state_path) {
  return mvcc::OpenRocksBackendForReading(
      {.directory = state_path, .memory_limit_bytes = kMemoryBytes});
}

absl::StatusOr<mvcc::StateRow> ReadStateRow(const mvcc::Backend& backend) {
  mvcc::StateRow state;
  bool is_readable = false;
  CAIRN_RETURN_IF_ERROR(
      backend
          .Get(mvcc::Family::kMeta, mvcc::kStateKey,
               [&](std::string_view row) { is_readable = mvcc::DecodeStateRow(row, state); })
          .status());
  if (is_readable) return state;
  return base::Error(absl::StatusCode::kDataLoss, "state: the row {} is missing or unreadable",
                     mvcc::kStateKey);
}

absl::StatusOr<OpenedState> OpenedState::Open(const StateOptions& options, const Tool& tool) {
  if (IsSnapshotFile(options.where)) {
    const std::string& path = options.where.directory;
    CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> rows,
                           server::OpenSnapshotRows(wal::PosixFs(), path));
    return Adopt(path, std::move(rows));
  }
  OpenedState state;
  state.name_ = options.where.directory;
  CAIRN_ASSIGN_OR_RETURN(state.located_, Locate(options.where, tool));
  CAIRN_ASSIGN_OR_RETURN(const std::string path, StateOf(state.located_, options.where));
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend, OpenRows(path));
  if (options.replay) backend = std::make_unique<LayeredBackend>(std::move(backend));
  std::optional<wal::LogReport> log;
  if (const std::string& log_path = state.located_.wal_path; !log_path.empty()) {
    CAIRN_ASSIGN_OR_RETURN(log, InspectPatiently(log_path, state.located_.is_running));
  } else if (options.replay) {
    CAIRN_RETURN_IF_ERROR(WalOf(state.located_, options.where).status());
  }
  CAIRN_RETURN_IF_ERROR(state.OpenStore(std::move(backend), log, options));
  CAIRN_RETURN_IF_ERROR(state.MeetLog(log, options, tool));
  return state;
}

absl::StatusOr<OpenedState> OpenedState::Adopt(std::string name,
                                               std::unique_ptr<mvcc::Backend> backend) {
  OpenedState state;
  state.name_ = std::move(name);
  CAIRN_RETURN_IF_ERROR(state.OpenStore(std::move(backend), std::nullopt, {}));
  return state;
}

absl::Status OpenedState::OpenStore(std::unique_ptr<mvcc::Backend> backend,
                                    const std::optional<wal::LogReport>& log,
                                    const StateOptions& options) {
  CAIRN_ASSIGN_OR_RETURN(const std::optional<mvcc::FormatRow> format, ReadFormatRow(*backend));
  if (format.has_value()) {
    format_ = *format;
  } else if (options.replay && log->is_readable()) {
    format_.cluster = log->identity.cluster;
    format_.member = log->identity.member;
  } else {
    return base::Error(
        absl::StatusCode::kNotFound,
        "the state in {} is empty: nothing was flushed into it yet; what was written "
        "is in the log (--replay)",
        name_);
  }
  backend_ = backend.get();
  CAIRN_ASSIGN_OR_RETURN(
      store_,
      mvcc::Store::Open(std::move(backend), {.identity = {format_.cluster, format_.member}}));
  return absl::OkStatus();
}

absl::Status OpenedState::MeetLog(const std::optional<wal::LogReport>& log,
                                  const StateOptions& options, const Tool& tool) {
  if (!log.has_value()) return absl::OkStatus();
  const Index last = std::min(log->state.commit(), log->last.index);
  if (options.replay) return Replay(*log, last);
  const mvcc::EntryApplied applied = store_->applied();
  if (!log->is_readable()) {
    tool.note(fmt::format("Note: the log does not check out: {}", log->verdict.message));
  } else if (last > applied.index) {
    tool.note(fmt::format(
        "Note: the state was flushed through entry {}; the log has committed {} entries more, "
        "through {}, which a start would apply (--replay does so in memory)",
        applied.index, last - applied.index, last));
  }
  return absl::OkStatus();
}

absl::Status OpenedState::Replay(const wal::LogReport& log, Index committed) {
  const mvcc::EntryApplied applied = store_->applied();
  CAIRN_ASSIGN_OR_RETURN(const std::optional<raft::EntryId> installed,
                         server::ReadInstalledAt(*store_));
  if (installed == raft::EntryId{applied.term, applied.index}) {
    CAIRN_ASSIGN_OR_RETURN(
        const bool is_to_record,
        server::IsInstallationToRecord(*installed, log.state.before_first(), log.state.commit(),
                                       log.state.marker(), log.state.snapshot_installed()));
    // A start records that first, which drops every entry.
    if (is_to_record) return absl::OkStatus();
  }
  CAIRN_RETURN_IF_ERROR(CheckFits(log, format_, applied));
  if (applied.index >= log.last.index) return absl::OkStatus();
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<server::Applier> applier,
                         server::Applier::Open(*store_, {.id = format_.member, .nonce = 0}));
  Replayer replayer(*applier, format_.member, committed);
  CAIRN_RETURN_IF_ERROR(
      wal::ForEachEntry(wal::PosixFs(), located_.wal_path, log, applied.index + 1, log.last.index,
                        [&](const raft::Entry& entry) { return replayer.Take(entry); }));
  CAIRN_RETURN_IF_ERROR(replayer.Finish());
  replayed_ = store_->applied().index - applied.index;
  return absl::OkStatus();
}

}  // namespace cairn::cairnutl
