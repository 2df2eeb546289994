// The server's configuration: parsed from flags and environment, validated, units in names.
//
// Flags are etcd's, so that unit files and manifests keep working. gflags holds the values; the
// walk over arguments and environment is ours, because gflags' own parser exits with 1, prints the
// flags of its libraries, and knows no environment of ours. Precedence: flag, CAIRN_*, ETCD_*,
// default. Main thread only, before anything else starts. Never touches the file system.
#ifndef CAIRN_SERVER_CONFIG_H_
#define CAIRN_SERVER_CONFIG_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/environment.h"
#include "server/url.h"
#include "wal/types.h"

namespace cairn::server {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kFatal };

enum class CompactionMode { kPeriodic, kRevision };

// One member of --initial-cluster, its URLs sorted.
struct InitialMember {
  std::string name;
  std::vector<std::string> peer_urls;
};

struct Config {
  std::string name;
  std::string data_dir;  // Absolute.
  std::string wal_dir;   // Absolute; empty: inside data_dir.
  std::vector<Url> listen_client_urls;
  std::vector<Url> advertise_client_urls;
  std::vector<Url> listen_peer_urls;
  std::vector<Url> initial_advertise_peer_urls;
  std::vector<InitialMember> initial_cluster;  // Sorted by name.
  std::string initial_cluster_token;
  bool joins_existing = false;  // Without a log: join the cluster that initial_cluster names.
  bool strict_reconfig_check = true;
  uint32_t max_learners = 1;
  bool auto_promote_learners = false;
  bool force_new_cluster = false;
  std::chrono::milliseconds heartbeat_interval{100};
  std::chrono::milliseconds election_timeout{1000};
  // A leader whose log append has not returned after so long hands over.
  std::chrono::milliseconds log_stall{2000};
  // What is left of a lease that was not renewed for so long goes through the log. 0: never.
  std::chrono::milliseconds lease_checkpoint_interval{300'000};
  uint64_t snapshot_count = 0;  // Applied entries between two flushes of the state.
  // What the log keeps for other members, of what the state holds: both bounds together.
  uint64_t snapshot_catchup_entries = wal::kFollowerTail.entries_max;
  uint64_t snapshot_catchup_bytes = wal::kFollowerTail.bytes_max;
  uint64_t snapshot_send_bytes_per_second = 0;  // To all members together; 0: no bound.
  uint64_t wal_segment_bytes = wal::kSegmentBytes;
  wal::SyncMode wal_sync_mode = wal::SyncMode::kAlways;
  std::chrono::milliseconds wal_sync_interval{100};
  int64_t quota_backend_bytes = 0;  // 0 or less: no limit.
  size_t max_txn_ops = 0;
  size_t max_request_bytes = 0;
  std::chrono::milliseconds watch_progress_notify_interval{600'000};
  std::chrono::milliseconds corrupt_check_time{0};  // Between two; 0: never.
  bool initial_corrupt_check = false;
  size_t max_watchers = 0;             // Of all streams together.
  size_t max_watchers_per_stream = 0;  // Of one stream.
  size_t memory_limit_bytes = 0;       // Block cache and write buffers of the state.
  LogLevel log_level = LogLevel::kInfo;
  CompactionMode auto_compaction_mode = CompactionMode::kPeriodic;
  std::string auto_compaction_retention;  // As auto_compactor.h parses it; "0" is off.
  std::vector<std::string> warnings;      // What to say once logging is up.
};

// What the command line asks for.
struct Command {
  enum class Kind { kRun, kHelp, kVersion };
  Kind kind = Kind::kRun;
  Config config;  // With kRun.
};

// A command line or environment that cannot be honoured. `is_usage_error` ones (a flag that does
// not exist, a value that does not parse: no number, URL, duration or known word) exit with 2 as
// etcd's do; values out of range and wrong combinations with 1.
struct ConfigError {
  std::string text;
  bool is_usage_error = false;
};

// Parses `arguments` (without the program's name) and the environment. Relative directories resolve
// against `working_directory`. Returns the command, or fills `error`.
std::optional<Command> ParseCommandLine(const std::vector<std::string>& arguments,
                                        const EnvironmentLookup& environment,
                                        std::string_view working_directory, ConfigError& error);

// The members that --initial-cluster names. INVALID_ARGUMENT for what does not parse,
// FAILED_PRECONDITION when a URL stands for two.
absl::StatusOr<std::vector<InitialMember>> ParseInitialCluster(std::string_view text);

// A list of URLs with commas between. INVALID_ARGUMENT names the flag.
absl::StatusOr<std::vector<Url>> ParseUrls(std::string_view flag, std::string_view text);

// Which of the initial cluster a member is that has no log yet; afterwards --initial-cluster does
// not count. FAILED_PRECONDITION, in etcd's words, when --name is none of them or its URLs are not
// those that it advertises.
absl::StatusOr<InitialMember> FindSelf(const Config& config);

// The text of --help: every flag of ours with its default, and nothing of the libraries'.
std::string HelpText();

// The flags of ours, without dashes, in the order of --help.
std::span<const char* const> FlagNames();

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CONFIG_H_
