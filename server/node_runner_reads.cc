// What the runner does about linearizable reads: from the barrier that is asked for to the pool
// that runs what waited for it.
#include <memory>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "server/node_runner.h"
#include "server/rpc/call.h"

namespace cairn::server {

namespace {

// A confirmed read on its way through the pool, which drops what is queued when it stops.
class PooledRead {
 public:
  explicit PooledRead(Node::BarrierDone done) : done_(std::move(done)) {}
  ~PooledRead() {
    if (done_ != nullptr) Finish(api::ToStatus(api::Error::kServerStopped));
  }
  PooledRead(const PooledRead&) = delete;
  PooledRead& operator=(const PooledRead&) = delete;

  void Finish(absl::Status status) {
    Node::BarrierDone done = std::exchange(done_, nullptr);
    std::move(done)(std::move(status));
  }

 private:
  Node::BarrierDone done_;
};

}  // namespace

void NodeRunner::ReadBarrier(const rpc::Call* caller, BarrierDone done) {
  api::Error refusal = api::Error::kTooManyRequests;
  {
    base::MutexLock lock(mutex_);
    if (node_stops_) {
      refusal = api::Error::kServerStopped;
    } else if (waiting_reads_ < kWaitingReadsMax) {
      ++waiting_reads_;
      const WaiterId id = next_sequence_.fetch_add(1, std::memory_order_relaxed);
      inputs_.reads.emplace_back(id, WaitingRead{caller, std::move(done)});
      if (wake_on_reads_) WakeNode();
      return;
    }
  }
  std::move(done)(api::ToStatus(refusal));
}

bool NodeRunner::RunInReadPool(absl::AnyInvocable<void()> work) { return read_pool_.Run(work); }

bool NodeRunner::RunHash(absl::AnyInvocable<void()> work) { return hash_pool_.Run(work); }

void NodeRunner::TakeReads(std::vector<std::pair<WaiterId, WaitingRead>>& reads) {
  for (auto& [id, read] : reads) {
    reads_.emplace(id, std::move(read));
    core_.Read(id);
  }
}

NodeRunner::BarrierDone NodeRunner::TakeRead(WaiterId id) {
  const auto read = reads_.find(id);
  BarrierDone done = std::move(read->second.done);
  reads_.erase(read);
  return done;
}

// The node thread waits for nobody, so it does not read either.
void NodeRunner::FinishReads(const Work& work) {
  const size_t finished = work.reads_ready.size() + work.reads_refused.size();
  if (finished == 0) return;
  std::vector<std::shared_ptr<PooledRead>> ready;
  std::vector<WorkerPool::Task> tasks;
  for (const WaiterId id : work.reads_ready) {
    ready.push_back(std::make_shared<PooledRead>(TakeRead(id)));
    tasks.push_back([read = ready.back()] { read->Finish(absl::OkStatus()); });
  }
  for (size_t i = confirmed_pool_.RunAll(tasks); i < ready.size(); ++i) {
    ready[i]->Finish(api::ToStatus(api::Error::kTooManyRequests));
  }
  for (const WaiterId id : work.reads_refused) {
    TakeRead(id)(api::ToStatus(api::Error::kLeaderChanged));
  }
  base::MutexLock lock(mutex_);
  waiting_reads_ -= finished;
}

// Without a leader reads wait for as long as their clients do. A cancelled call has no client, or
// the server stops.
void NodeRunner::DropAbandonedReads() {
  std::vector<WaiterId> abandoned;
  for (const auto& [id, read] : reads_) {
    if (read.caller != nullptr && read.caller->cancelled()) abandoned.push_back(id);
  }
  if (abandoned.empty()) return;
  for (const WaiterId id : abandoned) TakeRead(id)(api::ToStatus(api::Error::kServerStopped));
  core_.KeepReads([&](WaiterId id) { return reads_.contains(id); });
  base::MutexLock lock(mutex_);
  waiting_reads_ -= abandoned.size();
}

}  // namespace cairn::server
