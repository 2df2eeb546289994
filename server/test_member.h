// A member without sockets over disks in memory that lose what was not made durable: the real
// bootstrap, log, runner and applier, for the tests of the threads and of crashes.
//
// Test only.
#ifndef CAIRN_SERVER_TEST_MEMBER_H_
#define CAIRN_SERVER_TEST_MEMBER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/bootstrap.h"
#include "server/command.h"
#include "server/log_pins.h"
#include "server/node_runner.h"
#include "server/peers.h"
#include "server/test_disk.h"

namespace cairn::server {

// Counts the calls of one on_fatal and lets a test wait for the first.
class FatalCounter {
 public:
  std::function<void(const absl::Status&)> callback() {
    return [this](const absl::Status& error) {
      base::MutexLock lock(mutex_);
      if (count_++ == 0) first_ = error;
      changed_.SignalAll();
    };
  }
  int count() const {
    base::MutexLock lock(mutex_);
    return count_;
  }
  absl::Status Wait() {
    base::MutexLock lock(mutex_);
    while (count_ == 0) changed_.Wait(mutex_);
    return first_;
  }

 private:
  mutable base::Mutex mutex_;
  base::ConditionVariable changed_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status first_ ABSL_GUARDED_BY(mutex_);
};

inline Config TestConfig() {
  Config config;
  config.name = "n1";
  config.initial_advertise_peer_urls = {{"http", "localhost", 2380}};
  config.initial_cluster = {{"n1", {"http://localhost:2380"}}};
  config.initial_cluster_token = "etcd-cluster";
  return config;
}

// Long enough for a loaded machine; a test that waits so long has failed.
inline constexpr std::chrono::milliseconds kTestPatience = std::chrono::minutes(2);

inline NodeRunnerOptions TestRunnerOptions(const Bootstrapped& member) {
  NodeRunnerOptions options;
  options.cluster_id = member.identity.cluster;
  options.core.raft.id = member.identity.member;
  options.core.start_nonce = static_cast<uint32_t>(member.start_nonce);
  options.tick = std::chrono::milliseconds(10);
  options.proposal_timeout = kTestPatience;
  options.request_bytes_max = size_t{1} << 20;
  options.start_nonce = member.start_nonce;
  options.log_open_us = member.recovered.open_us;
  options.log_open_bytes = member.recovered.read_bytes;
  return options;
}

// Members that exist by name only: whatever is sent to them is lost.
class AbsentPeers : public Peers {
 public:
  void Send(std::vector<raft::Message> /*messages*/) override {}
  void Tick() override {}
  void SetMembers(const Members& /*members*/) override {}
  void Call(MemberId /*to*/, std::string_view /*method*/, std::string /*request*/,
            std::chrono::milliseconds /*timeout*/, CallDone done) override {
    std::move(done)(base::MakeStatus(absl::StatusCode::kUnavailable, "absent"));
  }
  std::optional<int64_t> ConnectedMs(MemberId /*id*/) const override { return std::nullopt; }
};

class TestMember {
 public:
  // Bootstraps and starts the threads; does not wait until it is ready.
  static absl::StatusOr<std::unique_ptr<TestMember>> Start(
      TestDisk& disk, std::chrono::milliseconds proposal_timeout = kTestPatience,
      LeaseManagerOptions leases = {},
      std::chrono::milliseconds sync_interval = std::chrono::milliseconds(100)) {
    std::unique_ptr<TestMember> member(new TestMember());
    CAIRN_ASSIGN_OR_RETURN(member->member_, Bootstrap(disk.foundation(), TestConfig()));
    member->applied_at_start_ = member->member_.store->applied();
    NodeRunnerOptions options = TestRunnerOptions(member->member_);
    options.proposal_timeout = proposal_timeout;
    options.leases = std::move(leases);
    options.sync_interval = sync_interval;
    options.on_fatal = member->fatal_.callback();
    options.peers = &member->peers_;
    options.pins = &member->pins_;
    member->runner_ = std::make_unique<NodeRunner>(
        std::move(options), std::move(member->member_.raft), *member->member_.wal,
        *member->member_.store, *member->member_.applier);
    return member;
  }

  // NodeRunner::RelaxSync, with a state that is flushed only behind the log.
  absl::Status RelaxSync(TestDisk& disk, wal::SyncMode mode) {
    gated_disk_ = &disk;
    disk.SetFlushGate([runner = runner_.get()] { return runner->SyncLog().ok(); });
    return runner_->RelaxSync(mode);
  }

  ~TestMember() { StopForGood(); }
  TestMember(const TestMember&) = delete;
  TestMember& operator=(const TestMember&) = delete;

  NodeRunner& runner() { return *runner_; }
  // Ends every thread of the member, also after a Stop that failed half way.
  void StopForGood() {
    runner_.reset();
    if (gated_disk_ != nullptr) gated_disk_->SetFlushGate(nullptr);
    gated_disk_ = nullptr;
  }
  mvcc::Store& store() { return *member_.store; }
  wal::Wal& wal() { return *member_.wal; }
  Applier& applier() { return *member_.applier; }
  const wal::Recovered& recovered() const { return member_.recovered; }
  mvcc::EntryApplied applied_at_start() const { return applied_at_start_; }
  FatalCounter& fatal() { return fatal_; }
  LogPins& pins() { return pins_; }

  // Proposes and waits for the outcome.
  Node::Outcome Propose(CommandKind kind, const google::protobuf::Message& request) {
    std::promise<Node::Outcome> promise;
    runner_->Propose(kind, request.SerializeAsString(),
                     [&](Node::Outcome outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  Node::Outcome Put(std::string_view key, std::string_view value) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_value(std::string(value));
    return Propose(CommandKind::kPut, request);
  }
  absl::Status Compact(Revision revision) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision.value());
    return Propose(CommandKind::kCompact, request).status;
  }

  // The published value of a key, its revision and version; empty when it does not exist.
  struct Found {
    std::string value;
    Revision mod_revision;
    int64_t version = 0;
  };
  Found Get(std::string_view key) const {
    Found found;
    const auto take = [&](const mvcc::KeyValueView& row) {
      found = {std::string(row.value), row.mod_revision, row.version};
      return true;
    };
    const absl::Status status = member_.store->Get(key, mvcc::kCurrent, take).status();
    CAIRN_CHECK(status.ok(), std::string(status.message()));
    return found;
  }

 private:
  TestMember() = default;

  FatalCounter fatal_;
  AbsentPeers peers_;
  LogPins pins_;
  Bootstrapped member_;
  mvcc::EntryApplied applied_at_start_;
  TestDisk* gated_disk_ = nullptr;
  std::unique_ptr<NodeRunner> runner_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_TEST_MEMBER_H_
