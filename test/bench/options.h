// The load driver's command line.
//
// Every flag is `--name=value`; a boolean may stand without a value. Unknown flags, values out of
// range and combinations that make no sense are refused by name, because a typo in a benchmark is a
// wrong figure. Pure: reads nothing but its arguments.
#ifndef CAIRN_TEST_BENCH_OPTIONS_H_
#define CAIRN_TEST_BENCH_OPTIONS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::bench {

enum class Operation {
  kPut,            // one key a request
  kTxn,            // txn_puts keys a request, no compares
  kGet,            // one key
  kRange,          // all keys under the prefix
  kRangeStream,    // the same as a stream (etcd 3.7)
  kHashKv,         // the hash of everything up to `revision`
  kCompact,        // up to `revision`, answered when the old rows are gone
  kWait,           // not a load: time until the first answered linearizable read
  kGrant,          // one lease a request, number and key number alike
  kKeepAlive,      // one renewal on a stream of its own
  kWatch,          // puts, and watchers on held streams that see them (`watch_load`)
  kHeldKeepAlive,  // renewals on held streams (`lease_load`)
  kExpiry,         // many leases end at once, beside puts (`lease_load`)
  kFailover,       // puts and gets while members come and go (`failover_load`)
  kSnapshot,       // a whole snapshot of the state as a stream, read and dropped
};

struct Options {
  // HOST:PORT, or several of one cluster, separated by commas: connections are dealt to them in
  // turn.
  std::string endpoint = "127.0.0.1:2379";
  Operation operation = Operation::kPut;

  // Each client has at most one request in flight; clients are dealt to connections in turn.
  uint32_t connections = 1;
  uint32_t clients = 1;
  // Requests a second, due on schedule whether answers came or not (open loop); one that finds
  // every client waiting goes out late, and its wait counts. 0: a client sends when its answer has
  // come (closed loop).
  uint64_t rate = 0;
  // An open loop sleeps until the next request is due, instead of spinning: for a driver that
  // shares its core.
  bool sleeps = false;

  // Measured after the warm-up has seen both of its bounds; ends at the first of these that is met.
  // 0 is "no such bound". Without a warm-up exactly `total` requests are sent.
  uint64_t total = 0;
  uint64_t duration_ms = 0;
  uint64_t warmup_total = 0;
  uint64_t warmup_ms = 0;
  // The whole process gives up after this long.
  uint64_t limit_seconds = 600;

  std::string key_prefix;
  uint32_t key_size_bytes = 8;
  uint32_t value_size_bytes = 256;
  // Keys are numbered [first_key, first_key + key_space), taken in order or at random.
  uint64_t first_key = 0;
  uint64_t key_space = 1;
  bool random_keys = false;
  uint64_t seed = 1;
  uint32_t txn_puts = 1;

  int64_t revision = 0;
  int64_t range_limit = 0;
  bool serializable = false;
  bool keys_only = false;
  bool count_only = false;
  // The count that every range must answer, checked once; negative: not checked.
  int64_t expect_count = -1;

  // Held streams, dealt to connections in turn; with kWatch each has that many watchers.
  uint32_t streams = 1;
  uint32_t watchers = 1;
  // The key space in this many equal parts; watcher n of all watches part n modulo it. A part of
  // one key is watched as a key, a larger one as a range.
  uint64_t watched_parts = 1;
  // Watchers begin here (0: now) and find `history` events there each before what is put.
  int64_t start_revision = 0;
  uint64_t history = 0;
  bool prev_kv = false;
  // After the measured part this many streams are not read for a time while puts go on; then they
  // are, and must be given everything.
  uint32_t stopped_streams = 0;
  uint64_t stop_ms = 0;
  // Rest before the server's memory is read, both without and with the idle watchers.
  uint64_t settle_ms = 0;

  // Leases are numbered from 1 on like keys from 0 on: lease n + 1 goes with key n.
  uint64_t leases = 1;
  uint64_t ttl_seconds = 60;
  // A put attaches its key to its lease.
  bool leased = false;

  // With kFailover: how long an attempt may take, and all attempts of one request together.
  uint64_t attempt_ms = 500;
  uint64_t give_up_ms = 10'000;

  // The processes whose CPU time (over the measured part) and memory are counted, summed.
  std::vector<int32_t> server_pids;
};

// `arguments` without the program's name. InvalidArgument names the flag.
absl::StatusOr<Options> ParseOptions(const std::vector<std::string_view>& arguments);

// One line a flag, for --help.
std::string Usage();

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_OPTIONS_H_
