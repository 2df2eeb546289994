#include "cmd/cairnutl/diff_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "cmd/cairnutl/report.h"
#include "cmd/cairnutl/row_text.h"
#include "mvcc/key_value.h"
#include "mvcc/row_codec.h"
#include "mvcc/schema.h"
#include "server/cluster_state.h"
#include "server/membership_rows.h"

namespace cairn::cairnutl {

namespace {

using mvcc::Family;

// What a row says to everybody: what members must agree on, encoded; nothing if it says nothing
// (a tombstone in `keys`).
using Meaning = std::optional<std::string>;

// One kind of thing: a stretch of rows, and what each means.
struct Kind {
  std::string name;
  Family family;
  std::string first;
  std::string limit;  // Empty: to the end.
  absl::StatusOr<Meaning> (*meaning)(const OpenedState& state, std::string_view key,
                                     std::string_view value);
};

// The row itself is what counts.
absl::StatusOr<Meaning> WholeRow(const OpenedState&, std::string_view, std::string_view value) {
  return Meaning(value);
}

// The key-value; where it lies in its chain is each member's own.
absl::StatusOr<Meaning> LatestKeyValue(const OpenedState& state, std::string_view key,
                                       std::string_view value) {
  mvcc::LatestRow latest;
  if (!mvcc::DecodeLatestRow(value, latest)) {
    return base::Error(absl::StatusCode::kDataLoss, "{}: the row of key {} is unreadable",
                       state.name(), Quote(key));
  }
  if (!latest.live) return Meaning();
  std::string bytes;
  if (latest.has_value) {
    mvcc::AppendKeyValue(bytes, {.key = key,
                                 .create_revision = latest.create_revision,
                                 .mod_revision = latest.revision.main,
                                 .version = latest.version,
                                 .value = latest.value,
                                 .lease = latest.lease});
    return Meaning(std::move(bytes));
  }
  CAIRN_RETURN_IF_ERROR(state.store()
                            .Get(key, mvcc::kCurrent,
                                 [&](const mvcc::KeyValueView& kv) {
                                   mvcc::AppendKeyValue(bytes, kv);
                                   return true;
                                 })
                            .status());
  return Meaning(std::move(bytes));
}

// Kind of change and key-value.
absl::StatusOr<Meaning> ChangeOf(const OpenedState& state, std::string_view key,
                                 std::string_view value) {
  mvcc::RevisionRow row;
  if (!mvcc::DecodeRevisionRow(value, row)) {
    return base::Error(absl::StatusCode::kDataLoss, "{}: a row of history is unreadable: {}",
                       state.name(), Quote(key));
  }
  const bool is_deletion = row.kind == mvcc::ChangeKind::kDeletion;
  return Meaning((is_deletion ? "d" : "p") + std::string(row.key_value));
}

std::string ShowKeyValue(std::string_view bytes) {
  mvcc::KeyValueView kv;
  if (!mvcc::ParseKeyValue(bytes, kv)) return Quote(bytes);
  std::string text = fmt::format("value {} at {}, created {}, version {}", Quote(kv.value),
                                 kv.mod_revision, kv.create_revision, kv.version);
  if (kv.lease != LeaseId(0)) text += ", lease " + Hex(static_cast<uint64_t>(kv.lease.value()));
  return text;
}

// The first key after all that begin with `prefix`, which does not end in 0xff.
std::string After(std::string_view prefix) {
  std::string limit(prefix);
  limit.back() = static_cast<char>(static_cast<uint8_t>(limit.back()) + 1);
  return limit;
}

Kind MetaKind(std::string name, std::string_view prefix) {
  return {std::move(name), Family::kMeta, std::string(prefix), After(prefix), WholeRow};
}

// Rows above both watermarks are in both, whatever removal has done.
std::vector<Kind> KindsFor(const OpenedState& a, const OpenedState& b) {
  const Revision watermark =
      std::max({a.store().published().watermark, b.store().published().watermark, Revision(0)});
  const std::string history(mvcc::RevisionKey({watermark + 1, 0}).view());
  return {{"keys", Family::kKeys, "", "", LatestKeyValue},
          {"revisions", Family::kRevisions, history, "", ChangeOf},
          MetaKind("leases", mvcc::kLeasePrefix),
          MetaKind("leased keys", mvcc::kLeaseKeyPrefix),
          MetaKind("members", mvcc::kMemberPrefix),
          MetaKind("removed members", server::kRemovedMemberPrefix),
          MetaKind("configuration", server::kConfigurationKey),
          MetaKind("alarms", mvcc::kAlarmPrefix),
          MetaKind("versions", mvcc::kVersionPrefix),
          MetaKind("users", mvcc::kUserPrefix),
          MetaKind("roles", mvcc::kRolePrefix)};
}

// The rows of a kind in one state, those that mean something, with their meaning.
class Walk {
 public:
  Walk(const OpenedState& state, const Kind& kind)
      : state_(state),
        kind_(kind),
        rows_(state.backend().NewIterator(kind.family, kind.limit, mvcc::CacheUse::kBypass)) {}

  absl::Status Begin() {
    rows_->Seek(kind_.first);
    return Settle();
  }
  absl::Status Next() {
    rows_->Next();
    return Settle();
  }
  bool Valid() const { return rows_->Valid(); }
  std::string_view key() const { return rows_->key(); }
  const std::string& meaning() const { return *meaning_; }

  // For people.
  std::string Shown() const {
    if (kind_.family == Family::kKeys) return ShowKeyValue(meaning());
    return DescribeRow(kind_.family, rows_->key(), rows_->value()).text;
  }

 private:
  // To the next row that means something.
  absl::Status Settle() {
    for (; rows_->Valid(); rows_->Next()) {
      CAIRN_ASSIGN_OR_RETURN(meaning_, kind_.meaning(state_, rows_->key(), rows_->value()));
      if (meaning_.has_value()) return absl::OkStatus();
    }
    return base::Annotate(rows_->status(), state_.name());
  }

  const OpenedState& state_;
  const Kind& kind_;
  const std::unique_ptr<mvcc::RowIterator> rows_;
  Meaning meaning_;
};

std::string KeyText(const Kind& kind, std::string_view key) {
  RowRevision revision;
  if (kind.family == Family::kRevisions && mvcc::ParseRevisionKey(key, revision)) {
    return fmt::format("{}/{}", revision.main, revision.sub);
  }
  return Quote(key);
}

class Differ {
 public:
  Differ(const OpenedState& a, const OpenedState& b, uint64_t limit)
      : a_(a), b_(b), limit_(limit) {}

  absl::StatusOr<DiffResult> Run() {
    for (const Kind& kind : KindsFor(a_, b_)) CAIRN_RETURN_IF_ERROR(Compare(kind));
    return std::move(result_);
  }

 private:
  absl::Status Compare(const Kind& kind) {
    DiffCount count{.kind = kind.name};
    Walk a(a_, kind);
    Walk b(b_, kind);
    CAIRN_RETURN_IF_ERROR(a.Begin());
    CAIRN_RETURN_IF_ERROR(b.Begin());
    while (a.Valid() || b.Valid()) {
      ++count.compared;
      const int order = !b.Valid() ? -1 : !a.Valid() ? 1 : a.key().compare(b.key());
      const Walk* const in_a = order <= 0 ? &a : nullptr;
      const Walk* const in_b = order >= 0 ? &b : nullptr;
      if (in_b == nullptr) {
        ++count.only_in_a;
      } else if (in_a == nullptr) {
        ++count.only_in_b;
      } else if (a.meaning() != b.meaning()) {
        ++count.different;
      }
      const bool is_same = order == 0 && a.meaning() == b.meaning();
      if (!is_same && count.total() <= limit_) Show(kind, in_a, in_b);
      if (order <= 0) CAIRN_RETURN_IF_ERROR(a.Next());
      if (order >= 0) CAIRN_RETURN_IF_ERROR(b.Next());
    }
    result_.counts.push_back(std::move(count));
    return absl::OkStatus();
  }

  // Null where it is not.
  void Show(const Kind& kind, const Walk* a, const Walk* b) {
    const std::string key = KeyText(kind, (a != nullptr ? a : b)->key());
    std::string line = fmt::format("{} {}: ", kind.name, key);
    if (b == nullptr) {
      line += "only in A: " + a->Shown();
    } else if (a == nullptr) {
      line += "only in B: " + b->Shown();
    } else {
      line += fmt::format("A {} | B {}", a->Shown(), b->Shown());
    }
    result_.lines.push_back(std::move(line));
    Json json = {{"kind", kind.name}, {"key", key}};
    json["a"] = a == nullptr ? Json(nullptr) : Json(a->Shown());
    json["b"] = b == nullptr ? Json(nullptr) : Json(b->Shown());
    result_.json.push_back(std::move(json));
  }

  const OpenedState& a_;
  const OpenedState& b_;
  const uint64_t limit_;
  DiffResult result_;
};

Json Summary(const OpenedState& state) {
  const mvcc::Published published = state.store().published();
  return {{"path", state.name()},
          {"cluster", Hex(state.format().cluster.value())},
          {"member", Hex(state.format().member.value())},
          {"appliedIndex", state.store().applied().index.value()},
          {"appliedTerm", state.store().applied().term.value()},
          {"revision", published.revision.value()},
          {"compactRevision", published.watermark.value()}};
}

std::string SummaryText(std::string_view label, const OpenedState& state) {
  const mvcc::Published published = state.store().published();
  return fmt::format("{}: {}, member {:x} of cluster {:x}, applied {}, revision {}, compacted {}\n",
                     label, state.name(), state.format().member, state.format().cluster,
                     state.store().applied().index, published.revision, published.watermark);
}

Report CountsReport(const DiffResult& result) {
  Report report({"kind", "compared", "only in a", "only in b", "different"});
  for (const DiffCount& count : result.counts) {
    report.AddRow({count.kind, count.compared, count.only_in_a, count.only_in_b, count.different});
  }
  return report;
}

int Trouble(const absl::Status& status, const Tool& tool) {
  tool.Fail(status);
  return kExitUsage;
}

}  // namespace

bool DiffResult::is_same() const {
  return std::all_of(counts.begin(), counts.end(),
                     [](const DiffCount& count) { return count.total() == 0; });
}

absl::StatusOr<DiffResult> Diff(const OpenedState& a, const OpenedState& b, uint64_t limit) {
  return Differ(a, b, limit).Run();
}

int SnapshotDiff(const DiffOptions& options, const Tool& tool) {
  const absl::StatusOr<OpenedState> a =
      OpenedState::Open({.where = {options.a, {}}, .replay = options.replay}, tool);
  if (!a.ok()) return Trouble(a.status(), tool);
  const absl::StatusOr<OpenedState> b =
      OpenedState::Open({.where = {options.b, {}}, .replay = options.replay}, tool);
  if (!b.ok()) return Trouble(b.status(), tool);
  const absl::StatusOr<DiffResult> result = Diff(*a, *b, options.limit);
  if (!result.ok()) return Trouble(result.status(), tool);
  if (tool.format == Format::kJson) {
    Json json = {{"a", Summary(*a)}, {"b", Summary(*b)}, {"isSame", result->is_same()}};
    json["differences"] = result->json;
    json["counts"] = CountsReport(*result).InJson();
    tool.out(JsonLine(json));
  } else {
    tool.out(SummaryText("A", *a));
    tool.out(SummaryText("B", *b));
    for (const std::string& line : result->lines) tool.out(line + '\n');
    tool.out(Render(CountsReport(*result), tool.format, Simple::kColumns, /*is_one=*/false));
    tool.out(result->is_same() ? "the same\n" : "different\n");
  }
  return result->is_same() ? kExitOk : kExitDifferent;
}

void AddSnapshotDiffCommand(CLI::App& app, Tool& tool) {
  const std::vector<CLI::App*> groups =
      app.get_subcommands([](const CLI::App* group) { return group->get_name() == "snapshot"; });
  CLI::App& snapshot =
      groups.empty() ? *app.add_subcommand("snapshot", "Compare states") : *groups.front();
  snapshot.require_subcommand(1);
  const auto options = std::make_shared<DiffOptions>();
  CLI::App& command =
      *snapshot.add_subcommand("diff", "Compare two states: 0 the same, 1 different, 2 trouble");
  command.add_option("A", options->a, "a data directory, a state's directory or a saved snapshot")
      ->required();
  command.add_option("B", options->b, "another one")->required();
  command.add_flag("--replay", options->replay,
                   "first apply, in memory, what each log has committed and the state lacks");
  command.add_option("--limit", options->limit, "differences shown of each kind");
  command.callback([options, &tool] { tool.exit_code = SnapshotDiff(*options, tool); });
}

}  // namespace cairn::cairnutl
