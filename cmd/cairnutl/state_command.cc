#include "cmd/cairnutl/state_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/status.h"
#include "cmd/cairnutl/report.h"
#include "cmd/cairnutl/row_text.h"
#include "mvcc/schema.h"

namespace cairn::cairnutl {

namespace {

using mvcc::Family;

constexpr std::array<Family, mvcc::kFamilies> kFamilies = {Family::kKeys, Family::kRevisions,
                                                           Family::kMeta};

std::string_view NameOf(Family family) { return mvcc::kFamilyNames[static_cast<size_t>(family)]; }

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

absl::StatusOr<std::string> BytesOf(const std::string& text, bool is_hex) {
  if (is_hex) return FromHex(text);
  return text;
}

std::string KeyValueText(const mvcc::KeyValueView& kv, const Tool& tool) {
  if (tool.format == Format::kSimple) return fmt::format("{}\n{}\n", kv.key, kv.value);
  Json json;
  PutBytes(json, "key", kv.key);
  json["create_revision"] = kv.create_revision.value();
  json["mod_revision"] = kv.mod_revision.value();
  json["version"] = kv.version;
  if (kv.lease != LeaseId(0)) json["lease"] = kv.lease.value();
  PutBytes(json, "value", kv.value);
  if (tool.format == Format::kJson) return JsonLine(json);
  Facts facts;
  facts.Add("key", Quote(kv.key));
  facts.Add("create revision", kv.create_revision.value());
  facts.Add("mod revision", kv.mod_revision.value());
  facts.Add("version", kv.version);
  facts.Add("lease", Hex(static_cast<uint64_t>(kv.lease.value())));
  facts.Add("value", Quote(kv.value));
  return Render(facts.ToReport(), tool.format, Simple::kLines, /*is_one=*/true);
}

// Rows of one state, family by family, until the limit is reached.
class Scan {
 public:
  Scan(const ScanOptions& options, std::string prefix, const Tool& tool)
      : options_(options), prefix_(std::move(prefix)), tool_(tool) {}

  void Run(const mvcc::Backend& backend) {
    for (const Family family : kFamilies) {
      if (!Has(options_.families, NameOf(family))) continue;
      // A prefix means a text; rows of history are named by numbers.
      if (family == Family::kRevisions && !prefix_.empty()) continue;
      const bool by_revision = options_.first_revision > 0 || options_.last_revision > 0;
      if (family != Family::kRevisions && by_revision) continue;
      RunFamily(backend, family);
    }
  }

  bool has_damage() const { return has_damage_; }

 private:
  bool IsDone() const { return options_.limit > 0 && shown_ >= options_.limit; }

  void RunFamily(const mvcc::Backend& backend, Family family) {
    std::string first = prefix_;
    std::string limit;
    if (family == Family::kRevisions) {
      first = mvcc::RevisionKey({Revision(options_.first_revision), 0}).view();
      if (options_.last_revision > 0) {
        limit = mvcc::RevisionKey({Revision(options_.last_revision) + 1, 0}).view();
      }
    }
    const auto rows = backend.NewIterator(family, limit, mvcc::CacheUse::kBypass);
    for (rows->Seek(first); rows->Valid() && !IsDone(); rows->Next()) {
      if (family != Family::kRevisions && !rows->key().starts_with(prefix_)) break;
      Show(family, rows->key(), rows->value());
    }
    if (rows->status().ok()) return;
    // The other families may be whole.
    has_damage_ = true;
    tool_.note(fmt::format(
        "damaged: family {}: {}; what lies behind is not shown, {} goes on there", NameOf(family),
        base::Message(rows->status()), family == Family::kRevisions ? "--from-rev" : "--prefix"));
  }

  void Show(Family family, std::string_view key, std::string_view value) {
    RowText row = DescribeRow(family, key, value);
    if (row.is_unreadable) {
      has_damage_ = true;
      tool_.note(
          fmt::format("damaged: family {}: the row {} is unreadable", NameOf(family), Quote(key)));
    }
    if (!Has(options_.rows, row.name)) return;
    ++shown_;
    if (tool_.format == Format::kJson) {
      Json json = {{"family", NameOf(family)}, {"row", row.name}};
      json.update(row.json);
      tool_.out(JsonLine(json));
    } else {
      tool_.out(fmt::format("{:<9}  {:<15}  {}\n", NameOf(family), row.name, row.text));
    }
  }

  const ScanOptions& options_;
  const std::string prefix_;
  const Tool& tool_;
  uint64_t shown_ = 0;
  bool has_damage_ = false;
};

// The rows of a state, whether its own rows check out or not.
struct Rows {
  std::optional<OpenedState> state;
  Located located;
  std::unique_ptr<mvcc::Backend> backend;

  const mvcc::Backend& get() const { return state ? state->backend() : *backend; }
};

absl::StatusOr<Rows> OpenForScan(const StateOptions& options, const Tool& tool) {
  Rows rows;
  absl::StatusOr<OpenedState> state = OpenedState::Open(options, tool);
  if (state.ok()) {
    rows.state.emplace(*std::move(state));
    return rows;
  }
  // Also one of which the beginning is damaged has rows to show.
  if (options.replay || IsSnapshotFile(options.where) || !absl::IsDataLoss(state.status())) {
    return state.status();
  }
  tool.note(fmt::format("damaged: {}", base::Message(state.status())));
  CAIRN_ASSIGN_OR_RETURN(rows.located, Locate(options.where, tool));
  CAIRN_ASSIGN_OR_RETURN(const std::string path, StateOf(rows.located, options.where));
  CAIRN_ASSIGN_OR_RETURN(rows.backend, OpenRows(path));
  return rows;
}

struct RowCount {
  uint64_t rows = 0;
  uint64_t bytes = 0;
};

// Rows and bytes, by family and by name of row.
struct StateCounts {
  std::map<std::string_view, RowCount> families;
  std::map<std::string, RowCount> names;
  uint64_t unreadable = 0;
  // Also where a family could not be read to its end.
  bool has_damage = false;

  void Count(const mvcc::Backend& backend, const Tool& tool) {
    for (const Family family : kFamilies) {
      RowCount& total = families[NameOf(family)];
      const auto rows = backend.NewIterator(family, {}, mvcc::CacheUse::kBypass);
      for (rows->Seek({}); rows->Valid(); rows->Next()) {
        const RowText row = DescribeRow(family, rows->key(), rows->value());
        if (row.is_unreadable) {
          ++unreadable;
          has_damage = true;
          tool.note(fmt::format("damaged: family {}: the row {} is unreadable", NameOf(family),
                                Quote(rows->key())));
        }
        for (RowCount* const count : {&total, &names[row.name]}) {
          ++count->rows;
          count->bytes += rows->key().size() + rows->value().size();
        }
      }
      if (rows->status().ok()) continue;
      has_damage = true;
      tool.note(fmt::format("damaged: family {}: {}; what lies behind is not counted",
                            NameOf(family), base::Message(rows->status())));
    }
  }

  uint64_t RowsNamed(const std::string& name) const {
    const auto found = names.find(name);
    return found == names.end() ? 0 : found->second.rows;
  }

  Report ByName() const {
    Report report({"row", "rows", "bytes"});
    for (const auto& [name, count] : names) report.AddRow({name, count.rows, count.bytes});
    return report;
  }
};

Facts FactsOf(const OpenedState& state, const StateCounts& counts) {
  const mvcc::Store& store = state.store();
  const mvcc::Published published = store.published();
  Facts facts;
  const std::string& path = state.located().state_path;
  facts.Add("state", path.empty() ? state.name() : path);
  facts.Add("cluster", Hex(state.format().cluster.value()));
  facts.Add("member", Hex(state.format().member.value()));
  facts.Add("applied index", store.applied().index.value());
  facts.Add("applied term", store.applied().term.value());
  facts.Add("replayed entries", state.replayed());
  facts.Add("revision", published.revision.value());
  facts.Add("compact revision", published.watermark.value());
  facts.Add("removed through", store.removed_through().value());
  facts.Add("logical bytes", store.logical_size_bytes());
  facts.Add("physical bytes", store.physical_size_bytes());
  for (const auto& [family, count] : counts.families) {
    facts.Add(fmt::format("{} rows", family), count.rows);
    facts.Add(fmt::format("{} bytes", family), count.bytes);
  }
  facts.Add("live keys", counts.RowsNamed("key"));
  facts.Add("members", counts.RowsNamed("member"));
  facts.Add("removed members", counts.RowsNamed("removed-member"));
  facts.Add("leases", counts.RowsNamed("lease"));
  facts.Add("leased keys", counts.RowsNamed("lease-key"));
  facts.Add("users", counts.RowsNamed("user"));
  facts.Add("roles", counts.RowsNamed("role"));
  facts.Add("alarms", counts.RowsNamed("alarm"));
  facts.Add("unreadable rows", counts.unreadable);
  return facts;
}

}  // namespace

int StateGet(const GetOptions& options, const Tool& tool) {
  const absl::StatusOr<std::string> key = BytesOf(options.key, options.is_hex);
  if (!key.ok()) {
    tool.Fail(key.status());
    return kExitUsage;
  }
  const absl::StatusOr<OpenedState> state = OpenedState::Open(options.state, tool);
  if (!state.ok()) return tool.Fail(state.status());
  bool is_found = false;
  const absl::StatusOr<mvcc::ReadPoint> read =
      state->store().Get(*key, Revision(options.revision), [&](const mvcc::KeyValueView& kv) {
        is_found = true;
        tool.out(KeyValueText(kv, tool));
        return true;
      });
  if (!read.ok()) {
    const mvcc::Published published = state->store().published();
    if (!mvcc::IsCompacted(read.status()) && !mvcc::IsFutureRevision(read.status())) {
      return tool.Fail(read.status());
    }
    return tool.Fail(base::Error(absl::StatusCode::kOutOfRange,
                                 "revision {} is not there: the state is at {}, compacted at {}",
                                 options.revision, published.revision, published.watermark));
  }
  if (is_found) return kExitOk;
  tool.note(fmt::format("{} does not exist at revision {}", Quote(*key), read->revision));
  return kExitError;
}

int StateScan(const ScanOptions& options, const Tool& tool) {
  if (tool.format == Format::kTable || tool.format == Format::kFields) {
    tool.note("Error: this command prints simple and json only");
    return kExitUsage;
  }
  absl::StatusOr<std::string> prefix = BytesOf(options.prefix, options.is_hex);
  if (!prefix.ok()) {
    tool.Fail(prefix.status());
    return kExitUsage;
  }
  const absl::StatusOr<Rows> rows = OpenForScan(options.state, tool);
  if (!rows.ok()) return tool.Fail(rows.status());
  Scan scan(options, *std::move(prefix), tool);
  scan.Run(rows->get());
  return scan.has_damage() || !rows->state ? kExitDamaged : kExitOk;
}

int StateShowStats(const StateOptions& options, const Tool& tool) {
  const absl::StatusOr<OpenedState> state = OpenedState::Open(options, tool);
  if (!state.ok()) return tool.Fail(state.status());
  StateCounts counts;
  counts.Count(state->backend(), tool);
  const Report facts = FactsOf(*state, counts).ToReport();
  if (tool.format == Format::kJson) {
    Json json = facts.InJson().front();
    json["rows"] = counts.ByName().InJson();
    tool.out(JsonLine(json));
  } else {
    tool.out(Render(facts, tool.format, Simple::kLines, /*is_one=*/true));
    tool.out("\n");
    tool.out(Render(counts.ByName(), tool.format, Simple::kColumns, /*is_one=*/false));
  }
  return counts.has_damage ? kExitDamaged : kExitOk;
}

void AddStateOptions(CLI::App& command, StateOptions& options) {
  command
      .add_option("DIR", options.where.directory,
                  "data directory of a member, a state's directory, or a saved snapshot")
      ->required();
  command.add_option("--wal-dir", options.where.wal_directory,
                     "the log's directory, if it lies elsewhere");
  command.add_flag("--replay", options.replay,
                   "first apply, in memory, what the log has committed and the state lacks");
}

void AddStateCommand(CLI::App& app, Tool& tool) {
  CLI::App& state = *app.add_subcommand("state", "Look into the state of a member");
  state.require_subcommand(1);

  const auto get = std::make_shared<GetOptions>();
  CLI::App& get_command = *state.add_subcommand("get", "Print a key as it was at a revision");
  AddStateOptions(get_command, get->state);
  get_command.add_option("KEY", get->key, "the key")->required();
  get_command.add_option("--rev", get->revision, "the revision; the current one if left out");
  get_command.add_flag("--hex", get->is_hex, "KEY is written in hexadecimal digits");
  get_command.callback([get, &tool] { tool.exit_code = StateGet(*get, tool); });

  const auto scan = std::make_shared<ScanOptions>();
  CLI::App& scan_command = *state.add_subcommand("scan", "Print rows, decoded");
  AddStateOptions(scan_command, scan->state);
  scan_command.add_option("--family", scan->families, "only rows of this family; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"keys", "revisions", "meta"}));
  scan_command.add_option("--row", scan->rows, "only rows of this name; may be repeated")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(RowNames()));
  scan_command.add_option("--prefix", scan->prefix, "only rows whose key begins with this");
  scan_command.add_flag("--hex", scan->is_hex, "--prefix is written in hexadecimal digits");
  scan_command.add_option("--from-rev", scan->first_revision, "only history from this revision on");
  scan_command.add_option("--to-rev", scan->last_revision, "only history up to this revision");
  scan_command.add_option("--limit", scan->limit, "stop after so many rows");
  scan_command.callback([scan, &tool] { tool.exit_code = StateScan(*scan, tool); });

  const auto stats = std::make_shared<StateOptions>();
  CLI::App& stats_command = *state.add_subcommand("stats", "Count rows, bytes and what they are");
  AddStateOptions(stats_command, *stats);
  stats_command.callback([stats, &tool] { tool.exit_code = StateShowStats(*stats, tool); });
}

}  // namespace cairn::cairnutl
