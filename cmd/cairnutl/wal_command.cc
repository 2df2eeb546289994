#include "cmd/cairnutl/wal_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cmd/cairnutl/log_look.h"
#include "cmd/cairnutl/opened_state.h"
#include "cmd/cairnutl/report.h"
#include "cmd/cairnutl/wal_report.h"
#include "wal/inspector.h"
#include "wal/posix_fs.h"

namespace cairn::cairnutl {

namespace {

struct LookedAt {
  Located located;
  wal::LogReport log;
};

absl::StatusOr<LookedAt> LookAtLog(const WhereToLook& where, const Tool& tool,
                                   MakeVisitor visitor) {
  LookedAt looked;
  CAIRN_ASSIGN_OR_RETURN(looked.located, Locate(where, tool));
  CAIRN_ASSIGN_OR_RETURN(const std::string path, WalOf(looked.located, where));
  CAIRN_ASSIGN_OR_RETURN(looked.log, InspectPatiently(path, looked.located.is_running, visitor));
  return looked;
}

absl::StatusOr<LookedAt> LookAtLog(const WhereToLook& where, const Tool& tool) {
  return LookAtLog(where, tool, [] { return [](const wal::SeenBatch&) { return true; }; });
}

// What is wrong with the log, if anything, beside the results; the exit code for it.
int NoteDamage(const wal::LogReport& log, const Tool& tool) {
  if (log.verdict.kind == wal::VerdictKind::kWhole) return kExitOk;
  for (const std::string& line : VerdictLines(log)) tool.note(line);
  return ExitCodeOf(log);
}

int RefuseFormat(const Tool& tool) {
  tool.note("Error: this command prints simple and json only");
  return kExitUsage;
}

// The last entry that a start would apply: what the log knows to be committed and, where the state
// is there to tell, what it has applied and what a sole voter has in its log.
Index LastCommitted(const DumpOptions& options, const LookedAt& looked, const Tool& tool) {
  Index commit = looked.log.state.commit();
  if (looked.log.is_readable() && !looked.located.state_path.empty()) {
    const absl::StatusOr<OpenedState> state =
        OpenedState::Open({.where = options.where, .replay = true}, tool);
    if (state.ok()) {
      commit = std::max(commit, state->store().applied().index);
    } else {
      tool.note(fmt::format("Note: only what the log itself knows to be committed, through {}: {}",
                            commit, base::Message(state.status())));
    }
  }
  return std::min(commit, looked.log.last.index);
}

int DumpRequests(const DumpOptions& options, const Tool& tool) {
  const absl::StatusOr<LookedAt> looked = LookAtLog(options.where, tool);
  if (!looked.ok()) return tool.Fail(looked.status());
  const wal::LogReport& log = looked->log;
  const int code = NoteDamage(log, tool);
  Index first = log.state.before_first().index + 1;
  Index last = LastCommitted(options, *looked, tool);
  if (options.filter.first_index) first = std::max(first, Index(*options.filter.first_index));
  if (options.filter.last_index) last = std::min(last, Index(*options.filter.last_index));
  if (first > last) return code;
  const absl::Status status = wal::ForEachEntry(
      wal::PosixFs(), looked->located.wal_path, log, first, last, [&](const raft::Entry& entry) {
        const bool is_wanted = !options.filter.term || entry.term == Term(*options.filter.term);
        if (is_wanted && entry.kind != raft::EntryKind::kEmpty) tool.out(RequestLine(entry));
        return true;
      });
  return status.ok() ? code : tool.Fail(status);
}

}  // namespace

int WalList(const WhereToLook& where, const Tool& tool) {
  const absl::StatusOr<LookedAt> looked = LookAtLog(where, tool);
  if (!looked.ok()) return tool.Fail(looked.status());
  tool.out(Render(SegmentsReport(looked->log), tool.format, Simple::kColumns, /*is_one=*/false));
  return NoteDamage(looked->log, tool);
}

int WalDumpRecords(const DumpOptions& options, const Tool& tool) {
  if (tool.format == Format::kTable || tool.format == Format::kFields) return RefuseFormat(tool);
  if (options.requests) return DumpRequests(options, tool);
  Located located;
  std::string path;
  const auto look = [&]() -> absl::StatusOr<wal::LogReport> {
    CAIRN_ASSIGN_OR_RETURN(located, Locate(options.where, tool));
    CAIRN_ASSIGN_OR_RETURN(path, WalOf(located, options.where));
    WalDump dump(options.filter, tool.format, tool.out);
    return wal::InspectLog(wal::PosixFs(), path,
                           [&](const wal::SeenBatch& batch) { return dump.Add(batch); });
  };
  absl::StatusOr<wal::LogReport> log = look();
  if (log.ok() && located.is_running && !log->is_readable()) {
    // What was printed cannot be taken back, but a batch half written is no damage.
    absl::StatusOr<wal::LogReport> later = InspectPatiently(path, located.is_running);
    if (later.ok() && later->is_readable()) {
      tool.note(
          "Note: the member wrote while its log was read; the end that is shown is not whole");
      return kExitOk;
    }
    log = std::move(later);
  }
  return log.ok() ? NoteDamage(*log, tool) : tool.Fail(log.status());
}

int WalVerify(const WhereToLook& where, const Tool& tool) {
  const absl::StatusOr<LookedAt> looked = LookAtLog(where, tool);
  if (!looked.ok()) return tool.Fail(looked.status());
  const wal::LogReport& log = looked->log;
  if (tool.format == Format::kSimple) {
    for (const std::string& line : VerdictLines(log)) tool.out(line + '\n');
  } else if (tool.format == Format::kJson) {
    tool.out(JsonLine(VerdictJson(log)));
  } else {
    return RefuseFormat(tool);
  }
  if (const int code = ExitCodeOf(log); code != kExitOk) return code;
  if (HasForeignFiles(log)) return kExitDamaged;
  return log.verdict.kind == wal::VerdictKind::kTorn ? kExitTorn : kExitOk;
}

int WalShowStats(const WhereToLook& where, const Tool& tool) {
  auto stats = std::make_shared<WalStats>();
  const absl::StatusOr<LookedAt> looked = LookAtLog(where, tool, [&stats] {
    stats = std::make_shared<WalStats>();
    return [stats](const wal::SeenBatch& batch) {
      if (!batch.is_behind_damage) stats->Add(batch);
      return true;
    };
  });
  if (!looked.ok()) return tool.Fail(looked.status());
  const Report bytes = stats->Bytes(looked->log);
  if (tool.format == Format::kJson) {
    Json json = bytes.InJson().front();
    json["records"] = stats->Records().InJson();
    json["batchSizes"] = stats->BatchSizes().InJson();
    json["entriesPerBatch"] = stats->EntriesPerBatch().InJson();
    tool.out(JsonLine(json));
  } else {
    tool.out(Render(bytes, tool.format, Simple::kLines, /*is_one=*/true));
    for (const Report& report : {stats->Records(), stats->BatchSizes(), stats->EntriesPerBatch()}) {
      tool.out("\n");
      tool.out(Render(report, tool.format, Simple::kColumns, /*is_one=*/false));
    }
  }
  return NoteDamage(looked->log, tool);
}

void AddWalCommand(CLI::App& app, Tool& tool) {
  CLI::App& wal = *app.add_subcommand("wal", "Look into the log of a member");
  wal.require_subcommand(1);
  const auto add = [&wal](const std::string& name, const std::string& text, WhereToLook& where) {
    CLI::App& command = *wal.add_subcommand(name, text);
    command
        .add_option("DIR", where.directory, "data directory of a member, or its log's directory")
        ->required();
    command.add_option("--wal-dir", where.wal_directory,
                       "the log's directory, if it lies elsewhere");
    return &command;
  };
  const auto add_plain = [&](const std::string& name, const std::string& text,
                             int (*run)(const WhereToLook&, const Tool&)) {
    const auto where = std::make_shared<WhereToLook>();
    add(name, text, *where)->callback([where, run, &tool] { tool.exit_code = run(*where, tool); });
  };
  add_plain("ls", "List the files of the log and what they hold", WalList);
  add_plain("verify", "Say whether a start would take the log: 0 whole, 3 torn, 4 refused",
            WalVerify);
  add_plain("stats", "Count records, batches and bytes", WalShowStats);

  const auto options = std::make_shared<DumpOptions>();
  CLI::App& dump = *add("dump", "Print every record, in text or as lines of JSON", options->where);
  dump.add_option("--from", options->filter.first_index, "first index to show");
  dump.add_option("--to", options->filter.last_index, "last index to show");
  dump.add_option("--term", options->filter.term, "only records of this term");
  dump.add_option("--type", options->filter.types, "only records of this type; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(
          {"entry", "hard-state", "configuration", "marker", "snapshot-installed", "sync-mode"}));
  dump.add_flag("--batches", options->filter.with_batches, "show the headers of batches too");
  dump.add_flag("--requests", options->requests,
                "only applied requests, in order, as lines of JSON: nothing superseded, nothing "
                "above the commit index");
  dump.callback([options, &tool] { tool.exit_code = WalDumpRecords(*options, tool); });
}

}  // namespace cairn::cairnutl
