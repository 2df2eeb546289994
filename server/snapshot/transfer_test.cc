// Snapshots from one member to others without a network: real states, files and installation; calls
// are lost, answers are lost, bytes are changed, receivers begin anew.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/peer.pb.h"
#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/fail_point.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/applier.h"
#include "server/command.h"
#include "server/log_pins.h"
#include "server/membership.h"
#include "server/membership_rows.h"
#include "server/rocks_states.h"
#include "server/rpc/fake_call.h"
#include "server/snapshot/receiver.h"
#include "server/snapshot/sender.h"
#include "server/snapshot/test_state.h"
#include "wal/pins.h"
#include "wal/posix_fs.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr Term kTerm{3};
constexpr uint64_t kLast = 60;

// A member without log and core.
class Host final : public InstallHost {
 public:
  explicit Host(State& state) : state_(state) {}
  absl::Status SyncTerm(Term) override { return absl::OkStatus(); }
  absl::StatusOr<bool> BeginInstall(raft::EntryId id) override {
    return id.index > state_.store().applied().index;
  }
  void AbandonInstall() override {}
  absl::Status DrainApply() override { return absl::OkStatus(); }
  absl::Status RecordInstalled(wal::SnapshotInstalled) override { return absl::OkStatus(); }
  absl::Status FinishInstall(std::unique_ptr<mvcc::Store> fresh, Applier::Loaded loaded) override {
    state_.applier().Replace(std::move(fresh), std::move(loaded));
    return absl::OkStatus();
  }
  void FailInstall(const absl::Status& error) override { CheckOk(error); }

 private:
  State& state_;
};

// What the network does to a call: passes it on, loses it, or loses its answer.
enum class Fate { kPass, kLoseCall, kLoseAnswer };

// A follower that receives, and the way to it.
class Receiver {
 public:
  Receiver(const std::string& directory, MemberId id)
      : id_(id), state_(directory, id, 3), host_(state_) {
    Restart();
  }

  // As after a restart of the process: nothing is known of what was arriving.
  void Restart() {
    receiver_.reset();
    table_ = std::make_unique<rpc::ServiceTable>();
    SnapshotReceiverOptions options;
    options.identity = {kCluster, id_, {}};
    options.is_removed = [](MemberId) { return false; };
    receiver_ = std::make_unique<SnapshotReceiver>(options, wal::PosixFs(), state_.states(),
                                                   state_.store());
    receiver_->Register(*table_);
    receiver_->Start(host_);
  }

  State& state() { return state_; }
  MemberId id() const { return id_; }
  bool lacks_room() const { return receiver_->lacks_room(); }

  absl::StatusOr<std::string> Call(std::string_view path, std::string request) {
    const std::string method(path.substr(path.rfind('/') + 1));
    const Fate fate = on_call ? on_call(method) : Fate::kPass;
    if (fate == Fate::kLoseCall) return absl::UnavailableError("lost");
    ++calls[method];
    if (method == "SendSnapshotPart") part_bytes += request.size();
    rpc::FakeUnaryCall call(std::move(request), {.path = std::string(path)});
    std::get<rpc::UnaryHandler> (*table_->Find(path))(call.TakeCall());
    absl::StatusOr<std::string> answer = call.Wait(std::chrono::minutes(1));
    if (fate == Fate::kLoseAnswer) return absl::UnavailableError("lost");
    return answer;
  }
  template <typename Response>
  absl::StatusOr<Response> Ask(std::string_view method,
                               const google::protobuf::MessageLite& request) {
    const auto answer =
        Call(fmt::format("/cairn.peer.Peer/{}", method), request.SerializeAsString());
    CAIRN_RETURN_IF_ERROR(answer.status());
    Response response;
    CAIRN_CHECK(response.ParseFromString(*answer));
    return response;
  }

  std::function<Fate(const std::string& method)> on_call;
  std::map<std::string, int> calls;
  size_t part_bytes = 0;

 private:
  const MemberId id_;
  State state_;
  Host host_;
  std::unique_ptr<rpc::ServiceTable> table_;
  std::unique_ptr<SnapshotReceiver> receiver_;
};

class TransferTest : public testing::Test {
 protected:
  TransferTest() {
    std::filesystem::remove_all(directory_);
    leader_ = std::make_unique<State>(directory_ + "/leader", kMembers[0].id, kLast);
    checkpoints_ = std::make_unique<Checkpoints>(CheckpointsOptions{}, wal::PosixFs(),
                                                 leader_->states(), leader_->store(), pins_);
  }
  ~TransferTest() override {
    sender_.reset();
    receivers_.clear();
    checkpoints_.reset();
    leader_.reset();
    std::filesystem::remove_all(directory_);
  }

  Receiver& AddReceiver() {
    const size_t number = receivers_.size() + 1;
    receivers_.push_back(std::make_unique<Receiver>(
        fmt::format("{}/follower{}", directory_, number), kMembers[number].id));
    return *receivers_.back();
  }

  void StartSender(const std::function<void(SnapshotSenderOptions&)>& adjust = {}) {
    SnapshotSenderOptions options;
    options.identity = {kCluster, kMembers[0].id, {}};
    options.connect = [this](const std::string& authority) {
      return std::make_unique<Connection>(*receivers_.at(std::stoul(authority)));
    };
    options.addresses_of = [this](MemberId id) -> std::vector<std::string> {
      for (size_t i = 0; i < receivers_.size(); ++i) {
        if (receivers_[i]->id() == id) return {std::to_string(i)};
      }
      return {};
    };
    options.leads_in = [this](Term term) { return term == leads_in_; };
    options.on_status = [this](MemberId peer, Index index, bool is_installed) {
      base::MutexLock lock(mutex_);
      ended_[peer] = {index, is_installed};
      changed_.SignalAll();
    };
    options.part_bytes = 8192;
    options.retry_pause = options.failure_pause = milliseconds(1);
    if (adjust) adjust(options);
    sender_ = std::make_unique<SnapshotSender>(std::move(options), wal::PosixFs(), *checkpoints_);
  }

  // Sends and waits for the end.
  std::pair<Index, bool> Send(const Receiver& to) {
    {
      base::MutexLock lock(mutex_);
      ended_.erase(to.id());
    }
    sender_->Send({.peer = to.id(), .term = kTerm, .index = Index(50)});
    return WaitEnd(to);
  }
  std::pair<Index, bool> WaitEnd(const Receiver& to) {
    base::MutexLock lock(mutex_);
    while (!ended_.contains(to.id())) changed_.Wait(mutex_);
    return ended_[to.id()];
  }

  class Connection final : public rpc::ClientConnection {
   public:
    explicit Connection(Receiver& to) : to_(to) {}
    std::shared_ptr<rpc::ClientStream> OpenStream(
        std::string_view, std::shared_ptr<rpc::ClientStreamEvents>) override {
      return nullptr;
    }
    void Call(std::string_view path, rpc::SliceList request, milliseconds, CallDone done) override {
      std::move(done)(to_.Call(path, request.Flatten()));
    }

   private:
    Receiver& to_;
  };

  const std::string directory_ = ::testing::TempDir() + "/transfer_test";
  std::unique_ptr<State> leader_;
  LogPins pins_;
  std::unique_ptr<Checkpoints> checkpoints_;
  std::vector<std::unique_ptr<Receiver>> receivers_;
  std::unique_ptr<SnapshotSender> sender_;
  std::atomic<Term> leads_in_{kTerm};
  base::Mutex mutex_;
  base::ConditionVariable changed_;
  std::map<MemberId, std::pair<Index, bool>> ended_ ABSL_GUARDED_BY(mutex_);
};

constexpr std::pair<Index, bool> kInstalled{Index(kLast), true};
constexpr std::pair<Index, bool> kFailed{Index(0), false};

TEST_F(TransferTest, ArrivesIsInForceAndLeavesNothingBehind) {
  Receiver& follower = AddReceiver();
  StartSender();
  EXPECT_EQ(Send(follower), kInstalled);
  EXPECT_EQ(follower.state().store().applied().index, Index(kLast));
  EXPECT_EQ(follower.state().Hash(), leader_->Hash());
  EXPECT_GT(follower.calls["SendSnapshotPart"], 5);
  sender_.reset();
  EXPECT_EQ(leader_->Names(), (std::vector<std::string>{"1", "CURRENT"}));
  follower.Restart();
  EXPECT_EQ(follower.state().Names(), (std::vector<std::string>{"2", "CURRENT"}));
  CheckOk(follower.state().applier().Apply(History(kLast + 1, kLast + 4)).status());
  CheckOk(leader_->applier().Apply(History(kLast + 1, kLast + 4)).status());
  EXPECT_EQ(follower.state().Hash(), leader_->Hash());
}

// The log behind a copy is pinned while it is in use and a while longer.
TEST_F(TransferTest, PinsTheLogBehindTheCopy) {
  auto now = steady_clock::now();
  LogPins pins({.now = [&] { return now; }});
  Checkpoints checkpoints({.pin_after = milliseconds(1000), .now = [&] { return now; }},
                          wal::PosixFs(), leader_->states(), leader_->store(), pins);
  const auto pinned_from = [&] {
    std::vector<Index> from;
    for (const wal::Pin& pin : pins.Now().pins) from.push_back(pin.from);
    return from;
  };
  using Pinned = std::vector<Index>;
  EXPECT_EQ(pinned_from(), Pinned{});
  auto copy = checkpoints.Take(Index(50));
  ASSERT_TRUE(copy.ok()) << copy.status();
  CheckOk(leader_->applier().Apply(History(kLast + 1, kLast + 9)).status());
  EXPECT_EQ(pinned_from(), Pinned{Index(kLast + 1)});
  EXPECT_EQ(pins.Now().pins[0].kind, wal::PinKind::kSnapshot);
  EXPECT_EQ(checkpoints.Take(Index(40))->get(), copy->get()) << "shared";
  auto younger = checkpoints.Take(Index(kLast + 5), wal::PinKind::kBackup);
  ASSERT_TRUE(younger.ok());
  EXPECT_EQ(checkpoints.Take(Index(kLast + 9))->get(), younger->get());
  EXPECT_TRUE(absl::IsResourceExhausted(checkpoints.Take(Index(kLast + 10)).status()));
  copy->reset();
  EXPECT_EQ(pinned_from(), (Pinned{Index(kLast + 1), Index(kLast + 10)}));
  now += milliseconds(1001);
  EXPECT_EQ(pinned_from(), Pinned{Index(kLast + 10)});
  EXPECT_EQ(pins.Now().pins[0].kind, wal::PinKind::kBackup);
  EXPECT_TRUE(absl::IsFailedPrecondition(checkpoints.Take(Index(kLast + 10)).status()));
  EXPECT_FALSE(checkpoints.IsTooOld(**younger));
  now += std::chrono::hours(3);
  EXPECT_TRUE(checkpoints.IsTooOld(**younger));
  younger->reset();
  now += milliseconds(1001);
  EXPECT_EQ(pinned_from(), Pinned{});
  EXPECT_EQ(leader_->Names(), (std::vector<std::string>{"1", "CURRENT"}));
}

// Each call in turn is lost, or its answer: the transfer goes on where it was.
TEST_F(TransferTest, GoesOnAfterEveryBreak) {
  Receiver& whole = AddReceiver();
  StartSender();
  ASSERT_EQ(Send(whole), kInstalled);
  int calls = 0;
  for (const auto& [method, count] : whole.calls) calls += count;
  const size_t bytes = whole.part_bytes;
  sender_.reset();
  for (int broken = 0; broken < calls; ++broken) {
    for (const Fate fate : {Fate::kLoseCall, Fate::kLoseAnswer}) {
      SCOPED_TRACE(broken);
      receivers_.clear();
      std::filesystem::remove_all(directory_ + "/follower1");
      Receiver& follower = AddReceiver();
      StartSender();
      int seen = 0;
      follower.on_call = [&](const std::string&) { return seen++ == broken ? fate : Fate::kPass; };
      ASSERT_EQ(Send(follower), kInstalled);
      EXPECT_EQ(follower.state().Hash(), leader_->Hash());
      EXPECT_EQ(follower.calls["BeginSnapshot"], broken == 0 && fate == Fate::kLoseCall ? 1 : 2);
      EXPECT_LT(follower.part_bytes, bytes + 1000) << "nothing was sent twice";
      sender_.reset();
    }
  }
}

TEST_F(TransferTest, AReceiverThatRestartedBeginsAgain) {
  Receiver& follower = AddReceiver();
  StartSender();
  int seen = 0;
  follower.on_call = [&](const std::string&) {
    if (++seen != 5) return Fate::kPass;
    follower.Restart();
    return Fate::kPass;
  };
  EXPECT_EQ(Send(follower), kInstalled);
  EXPECT_EQ(follower.calls["BeginSnapshot"], 2);
  EXPECT_EQ(follower.state().Hash(), leader_->Hash());
}

TEST_F(TransferTest, AFileThatWasAlteredIsNotInstalled) {
  Receiver& follower = AddReceiver();
  StartSender();
  follower.on_call = [&](const std::string& method) {
    if (method != "FinishSnapshot") return Fate::kPass;
    for (const auto& entry :
         std::filesystem::directory_iterator(follower.state().states().fresh_path())) {
      if (entry.path().extension() != ".sst") continue;
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file.put('!');
    }
    return Fate::kPass;
  };
  EXPECT_EQ(Send(follower), kFailed);
  EXPECT_EQ(follower.state().store().applied().index, Index(3));
  EXPECT_EQ(follower.state().Names(), (std::vector<std::string>{"1", "CURRENT"}));
  follower.on_call = {};
  EXPECT_EQ(Send(follower), kInstalled);
  EXPECT_EQ(follower.state().Hash(), leader_->Hash());
}

// The leader's own copy was altered under way: what it said of it at first does not fit any more.
TEST_F(TransferTest, ACopyThatWasAlteredIsNotInstalledAndMadeAnew) {
  Receiver& follower = AddReceiver();
  StartSender();
  follower.on_call = [&](const std::string& method) {
    if (method != "BeginSnapshot") return Fate::kPass;
    for (const std::string& name : leader_->Names()) {
      if (!name.starts_with(kCheckpointPrefix)) continue;
      std::ofstream(directory_ + "/leader/" + name + "/CURRENT") << "MANIFEST-999999\n";
    }
    return Fate::kPass;
  };
  EXPECT_EQ(Send(follower), kFailed);
  follower.on_call = {};
  EXPECT_EQ(Send(follower), kInstalled);
}

TEST_F(TransferTest, SeveralShareOneCopy) {
  Receiver& first = AddReceiver();
  Receiver& second = AddReceiver();
  std::atomic<int> made{0};
  StartSender();
  {
    const base::ScopedFailPointObserver observer([&](std::string_view name) {
      if (name == "server.snapshot.checkpoint_made") ++made;
    });
    // The first has its copy when the second begins, and waits for it.
    std::latch first_begun{1};
    std::atomic<bool> has_begun{false};
    first.on_call = [&, is_first = true](const std::string& method) mutable {
      if (std::exchange(is_first, false)) first_begun.count_down();
      if (method == "SendSnapshotPart" && !has_begun) return Fate::kLoseCall;
      return Fate::kPass;
    };
    second.on_call = [&](const std::string&) {
      has_begun = true;
      return Fate::kPass;
    };
    sender_->Send({.peer = first.id(), .term = kTerm, .index = Index(50)});
    sender_->Send({.peer = first.id(), .term = kTerm, .index = Index(50)});  // Is on its way.
    first_begun.wait();
    sender_->Send({.peer = second.id(), .term = kTerm, .index = Index(50)});
    EXPECT_EQ(WaitEnd(first), kInstalled);
    EXPECT_EQ(WaitEnd(second), kInstalled);
    sender_.reset();
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(first.state().Hash(), leader_->Hash());
  EXPECT_EQ(second.state().Hash(), leader_->Hash());
}

TEST_F(TransferTest, EndsWhenTheMemberLeadsNoMoreOrIsGone) {
  Receiver& follower = AddReceiver();
  StartSender();
  follower.on_call = [&](const std::string& method) {
    if (method == "SendSnapshotPart") leads_in_ = kTerm + 1;
    return Fate::kPass;
  };
  EXPECT_EQ(Send(follower), kFailed);
  EXPECT_EQ(follower.calls["SendSnapshotPart"], 1);
  sender_->Send({.peer = MemberId(77), .term = kTerm, .index = Index(50)});
  base::MutexLock lock(mutex_);
  while (!ended_.contains(MemberId(77))) changed_.Wait(mutex_);
  EXPECT_EQ(ended_[MemberId(77)], kFailed);
}

TEST_F(TransferTest, KeepsToItsRate) {
  Receiver& follower = AddReceiver();
  StartSender([](SnapshotSenderOptions& options) { options.bytes_per_second = 400'000; });
  const auto start = steady_clock::now();
  EXPECT_EQ(Send(follower), kInstalled);
  const auto least =
      std::chrono::duration<double>((static_cast<double>(follower.part_bytes) - 20'000) / 400'000);
  EXPECT_GE(steady_clock::now() - start, least);
}

TEST_F(TransferTest, BadPeersAreRefusedWithTheReason) {
  Receiver& follower = AddReceiver();
  const PeerIdentity leader{kCluster, kMembers[0].id, {}};
  peer::BeginSnapshotRequest begin;
  begin.set_snapshot_id(7);
  begin.set_term(5);
  peer::SnapshotFile& file = *begin.add_files();
  file.set_name("CURRENT");
  file.set_size_bytes(10);
  const auto refusal = [&](const peer::BeginSnapshotRequest& request) {
    return std::string(
        base::Message(follower.Ask<peer::SnapshotPosition>("BeginSnapshot", request).status()));
  };
  *begin.mutable_greeting() = MakeGreeting({ClusterId(0xbad), kMembers[0].id, {}}, follower.id());
  EXPECT_NE(refusal(begin).find("cluster ID mismatch"), std::string::npos) << refusal(begin);
  *begin.mutable_greeting() = MakeGreeting(leader, follower.id() + 1);
  EXPECT_NE(refusal(begin), "");
  *begin.mutable_greeting() = MakeGreeting(leader, follower.id());
  for (const std::string name : {"", "..", ".", "../CURRENT", "a/b", ".hidden", "a b"}) {
    file.set_name(name);
    EXPECT_NE(refusal(begin).find("whose name is no plain one"), std::string::npos) << name;
  }
  file.set_name("CURRENT");
  *begin.add_files() = file;
  EXPECT_NE(refusal(begin).find("twice"), std::string::npos);
  begin.mutable_files()->RemoveLast();
  peer::BeginSnapshotRequest empty = begin;
  empty.clear_files();
  EXPECT_NE(refusal(empty).find("0 files"), std::string::npos);
  EXPECT_EQ(follower.state().Names(), (std::vector<std::string>{"1", "CURRENT"}));

  constexpr uint64_t kNoTerm = ~uint64_t{0};
  for (const int place : {0, 1, 2}) {
    peer::BeginSnapshotRequest wrong = begin;
    if (place == 0) wrong.set_term(kNoTerm);
    if (place == 1) wrong.mutable_applied()->set_term(kNoTerm);
    if (place == 2) wrong.mutable_applied()->set_index(kNoTerm);
    EXPECT_NE(refusal(wrong).find("which no member can have come to"), std::string::npos) << place;
  }

  EXPECT_FALSE(follower.lacks_room());
  peer::BeginSnapshotRequest huge = begin;
  huge.mutable_files(0)->set_size_bytes(~uint64_t{0});
  EXPECT_NE(refusal(huge).find("the disk has no room"), std::string::npos);
  EXPECT_TRUE(follower.lacks_room());

  ASSERT_TRUE(follower.Ask<peer::SnapshotPosition>("BeginSnapshot", begin).ok());
  peer::BeginSnapshotRequest stale = begin;
  stale.set_snapshot_id(8);
  stale.set_term(4);
  EXPECT_NE(refusal(stale).find("a snapshot of term 5 is arriving"), std::string::npos);

  peer::SnapshotPart part;
  part.set_snapshot_id(7);
  part.set_data("0123456");
  part.set_checksum(base::Crc32c(part.data()) + 1);
  EXPECT_TRUE(
      absl::IsDataLoss(follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", part).status()));
  part.set_checksum(base::Crc32c(part.data()));
  peer::SnapshotPart ahead = part;
  ahead.mutable_position()->set_offset_bytes(3);
  EXPECT_EQ(follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", ahead)->offset_bytes(), 0U);
  EXPECT_EQ(follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", part)->offset_bytes(), 7U);
  EXPECT_EQ(follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", part)->offset_bytes(), 7U);
  peer::FinishSnapshotRequest finish;
  finish.set_snapshot_id(7);
  EXPECT_TRUE(absl::IsNotFound(
      follower.Ask<peer::FinishSnapshotResponse>("FinishSnapshot", finish).status()))
      << "half of it";
  part.mutable_position()->set_offset_bytes(7);
  EXPECT_TRUE(absl::IsInvalidArgument(
      follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", part).status()))
      << "more than the file";
  part.set_snapshot_id(9);
  EXPECT_TRUE(
      absl::IsNotFound(follower.Ask<peer::SnapshotPosition>("SendSnapshotPart", part).status()));
  EXPECT_EQ(follower.state().Names(), (std::vector<std::string>{"1", "CURRENT"}));
}

}  // namespace
}  // namespace cairn::server
