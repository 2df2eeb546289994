#include "server/rpc/open_calls.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace cairn::rpc {

// Where a look has got to: what stands before it has been seen.
struct OpenCalls::Marker final : OpenCall {
  Marker() { is_marker_ = true; }
  OpenCallView View() const override { return {}; }
};

void OpenCalls::Shard::InsertAfter(OpenCall* place, OpenCall& call) const {
  call.previous_ = place;
  call.next_ = place == nullptr ? first : place->next_;
  (place == nullptr ? first : place->next_) = &call;
  (call.next_ == nullptr ? last : call.next_->previous_) = &call;
}

void OpenCalls::Shard::Unlink(OpenCall& call) const {
  (call.previous_ == nullptr ? first : call.previous_->next_) = call.next_;
  (call.next_ == nullptr ? last : call.next_->previous_) = call.previous_;
  call.previous_ = call.next_ = nullptr;
}

OpenCalls::~OpenCalls() {
  for (const Shard& shard : shards_) {
    base::MutexLock lock(shard.mutex);
    CAIRN_CHECK(shard.first == nullptr, "a call outlives the book of open calls");
  }
}

OpenCalls::Shard& OpenCalls::ShardOf(const OpenCall& call) {
  // Equal calls lie at equal distances: the product's upper bits tell them apart.
  constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;
  static_assert(kShards == 16);
  return shards_[(reinterpret_cast<uintptr_t>(&call) * kSpread) >> 60];
}

void OpenCalls::Add(OpenCall& call) {
  Shard& shard = ShardOf(call);
  base::MutexLock lock(shard.mutex);
  shard.InsertAfter(shard.last, call);
  shard.begun.store(shard.begun.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

uint64_t OpenCalls::begun() const {
  uint64_t begun = 0;
  for (const Shard& shard : shards_) begun += shard.begun.load(std::memory_order_relaxed);
  return begun;
}

void OpenCalls::Remove(OpenCall& call) {
  Shard& shard = ShardOf(call);
  base::MutexLock lock(shard.mutex);
  shard.Unlink(call);
}

void OpenCalls::Walk(absl::FunctionRef<void(OpenCall&)> take,
                     absl::FunctionRef<void()> after_step) const {
  for (const Shard& shard : shards_) {
    Marker marker;
    bool is_listed = false;
    for (bool is_done = false; !is_done;) {
      {
        base::MutexLock lock(shard.mutex);
        if (!std::exchange(is_listed, true)) shard.InsertAfter(nullptr, marker);
        for (size_t step = 0; step < kStepCalls && marker.next_ != nullptr; ++step) {
          OpenCall& call = *marker.next_;
          shard.Unlink(marker);
          shard.InsertAfter(&call, marker);
          if (!call.is_marker_) take(call);
        }
        is_done = marker.next_ == nullptr;
        if (is_done) shard.Unlink(marker);
      }
      after_step();
    }
  }
}

void OpenCalls::Look(absl::FunctionRef<void(const OpenCallView&)> visit) const {
  std::vector<OpenCallView> seen;
  Walk([&](OpenCall& call) { seen.push_back(call.View()); },
       [&] {
         for (const OpenCallView& view : seen) visit(view);
         seen.clear();
       });
}

void OpenCalls::EndWaiting() {
  std::vector<std::shared_ptr<OpenCall>> held;
  Walk(
      [&](OpenCall& call) {
        if (std::shared_ptr<OpenCall> shared = call.Share()) held.push_back(std::move(shared));
      },
      [&] {
        for (const std::shared_ptr<OpenCall>& call : held) call->EndIfWaiting();
        held.clear();
      });
}

void OpenCalls::EndOverdue(std::chrono::steady_clock::time_point now) const {
  std::vector<std::function<void()>> ends;
  Walk(
      [&](OpenCall& call) {
        if (std::function<void()> end = call.EndOfOverdue(now)) ends.push_back(std::move(end));
      },
      [&] {
        for (const std::function<void()>& end : ends) end();
        ends.clear();
      });
}

}  // namespace cairn::rpc
