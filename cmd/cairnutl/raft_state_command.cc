#include "cmd/cairnutl/raft_state_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cmd/cairnutl/entry_text.h"
#include "cmd/cairnutl/log_look.h"
#include "cmd/cairnutl/opened_state.h"
#include "cmd/cairnutl/report.h"
#include "cmd/cairnutl/row_text.h"
#include "cmd/cairnutl/wal_report.h"
#include "server/bootstrap.h"
#include "server/installed_at.h"
#include "server/membership_rows.h"
#include "wal/inspector.h"

namespace cairn::cairnutl {

namespace {

// Null in JSON, "-" in text, where there is none.
Json IdJson(const std::optional<raft::EntryId>& id) {
  if (!id.has_value()) return nullptr;
  return {{"index", id->index.value()}, {"term", id->term.value()}};
}

// In text an entry is "7 of term 2".
Json EntryCell(const std::optional<raft::EntryId>& id, Format format) {
  if (format == Format::kJson || !id.has_value()) return IdJson(id);
  return fmt::format("{} of term {}", id->index, id->term);
}

Json ConfigurationCell(std::string_view data, Format format) {
  if (format != Format::kJson) return DescribeConfiguration(data);
  Json json = Json::object();
  PutConfiguration(json, data);
  return json;
}

// Builds the report; what is wrong is collected besides.
class Collector {
 public:
  explicit Collector(const Tool& tool) : tool_(tool) {}

  absl::Status AddLog(const std::string& path, bool is_running) {
    CAIRN_ASSIGN_OR_RETURN(log_, InspectPatiently(path, is_running));
    const wal::LogState& state = log_->state;
    uint64_t bytes = 0;
    for (const wal::SegmentReport& segment : log_->segments) bytes += segment.scan.file_bytes;
    facts_.Add("log", path);
    facts_.Add("log verdict", VerdictName(log_->verdict.kind));
    facts_.Add("cluster", Hex(log_->identity.cluster.value()));
    facts_.Add("member", Hex(log_->identity.member.value()));
    facts_.Add("term", state.term().value());
    facts_.Add("vote", Hex(state.vote().value()));
    facts_.Add("commit", state.commit().value());
    const bool has_entries = log_->last.index > state.before_first().index;
    facts_.Add("before first", EntryCell(state.before_first(), tool_.format));
    facts_.Add("last", has_entries ? EntryCell(log_->last, tool_.format) : Json(nullptr));
    std::optional<raft::EntryId> marker;
    if (state.marker()) marker = state.marker()->id;
    facts_.Add("marker", EntryCell(marker, tool_.format));
    std::optional<raft::EntryId> installed;
    if (state.snapshot_installed()) installed = state.snapshot_installed()->id;
    facts_.Add("snapshot installed", EntryCell(installed, tool_.format));
    facts_.Add("log configuration", state.configuration()
                                        ? ConfigurationCell(*state.configuration(), tool_.format)
                                        : Json(nullptr));
    facts_.Add("sync mode", SyncModeName(state.sync_mode()));
    facts_.Add("log segments", log_->segments.size());
    facts_.Add("log bytes", bytes);
    return absl::OkStatus();
  }

  absl::Status AddState(const Located& located) {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<mvcc::Backend> backend,
                           OpenRows(located.state_path));
    facts_.Add("state", located.state_path);
    if (located.pointer) facts_.Add("state pointer", *located.pointer);
    const absl::StatusOr<mvcc::StateRow> row = ReadStateRow(*backend);
    if (!row.ok()) {
      // Nothing was flushed yet, or the row is damaged.
      const auto any = backend->NewIterator(mvcc::Family::kMeta, {}, mvcc::CacheUse::kBypass);
      any->Seek({});
      CAIRN_RETURN_IF_ERROR(any->status());
      if (any->Valid()) return row.status();
      facts_.Add("applied", nullptr);
      return absl::OkStatus();
    }
    applied_ = row->applied;
    facts_.Add("applied", EntryCell(raft::EntryId{applied_.term, applied_.index}, tool_.format));
    facts_.Add("revision", row->published.revision.value());
    facts_.Add("compact revision", row->published.watermark.value());
    return AddMetaRows(*backend);
  }

  // Whether log and state are of one history.
  void Compare() {
    if (!log_ || !log_->is_readable()) return;
    const Index last = std::min(log_->state.commit(), log_->last.index);
    facts_.Add("to replay", last > applied_.index ? last - applied_.index : 0);
    if (installed_at_ == raft::EntryId{applied_.term, applied_.index}) {
      // A start records that first, whatever the log holds.
      const absl::StatusOr<bool> is_to_record = server::IsInstallationToRecord(
          *installed_at_, log_->state.before_first(), log_->state.commit(), log_->state.marker(),
          log_->state.snapshot_installed());
      if (!is_to_record.ok()) Complain(base::Message(is_to_record.status()));
      if (!is_to_record.ok() || *is_to_record) return;
    }
    absl::Status fits =
        server::CheckLogMeetsState(log_->state.before_first(), log_->last, applied_);
    if (fits.ok() && applied_.index > Index(0) && log_->state.Knows(applied_.index) &&
        log_->state.TermAt(applied_.index) != applied_.term) {
      fits = base::Error(absl::StatusCode::kFailedPrecondition,
                         "the state has applied index {} at term {}, but the log has term {} there",
                         applied_.index, applied_.term, log_->state.TermAt(applied_.index));
    }
    if (!fits.ok()) Complain(base::Message(fits));
  }

  void Complain(std::string_view what) {
    tool_.note(fmt::format("damaged: {}", what));
    is_damaged_ = true;
  }

  const std::optional<wal::LogReport>& log() const { return log_; }
  bool is_damaged() const { return is_damaged_; }
  Report report() const { return facts_.ToReport(); }

 private:
  absl::Status AddMetaRows(const mvcc::Backend& backend) {
    Json members = Json::array();
    Json configuration;
    Json installed;
    const auto rows = backend.NewIterator(mvcc::Family::kMeta, {}, mvcc::CacheUse::kBypass);
    for (const std::string_view prefix :
         {mvcc::kConfigurationPrefix, mvcc::kMemberPrefix, mvcc::kStorePrefix}) {
      for (rows->Seek(prefix); rows->Valid() && rows->key().starts_with(prefix); rows->Next()) {
        const RowText row = DescribeRow(mvcc::Family::kMeta, rows->key(), rows->value());
        if (row.is_unreadable) Complain(fmt::format("the row {} is unreadable", row.name));
        const Json shown = tool_.format == Format::kJson ? row.json : Json(row.text);
        if (row.name == "member") members.push_back(shown);
        if (row.name == "configuration") configuration = shown;
        if (row.name == "installed") {
          installed = shown;
          if (!row.is_unreadable) {
            installed_at_ = raft::EntryId{Term(row.json["term"].get<uint64_t>()),
                                          Index(row.json["index"].get<uint64_t>())};
          }
        }
        if (row.name == "format" && log_) CheckIdentity(rows->value());
      }
      CAIRN_RETURN_IF_ERROR(rows->status());
    }
    facts_.Add("installed at", std::move(installed));
    facts_.Add("configuration", std::move(configuration));
    facts_.Add("members", std::move(members));
    return absl::OkStatus();
  }

  void CheckIdentity(std::string_view row) {
    mvcc::FormatRow format;
    if (!mvcc::DecodeFormatRow(row, format) || log_->identity == wal::Identity{}) return;
    if (format.cluster == log_->identity.cluster && format.member == log_->identity.member) return;
    Complain(fmt::format(
        "the state is of member {:x} of cluster {:x}, the log of member {:x} of cluster {:x}",
        format.member, format.cluster, log_->identity.member, log_->identity.cluster));
  }

  const Tool& tool_;
  Facts facts_;
  std::optional<wal::LogReport> log_;
  mvcc::EntryApplied applied_;
  std::optional<raft::EntryId> installed_at_;
  bool is_damaged_ = false;
};

}  // namespace

int RaftState(const WhereToLook& where, const Tool& tool) {
  const absl::StatusOr<Located> located = Locate(where, tool);
  if (!located.ok()) return tool.Fail(located.status());
  const absl::StatusOr<std::string> wal_path = WalOf(*located, where);
  if (!wal_path.ok()) return tool.Fail(wal_path.status());
  Collector collector(tool);
  if (const absl::Status status = collector.AddLog(*wal_path, located->is_running); !status.ok()) {
    return tool.Fail(status);
  }
  if (!located->state_path.empty()) {
    if (const absl::Status status = collector.AddState(*located); !status.ok()) {
      collector.Complain(base::Message(status));
    } else {
      collector.Compare();
    }
  } else if (located->pointer_path.empty() && !where.wal_directory.empty()) {
    collector.Complain(fmt::format("there is no state in {}", where.directory));
  }
  tool.out(Render(collector.report(), tool.format, Simple::kLines, /*is_one=*/true));
  if (!collector.log()->is_readable()) {
    for (const std::string& line : VerdictLines(*collector.log())) tool.note(line);
  }
  return collector.is_damaged() ? kExitDamaged : ExitCodeOf(*collector.log());
}

void AddRaftStateCommand(CLI::App& app, Tool& tool) {
  const auto where = std::make_shared<WhereToLook>();
  CLI::App& command =
      *app.add_subcommand("raft-state", "Say where a member stands, by its log and by its state");
  command.add_option("DIR", where->directory, "data directory of a member, or its log's directory")
      ->required();
  command.add_option("--wal-dir", where->wal_directory,
                     "the log's directory, if it lies elsewhere");
  command.callback([where, &tool] { tool.exit_code = RaftState(*where, tool); });
}

}  // namespace cairn::cairnutl
