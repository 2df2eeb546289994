// A snapshot that stock etcdctl has saved becomes a cluster again: of one, three and five members,
// with every key, revision, lease and alarm. Whatever is cut short or altered is refused and leaves
// nothing. Cairn only.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "test/cluster/cluster_fixture.h"
#include "test/harness/random.h"

namespace cairn::test {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;

namespace fs = std::filesystem;

constexpr int64_t kLease = 0x1234;
constexpr std::chrono::milliseconds kPoll{5};

// The offline tool lies beside the server.
std::string Cairnutl() {
  return (fs::path(ServerUnderTest().binary).parent_path() / "cairnutl" / "cairnutl").string();
}

CommandResult Execute(std::vector<std::string> argv) {
  ProcessOptions options;
  options.argv = std::move(argv);
  absl::StatusOr<CommandResult> result = RunCommand(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : CommandResult{};
}

std::string ClusterFlag(Cluster& cluster) {
  std::string flag;
  for (int i = 0; i < cluster.size(); ++i) {
    flag += fmt::format("{}{}={}", i == 0 ? "" : ",", cluster.server(i).label(),
                        cluster.server(i).peer_url());
  }
  return flag;
}

// Makes the data of member `i` of a cluster that has not started.
CommandResult Restore(const std::string& file, Cluster& cluster, int i,
                      const std::vector<std::string>& options = {}) {
  const Server& server = cluster.server(i);
  std::vector<std::string> argv = {Cairnutl(),
                                   "snapshot",
                                   "restore",
                                   file,
                                   "--data-dir=" + server.data_dir(),
                                   "--name=" + server.label(),
                                   "--initial-cluster=" + ClusterFlag(cluster),
                                   "--initial-advertise-peer-urls=" + server.peer_url()};
  argv.insert(argv.end(), options.begin(), options.end());
  return Execute(std::move(argv));
}

// What a client sees of a member: keys now and before, leases, alarms, revision.
struct View {
  std::string keys;
  std::string old_keys;
  std::string leases;
  std::string alarms;
  int64_t revision = 0;
  uint32_t hash = 0;
};

// `old_revision` is one that is not compacted.
View Look(Server& server, int64_t old_revision) {
  View view;
  const std::string& address = server.address();
  view.keys = Etcdctl(address, {"get", "", "--prefix", "--write-out=fields"}).out;
  // Without the header, which names member and term.
  view.keys.erase(0, view.keys.find("\"Key\""));
  view.old_keys =
      Etcdctl(address, {"get", "", "--prefix", fmt::format("--rev={}", old_revision)}).out;
  view.leases = Etcdctl(address, {"lease", "list"}).out;
  view.alarms = Etcdctl(address, {"alarm", "list"}).out;
  etcdserverpb::HashKVResponse hash;
  EXPECT_TRUE(Client(address).HashKV({}, &hash).ok());
  view.revision = hash.header().revision();
  view.hash = hash.hash();
  return view;
}

// The first answer with something in it of a watch of all keys from `revision` on.
etcdserverpb::WatchResponse WatchFrom(Server& server, int64_t revision) {
  Client client(server.address());
  const auto stub = etcdserverpb::Watch::NewStub(client.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kServerDeadline);
  const auto stream = stub->Watch(&context);
  etcdserverpb::WatchRequest request;
  request.mutable_create_request()->set_key(std::string(1, '\0'));
  request.mutable_create_request()->set_range_end(std::string(1, '\0'));
  request.mutable_create_request()->set_start_revision(revision);
  EXPECT_TRUE(stream->Write(request));
  etcdserverpb::WatchResponse response;
  while (stream->Read(&response) && !response.canceled() && response.events_size() == 0) {
  }
  context.TryCancel();
  stream->Finish();
  return response;
}

int Copies(const Server& server) {
  int copies = 0;
  for (const auto& entry : fs::directory_iterator(server.data_dir() + "/state")) {
    copies += entry.path().filename().string().starts_with("checkpoint.");
  }
  return copies;
}

template <typename Condition>
bool Until(const Condition& is_so) {
  const auto deadline = steady_clock::now() + kServerDeadline;
  while (!is_so()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

class SaveRestoreTest : public testing::Test {
 protected:
  static void Put(Server& server, const std::string& key, const std::string& value) {
    Client client(server.address());
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const grpc::Status status = client.Put(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  // Values that do not compress.
  void PutMegabytes(Server& server, int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_NO_FATAL_FAILURE(Put(server, fmt::format("big{}", i), random_.Bytes(size_t{1} << 20)));
    }
  }
  // Several versions of keys, some deleted, a lease with a key, and an alarm.
  void Fill(Server& server) {
    for (int i = 0; i < 300 && !HasFatalFailure(); ++i) {
      Put(server, fmt::format("k{}", i % 100), random_.Bytes(i % 7 == 0 ? 5000 : 50));
    }
    Client client(server.address());
    ASSERT_NO_FATAL_FAILURE(GrantWithKey(client, kLease, 3000));
    EXPECT_EQ(Etcdctl(server.address(), {"del", "k5"}).out, "1\n");
    etcdserverpb::AlarmRequest alarm;
    alarm.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
    alarm.set_alarm(etcdserverpb::NOSPACE);
    alarm.set_memberid(7);
    etcdserverpb::AlarmResponse raised;
    grpc::ClientContext context;
    const auto stub = etcdserverpb::Maintenance::NewStub(client.channel());
    ASSERT_TRUE(stub->Alarm(&context, alarm, &raised).ok());
  }
  std::string Save(Server& server) {
    const std::string file = folder_ + "/saved";
    const CommandResult saved = Etcdctl(server.address(), {"snapshot", "save", file});
    EXPECT_EQ(saved.exit.code, 0) << saved.err;
    EXPECT_THAT(saved.out, HasSubstr("Snapshot saved at " + file));
    return file;
  }

  // Restores to `members` and expects what there was before; leaves the cluster running.
  std::unique_ptr<Cluster> Revive(const std::string& file, int members, const View& before) {
    auto cluster = std::make_unique<Cluster>(ServerUnderTest(), members);
    for (int i = 0; i < members; ++i) {
      const CommandResult restored = Restore(file, *cluster, i);
      EXPECT_EQ(restored.exit.code, 0) << restored.err;
    }
    const absl::Status started = cluster->Start();
    EXPECT_TRUE(started.ok()) << started;
    if (!started.ok()) return cluster;
    for (int i = 0; i < members; ++i) {
      const View after = Look(cluster->server(i), before.revision - 5);
      EXPECT_EQ(after.keys, before.keys);
      EXPECT_EQ(after.old_keys, before.old_keys);
      EXPECT_EQ(after.leases, before.leases);
      EXPECT_EQ(after.alarms, before.alarms);
      EXPECT_EQ(after.revision, before.revision);
      EXPECT_EQ(after.hash, before.hash);
    }
    EXPECT_THAT(Etcdctl(cluster->server(0).address(),
                        {"lease", "timetolive", fmt::format("{:x}", kLease), "--keys"})
                    .out,
                HasSubstr("attached keys([leased])"));
    EXPECT_EQ(cluster->WaitForEqualState(), absl::OkStatus());
    return cluster;
  }
  // It takes writes again, and a watcher that was away misses nothing.
  static void GoOn(Cluster& cluster, const View& before) {
    Server& server = cluster.server(0);
    EXPECT_THAT(Etcdctl(server.address(), {"put", "after", "1"}).err, HasSubstr("space exceeded"));
    Etcdctl(server.address(), {"alarm", "disarm"});
    ASSERT_NO_FATAL_FAILURE(Put(server, "after", "1"));
    const etcdserverpb::WatchResponse missed = WatchFrom(server, 2);
    ASSERT_GT(missed.events_size(), 0);
    EXPECT_EQ(missed.events(0).kv().mod_revision(), 2);
    const etcdserverpb::WatchResponse next = WatchFrom(server, before.revision + 1);
    ASSERT_EQ(next.events_size(), 1);
    EXPECT_EQ(next.events(0).kv().key(), "after");
  }
  // Adds a member with an empty disk, which must get the state and not only what follows it.
  static void AddOne(Cluster& cluster) {
    Server& server = cluster.server(0);
    Server added(OptionsFor(ServerUnderTest(), "added"));
    ASSERT_TRUE(Until([&] {
      return Etcdctl(server.address(),
                     {"member", "add", "added", "--learner", "--peer-urls=" + added.peer_url()})
                 .exit.code == 0;
    }));
    added.options().extra_flags = {
        "--name=added",
        fmt::format("--initial-cluster={},added={}", ClusterFlag(cluster), added.peer_url()),
        "--initial-cluster-state=existing"};
    ASSERT_TRUE(added.Launch().ok());
    etcdserverpb::HashKVResponse expected;
    ASSERT_TRUE(Client(server.address()).HashKV({}, &expected).ok());
    std::string id;
    ASSERT_TRUE(Until([&] {
      const std::string list = Etcdctl(server.address(), {"member", "list"}).out;
      const size_t at = list.find(", started, added,");
      if (at == std::string::npos) return false;
      const size_t line = list.rfind('\n', at);
      id = list.substr(line == std::string::npos ? 0 : line + 1, 16);
      id = id.substr(0, id.find(','));
      return true;
    })) << added.Log();
    // A learner can be saved from as well.
    const std::string file = MakeTempDir("learner") + "/saved";
    EXPECT_EQ(Etcdctl(added.address(), {"snapshot", "save", file}).exit.code, 0);
    EXPECT_EQ(Execute({Cairnutl(), "snapshot", "verify", file}).exit.code, 0);
    ASSERT_TRUE(Until([&] {
      return Etcdctl(server.address(), {"member", "promote", id}).exit.code == 0;
    })) << added.Log();
    ASSERT_TRUE(added.WaitUntilAnswering().ok());
    etcdserverpb::HashKVRequest at;
    at.set_revision(expected.header().revision());
    etcdserverpb::HashKVResponse found;
    ASSERT_TRUE(Client(added.address()).HashKV(at, &found).ok());
    EXPECT_EQ(found.hash(), expected.hash());
  }

  Random random_{11};
  const std::string folder_ = MakeTempDir("snapshot");
};

TEST_F(SaveRestoreTest, OneMemberBecomesOneAndThree) {
  Cluster old(ServerUnderTest(), 1);
  ASSERT_OK(old.Start());
  ASSERT_NO_FATAL_FAILURE(Fill(old.server(0)));
  etcdserverpb::HashKVResponse hash;
  ASSERT_TRUE(Client(old.server(0).address()).HashKV({}, &hash).ok());
  const View before = Look(old.server(0), hash.header().revision() - 5);
  const std::string file = Save(old.server(0));
  EXPECT_EQ(Copies(old.server(0)), 0);

  const CommandResult json = Execute({Cairnutl(), "snapshot", "status", file, "-w", "json"});
  EXPECT_EQ(json.out, fmt::format("{{\"hash\":{},\"revision\":{},\"totalKey\":100,\"totalSize\":{},"
                                  "\"version\":\"3.7.0\"}}\n",
                                  before.hash, before.revision, fs::file_size(file) - 32));
  const CommandResult verified = Execute({Cairnutl(), "snapshot", "verify", file});
  EXPECT_EQ(verified.exit.code, 0) << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("100 keys, 1 deleted ones"));
  // Anybody can look into it.
  const CommandResult listed = Execute({"/bin/tar", "tf", file});
  EXPECT_THAT(listed.out, HasSubstr("cairn-snapshot.json\nstate/"));
  EXPECT_THAT(listed.out, HasSubstr("\nchecksums.crc32c\n"));

  const std::unique_ptr<Cluster> one = Revive(file, 1, before);
  ASSERT_NO_FATAL_FAILURE(GoOn(*one, before));
  ASSERT_NO_FATAL_FAILURE(AddOne(*one));
  const std::unique_ptr<Cluster> three = Revive(file, 3, before);
  ASSERT_NO_FATAL_FAILURE(GoOn(*three, before));
  EXPECT_EQ(three->WaitForEqualState(), absl::OkStatus());
  // What comes after a restart is the same.
  ASSERT_TRUE(three->server(1).Terminate().ok());
  three->server(2).Kill();
  ASSERT_OK(three->StartStopped());
  EXPECT_EQ(three->WaitForEqualState(), absl::OkStatus());
  ASSERT_NO_FATAL_FAILURE(AddOne(*three));
}

TEST_F(SaveRestoreTest, ThreeMembersBecomeFive) {
  Cluster old(ServerUnderTest(), 3);
  ASSERT_OK(old.Start());
  ASSERT_NO_FATAL_FAILURE(Fill(old.server(0)));
  ASSERT_OK(old.WaitForEqualState());
  etcdserverpb::HashKVResponse hash;
  ASSERT_TRUE(Client(old.server(0).address()).HashKV({}, &hash).ok());
  const View before = Look(old.server(2), hash.header().revision() - 5);
  // What is left of a cluster that has lost its majority can still be saved.
  old.server(0).Kill();
  old.server(1).Kill();
  const std::string file = Save(old.server(2));
  const std::unique_ptr<Cluster> five = Revive(file, 5, before);
  ASSERT_NO_FATAL_FAILURE(GoOn(*five, before));
  // Any majority goes on.
  five->server(1).Kill();
  five->server(3).Kill();
  Client client(five->server(0).address());
  etcdserverpb::PutRequest put;
  put.set_key("with three of five");
  etcdserverpb::PutResponse written;
  // Who led may be among the dead.
  EXPECT_TRUE(Until([&] { return client.Put(put, &written).ok(); }));
}

TEST_F(SaveRestoreTest, WatchersHearOfARaisedRevision) {
  Cluster old(ServerUnderTest(), 1);
  ASSERT_OK(old.Start());
  for (int i = 0; i < 10; ++i) ASSERT_NO_FATAL_FAILURE(Put(old.server(0), "k", "v"));
  const std::string file = Save(old.server(0));
  Cluster cluster(ServerUnderTest(), 1);
  const CommandResult restored =
      Restore(file, cluster, 0, {"--bump-revision=1000000", "--mark-compacted"});
  ASSERT_EQ(restored.exit.code, 0) << restored.err;
  EXPECT_THAT(restored.err, HasSubstr("revision 1000011, compacted there"));
  ASSERT_OK(cluster.Start());
  Server& server = cluster.server(0);
  ASSERT_NO_FATAL_FAILURE(Put(server, "k", "w"));
  const etcdserverpb::WatchResponse told = WatchFrom(server, 12);
  EXPECT_TRUE(told.canceled());
  EXPECT_EQ(told.compact_revision(), 1000011);
  const etcdserverpb::WatchResponse next = WatchFrom(server, 1000012);
  ASSERT_EQ(next.events_size(), 1);
  EXPECT_EQ(next.events(0).kv().version(), 11);
  EXPECT_EQ(Etcdctl(server.address(), {"get", "k"}).out, "k\nw\n");
  EXPECT_THAT(Etcdctl(server.address(), {"get", "k", "--rev=11"}).err, HasSubstr("compacted"));
}

TEST_F(SaveRestoreTest, WhatIsAlteredOrInTheWayIsRefused) {
  Cluster old(ServerUnderTest(), 1);
  ASSERT_OK(old.Start());
  for (int i = 0; i < 20; ++i) {
    ASSERT_NO_FATAL_FAILURE(Put(old.server(0), fmt::format("k{}", i), random_.Bytes(3000)));
  }
  const std::string file = Save(old.server(0));
  const std::string whole = ReadFile(file);
  Cluster cluster(ServerUnderTest(), 1);
  const std::string altered = folder_ + "/altered";
  const auto refused = [&](const std::string& content, const std::string& why) {
    std::ofstream(altered, std::ios::binary) << content;
    const CommandResult restored = Restore(altered, cluster, 0);
    EXPECT_EQ(restored.exit.code, 1);
    for (const CommandResult& result :
         {restored, Execute({Cairnutl(), "snapshot", "verify", altered})}) {
      EXPECT_NE(result.exit.code, 0);
      EXPECT_THAT(result.err, HasSubstr(altered));
      EXPECT_THAT(result.err, HasSubstr(why));
    }
    EXPECT_FALSE(fs::exists(cluster.server(0).data_dir()));
  };
  std::string flipped = whole;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  refused(flipped, "offset");
  flipped = whole;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  refused(flipped, "SHA-256");
  refused(whole.substr(0, whole.size() - 512), "bytes too early");
  refused(whole.substr(0, whole.size() - 32), "--skip-hash-check");
  refused("", "offset 0");
  // The directory of a member that is there.
  ASSERT_TRUE(old.server(0).Terminate().ok());
  const auto files_of_old = [&] {
    std::vector<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(old.server(0).data_dir())) {
      paths.push_back(entry.path());
    }
    return paths;
  };
  const std::vector<std::string> before = files_of_old();
  const CommandResult in_the_way =
      Execute({Cairnutl(), "snapshot", "restore", file, "--data-dir=" + old.server(0).data_dir()});
  EXPECT_NE(in_the_way.exit.code, 0);
  EXPECT_THAT(in_the_way.err, HasSubstr("is not empty"));
  EXPECT_EQ(files_of_old(), before);
  const CommandResult unknown = Execute({Cairnutl(), "snapshot", "restore", file, "--nonsense"});
  EXPECT_EQ(unknown.exit.code, 2);
}

// A client that cannot write what it takes, so that the save is under way for as long as the test
// likes; and who ends first.
TEST_F(SaveRestoreTest, WhatIsCutShortLeavesNoSnapshot) {
  Cluster old(ServerUnderTest(), 1);
  ASSERT_OK(old.Start());
  Server& server = old.server(0);
  // Far more than the server, the sockets and the client hold between them.
  ASSERT_NO_FATAL_FAILURE(PutMegabytes(server, 64));
  enum class End { kClient, kServerKilled, kServerStopped };
  for (const End end : {End::kClient, End::kServerKilled, End::kServerStopped}) {
    SCOPED_TRACE(static_cast<int>(end));
    const std::string file = fmt::format("{}/cut{}", folder_, static_cast<int>(end));
    const std::string part = file + ".part";
    ASSERT_EQ(mkfifo(part.c_str(), 0600), 0);
    const int reader = open(part.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(reader, 0);
    ProcessOptions options;
    options.argv = {"/usr/bin/etcdctl", "--endpoints=" + server.address(), "snapshot", "save",
                    file};
    options.environment = {{"ETCDCTL_API", "3"}};
    options.output_path = folder_ + "/etcdctl.log";
    absl::StatusOr<Process> client = Process::Start(options);
    ASSERT_TRUE(client.ok()) << client.status();
    // It has begun to write; before, etcdctl would ask again, until somebody answers.
    char first = 0;
    ASSERT_TRUE(Until([&] { return read(reader, &first, 1) == 1; }))
        << ReadFile(options.output_path);
    EXPECT_EQ(Copies(server), 1);
    if (end == End::kClient) client->Signal(SIGKILL);
    if (end == End::kServerKilled) server.Kill();
    if (end == End::kServerStopped) {
      const absl::StatusOr<ExitState> stopped = server.Terminate();
      ASSERT_TRUE(stopped.ok()) << stopped.status();
      EXPECT_EQ(stopped->code, 0);
      EXPECT_EQ(Copies(server), 0);
    }
    // Now it may write all that it has.
    std::string taken(size_t{1} << 16, '\0');
    EXPECT_TRUE(Until([&] {
      while (read(reader, taken.data(), taken.size()) > 0) {
      }
      return !client->IsRunning();
    }));
    close(reader);
    const std::optional<ExitState> ended = client->Wait(kServerDeadline);
    ASSERT_TRUE(ended.has_value());
    EXPECT_NE(*ended, (ExitState{}));
    EXPECT_FALSE(fs::exists(file));
    if (!server.IsRunning()) {
      ASSERT_TRUE(server.Start().ok()) << server.Log();
    }
    EXPECT_TRUE(Until([&] { return Copies(server) == 0; }));
  }
  EXPECT_EQ(Execute({Cairnutl(), "snapshot", "verify", Save(server)}).exit.code, 0);
}

}  // namespace
}  // namespace cairn::test
