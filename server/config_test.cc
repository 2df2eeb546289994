#include "server/config.h"

#include <gtest/gtest.h>

#include <map>

#include "base/status.h"

namespace cairn::server {
namespace {

struct Parsed {
  std::optional<Command> command;
  ConfigError error;
};

Parsed Parse(const std::vector<std::string>& arguments,
             const std::map<std::string, std::string>& environment = {}) {
  Parsed parsed;
  parsed.command = ParseCommandLine(
      arguments,
      [&](const char* name) {
        const auto found = environment.find(name);
        return found == environment.end() ? nullptr : found->second.c_str();
      },
      "/home/me", parsed.error);
  return parsed;
}

TEST(ConfigTest, DefaultsAreEtcds) {
  const Parsed parsed = Parse({});
  ASSERT_TRUE(parsed.command.has_value()) << parsed.error.text;
  const Config& config = parsed.command->config;
  EXPECT_EQ(config.name, "default");
  EXPECT_EQ(config.data_dir, "/home/me/default.cairn");
  EXPECT_EQ(config.listen_client_urls, (std::vector<Url>{{"http", "localhost", 2379}}));
  EXPECT_EQ(config.initial_cluster_token, "etcd-cluster");
  ASSERT_EQ(config.initial_cluster.size(), 1u);
  EXPECT_EQ(config.initial_cluster[0].peer_urls, std::vector<std::string>{"http://localhost:2380"});
  EXPECT_EQ(config.heartbeat_interval, std::chrono::milliseconds(100));
  EXPECT_EQ(config.election_timeout, std::chrono::milliseconds(1000));
  EXPECT_EQ(config.max_txn_ops, 128u);
  EXPECT_EQ(config.max_request_bytes, 1572864u);
}

TEST(ConfigTest, ALogStallIsTwoElectionTimeoutsUnlessSaid) {
  using std::chrono::milliseconds;
  EXPECT_EQ(Parse({}).command->config.log_stall, milliseconds(2000));
  EXPECT_EQ(Parse({"--election-timeout=500"}).command->config.log_stall, milliseconds(1000));
  EXPECT_EQ(Parse({"--log-stall-ms=300"}).command->config.log_stall, milliseconds(300));
}

TEST(ConfigTest, TheLogIsEtcdsUnlessSaid) {
  const Config defaults = Parse({"--max-wals=3", "--max-snapshots=3"}).command->config;
  EXPECT_EQ(defaults.snapshot_catchup_entries, 5000u);
  EXPECT_EQ(defaults.snapshot_catchup_bytes, uint64_t{128} << 20);
  EXPECT_EQ(defaults.wal_segment_bytes, uint64_t{64} << 20);
  EXPECT_EQ(defaults.wal_sync_mode, wal::SyncMode::kAlways);
  const Config config =
      Parse({"--snapshot-catchup-entries=7", "--snapshot-catchup-bytes=0",
             "--wal-segment-bytes=131072", "--wal-sync-mode=interval", "--wal-sync-interval-ms=5"})
          .command->config;
  EXPECT_EQ(config.snapshot_catchup_entries, 7u);
  EXPECT_EQ(config.snapshot_catchup_bytes, 0u);
  EXPECT_EQ(config.wal_segment_bytes, 131072u);
  EXPECT_EQ(config.wal_sync_mode, wal::SyncMode::kInterval);
  EXPECT_EQ(config.wal_sync_interval, std::chrono::milliseconds(5));
}

TEST(ConfigTest, ATailThatKeepsNoSegmentIsRefused) {
  EXPECT_EQ(Parse({"--wal-segment-bytes=268435456"}).command->config.snapshot_catchup_bytes,
            uint64_t{268435456})
      << "nothing else was asked for";
  EXPECT_EQ(Parse({"--wal-segment-bytes=268435456", "--snapshot-catchup-bytes=1048576"}).error.text,
            "--snapshot-catchup-bytes=1048576 keeps nothing of a log with "
            "--wal-segment-bytes=268435456: give at least that, or 0 to keep nothing");
  EXPECT_EQ(Parse({"--wal-segment-bytes=268435456", "--snapshot-catchup-bytes=0"})
                .command->config.snapshot_catchup_bytes,
            0u);
}

TEST(ConfigTest, FlagsTakeEitherSpelling) {
  const Parsed parsed = Parse({"--name=a", "-data-dir", "/x/y", "--max-txn-ops", "7"});
  ASSERT_TRUE(parsed.command.has_value()) << parsed.error.text;
  EXPECT_EQ(parsed.command->config.name, "a");
  EXPECT_EQ(parsed.command->config.data_dir, "/x/y");
  EXPECT_EQ(parsed.command->config.max_txn_ops, 7u);
}

TEST(ConfigTest, SwitchesNeedNoValueAndTakeNone) {
  const Config defaults = Parse({}).command->config;
  EXPECT_TRUE(defaults.strict_reconfig_check);
  EXPECT_EQ(defaults.max_learners, 1u);
  EXPECT_FALSE(defaults.auto_promote_learners || defaults.force_new_cluster);
  const Parsed parsed = Parse({"--force-new-cluster", "--strict-reconfig-check=false",
                               "-auto-promote-learners", "--max-learners", "3"});
  ASSERT_TRUE(parsed.command.has_value()) << parsed.error.text;
  EXPECT_FALSE(parsed.command->config.strict_reconfig_check);
  EXPECT_TRUE(parsed.command->config.force_new_cluster);
  EXPECT_TRUE(parsed.command->config.auto_promote_learners);
  EXPECT_EQ(parsed.command->config.max_learners, 3u);
  EXPECT_EQ(Parse({"--force-new-cluster", "true"}).error.text, "'true' is not a valid flag");
  EXPECT_FALSE(
      Parse({}, {{"ETCD_STRICT_RECONFIG_CHECK", "false"}}).command->config.strict_reconfig_check);
}

TEST(ConfigTest, DirectoriesAreAbsoluteAndEndInAName) {
  const Config config = Parse({"--data-dir=x/../y/", "--wal-dir=/w/z/"}).command->config;
  EXPECT_EQ(config.data_dir, "/home/me/y");
  EXPECT_EQ(config.wal_dir, "/w/z");
}

TEST(ConfigTest, FlagWinsOverCairnWinsOverEtcd) {
  const std::map<std::string, std::string> environment = {
      {"ETCD_NAME", "etcd"}, {"CAIRN_NAME", "cairn"}, {"ETCD_MAX_TXN_OPS", "9"}};
  EXPECT_EQ(Parse({}, environment).command->config.name, "cairn");
  EXPECT_EQ(Parse({}, environment).command->config.max_txn_ops, 9u);
  EXPECT_EQ(Parse({"--name=flag"}, environment).command->config.name, "flag");
}

TEST(ConfigTest, AParseLeavesNothingBehindForTheNext) {
  EXPECT_EQ(Parse({"--name=a"}).command->config.name, "a");
  EXPECT_EQ(Parse({}).command->config.name, "default");
}

TEST(ConfigTest, HelpAndVersionStopTheWalk) {
  EXPECT_EQ(Parse({"--version", "--nonsense"}).command->kind, Command::Kind::kVersion);
  EXPECT_EQ(Parse({"--help"}).command->kind, Command::Kind::kHelp);
  EXPECT_NE(HelpText().find("--auto-compaction-retention"), std::string::npos);
  EXPECT_EQ(HelpText().find("logtostderr"), std::string::npos);
}

// Only who has no log is looked for: a restart needs no --initial-cluster that is true.
TEST(ConfigTest, WhoIsNotOfTheInitialClusterIsToldSo) {
  const auto find = [](const std::vector<std::string>& arguments) {
    const Parsed parsed = Parse(arguments);
    EXPECT_TRUE(parsed.command.has_value()) << parsed.error.text;
    const absl::StatusOr<InitialMember> self = FindSelf(parsed.command->config);
    return self.ok() ? self->name : std::string(base::Message(self.status()));
  };
  EXPECT_EQ(find({}), "default");
  EXPECT_EQ(find({"--initial-cluster=b=http://localhost:2380"}),
            "couldn't find local name \"default\" in the initial cluster configuration: --name has "
            "to be one of --initial-cluster's");
  EXPECT_EQ(find({"--initial-cluster=default=http://localhost:1"}),
            "--initial-cluster has default=http://localhost:1 but missing from "
            "--initial-advertise-peer-urls=http://localhost:2380");
  EXPECT_EQ(
      find({"--initial-cluster=default=http://localhost:1", "--initial-cluster-state=existing"}),
      "default");
}

TEST(ConfigTest, WhatCannotBeHonouredIsRefusedByName) {
  struct Case {
    std::vector<std::string> arguments;
    std::string text;
    bool is_usage_error;
  };
  const std::vector<Case> cases = {
      {{"--nonsense=1"}, "unknown flag --nonsense", true},
      {{"--v=1"}, "unknown flag --v", true},
      {{"serve"}, "'serve' is not a valid flag", true},
      {{"--name"}, "flag --name needs a value", true},
      {{"--max-txn-ops=many"}, "invalid value \"many\" for --max-txn-ops", true},
      {{"--max-txn-ops=-1"}, "invalid value \"-1\" for --max-txn-ops", true},
      {{"--listen-client-urls=localhost:2379"},
       "--listen-client-urls: URL scheme must be http, https, unix, or unixs: localhost:2379",
       true},
      {{"--listen-peer-urls=http://localhost"},
       "URL address does not have the form \"host:port\": http://localhost",
       true},
      {{"--listen-peer-urls=http://localhost:1/x"},
       "URL must not contain a path: http://localhost:1/x",
       true},
      {{"--listen-client-urls=http://127.0.0.1:1"}, "--advertise-client-urls is required", false},
      {{"--listen-peer-urls=http://db.example:1"}, "expected IP in URL for binding", false},
      {{"--listen-peer-urls=http://1.2.3.4:99999"}, "no port number", true},
      {{"--listen-peer-urls=https://1.2.3.4:1"}, "serves http only", false},
      {{"--heartbeat-interval=300"}, "--election-timeout[1000ms]", false},
      {{"--election-timeout=60000"}, "too long", false},
      {{"--election-timeout=0"}, "above 0", false},
      {{"--log-stall-ms=99"}, "--log-stall-ms[99ms]", false},
      {{"--name="}, "--name is empty", false},
      {{"--max-learners=-1"}, "--max-learners is below 0", false},
      {{"--max-learners=many"}, "many", true},
      {{"--strict-reconfig-check=maybe"}, "maybe", true},
      {{"--force-new-cluster=2"}, "\"2\"", true},
      {{"--initial-cluster=default"}, "is not name=url", true},
      {{"--name=\xff"}, "--name: \"\xff\" is no valid UTF-8", true},
      {{"--initial-cluster=\xc3=http://h:1"},
       "--initial-cluster: \"\xc3\" is no valid UTF-8",
       true},
      {{"--advertise-client-urls=http://\xff:1"}, "URL is no valid UTF-8", true},
      {{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"},
       "stands for two members",
       false},
      {{"--initial-cluster-state=old"}, "neither", true},
      {{"--log-level=loud"}, "--log-level", true},
      {{"--auto-compaction-mode=never"}, "--auto-compaction-mode", true},
      {{"--auto-compaction-retention=forever"}, "--auto-compaction-retention", true},
      {{"--auto-compaction-mode=revision", "--auto-compaction-retention=1h"},
       "--auto-compaction-retention",
       true},
      {{"--listen-client-urls="}, "--listen-client-urls is empty", true},
      {{"--memory-limit=1"}, "--memory-limit", false},
      {{"--max-request-bytes=0"}, "--max-request-bytes must be above 0", false},
      {{"--max-request-bytes=33554433"}, "--max-request-bytes must be at most 33554432", false},
      {{"--snapshot-count=0"}, "--snapshot-count", false},
      {{"--wal-segment-bytes=1000"}, "--wal-segment-bytes", false},
      {{"--wal-segment-bytes=536936448"}, "--wal-segment-bytes", false},
      {{"--wal-sync-mode=sometimes"}, "\"sometimes\" is not one of always", true},
      {{"--wal-sync-interval-ms=0"}, "--wal-sync-interval-ms", false},
      {{"--wal-sync-interval-ms=60001"}, "--wal-sync-interval-ms", false},
      {{"--max-wals=few"}, "few", true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.arguments[0]);
    const Parsed parsed = Parse(c.arguments);
    EXPECT_FALSE(parsed.command.has_value());
    EXPECT_NE(parsed.error.text.find(c.text), std::string::npos) << parsed.error.text;
    EXPECT_EQ(parsed.error.is_usage_error, c.is_usage_error);
  }
}

TEST(ConfigTest, AnEnvironmentForAnotherKindOfMemberIsRefused) {
  const Parsed parsed = Parse({"--name=a"}, {{"ETCD_CONFIG_FILE", "/etc/etcd.yml"}});
  EXPECT_FALSE(parsed.command.has_value());
  EXPECT_NE(parsed.error.text.find("ETCD_CONFIG_FILE"), std::string::npos) << parsed.error.text;
  EXPECT_TRUE(parsed.error.is_usage_error);
}

TEST(ConfigTest, UrlsParseAndPrint) {
  for (const char* text : {"http://localhost:2379", "https://10.0.0.1:1", "http://[::1]:65535"}) {
    const absl::StatusOr<Url> url = ParseUrl(text);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->text(), text);
  }
  EXPECT_TRUE(ParseUrl("http://localhost:2379/").ok());
  for (const char* text :
       {"", "http://", "http://:1", "http://a", "http://a:", "http://a:x", "ftp://a:1",
        "http://a:1/path", "http://::1:1", "http://a:65536", "http://u@a:1", "http://a:1 "}) {
    EXPECT_FALSE(ParseUrl(text).ok()) << text;
  }
}

}  // namespace
}  // namespace cairn::server
