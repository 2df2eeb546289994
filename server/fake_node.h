// A node without consensus, for the tests of services: what is proposed is applied at once, in the
// calling thread, to a state in memory.
//
// Test only.
#ifndef CAIRN_SERVER_FAKE_NODE_H_
#define CAIRN_SERVER_FAKE_NODE_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/check.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store.h"
#include "server/change_sink.h"
#include "server/cluster_apply.h"
#include "server/cluster_state.h"
#include "server/kv_apply.h"
#include "server/leader_loss.h"
#include "server/lease_apply.h"
#include "server/lease_manager.h"
#include "server/member_response.h"
#include "server/membership_change.h"
#include "server/node.h"

namespace cairn::server {

class FakeNode final : public Node {
 public:
  FakeNode()
      : leases_(
            {.lessor = {}, .wait = std::chrono::seconds(7), .now_ms = [this] { return now_ms; }}),
        applier_([this](LeaseId lease) { return lease_applier_->IsAlive(lease); }) {
    auto store = mvcc::Store::Open(
        disk_.Open(), {.identity = {.cluster = ClusterId(11), .member = MemberId(22)}});
    CAIRN_CHECK(store.ok(), std::string(store.status().message()));
    store_ = *std::move(store);
    status_.term = Term(3);
    status_.leader = MemberId(22);
    lease_applier_.emplace(*LeaseApplier::Open(*store_));
    cluster_applier_.emplace(*ClusterApplier::Open(*store_));
    leases_.Promote();
    leases_.Confirm(lease::Lessor::kForEver);
    etcdserverpb::LeaseGrantRequest known;
    known.set_id(known_lease.value());
    known.set_ttl(3600);
    CAIRN_CHECK(Apply(CommandKind::kLeaseGrant, known.SerializeAsString()).status.ok());
  }

  mvcc::Store& store() { return *store_; }

  ClusterId cluster_id() const override { return ClusterId(11); }
  MemberId member_id() const override { return MemberId(22); }
  NodeStatus status() const override {
    NodeStatus status = status_;
    status.applied = status.commit = store_->applied().index;
    return status;
  }
  std::shared_ptr<const Members> members() const override { return members_; }
  std::shared_ptr<const ClusterState> cluster_state() const override {
    return std::make_shared<const ClusterState>(cluster_applier_->state());
  }

  void Propose(CommandKind kind, std::string_view body, ProposeDone done) override {
    ++proposals;
    const std::string copy(body);
    done(Apply(kind, copy));
  }
  // Applies at once, as if it were the next entry.
  void ProposeChange(const MembershipChange& change, ProposeDone done) override {
    Outcome outcome{.status = ApplyChange(change, Index(1000), membership).refusal};
    if (outcome.status.ok()) {
      outcome.response = ChangeResponse(change, membership.members);
      members_ = std::make_shared<const Members>(membership.members);
    }
    done(std::move(outcome));
  }
  void LookAtRaft(LookDone done) override { done(raft); }
  void CallPeer(MemberId to, std::string_view method, std::string request, CallDone done) override {
    called.emplace_back(to, method);
    done(answer_call == nullptr ? call_answer : answer_call(to, method, request));
  }
  std::optional<int64_t> ConnectedMs(MemberId id) const override {
    const auto found = connected_ms.find(id);
    return found == connected_ms.end() ? std::nullopt : std::optional<int64_t>(found->second);
  }
  LeaseManager& leases() override { return leases_; }
  LogStats log_stats() const override { return log; }
  LeaderLoss& leader_loss() override { return leader_loss_; }
  bool CanReadNow() const override { return can_read_now; }
  bool IsOutOfSpace() const override { return out_of_space; }
  bool RefusesWrites() const override { return disk_is_full; }
  bool RefusesGrowth() const override { return out_of_space; }
  void ReadBarrier(const rpc::Call*, BarrierDone done) override {
    ++barriers;
    done(barrier_status);
  }
  bool EndsReads() const override { return ends_reads && ends_reads(); }
  bool RunInReadPool(absl::AnyInvocable<void()> work) override {
    if (pool_full) return false;
    ++pooled;
    work();
    return true;
  }
  bool RunHash(absl::AnyInvocable<void()> work) override { return RunInReadPool(std::move(work)); }
  void FindLeaseOnLeader(LeaseId, FindLeaseDone done) override {
    std::move(done)(remaining_on_leader_ms);
  }
  void TransferLeadership(MemberId target, BarrierDone done) override {
    transferred_to = target;
    std::move(done)(absl::OkStatus());
  }
  void WaitCompacted(Revision revision, BarrierDone done) override {
    waited_compacted.push_back(revision);
    done(absl::OkStatus());
  }

  Outcome Apply(CommandKind kind, std::string_view body) {
    mvcc::Batch batch = store_->BeginBatch();
    if (sink != nullptr && sink->WantsPrevious()) batch.KeepPrevious();
    const raft::EntryId entry = {status_.term, store_->applied().index + 1};
    absl::StatusOr<Outcome> outcome = ApplyBody(kind, body, entry, batch);
    CAIRN_CHECK(outcome.ok(), std::string(outcome.status().message()));
    if (KvApplier::Handles(kind)) {
      CAIRN_CHECK(lease_applier_->Observe(batch.changes(), batch).ok());
    }
    const std::vector<lease::LeaseUpdate> leases = lease_applier_->Finish(batch);
    CAIRN_CHECK(batch.Commit({.index = entry.index, .term = entry.term}).ok());
    if (sink != nullptr && !batch.changes().empty()) {
      sink->OnCommitted(batch.changes(), store_->published().revision);
    }
    leases_.Applied(entry.index, leases);
    return *std::move(outcome);
  }

  MemberId transferred_to;
  absl::StatusOr<std::optional<int64_t>> remaining_on_leader_ms =
      api::ToStatus(api::Error::kLeaderChanged);
  ChangeSink* sink = nullptr;
  bool can_read_now = true;
  bool out_of_space = false;
  bool disk_is_full = false;
  bool pool_full = false;
  // Asked by every read that takes long. Empty: it never ends one.
  std::function<bool()> ends_reads;
  absl::Status barrier_status;
  // What changes of the members change, and what consensus is said to know.
  Membership membership;
  raft::CoreStatus raft;
  LogStats log;
  std::map<MemberId, int64_t> connected_ms;
  // Calls of other members, and what they answer.
  std::vector<std::pair<MemberId, std::string>> called;
  absl::StatusOr<std::string> call_answer = absl::UnavailableError("no connection");
  // Given, it answers instead.
  std::function<absl::StatusOr<std::string>(MemberId to, std::string_view method,
                                            const std::string& request)>
      answer_call;
  // Granted from the start, for an hour.
  const LeaseId known_lease{77};
  // The clock of the leases.
  lease::Milliseconds now_ms = 0;
  int proposals = 0;
  int barriers = 0;
  int pooled = 0;
  std::vector<Revision> waited_compacted;
  NodeStatus status_;
  std::shared_ptr<const Members> members_ = std::make_shared<const Members>();

 private:
  absl::StatusOr<Outcome> ApplyBody(CommandKind kind, std::string_view body, raft::EntryId entry,
                                    mvcc::Batch& batch) {
    if (ClusterApplier::Handles(kind)) return cluster_applier_->Apply(kind, body, *members_, batch);
    if (absl::Status refusal = cluster_applier_->Refuses(kind, body); !refusal.ok()) {
      return Outcome{.status = std::move(refusal), .response = {}, .revision = {}};
    }
    if (LeaseApplier::Handles(kind)) return lease_applier_->Apply(kind, body, entry, batch);
    return applier_.Apply(kind, body, Answer::kBuild, batch);
  }

  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  std::optional<LeaseApplier> lease_applier_;
  std::optional<ClusterApplier> cluster_applier_;
  LeaseManager leases_;
  // A test ticks it.
  LeaderLoss leader_loss_{3};
  KvApplier applier_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_FAKE_NODE_H_
