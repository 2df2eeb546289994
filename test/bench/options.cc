#include "test/bench/options.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/status.h"
#include "test/bench/stream_wire.h"

namespace cairn::bench {
namespace {

// A gRPC channel and its socket per connection, a call per client: far above the suite's 1,000.
constexpr uint64_t kConnectionsMax = 10'000;
constexpr uint64_t kClientsMax = 100'000;
// etcd refuses requests over 1.5 MiB; the driver may go somewhat further to see that.
constexpr uint64_t kValueBytesMax = 4 << 20;
constexpr uint64_t kKeyBytesMax = 64 << 10;
// A stream is a call that stays; the suite asks for 10,000.
constexpr uint64_t kStreamsMax = 100'000;
// The driver keeps 16 bytes for each watcher of all streams together.
constexpr uint64_t kWatchersMax = 10'000'000;
constexpr uint64_t kLeasesMax = 10'000'000;
// etcd's own bound of a TTL.
constexpr uint64_t kTtlSecondsMax = 9'000'000'000;
// A run is bounded in time whatever else is asked for.
constexpr uint64_t kLimitSecondsMax = 4 * 3600;
constexpr uint64_t kMillisMax = kLimitSecondsMax * 1000;
constexpr uint64_t kRequestsMax = 10'000'000'000;

constexpr std::array kOperations = std::to_array<std::pair<std::string_view, Operation>>({
    {"put", Operation::kPut},
    {"txn", Operation::kTxn},
    {"get", Operation::kGet},
    {"range", Operation::kRange},
    {"range-stream", Operation::kRangeStream},
    {"hashkv", Operation::kHashKv},
    {"compact", Operation::kCompact},
    {"wait", Operation::kWait},
    {"grant", Operation::kGrant},
    {"keepalive", Operation::kKeepAlive},
    {"watch", Operation::kWatch},
    {"held-keepalive", Operation::kHeldKeepAlive},
    {"expiry", Operation::kExpiry},
    {"failover", Operation::kFailover},
    {"snapshot", Operation::kSnapshot},
});

absl::Status Bad(std::string_view name, std::string_view value, std::string_view why) {
  return base::Error(absl::StatusCode::kInvalidArgument, "--{}={}: {}", name, value, why);
}

// Takes `value` into `field` if it is a whole number of [least, most].
template <typename T>
absl::Status TakeNumber(std::string_view name, std::string_view value, T least, uint64_t most,
                        T& field) {
  T number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) {
    return Bad(name, value, "not a whole number in range");
  }
  if (number < least || static_cast<uint64_t>(number) > most) {
    return Bad(name, value, fmt::format("must be between {} and {}", least, most));
  }
  field = number;
  return absl::OkStatus();
}

absl::Status TakeBool(std::string_view name, std::optional<std::string_view> value, bool& field) {
  if (!value.has_value() || *value == "true") {
    field = true;
  } else if (*value == "false") {
    field = false;
  } else {
    return Bad(name, *value, "must be true or false");
  }
  return absl::OkStatus();
}

// One process id, or several separated by commas.
absl::Status TakePids(std::string_view name, std::string_view value, std::vector<int32_t>& field) {
  field.clear();
  while (true) {
    const size_t comma = value.find(',');
    CAIRN_RETURN_IF_ERROR(
        TakeNumber<int32_t>(name, value.substr(0, comma), 1, 1 << 30, field.emplace_back()));
    if (comma == value.npos) return absl::OkStatus();
    value.remove_prefix(comma + 1);
  }
}

absl::Status TakeOperation(std::string_view value, Operation& field) {
  for (const auto& [name, operation] : kOperations) {
    if (name == value) {
      field = operation;
      return absl::OkStatus();
    }
  }
  return Bad("operation", value, "no such operation");
}

constexpr uint64_t kInt64Max = std::numeric_limits<int64_t>::max();

// The flags of held streams and leases.
absl::Status TakeStreamFlag(std::string_view name, std::string_view value, Options& o) {
  if (name == "streams") return TakeNumber<uint32_t>(name, value, 1, kStreamsMax, o.streams);
  if (name == "watchers") return TakeNumber<uint32_t>(name, value, 0, kWatchersMax, o.watchers);
  if (name == "watched-parts") {
    return TakeNumber<uint64_t>(name, value, 1, kRequestsMax, o.watched_parts);
  }
  if (name == "start-revision") {
    return TakeNumber<int64_t>(name, value, 0, kInt64Max, o.start_revision);
  }
  if (name == "history") return TakeNumber<uint64_t>(name, value, 0, kRequestsMax, o.history);
  if (name == "stopped-streams") {
    return TakeNumber<uint32_t>(name, value, 0, kStreamsMax, o.stopped_streams);
  }
  if (name == "stop-ms") return TakeNumber<uint64_t>(name, value, 0, kMillisMax, o.stop_ms);
  if (name == "settle-ms") return TakeNumber<uint64_t>(name, value, 0, kMillisMax, o.settle_ms);
  if (name == "leases") return TakeNumber<uint64_t>(name, value, 1, kLeasesMax, o.leases);
  if (name == "ttl-seconds") {
    return TakeNumber<uint64_t>(name, value, 1, kTtlSecondsMax, o.ttl_seconds);
  }
  return base::Error(absl::StatusCode::kInvalidArgument, "--{}: no such flag", name);
}

absl::Status TakeFlag(std::string_view name, std::optional<std::string_view> given, Options& o) {
  if (name == "sleeps") return TakeBool(name, given, o.sleeps);
  if (name == "random-keys") return TakeBool(name, given, o.random_keys);
  if (name == "serializable") return TakeBool(name, given, o.serializable);
  if (name == "keys-only") return TakeBool(name, given, o.keys_only);
  if (name == "count-only") return TakeBool(name, given, o.count_only);
  if (name == "prev-kv") return TakeBool(name, given, o.prev_kv);
  if (name == "leased") return TakeBool(name, given, o.leased);
  const std::string_view value = given.value_or("");
  if (name == "endpoint") {
    o.endpoint = value;
    return value.empty() ? Bad(name, value, "is empty") : absl::OkStatus();
  }
  if (name == "key-prefix") {
    o.key_prefix = value;
    return absl::OkStatus();
  }
  if (name == "operation") return TakeOperation(value, o.operation);
  if (name == "connections") {
    return TakeNumber<uint32_t>(name, value, 1, kConnectionsMax, o.connections);
  }
  if (name == "clients") return TakeNumber<uint32_t>(name, value, 1, kClientsMax, o.clients);
  if (name == "rate") return TakeNumber<uint64_t>(name, value, 0, 1'000'000, o.rate);
  if (name == "total") return TakeNumber<uint64_t>(name, value, 0, kRequestsMax, o.total);
  if (name == "duration-ms") {
    return TakeNumber<uint64_t>(name, value, 0, kMillisMax, o.duration_ms);
  }
  if (name == "warmup-total") {
    return TakeNumber<uint64_t>(name, value, 0, kRequestsMax, o.warmup_total);
  }
  if (name == "warmup-ms") return TakeNumber<uint64_t>(name, value, 0, kMillisMax, o.warmup_ms);
  if (name == "limit-seconds") {
    return TakeNumber<uint64_t>(name, value, 1, kLimitSecondsMax, o.limit_seconds);
  }
  if (name == "key-size")
    return TakeNumber<uint32_t>(name, value, 1, kKeyBytesMax, o.key_size_bytes);
  if (name == "value-size") {
    return TakeNumber<uint32_t>(name, value, 0, kValueBytesMax, o.value_size_bytes);
  }
  if (name == "first-key") return TakeNumber<uint64_t>(name, value, 0, kRequestsMax, o.first_key);
  if (name == "key-space") return TakeNumber<uint64_t>(name, value, 1, kRequestsMax, o.key_space);
  if (name == "seed") return TakeNumber<uint64_t>(name, value, 0, kInt64Max, o.seed);
  if (name == "txn-puts") return TakeNumber<uint32_t>(name, value, 1, 10'000, o.txn_puts);
  if (name == "revision") return TakeNumber<int64_t>(name, value, 0, kInt64Max, o.revision);
  if (name == "range-limit") return TakeNumber<int64_t>(name, value, 0, kInt64Max, o.range_limit);
  if (name == "expect-count") return TakeNumber<int64_t>(name, value, 0, kInt64Max, o.expect_count);
  if (name == "attempt-ms") return TakeNumber<uint64_t>(name, value, 1, kMillisMax, o.attempt_ms);
  if (name == "give-up-ms") return TakeNumber<uint64_t>(name, value, 1, kMillisMax, o.give_up_ms);
  if (name == "server-pid") return TakePids(name, value, o.server_pids);
  return TakeStreamFlag(name, value, o);
}

// How many decimal digits the largest key number needs.
size_t DigitsOf(uint64_t number) { return fmt::formatted_size("{}", number); }

absl::Status CheckStamps(const Options& o) {
  if (o.value_size_bytes >= kStampBytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "--value-size={} cannot hold the {} bytes of a stamp", o.value_size_bytes,
                     kStampBytes);
}

absl::Status CheckStreams(const Options& o) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  if (uint64_t{o.streams} * o.watchers > kWatchersMax) {
    return base::Error(kInvalid, "--streams={} of --watchers={} are more than {} in all", o.streams,
                       o.watchers, kWatchersMax);
  }
  if (o.watched_parts > o.key_space || o.key_space % o.watched_parts != 0) {
    return base::Error(kInvalid, "--key-space={} is not a multiple of --watched-parts={}",
                       o.key_space, o.watched_parts);
  }
  if (o.stopped_streams > o.streams) {
    return base::Error(kInvalid, "--stopped-streams={} is more than --streams={}",
                       o.stopped_streams, o.streams);
  }
  if ((o.stopped_streams == 0) != (o.stop_ms == 0)) {
    return base::Error(kInvalid, "--stopped-streams and --stop-ms go together");
  }
  return CheckStamps(o);
}

// Those that are bounded by what they count, and may do without other bounds.
bool HasOwnBound(Operation operation) {
  return operation == Operation::kWait || operation == Operation::kWatch ||
         operation == Operation::kExpiry;
}

absl::Status CheckTogether(const Options& o) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  if (o.operation == Operation::kWatch) CAIRN_RETURN_IF_ERROR(CheckStreams(o));
  if (o.operation == Operation::kFailover) CAIRN_RETURN_IF_ERROR(CheckStamps(o));
  if (o.operation == Operation::kFailover && (o.rate == 0 || o.duration_ms == 0)) {
    return base::Error(kInvalid, "a failover is measured with --rate and --duration-ms");
  }
  if (o.total == 0 && o.duration_ms == 0 && !HasOwnBound(o.operation)) {
    return base::Error(kInvalid, "one of --total and --duration-ms must bound the run");
  }
  if (o.connections > o.clients && o.connections > o.streams) {
    return base::Error(kInvalid, "--connections={} is more than --clients={}", o.connections,
                       o.clients);
  }
  const size_t digits = DigitsOf(o.first_key + o.key_space - 1);
  if (o.key_prefix.size() + digits > o.key_size_bytes) {
    return base::Error(kInvalid, "--key-size={} cannot hold the prefix and {} digits",
                       o.key_size_bytes, digits);
  }
  // A transaction may not put one key twice.
  if (o.operation == Operation::kTxn && o.key_space % o.txn_puts != 0) {
    return base::Error(kInvalid, "--key-space={} is not a multiple of --txn-puts={}", o.key_space,
                       o.txn_puts);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Options> ParseOptions(const std::vector<std::string_view>& arguments) {
  Options options;
  for (const std::string_view argument : arguments) {
    if (!argument.starts_with("--")) {
      return base::Error(absl::StatusCode::kInvalidArgument, "{}: flags are --name=value",
                         argument);
    }
    const size_t equals = argument.find('=');
    const std::string_view name = argument.substr(2, equals == argument.npos ? equals : equals - 2);
    std::optional<std::string_view> value;
    if (equals != argument.npos) value = argument.substr(equals + 1);
    CAIRN_RETURN_IF_ERROR(TakeFlag(name, value, options));
  }
  CAIRN_RETURN_IF_ERROR(CheckTogether(options));
  return options;
}

std::string Usage() {
  return "Drives load into one etcd-compatible cluster and prints one line of JSON.\n"
         "  --endpoint=HOST:PORT[,...]   --server-pid=PID[,...] (counts their CPU)\n"
         "  --operation=put|txn|get|range|range-stream|hashkv|compact|wait|\n"
         "      grant|keepalive|held-keepalive|expiry|watch|failover|snapshot\n"
         "  --connections=N --clients=N --rate=REQUESTS_PER_SECOND (0: closed loop) --sleeps\n"
         "  --total=N --duration-ms=N --warmup-total=N --warmup-ms=N --limit-seconds=N\n"
         "  --key-prefix=TEXT --key-size=BYTES --value-size=BYTES --first-key=N --key-space=N\n"
         "  --random-keys --seed=N --txn-puts=N\n"
         "  --revision=N --range-limit=N --serializable --keys-only --count-only\n"
         "  --expect-count=N\n"
         "  --streams=N --watchers=N (each) --watched-parts=N --start-revision=N --history=N\n"
         "  --prev-kv --stopped-streams=N --stop-ms=N --settle-ms=N\n"
         "  --leases=N --ttl-seconds=N --leased\n"
         "  --attempt-ms=N --give-up-ms=N (failover)\n";
}

}  // namespace cairn::bench
