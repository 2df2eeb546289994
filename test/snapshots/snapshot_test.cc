// A follower that was down while the log was cut gets the state itself: also when it is killed in
// the middle of the transfer or of the installation, also under load. Its state is then the
// others', byte for byte as HashKV counts them. Cairn only.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "test/harness/client.h"
#include "test/harness/random.h"
#include "test/harness/test_main.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace fs = std::filesystem;

constexpr int kMembers = 3;
// The log keeps 128 MiB for followers, in segments of 64 MiB: this is more than both and the
// current one.
constexpr size_t kValueBytes = size_t{1} << 20;
constexpr int kLargePuts = 160;
// Of a value, what does not compress: the state has that much, and the log has all.
constexpr size_t kRandomBytes = size_t{64} << 10;
constexpr milliseconds kPoll{5};

class SnapshotTest : public testing::Test {
 protected:
  void StartCluster(const std::vector<std::string>& flags) {
    std::string initial;
    for (int i = 0; i < kMembers; ++i) {
      servers_[i] =
          std::make_unique<Server>(OptionsFor(ServerUnderTest(), fmt::format("member{}", i)));
      initial += fmt::format("{}n{}={}", i == 0 ? "" : ",", i, servers_[i]->peer_url());
    }
    for (int i = 0; i < kMembers; ++i) {
      std::vector<std::string>& extra = servers_[i]->options().extra_flags;
      extra.push_back(fmt::format("--name=n{}", i));
      extra.push_back("--initial-cluster=" + initial);
      extra.insert(extra.end(), flags.begin(), flags.end());
    }
    for (const auto& server : servers_) ASSERT_TRUE(server->Launch().ok());
    for (const auto& server : servers_) {
      const absl::Status status = server->WaitUntilAnswering();
      ASSERT_TRUE(status.ok()) << status;
    }
    ASSERT_NO_FATAL_FAILURE(PickFollower());
  }

  // Chooses who will be away: not the leader, so that nobody waits for an election.
  void PickFollower() {
    Client client(servers_[0]->address());
    etcdserverpb::StatusResponse first;
    ASSERT_TRUE(client.StatusOf(&first).ok());
    Client other(servers_[2]->address());
    etcdserverpb::StatusResponse last;
    ASSERT_TRUE(other.StatusOf(&last).ok());
    away_ = first.leader() == last.header().member_id() ? 1 : 2;
  }
  Server& away() { return *servers_[away_]; }

  // Tried again until it is done: a loaded machine holds elections.
  void Put(int through, const std::string& key, const std::string& value) {
    Client client(servers_[through]->address());
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    etcdserverpb::PutResponse response;
    const auto deadline = steady_clock::now() + kServerDeadline;
    grpc::Status status = client.Put(request, &response);
    while (!status.ok() && steady_clock::now() < deadline) status = client.Put(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  // More log than is kept, while one member is away.
  void OutrunTheLog() {
    for (int i = 0; i < kLargePuts && !HasFailure(); ++i) {
      Put(0, fmt::format("large{}", i % 20),
          random_.Bytes(kRandomBytes) + std::string(kValueBytes - kRandomBytes, 'x'));
    }
  }

  // Removes the member that is away and adds one of the same name with an empty disk, not started.
  void ReplaceAway() {
    Client client(servers_[0]->address());
    const auto cluster = etcdserverpb::Cluster::NewStub(client.channel());
    etcdserverpb::MemberListResponse members;
    ASSERT_TRUE(client.MemberList(&members).ok());
    etcdserverpb::MemberRemoveRequest remove;
    for (const etcdserverpb::Member& member : members.members()) {
      if (member.name() == fmt::format("n{}", away_)) remove.set_id(member.id());
    }
    std::string initial = fmt::format("n{}={}", away_, away().peer_url());
    for (int i = 0; i < kMembers; ++i) {
      if (i != away_) initial += fmt::format(",n{}={}", i, servers_[i]->peer_url());
    }
    etcdserverpb::MemberAddRequest add;
    add.add_peerurls(away().peer_url());
    // Whoever answers must have been connected to the other for five seconds.
    const auto until_done = [&](const auto& call) {
      const auto deadline = steady_clock::now() + kServerDeadline;
      while (true) {
        grpc::ClientContext context;
        const grpc::Status status = call(context);
        if (status.ok() || steady_clock::now() > deadline) return status.error_message();
        servers_[0]->LetRun(kPoll);
      }
    };
    ASSERT_EQ(until_done([&](grpc::ClientContext& context) {
                etcdserverpb::MemberRemoveResponse removed;
                return cluster->MemberRemove(&context, remove, &removed);
              }),
              "");
    ASSERT_EQ(until_done([&](grpc::ClientContext& context) {
                etcdserverpb::MemberAddResponse added;
                return cluster->MemberAdd(&context, add, &added);
              }),
              "");
    fs::remove_all(away().data_dir());
    std::vector<std::string>& extra = away().options().extra_flags;
    extra.push_back("--initial-cluster=" + initial);
    extra.push_back("--initial-cluster-state=existing");
  }

  // States beside the one in force: of an installation under way, or cut short.
  int OtherStates(int member) const {
    const std::string states = servers_[member]->data_dir() + "/state";
    const std::string current = ReadFile(states + "/CURRENT");
    int others = 0;
    for (const auto& entry : fs::directory_iterator(states)) {
      others += entry.is_directory() && entry.path().filename().string() + "\n" != current;
    }
    return others;
  }

  // Since it was launched last.
  bool IsArriving(int member) const {
    return servers_[member]->Log().find("begins to arrive") != std::string::npos;
  }
  bool HasInstalled(int member) const {
    return servers_[member]->Log().find("is in force") != std::string::npos;
  }

  template <typename Condition>
  bool WaitFor(Server& server, const Condition& is_so) {
    const auto deadline = steady_clock::now() + kServerDeadline;
    while (!is_so()) {
      if (!server.IsRunning() || steady_clock::now() > deadline) return false;
      server.LetRun(kPoll);
    }
    return true;
  }

  // Every member answers, with the same revision and hash.
  void ExpectEqual() {
    // A write that all of them have to know.
    Put(0, "last", "word");
    std::array<uint32_t, kMembers> hashes = {};
    int64_t revision = 0;
    for (int i = 0; i < kMembers; ++i) {
      const absl::Status status = servers_[i]->WaitUntilAnswering();
      ASSERT_TRUE(status.ok()) << status;
      Client client(servers_[i]->address());
      etcdserverpb::RangeRequest request;
      request.set_key("last");
      etcdserverpb::RangeResponse response;
      ASSERT_TRUE(client.Range(request, &response).ok());
      ASSERT_EQ(response.kvs_size(), 1);
      if (i == 0) revision = response.header().revision();
      etcdserverpb::HashKVRequest hash;
      hash.set_revision(revision);
      etcdserverpb::HashKVResponse hashed;
      const grpc::Status found = client.HashKV(hash, &hashed);
      ASSERT_TRUE(found.ok()) << found.error_message();
      hashes[i] = hashed.hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]);
    EXPECT_EQ(hashes[0], hashes[2]);
  }

  Random random_{7};
  int away_ = 2;
  std::array<std::unique_ptr<Server>, kMembers> servers_;
};

TEST_F(SnapshotTest, AFollowerFarBehindCatchesUpBySnapshot) {
  ASSERT_NO_FATAL_FAILURE(StartCluster({}));
  for (int i = 0; i < 50; ++i) ASSERT_NO_FATAL_FAILURE(Put(i % 3, fmt::format("k{}", i), "v"));
  away().Kill();
  ASSERT_NO_FATAL_FAILURE(OutrunTheLog());
  ASSERT_TRUE(away().Launch().ok());
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
  EXPECT_TRUE(HasInstalled(away_)) << away().Log();
  // And goes on, also over a restart.
  for (int i = 0; i < 50; ++i) ASSERT_NO_FATAL_FAILURE(Put(i % 3, fmt::format("k{}", i), "w"));
  ASSERT_TRUE(away().Terminate().ok());
  ASSERT_TRUE(away().Start().ok());
  EXPECT_FALSE(HasInstalled(away_));
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
  for (int i = 0; i < kMembers; ++i) EXPECT_EQ(OtherStates(i), 0);
}

// Whoever joins when the beginning of the log has gone starts with the snapshot; here under the
// name and the address of the one it replaces.
TEST_F(SnapshotTest, AReplacementBeginsWithTheSnapshot) {
  ASSERT_NO_FATAL_FAILURE(StartCluster({}));
  ASSERT_NO_FATAL_FAILURE(Put(0, "before", "it came"));
  away().Kill();
  ASSERT_NO_FATAL_FAILURE(OutrunTheLog());
  ASSERT_NO_FATAL_FAILURE(ReplaceAway());
  ASSERT_TRUE(away().Launch().ok());
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
  EXPECT_TRUE(HasInstalled(away_)) << away().Log();
  // It has a vote that counts: with one of the others gone it is half of the quorum.
  servers_[away_ == 2 ? 1 : 2]->Kill();
  ASSERT_NO_FATAL_FAILURE(Put(0, "after", "one left"));
}

// A watcher of one key, from one revision on.
class Watcher {
 public:
  Watcher(Client& client, const std::string& key, int64_t start)
      : stub_(etcdserverpb::Watch::NewStub(client.channel())), stream_(stub_->Watch(&context_)) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key(key);
    request.mutable_create_request()->set_start_revision(start);
    EXPECT_TRUE(stream_->Write(request));
    etcdserverpb::WatchResponse response;
    EXPECT_TRUE(stream_->Read(&response) && response.created());
  }
  ~Watcher() {
    context_.TryCancel();
    stream_->Finish();
  }

  // The next `count` values; fewer when the watcher is cancelled before.
  std::vector<std::string> Take(size_t count) {
    std::vector<std::string> values;
    while (values.size() < count && !cancelled_) {
      etcdserverpb::WatchResponse response;
      if (!stream_->Read(&response)) break;
      cancelled_ = response.canceled();
      compact_revision_ = response.compact_revision();
      // A put that was tried again is two events.
      for (const mvccpb::Event& event : response.events()) {
        if (event.kv().value() != last_) values.push_back(last_ = event.kv().value());
      }
    }
    return values;
  }
  bool cancelled() const { return cancelled_; }
  int64_t compact_revision() const { return compact_revision_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      stream_;
  bool cancelled_ = false;
  int64_t compact_revision_ = 0;
  std::string last_;
};

// The follower is not killed but stands still, so its clients are still there when the snapshot
// comes: a watcher reads on where it was, and one whose next revision is gone hears so.
TEST_F(SnapshotTest, WatchersOfAFollowerThatStoodStillMissNothing) {
  for (const bool is_compacted : {false, true}) {
    SCOPED_TRACE(is_compacted);
    ASSERT_NO_FATAL_FAILURE(StartCluster({}));
    ASSERT_NO_FATAL_FAILURE(Put(0, "watched", "0"));
    // It has applied that much.
    ASSERT_TRUE(away().WaitUntilAnswering().ok());
    Client client(away().address());
    Watcher watcher(client, "watched", 2);
    ASSERT_EQ(watcher.Take(1), std::vector<std::string>{"0"});

    away().StandStill();
    ASSERT_NO_FATAL_FAILURE(Put(0, "watched", "1"));
    ASSERT_NO_FATAL_FAILURE(OutrunTheLog());
    ASSERT_NO_FATAL_FAILURE(Put(0, "watched", "2"));
    int64_t compacted = 0;
    if (is_compacted) {
      Client leader(servers_[0]->address());
      etcdserverpb::RangeRequest range;
      range.set_key("watched");
      etcdserverpb::RangeResponse found;
      ASSERT_TRUE(leader.Range(range, &found).ok());
      compacted = found.kvs(0).mod_revision();
      etcdserverpb::CompactionRequest request;
      request.set_revision(compacted);
      etcdserverpb::CompactionResponse response;
      ASSERT_TRUE(leader.Compact(request, &response).ok());
    }
    kill(away().pid(), SIGCONT);

    if (is_compacted) {
      // The first may have been on its way when the member stopped; then it is told.
      EXPECT_LE(watcher.Take(2).size(), 1U);
      EXPECT_TRUE(watcher.cancelled());
      EXPECT_EQ(watcher.compact_revision(), compacted);
    } else {
      EXPECT_EQ(watcher.Take(2), (std::vector<std::string>{"1", "2"}));
      ASSERT_NO_FATAL_FAILURE(Put(away_, "watched", "3"));
      EXPECT_EQ(watcher.Take(1), std::vector<std::string>{"3"});
    }
    ASSERT_NO_FATAL_FAILURE(ExpectEqual());
    EXPECT_TRUE(HasInstalled(away_)) << away().Log();
  }
}

TEST_F(SnapshotTest, KilledDuringTheTransferItBeginsAgain) {
  // Slow enough to be met half way.
  ASSERT_NO_FATAL_FAILURE(StartCluster({"--snapshot-send-bytes-per-second=2000000"}));
  away().Kill();
  ASSERT_NO_FATAL_FAILURE(OutrunTheLog());
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(away().Launch().ok());
    ASSERT_TRUE(WaitFor(away(), [&] { return IsArriving(away_); })) << away().Log();
    away().LetRun(milliseconds(100));
    away().Kill();
    EXPECT_FALSE(HasInstalled(away_));
    EXPECT_EQ(OtherStates(away_), 1) << "what had arrived is still there";
  }
  ASSERT_TRUE(away().Launch().ok());
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
  EXPECT_TRUE(HasInstalled(away_));
  EXPECT_TRUE(WaitFor(away(), [&] { return OtherStates(away_) == 0; }));
}

TEST_F(SnapshotTest, KilledAtAnyMomentOfTheInstallationItCatchesUp) {
  ASSERT_NO_FATAL_FAILURE(StartCluster({"--snapshot-send-bytes-per-second=0"}));
  away().Kill();
  ASSERT_NO_FATAL_FAILURE(OutrunTheLog());
  int cut = 0;
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(away().Launch().ok());
    if (!WaitFor(away(), [&] { return IsArriving(away_) || HasInstalled(away_); })) break;
    if (HasInstalled(away_)) break;
    away().LetRun(milliseconds(random_.Below(200)));
    away().Kill();
    ++cut;
    if (ReadFile(away().data_dir() + "/state/CURRENT") != "1\n") break;
  }
  EXPECT_GT(cut, 0);
  if (!away().IsRunning()) {
    ASSERT_TRUE(away().Launch().ok());
  }
  ASSERT_NO_FATAL_FAILURE(ExpectEqual());
}

}  // namespace
}  // namespace cairn::test
