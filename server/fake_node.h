// A node without consensus, for the tests of services: what is proposed is applied at once, in the
// calling thread, to a state in memory.
//
// Test only.
#ifndef CAIRN_SERVER_FAKE_NODE_H_
#define CAIRN_SERVER_FAKE_NODE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store.h"
#include "server/change_sink.h"
#include "server/kv_apply.h"
#include "server/node.h"

namespace cairn::server {

class FakeNode final : public Node {
 public:
  FakeNode() : applier_([this](LeaseId lease) { return lease == known_lease; }) {
    auto store = mvcc::Store::Open(
        disk_.Open(), {.identity = {.cluster = ClusterId(11), .member = MemberId(22)}});
    CAIRN_CHECK(store.ok(), std::string(store.status().message()));
    store_ = *std::move(store);
    status_.term = Term(3);
    status_.leader = MemberId(22);
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

  void Propose(CommandKind kind, std::string_view body, ProposeDone done) override {
    ++proposals;
    const std::string copy(body);
    done(Apply(kind, copy));
  }
  bool CanReadNow() const override { return can_read_now; }
  bool IsOutOfSpace() const override { return out_of_space; }
  void ReadBarrier(BarrierDone done) override {
    ++barriers;
    done(barrier_status);
  }
  bool RunInReadPool(absl::AnyInvocable<void()> work) override {
    if (pool_full) return false;
    ++pooled;
    work();
    return true;
  }
  void WaitCompacted(Revision revision, BarrierDone done) override {
    waited_compacted.push_back(revision);
    done(absl::OkStatus());
  }

  Outcome Apply(CommandKind kind, std::string_view body) {
    mvcc::Batch batch = store_->BeginBatch();
    absl::StatusOr<Outcome> outcome = applier_.Apply(kind, body, Answer::kBuild, batch);
    CAIRN_CHECK(outcome.ok(), std::string(outcome.status().message()));
    const absl::Status committed =
        batch.Commit({.index = Index(store_->applied().index.value() + 1), .term = status_.term});
    CAIRN_CHECK(committed.ok());
    if (sink != nullptr && !batch.changes().empty()) {
      sink->OnCommitted(batch.changes(), store_->published().revision);
    }
    return *std::move(outcome);
  }

  ChangeSink* sink = nullptr;
  bool can_read_now = true;
  bool out_of_space = false;
  bool pool_full = false;
  absl::Status barrier_status;
  LeaseId known_lease{77};
  int proposals = 0;
  int barriers = 0;
  int pooled = 0;
  std::vector<Revision> waited_compacted;
  NodeStatus status_;
  std::shared_ptr<const Members> members_ = std::make_shared<const Members>();

 private:
  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  KvApplier applier_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_FAKE_NODE_H_
