#include "cmd/cairnutl/snapshot_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/config.h"
#include "server/snapshot/inspect.h"
#include "server/snapshot/restore.h"
#include "wal/posix_fs.h"

namespace cairn::cairnutl {

namespace {

volatile std::sig_atomic_t stop_signal = 0;

// Has SIGINT and SIGTERM noted instead of ending the process, so that what was begun is taken back.
class NotedSignals {
 public:
  NotedSignals() {
    stop_signal = 0;
    struct sigaction action = {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    sigaction(SIGINT, &action, &before_[0]);
    sigaction(SIGTERM, &action, &before_[1]);
  }
  ~NotedSignals() {
    sigaction(SIGINT, &before_[0], nullptr);
    sigaction(SIGTERM, &before_[1], nullptr);
  }
  NotedSignals(const NotedSignals&) = delete;
  NotedSignals& operator=(const NotedSignals&) = delete;

 private:
  std::array<struct sigaction, 2> before_ = {};
};

bool IsStopping() { return stop_signal != 0; }

// One fact with its names in each of etcdutl's formats.
struct Fact {
  std::string_view title;
  std::string_view json;
  std::string_view field;
  std::string text;   // For people.
  std::string value;  // For programs; already quoted where JSON wants it.
};

std::string Simple(const std::vector<Fact>& facts) {
  std::vector<std::string> texts;
  texts.reserve(facts.size());
  for (const Fact& fact : facts) texts.push_back(fact.text);
  return fmt::format("{}\n", fmt::join(texts, ", "));
}

std::string Json(const std::vector<Fact>& facts) {
  std::vector<std::string> texts;
  texts.reserve(facts.size());
  for (const Fact& fact : facts) texts.push_back(fmt::format("\"{}\":{}", fact.json, fact.value));
  return fmt::format("{{{}}}\n", fmt::join(texts, ","));
}

std::string Fields(const std::vector<Fact>& facts) {
  std::string lines;
  for (const Fact& fact : facts) lines += fmt::format("\"{}\" : {}\n", fact.field, fact.value);
  return lines;
}

std::string Table(const std::vector<Fact>& facts) {
  std::string rule = "+";
  std::string titles = "|";
  std::string row = "|";
  for (const Fact& fact : facts) {
    std::string title(fact.title);
    std::transform(title.begin(), title.end(), title.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const size_t width = std::max(title.size(), fact.text.size());
    rule += std::string(width + 2, '-') + "+";
    titles += fmt::format(" {:^{}} |", title, width);
    row += fmt::format(" {:>{}} |", fact.text, width);
  }
  return fmt::format("{0}\n{1}\n{0}\n{2}\n{0}\n", rule, titles, row);
}

std::string Render(const std::vector<Fact>& facts, Format format) {
  switch (format) {
    case Format::kJson:
      return Json(facts);
    case Format::kFields:
      return Fields(facts);
    case Format::kTable:
      return Table(facts);
    case Format::kSimple:
      break;
  }
  return Simple(facts);
}

template <typename Number>
Fact NumberFact(std::string_view title, std::string_view json, std::string_view field,
                Number number) {
  return {title, json, field, fmt::format("{}", number), fmt::format("{}", number)};
}

Fact SizeFact(std::string_view field, uint64_t bytes) {
  return {"total size", "totalSize", field, SizeText(bytes), fmt::format("{}", bytes)};
}

// `text` holds nothing that JSON would escape.
Fact TextFact(std::string_view title, std::string_view json, std::string_view field,
              const std::string& text) {
  return {title, json, field, text, fmt::format("\"{}\"", text)};
}

// Versions and ids come from a file: nothing else may reach the terminal.
std::string Plain(std::string_view text) {
  std::string plain;
  for (const char c : text.substr(0, 64))
    plain +=
        std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '+' ? c : '?';
  return plain;
}

// Where the user is: `bazel run` starts elsewhere and tells.
std::string Absolute(const std::string& path) {
  const char* const told = std::getenv("BUILD_WORKING_DIRECTORY");
  const std::filesystem::path base =
      told != nullptr ? std::filesystem::path(told) : std::filesystem::current_path();
  std::string absolute = (base / path).lexically_normal().string();
  while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  return absolute;
}

absl::StatusOr<server::Config> ToConfig(const SnapshotRestoreOptions& options) {
  server::Config config;
  config.name = options.name;
  config.data_dir = Absolute(options.data_dir.empty() ? options.name + ".cairn" : options.data_dir);
  if (!options.wal_dir.empty()) config.wal_dir = Absolute(options.wal_dir);
  CAIRN_ASSIGN_OR_RETURN(
      config.initial_advertise_peer_urls,
      server::ParseUrls("initial-advertise-peer-urls", options.initial_advertise_peer_urls));
  std::string cluster = options.initial_cluster;
  if (cluster.empty()) {
    for (const server::Url& url : config.initial_advertise_peer_urls) {
      cluster += fmt::format("{}{}={}", cluster.empty() ? "" : ",", options.name, url.text());
    }
  }
  CAIRN_ASSIGN_OR_RETURN(config.initial_cluster, server::ParseInitialCluster(cluster));
  config.initial_cluster_token = options.initial_cluster_token;
  return config;
}

}  // namespace

std::string SizeText(uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  value = std::floor(value * 10 + 0.5) / 10;
  return fmt::format("{:.{}f} {}", value, value < 10 ? 1 : 0, kUnits[unit]);
}

int SnapshotStatus(const std::string& file, const Tool& tool) {
  const std::string path = Absolute(file);
  const NotedSignals signals;
  const absl::StatusOr<server::SnapshotFacts> facts =
      server::InspectSnapshot(wal::PosixFs(), path, IsStopping);
  if (!facts.ok()) return tool.Fail(facts.status());
  Fact hash = NumberFact("hash", "hash", "Hash", facts->hash);
  hash.text = fmt::format("{:x}", facts->hash);
  tool.out(
      Render({std::move(hash), NumberFact("revision", "revision", "Revision", facts->revision),
              NumberFact("total keys", "totalKey", "Keys", facts->live_keys),
              SizeFact("Size", facts->size_bytes),
              TextFact("version", "version", "Version", Plain(facts->manifest.storage_version()))},
             tool.format));
  return kExitOk;
}

int SnapshotVerify(const std::string& file, bool skip_hash_check, const Tool& tool) {
  const std::string path = Absolute(file);
  const NotedSignals signals;
  const absl::StatusOr<server::VerifiedSnapshot> verified = server::VerifySnapshot(
      wal::PosixFs(), path, skip_hash_check ? server::Digest::kSkip : server::Digest::kCheck,
      IsStopping);
  if (!verified.ok()) return tool.Fail(verified.status());
  const snapshot::Manifest& manifest = verified->manifest;
  if (tool.format == Format::kSimple) {
    tool.out(fmt::format(
        "{}: whole\n"
        "  revision {}, compacted {}, of cluster {}, saved by member {} with Cairn {}\n"
        "  {} keys, {} deleted ones, {} rows of history, {} leases, {} alarms\n"
        "  {} of rows in {} of file\n",
        path, manifest.revision(), manifest.compacted_revision(), Plain(manifest.cluster_id()),
        Plain(manifest.member_id()), Plain(manifest.cairn_version()), verified->counts.live_keys,
        verified->counts.tombstones, verified->counts.history_rows, verified->leases,
        verified->alarms, SizeText(static_cast<uint64_t>(verified->counts.logical_size_bytes)),
        SizeText(verified->size_bytes)));
    return kExitOk;
  }
  const mvcc::StateCounts& counts = verified->counts;
  tool.out(
      Render({NumberFact("revision", "revision", "Revision", manifest.revision()),
              NumberFact("compacted", "compactedRevision", "CompactedRevision",
                         manifest.compacted_revision()),
              NumberFact("keys", "totalKey", "Keys", counts.live_keys),
              NumberFact("deleted", "deletedKeys", "DeletedKeys", counts.tombstones),
              NumberFact("history", "historyRows", "HistoryRows", counts.history_rows),
              NumberFact("leases", "leases", "Leases", verified->leases),
              NumberFact("alarms", "alarms", "Alarms", verified->alarms),
              NumberFact("logical size", "logicalSize", "LogicalSize", counts.logical_size_bytes),
              SizeFact("Size", verified->size_bytes),
              TextFact("cluster", "clusterID", "ClusterID", Plain(manifest.cluster_id())),
              TextFact("member", "memberID", "MemberID", Plain(manifest.member_id())),
              TextFact("version", "version", "Version", Plain(manifest.storage_version()))},
             tool.format));
  return kExitOk;
}

int SnapshotRestore(const SnapshotRestoreOptions& options, const Tool& tool) {
  const absl::StatusOr<server::Config> config = ToConfig(options);
  if (!config.ok()) return tool.Fail(config.status());
  server::RestoreRequest request;
  request.snapshot_path = Absolute(options.file);
  request.digest = options.skip_hash_check ? server::Digest::kSkip : server::Digest::kCheck;
  request.bump_revision = options.bump_revision;
  request.mark_compacted = options.mark_compacted;
  const NotedSignals signals;
  const absl::StatusOr<server::RestoredMember> restored =
      server::RestoreSnapshot(wal::PosixFs(), *config, request, IsStopping);
  if (!restored.ok()) {
    tool.Fail(restored.status());
    // As etcdutl has it, whatever the reason: there is no member.
    return kExitError;
  }
  tool.note(fmt::format("restored member {:x} of cluster {:x} into {}: revision {}{}",
                        restored->member, restored->cluster, config->data_dir, restored->revision,
                        request.mark_compacted ? ", compacted there" : ""));
  return kExitOk;
}

void AddSnapshotCommand(CLI::App& app, Tool& tool) {
  CLI::App& snapshot = *app.add_subcommand("snapshot", "Look at saved snapshots, restore them");
  snapshot.require_subcommand(1);

  const auto file = std::make_shared<std::string>();
  CLI::App& status = *snapshot.add_subcommand(
      "status", "Print the hash, the revision, keys and size of a snapshot");
  status.add_option("file", *file, "what `etcdctl snapshot save` has written")->required();
  status.callback([file, &tool] { tool.exit_code = SnapshotStatus(*file, tool); });

  const auto skip = std::make_shared<bool>(false);
  CLI::App& verify =
      *snapshot.add_subcommand("verify", "Check every checksum and every row of a snapshot");
  verify.add_option("file", *file, "what `etcdctl snapshot save` has written")->required();
  verify.add_flag("--skip-hash-check", *skip, "do without the SHA-256 at the end");
  verify.callback([file, skip, &tool] { tool.exit_code = SnapshotVerify(*file, *skip, tool); });

  const auto options = std::make_shared<SnapshotRestoreOptions>();
  CLI::App& restore = *snapshot.add_subcommand(
      "restore", "Make the data directory of a member of a new cluster from a snapshot");
  restore.add_option("file", options->file, "what `etcdctl snapshot save` has written")->required();
  restore.add_option("--data-dir", options->data_dir, "to be made; <name>.cairn if left out");
  restore.add_option("--wal-dir", options->wal_dir, "the log's; inside the data directory");
  restore.add_option("--name", options->name, "the member's name")->capture_default_str();
  restore.add_option("--initial-cluster", options->initial_cluster,
                     "all members, name=url,...; this one alone if left out");
  restore
      .add_option("--initial-cluster-token", options->initial_cluster_token,
                  "goes into the ids of the new cluster")
      ->capture_default_str();
  restore
      .add_option("--initial-advertise-peer-urls", options->initial_advertise_peer_urls,
                  "the member's URLs for its peers")
      ->capture_default_str();
  restore.add_flag("--skip-hash-check", options->skip_hash_check,
                   "do without the SHA-256 at the end");
  restore
      .add_option("--bump-revision", options->bump_revision,
                  "raise the revision by so much, to 2^62 at most (with --mark-compacted)")
      ->check(CLI::NonNegativeNumber);
  restore.add_flag("--mark-compacted", options->mark_compacted,
                   "compact everything before the raised revision (with --bump-revision)");
  // etcdutl's, for its scripts: there is no map of memory here.
  restore.add_option("--initial-memory-map-size", options->initial_memory_map_size,
                     "accepted, without effect");
  restore.callback([options, &tool] { tool.exit_code = SnapshotRestore(*options, tool); });
}

}  // namespace cairn::cairnutl
