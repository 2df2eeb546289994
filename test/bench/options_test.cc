#include "test/bench/options.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace cairn::bench {
namespace {

TEST(ParseOptions, TakesEveryKindOfFlag) {
  const auto options = ParseOptions({"--endpoint=localhost:1", "--operation=range", "--clients=8",
                                     "--connections=2", "--duration-ms=500", "--key-prefix=a=b",
                                     "--serializable", "--count-only=false", "--revision=7"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->endpoint, "localhost:1");
  EXPECT_EQ(options->operation, Operation::kRange);
  EXPECT_EQ(options->clients, 8u);
  EXPECT_EQ(options->connections, 2u);
  EXPECT_EQ(options->duration_ms, 500u);
  EXPECT_EQ(options->key_prefix, "a=b");
  EXPECT_TRUE(options->serializable);
  EXPECT_FALSE(options->count_only);
  EXPECT_EQ(options->revision, 7);
  EXPECT_EQ(options->rate, 0u);
  EXPECT_EQ(options->expect_count, -1);
}

TEST(ParseOptions, TakesTheFlagsOfStreams) {
  const auto options = ParseOptions({"--operation=watch", "--streams=100", "--watchers=10000",
                                     "--connections=100", "--stopped-streams=7", "--stop-ms=5",
                                     "--key-space=6", "--watched-parts=3", "--prev-kv"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->operation, Operation::kWatch);
  EXPECT_EQ(options->streams, 100u);
  EXPECT_EQ(options->watchers, 10000u);
  EXPECT_EQ(options->stopped_streams, 7u);
  EXPECT_EQ(options->stop_ms, 5u);
  EXPECT_EQ(options->watched_parts, 3u);
  EXPECT_TRUE(options->prev_kv);
}

TEST(ParseOptions, TakesSeveralServers) {
  const auto options =
      ParseOptions({"--operation=failover", "--endpoint=a:1,b:2", "--server-pid=7,8", "--rate=100",
                    "--duration-ms=5", "--attempt-ms=3", "--give-up-ms=4"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->endpoint, "a:1,b:2");
  EXPECT_EQ(options->server_pids, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(options->attempt_ms, 3u);
  EXPECT_EQ(options->give_up_ms, 4u);
}

TEST(ParseOptions, WaitNeedsNoBound) { EXPECT_TRUE(ParseOptions({"--operation=wait"}).ok()); }

struct RefusedCase {
  const char* name;
  std::vector<std::string_view> arguments;
  std::string_view message;
};

TEST(ParseOptions, RefusesByName) {
  const RefusedCase cases[] = {
      {"unknown", {"--totals=1"}, "--totals: no such flag"},
      {"no dashes", {"put"}, "put: flags are --name=value"},
      {"empty number", {"--total"}, "--total=: not a whole number in range"},
      {"trailing text", {"--total=10k"}, "--total=10k: not a whole number in range"},
      {"negative", {"--total=-1"}, "--total=-1: not a whole number in range"},
      {"zero clients", {"--clients=0"}, "--clients=0: must be between 1 and 100000"},
      {"too many", {"--connections=20000"}, "--connections=20000: must be between 1 and 10000"},
      {"bool", {"--keys-only=1"}, "--keys-only=1: must be true or false"},
      {"pids", {"--server-pid=1,"}, "--server-pid=: not a whole number in range"},
      {"failover",
       {"--operation=failover", "--rate=1"},
       "a failover is measured with --rate and --duration-ms"},
      {"operation", {"--operation=pet"}, "--operation=pet: no such operation"},
      {"empty endpoint", {"--endpoint="}, "--endpoint=: is empty"},
      {"unbounded", {}, "one of --total and --duration-ms must bound the run"},
      {"idle connections",
       {"--total=1", "--connections=2", "--clients=1"},
       "--connections=2 is more than --clients=1"},
      {"short key",
       {"--total=1", "--key-size=4", "--key-prefix=ab", "--key-space=1001"},
       "--key-size=4 cannot hold the prefix and 4 digits"},
      {"wrapping txn",
       {"--total=1", "--operation=txn", "--txn-puts=8", "--key-space=12"},
       "--key-space=12 is not a multiple of --txn-puts=8"},
      {"unequal parts",
       {"--operation=watch", "--key-space=10", "--watched-parts=3"},
       "--key-space=10 is not a multiple of --watched-parts=3"},
      {"too many watchers",
       {"--operation=watch", "--streams=1001", "--watchers=10000"},
       "--streams=1001 of --watchers=10000 are more than 10000000 in all"},
      {"stop for no time",
       {"--operation=watch", "--stopped-streams=1"},
       "--stopped-streams and --stop-ms go together"},
      {"more stopped than there are",
       {"--operation=watch", "--stopped-streams=2", "--stop-ms=1"},
       "--stopped-streams=2 is more than --streams=1"},
      {"no room for a time",
       {"--operation=watch", "--value-size=7"},
       "--value-size=7 cannot hold the 8 bytes of a stamp"},
      {"no lease lives 0 s",
       {"--ttl-seconds=0"},
       "--ttl-seconds=0: must be between 1 and 9000000000"},
  };
  for (const RefusedCase& c : cases) {
    SCOPED_TRACE(c.name);
    const auto options = ParseOptions(c.arguments);
    ASSERT_FALSE(options.ok());
    EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(base::Message(options.status()), c.message);
  }
}

}  // namespace
}  // namespace cairn::bench
