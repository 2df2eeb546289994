#include "server/config.h"

#include <fmt/format.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "base/status.h"
#include "base/utf8.h"
#include "server/auto_compactor.h"
#include "server/duration.h"

DEFINE_string(name, "default", "Name of this member.");
DEFINE_string(data_dir, "", "Directory of the data (default \"<name>.cairn\").");
DEFINE_string(wal_dir, "", "Directory of the log, when it lies apart from the data.");
DEFINE_string(listen_client_urls, "http://localhost:2379", "URLs to listen on for clients.");
DEFINE_string(advertise_client_urls, "http://localhost:2379",
              "Client URLs that other members and clients are told.");
DEFINE_string(listen_peer_urls, "http://localhost:2380", "URLs to listen on for members.");
DEFINE_string(initial_advertise_peer_urls, "http://localhost:2380",
              "Peer URLs of this member that the cluster is told.");
DEFINE_string(initial_cluster, "",
              "Members of a new cluster, name=url[,name=url...] (default: this one alone).");
DEFINE_string(initial_cluster_state, "new", "\"new\" or \"existing\".");
DEFINE_bool(strict_reconfig_check, true,
            "Refuse changes of the members that could cost the quorum.");
DEFINE_int32(max_learners, 1, "Learners that the cluster may have.");
DEFINE_bool(auto_promote_learners, false,
            "As leader, promote a learner as soon as it has caught up.");
DEFINE_bool(force_new_cluster, false,
            "Go on as a cluster of one with this member's data, dropping the other members. For "
            "when a majority is lost for good; stop every other member first.");
DEFINE_string(initial_cluster_token, "etcd-cluster",
              "Keeps clusters with equal URLs apart; part of the ids.");
DEFINE_uint32(heartbeat_interval, 100, "Milliseconds between two heartbeats of a leader.");
DEFINE_uint32(election_timeout, 1000, "Milliseconds without a leader before an election.");
DEFINE_uint32(
    log_stall_ms, 0,
    "Milliseconds after which a leader whose disk has not taken what it appended hands the "
    "leadership over (0: two election timeouts).");
DEFINE_string(lease_checkpoint_interval, "5m",
              "Time without a renewal after which what is left of a lease is noted in the log, for "
              "whoever leads next (0s: never).");
DEFINE_uint64(
    snapshot_count, 400000,
    "Applied entries after which the state is made durable, if its size did not ask first.");
DEFINE_uint64(snapshot_catchup_entries, cairn::wal::kFollowerTail.entries_max,
              "Entries that the log keeps for members that are a little behind.");
DEFINE_uint64(
    snapshot_catchup_bytes, cairn::wal::kFollowerTail.bytes_max,
    "Bytes of log that are kept for them, at most: beyond either a member gets a snapshot.");
DEFINE_uint64(wal_segment_bytes, cairn::wal::kSegmentBytes,
              "Size of a file of the log; about six are there at least.");
DEFINE_string(
    wal_sync_mode, "always",
    "When a write is on the disk: \"always\" before it is acknowledged; \"interval\" a while "
    "later and \"never\" (for tests) only when something needs it, both for a cluster of one "
    "member, which may lose what it acknowledged when the power goes.");
DEFINE_uint32(wal_sync_interval_ms, 100,
              "Milliseconds after which a write is on the disk, with --wal-sync-mode=interval.");
DEFINE_uint32(max_wals, 5, "No effect: files of the log go when the state covers them.");
DEFINE_uint32(max_snapshots, 5, "No effect: there are no files of snapshots.");
DEFINE_uint64(
    snapshot_send_bytes_per_second, uint64_t{64} << 20,
    "Rate at which snapshots leave, to all members together, bytes a second (0: as fast as "
    "it goes).");
DEFINE_int64(quota_backend_bytes, 0, "Logical size above which growth is refused (0: no limit).");
DEFINE_uint32(max_txn_ops, 128, "Operations that one transaction may hold.");
DEFINE_uint32(max_request_bytes, 1536 * 1024, "Size of the largest request, bytes.");
DEFINE_uint64(memory_limit, 256 << 20, "Bytes for the cache and the write buffers of the state.");
DEFINE_string(watch_progress_notify_interval, "10m",
              "Pause between two progress notifications of a watcher that asks for them.");
DEFINE_string(experimental_watch_progress_notify_interval, "",
              "The older name of --watch-progress-notify-interval.");
DEFINE_string(
    corrupt_check_time, "0s",
    "Pause between two comparisons of all members' states by the leader (0s: never). Each "
    "reads all of history.");
DEFINE_string(experimental_corrupt_check_time, "", "The older name of --corrupt-check-time.");
DEFINE_bool(experimental_initial_corrupt_check, false,
            "Compare the state with the other members' before serving, and end if it differs.");
DEFINE_uint64(max_watchers, 2'000'000, "Watchers that the member serves, all streams together.");
DEFINE_uint64(max_watchers_per_stream, 100'000, "Watchers of one stream.");
DEFINE_string(log_level, "info", "debug, info, warn, error, panic or fatal.");
DEFINE_string(auto_compaction_mode, "periodic", "\"periodic\" or \"revision\".");
DEFINE_string(auto_compaction_retention, "0",
              "History to keep: hours or a duration (periodic), revisions (revision); 0: all.");

namespace cairn::server {

namespace {

constexpr char kDefaultClientUrl[] = "http://localhost:2379";

// What follows fails with INVALID_ARGUMENT for a value that does not parse (a mistake of usage),
// with FAILED_PRECONDITION for values that do but cannot be served, alone or together.

// The flags of ours, in the order of --help.
constexpr const char* kFlags[] = {
    "name",
    "data-dir",
    "wal-dir",
    "listen-client-urls",
    "advertise-client-urls",
    "listen-peer-urls",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "strict-reconfig-check",
    "max-learners",
    "auto-promote-learners",
    "force-new-cluster",
    "heartbeat-interval",
    "election-timeout",
    "log-stall-ms",
    "lease-checkpoint-interval",
    "snapshot-count",
    "snapshot-catchup-entries",
    "snapshot-catchup-bytes",
    "snapshot-send-bytes-per-second",
    "wal-segment-bytes",
    "wal-sync-mode",
    "wal-sync-interval-ms",
    "max-wals",
    "max-snapshots",
    "quota-backend-bytes",
    "max-txn-ops",
    "max-request-bytes",
    "memory-limit",
    "watch-progress-notify-interval",
    "experimental-watch-progress-notify-interval",
    "corrupt-check-time",
    "experimental-corrupt-check-time",
    "experimental-initial-corrupt-check",
    "max-watchers",
    "max-watchers-per-stream",
    "log-level",
    "auto-compaction-mode",
    "auto-compaction-retention",
};

// Smallest --memory-limit that leaves room for two write buffers and a useful cache.
constexpr uint64_t kMemoryLimitBytesMin = 16 << 20;
// Half of what may wait uncommitted (raft::CoreOptions): larger ones would be turned away as too
// many beside any other.
constexpr uint32_t kRequestBytesMax = 32 << 20;
// Of --wal-segment-bytes: smaller ones cost a directory entry a few writes.
constexpr uint64_t kSegmentBytesMin = 64 << 10;
// Of --wal-sync-interval-ms: who can lose more than a minute has no need of a log.
constexpr uint32_t kSyncIntervalMsMax = 60'000;
// etcd's bound: a longer timeout makes a cluster that cannot tell slow from dead.
constexpr uint32_t kElectionTimeoutMsMax = 50'000;

// etcd's bound: more often would cost more than what is watched.
constexpr std::chrono::milliseconds kProgressIntervalMin{100};

std::string Underscored(std::string_view flag) {
  std::string name(flag);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

bool IsKnown(std::string_view flag) {
  return std::find(std::begin(kFlags), std::end(kFlags), flag) != std::end(kFlags);
}

// A flag that may stand without a value, which then is "true".
bool IsSwitch(std::string_view flag) {
  gflags::CommandLineFlagInfo info;
  return gflags::GetCommandLineFlagInfo(Underscored(flag).c_str(), &info) && info.type == "bool";
}

bool Set(std::string_view flag, const std::string& value) {
  return !gflags::SetCommandLineOption(Underscored(flag).c_str(), value.c_str()).empty();
}

std::vector<std::string> SplitCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    parts.emplace_back(part);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

}  // namespace

absl::StatusOr<std::vector<Url>> ParseUrls(std::string_view flag, std::string_view text) {
  std::vector<Url> urls;
  for (const std::string& part : SplitCommas(text)) {
    absl::StatusOr<Url> url = ParseUrl(part);
    if (!url.ok()) return base::Annotate(url.status(), fmt::format("--{}", flag));
    if (url->scheme == "https") {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "--{}: {}: this version of Cairn serves http only", flag, part);
    }
    urls.push_back(*std::move(url));
  }
  if (urls.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "--{} is empty", flag);
  }
  return urls;
}

namespace {

// A listener binds an address, so a name other than localhost would depend on name resolution.
absl::Status CheckListenHost(std::string_view flag, const Url& url) {
  const bool is_address = url.host.find(':') != std::string::npos ||
                          std::all_of(url.host.begin(), url.host.end(),
                                      [](unsigned char c) { return std::isdigit(c) || c == '.'; });
  if (is_address || url.host == "localhost") return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition,
                     "--{}: expected IP in URL for binding ({})", flag, url.text());
}

// Names are replicated as text, which no member could read otherwise.
absl::Status CheckName(std::string_view flag, std::string_view name) {
  if (base::IsUtf8(name)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument, "--{}: \"{}\" is no valid UTF-8", flag,
                     name);
}

}  // namespace

absl::StatusOr<std::vector<InitialMember>> ParseInitialCluster(std::string_view text) {
  std::map<std::string, std::set<std::string>> members;
  for (const std::string& part : SplitCommas(text)) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) {
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "--initial-cluster: \"{}\" is not name=url", part);
    }
    CAIRN_RETURN_IF_ERROR(CheckName("initial-cluster", part.substr(0, equals)));
    absl::StatusOr<Url> url = ParseUrl(std::string_view(part).substr(equals + 1));
    if (!url.ok()) return base::Annotate(url.status(), "--initial-cluster");
    members[part.substr(0, equals)].insert(url->text());
  }
  std::vector<InitialMember> result;
  std::set<std::string> seen;
  for (const auto& [name, urls] : members) {
    for (const std::string& url : urls) {
      if (!seen.insert(url).second) {
        return base::Error(absl::StatusCode::kFailedPrecondition,
                           "--initial-cluster: {} stands for two members", url);
      }
    }
    result.push_back({name, {urls.begin(), urls.end()}});
  }
  return result;
}

namespace {

std::vector<std::string> SortedTexts(const std::vector<Url>& urls) {
  std::set<std::string> texts;
  for (const Url& url : urls) texts.insert(url.text());
  return {texts.begin(), texts.end()};
}

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  static const std::map<std::string_view, LogLevel> levels = {
      {"debug", LogLevel::kDebug},     {"info", LogLevel::kInfo},   {"warn", LogLevel::kWarning},
      {"warning", LogLevel::kWarning}, {"error", LogLevel::kError}, {"dpanic", LogLevel::kFatal},
      {"panic", LogLevel::kFatal},     {"fatal", LogLevel::kFatal}};
  const auto found = levels.find(text);
  if (found == levels.end()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--log-level: \"{}\" is not one of debug, info, warn, error, panic, fatal",
                       text);
  }
  return found->second;
}

absl::Status FillUrls(Config& config, bool listen_is_given, bool advertise_is_given) {
  CAIRN_ASSIGN_OR_RETURN(config.listen_client_urls,
                         ParseUrls("listen-client-urls", FLAGS_listen_client_urls));
  CAIRN_ASSIGN_OR_RETURN(config.advertise_client_urls,
                         ParseUrls("advertise-client-urls", FLAGS_advertise_client_urls));
  CAIRN_ASSIGN_OR_RETURN(config.listen_peer_urls,
                         ParseUrls("listen-peer-urls", FLAGS_listen_peer_urls));
  CAIRN_ASSIGN_OR_RETURN(
      config.initial_advertise_peer_urls,
      ParseUrls("initial-advertise-peer-urls", FLAGS_initial_advertise_peer_urls));
  for (const Url& url : config.listen_client_urls) {
    CAIRN_RETURN_IF_ERROR(CheckListenHost("listen-client-urls", url));
  }
  for (const Url& url : config.listen_peer_urls) {
    CAIRN_RETURN_IF_ERROR(CheckListenHost("listen-peer-urls", url));
  }
  if (listen_is_given && !advertise_is_given) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--advertise-client-urls is required when --listen-client-urls is set "
                       "explicitly (the default {} would not lead here)",
                       kDefaultClientUrl);
  }
  return absl::OkStatus();
}

absl::Status FillCluster(Config& config) {
  if (FLAGS_name.empty()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "--name is empty");
  }
  CAIRN_RETURN_IF_ERROR(CheckName("name", FLAGS_name));
  config.name = FLAGS_name;
  config.initial_cluster_token = FLAGS_initial_cluster_token;
  const std::vector<std::string> own = SortedTexts(config.initial_advertise_peer_urls);
  if (FLAGS_initial_cluster.empty()) {
    config.initial_cluster = {{config.name, own}};
  } else {
    CAIRN_ASSIGN_OR_RETURN(config.initial_cluster, ParseInitialCluster(FLAGS_initial_cluster));
  }
  config.joins_existing = FLAGS_initial_cluster_state == "existing";
  if (!config.joins_existing && FLAGS_initial_cluster_state != "new") {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--initial-cluster-state: \"{}\" is neither \"new\" nor \"existing\"",
                       FLAGS_initial_cluster_state);
  }
  return absl::OkStatus();
}

absl::Status FillMembership(Config& config) {
  if (FLAGS_max_learners < 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "--max-learners is below 0");
  }
  config.strict_reconfig_check = FLAGS_strict_reconfig_check;
  config.max_learners = static_cast<uint32_t>(FLAGS_max_learners);
  config.auto_promote_learners = FLAGS_auto_promote_learners;
  config.force_new_cluster = FLAGS_force_new_cluster;
  return absl::OkStatus();
}

absl::Status FillTimes(Config& config) {
  if (FLAGS_heartbeat_interval == 0 || FLAGS_election_timeout == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--heartbeat-interval and --election-timeout must be above 0 ms");
  }
  if (FLAGS_election_timeout < 5 * uint64_t{FLAGS_heartbeat_interval}) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--election-timeout[{}ms] should be at least as 5 times as "
                       "--heartbeat-interval[{}ms]",
                       FLAGS_election_timeout, FLAGS_heartbeat_interval);
  }
  if (FLAGS_election_timeout > kElectionTimeoutMsMax) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--election-timeout[{}ms] is too long, and should be set less than {}ms",
                       FLAGS_election_timeout, kElectionTimeoutMsMax);
  }
  config.heartbeat_interval = std::chrono::milliseconds(FLAGS_heartbeat_interval);
  config.election_timeout = std::chrono::milliseconds(FLAGS_election_timeout);
  // It is counted in heartbeats.
  if (FLAGS_log_stall_ms != 0 && FLAGS_log_stall_ms < FLAGS_heartbeat_interval) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--log-stall-ms[{}ms] should be 0 or at least --heartbeat-interval[{}ms]",
                       FLAGS_log_stall_ms, FLAGS_heartbeat_interval);
  }
  config.log_stall = FLAGS_log_stall_ms == 0 ? 2 * config.election_timeout
                                             : std::chrono::milliseconds(FLAGS_log_stall_ms);
  const std::optional<std::chrono::nanoseconds> checkpoint =
      ParseDuration(FLAGS_lease_checkpoint_interval);
  if (!checkpoint.has_value()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--lease-checkpoint-interval: \"{}\" is no duration such as 5m",
                       FLAGS_lease_checkpoint_interval);
  }
  config.lease_checkpoint_interval =
      std::chrono::duration_cast<std::chrono::milliseconds>(*checkpoint);
  return absl::OkStatus();
}

absl::Status FillWatch(Config& config) {
  const std::string& interval = FLAGS_experimental_watch_progress_notify_interval.empty()
                                    ? FLAGS_watch_progress_notify_interval
                                    : FLAGS_experimental_watch_progress_notify_interval;
  const std::optional<std::chrono::nanoseconds> parsed = ParseDuration(interval);
  if (!parsed.has_value()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--watch-progress-notify-interval: \"{}\" is no duration such as 10m",
                       interval);
  }
  config.watch_progress_notify_interval = std::max(
      kProgressIntervalMin, std::chrono::duration_cast<std::chrono::milliseconds>(*parsed));
  if (FLAGS_max_watchers == 0 || FLAGS_max_watchers_per_stream == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--max-watchers and --max-watchers-per-stream must be above 0");
  }
  config.max_watchers = FLAGS_max_watchers;
  config.max_watchers_per_stream = FLAGS_max_watchers_per_stream;
  return absl::OkStatus();
}

absl::StatusOr<wal::SyncMode> ParseSyncMode(std::string_view text) {
  if (text == "always") return wal::SyncMode::kAlways;
  if (text == "interval") return wal::SyncMode::kInterval;
  if (text == "never") return wal::SyncMode::kNever;
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "--wal-sync-mode: \"{}\" is not one of always, interval, never", text);
}

absl::Status FillLog(Config& config) {
  if (FLAGS_wal_segment_bytes < kSegmentBytesMin ||
      FLAGS_wal_segment_bytes > wal::kSegmentBytesMax ||
      FLAGS_wal_segment_bytes % kSegmentBytesMin != 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--wal-segment-bytes must be a multiple of {}, at most {}", kSegmentBytesMin,
                       wal::kSegmentBytesMax);
  }
  config.wal_segment_bytes = FLAGS_wal_segment_bytes;
  CAIRN_ASSIGN_OR_RETURN(config.wal_sync_mode, ParseSyncMode(FLAGS_wal_sync_mode));
  if (FLAGS_wal_sync_interval_ms == 0 || FLAGS_wal_sync_interval_ms > kSyncIntervalMsMax) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--wal-sync-interval-ms must be 1 to {}", kSyncIntervalMsMax);
  }
  config.wal_sync_interval = std::chrono::milliseconds(FLAGS_wal_sync_interval_ms);
  config.snapshot_catchup_entries = FLAGS_snapshot_catchup_entries;
  uint64_t& kept_bytes = config.snapshot_catchup_bytes = FLAGS_snapshot_catchup_bytes;
  // Whole segments are kept: at least one, unless something else was asked for.
  if (kept_bytes == wal::kFollowerTail.bytes_max) {
    kept_bytes = std::max(kept_bytes, config.wal_segment_bytes);
  } else if (kept_bytes > 0 && kept_bytes < config.wal_segment_bytes) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--snapshot-catchup-bytes={} keeps nothing of a log with "
                       "--wal-segment-bytes={}: give at least that, or 0 to keep nothing",
                       kept_bytes, config.wal_segment_bytes);
  }
  return absl::OkStatus();
}

absl::Status FillLimits(Config& config) {
  if (FLAGS_snapshot_count == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "--snapshot-count must be above 0");
  }
  if (FLAGS_max_txn_ops == 0 || FLAGS_max_request_bytes == 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--max-txn-ops and --max-request-bytes must be above 0");
  }
  if (FLAGS_max_request_bytes > kRequestBytesMax) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--max-request-bytes must be at most {}", kRequestBytesMax);
  }
  if (FLAGS_memory_limit < kMemoryLimitBytesMin) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--memory-limit must be at least {} bytes", kMemoryLimitBytesMin);
  }
  config.snapshot_count = FLAGS_snapshot_count;
  config.snapshot_send_bytes_per_second = FLAGS_snapshot_send_bytes_per_second;
  config.quota_backend_bytes = FLAGS_quota_backend_bytes;
  config.max_txn_ops = FLAGS_max_txn_ops;
  config.max_request_bytes = FLAGS_max_request_bytes;
  config.memory_limit_bytes = FLAGS_memory_limit;
  CAIRN_ASSIGN_OR_RETURN(config.log_level, ParseLogLevel(FLAGS_log_level));
  if (FLAGS_auto_compaction_mode == "periodic") {
    config.auto_compaction_mode = CompactionMode::kPeriodic;
  } else if (FLAGS_auto_compaction_mode == "revision") {
    config.auto_compaction_mode = CompactionMode::kRevision;
  } else {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--auto-compaction-mode: \"{}\" is neither \"periodic\" nor \"revision\"",
                       FLAGS_auto_compaction_mode);
  }
  config.auto_compaction_retention = FLAGS_auto_compaction_retention;
  return ParseAutoCompaction(FLAGS_auto_compaction_mode, FLAGS_auto_compaction_retention).status();
}

absl::Status FillChecks(Config& config) {
  const std::string& interval = FLAGS_experimental_corrupt_check_time.empty()
                                    ? FLAGS_corrupt_check_time
                                    : FLAGS_experimental_corrupt_check_time;
  const std::optional<std::chrono::nanoseconds> parsed = ParseDuration(interval);
  if (!parsed.has_value()) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "--corrupt-check-time: \"{}\" is no duration such as 6h", interval);
  }
  config.corrupt_check_time = std::chrono::ceil<std::chrono::milliseconds>(*parsed);
  config.initial_corrupt_check = FLAGS_experimental_initial_corrupt_check;
  return absl::OkStatus();
}

// Absolute, without "." and "..", and without a slash at the end: the parent of "/a/b/" is "/a".
std::string Absolute(std::string_view working_directory, const std::string& directory) {
  const std::filesystem::path path =
      (std::filesystem::path(working_directory) / directory).lexically_normal();
  return path.has_filename() ? path.string() : path.parent_path().string();
}

void FillDirectories(Config& config, std::string_view working_directory) {
  config.data_dir =
      Absolute(working_directory, FLAGS_data_dir.empty() ? config.name + ".cairn" : FLAGS_data_dir);
  if (!FLAGS_wal_dir.empty()) config.wal_dir = Absolute(working_directory, FLAGS_wal_dir);
}

// The flags that arguments or environment gave, with where each came from.
class Walk {
 public:
  bool Arguments(const std::vector<std::string>& arguments, ConfigError& error, Command& command) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string& argument = arguments[i];
      if (argument.size() < 2 || argument[0] != '-') {
        error = {fmt::format("'{}' is not a valid flag", argument), true};
        return false;
      }
      const size_t dashes = argument[1] == '-' ? 2 : 1;
      const size_t equals = argument.find('=');
      const std::string flag = argument.substr(dashes, equals - dashes);
      if (flag == "help" || flag == "h") {
        command.kind = Command::Kind::kHelp;
        return true;
      }
      if (flag == "version") {
        command.kind = Command::Kind::kVersion;
        return true;
      }
      if (!IsKnown(flag)) {
        error = {fmt::format("unknown flag --{}", flag), true};
        return false;
      }
      const bool has_own_value = equals != std::string::npos;
      const bool is_switch = IsSwitch(flag);
      if (!has_own_value && !is_switch && i + 1 == arguments.size()) {
        error = {fmt::format("flag --{} needs a value", flag), true};
        return false;
      }
      std::string value = "true";
      if (has_own_value) {
        value = argument.substr(equals + 1);
      } else if (!is_switch) {
        value = arguments[++i];
      }
      if (!Give(flag, value, fmt::format("--{}", flag), error)) return false;
    }
    return true;
  }

  bool Environment(const EnvironmentLookup& environment, ConfigError& error) {
    if (const auto unserved = UnservedVariable(environment); unserved.has_value()) {
      error = {fmt::format("environment variable {} asks for what is not served here (see "
                           "docs/differences.md); unset it",
                           *unserved),
               true};
      return false;
    }
    for (const char* flag : kFlags) {
      if (given_.contains(flag)) continue;
      for (const char* prefix : kEnvironmentPrefixes) {
        const std::string name = EnvironmentName(prefix, flag);
        const char* value = environment(name.c_str());
        if (value == nullptr || *value == '\0') continue;
        if (!Give(flag, value, name, error)) return false;
        break;
      }
    }
    return true;
  }

  bool IsGiven(const char* flag) const { return given_.contains(flag); }

 private:
  bool Give(const std::string& flag, const std::string& value, const std::string& source,
            ConfigError& error) {
    if (!Set(flag, value)) {
      error = {fmt::format("invalid value \"{}\" for {}", value, source), true};
      return false;
    }
    given_.insert(flag);
    return true;
  }

  std::set<std::string, std::less<>> given_;
};

}  // namespace

std::optional<Command> ParseCommandLine(const std::vector<std::string>& arguments,
                                        const EnvironmentLookup& environment,
                                        std::string_view working_directory, ConfigError& error) {
  const gflags::FlagSaver saver;  // The values are copied out; a second parse starts afresh.
  Command command;
  Walk walk;
  if (!walk.Arguments(arguments, error, command)) return std::nullopt;
  if (command.kind != Command::Kind::kRun) return command;
  if (!walk.Environment(environment, error)) return std::nullopt;
  Config& config = command.config;
  absl::Status status =
      FillUrls(config, walk.IsGiven("listen-client-urls"), walk.IsGiven("advertise-client-urls"));
  if (status.ok()) status = FillCluster(config);
  if (status.ok()) status = FillMembership(config);
  if (status.ok()) status = FillTimes(config);
  if (status.ok()) status = FillWatch(config);
  if (status.ok()) status = FillLog(config);
  if (status.ok()) status = FillLimits(config);
  if (status.ok()) status = FillChecks(config);
  if (!status.ok()) {
    error = {std::string(base::Message(status)), absl::IsInvalidArgument(status)};
    return std::nullopt;
  }
  FillDirectories(config, working_directory);
  return command;
}

absl::StatusOr<InitialMember> FindSelf(const Config& config) {
  const auto self = std::find_if(config.initial_cluster.begin(), config.initial_cluster.end(),
                                 [&](const InitialMember& m) { return m.name == config.name; });
  if (self == config.initial_cluster.end()) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "couldn't find local name \"{}\" in the initial cluster configuration: "
                       "--name has to be one of --initial-cluster's",
                       config.name);
  }
  // Who joins was announced to the cluster before; what counts is what that says.
  const std::vector<std::string> own = SortedTexts(config.initial_advertise_peer_urls);
  if (!config.joins_existing && self->peer_urls != own) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "--initial-cluster has {}={} but missing from "
                       "--initial-advertise-peer-urls={}",
                       config.name, fmt::join(self->peer_urls, ","), fmt::join(own, ","));
  }
  return *self;
}

std::string HelpText() {
  std::string text =
      "Cairn: a replicated key-value store with revisions, transactions, watch and leases,\n"
      "wire-compatible with etcd v3.\n\n"
      "Usage: cairn [--flag=value ...]\n\n"
      "Each flag is also read from the environment: --data-dir from CAIRN_DATA_DIR, else from\n"
      "ETCD_DATA_DIR.\n\n";
  for (const char* flag : kFlags) {
    gflags::CommandLineFlagInfo info;
    if (!gflags::GetCommandLineFlagInfo(Underscored(flag).c_str(), &info)) continue;
    text += fmt::format("  --{}", flag);
    if (!info.default_value.empty()) text += fmt::format(" (default {})", info.default_value);
    text += fmt::format("\n      {}\n", info.description);
  }
  text += "  --version\n      Prints the version and exits.\n";
  text += "  --help\n      Prints this text and exits.\n";
  return text;
}

std::span<const char* const> FlagNames() { return kFlags; }

}  // namespace cairn::server
