// States that follow one another under the same readers: one in force, and those it replaced.
//
// A reader pins the state it begins on and ends on that one; who replaces it waits for nobody, and
// whoever closes the replaced state waits for its last reader. A pin costs two uncontended atomic
// additions: threads count in different cache lines. What remains of a closed state is a kilobyte,
// kept until the end, so that a reader may count itself in and find out that it came too late.
//
// Pins and looks on any thread; Replace and CloseReplaced on one thread at a time each.
#ifndef CAIRN_MVCC_GENERATION_H_
#define CAIRN_MVCC_GENERATION_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "mvcc/backend.h"
#include "mvcc/batch_state.h"
#include "mvcc/published.h"
#include "mvcc/removal_turns.h"

namespace cairn::mvcc {

// One state: its rows, what it publishes, and its one open batch.
struct Generation {
  explicit Generation(std::unique_ptr<Backend> backend_owned)
      : backend(std::move(backend_owned)),
        batch(std::make_unique<BatchState>(backend.get(), &state, &removal_turns)) {}

  PublishedState state;
  mutable RemovalTurns removal_turns;
  // Null once closed.
  std::unique_ptr<Backend> backend;
  std::unique_ptr<BatchState> batch;

  // Readers, by the stripe they count in.
  static constexpr size_t kStripes = 16;
  struct alignas(64) Stripe {
    std::atomic<int64_t> readers{0};
  };
  mutable std::array<Stripe, kStripes> stripes;
  std::atomic<bool> is_replaced{false};
};

class Generations {
 public:
  explicit Generations(std::unique_ptr<Generation> first) { Add(std::move(first)); }

  class Pin {
   public:
    explicit Pin(const Generations& all) : all_(all), stripe_(StripeOfThread()) {
      // Count in first, look again after: both in the one order of all such operations, so that
      // whoever replaces sees either this reader counted, or this reader the replacement.
      while (true) {
        generation_ = all_.current_.load();
        generation_->stripes[stripe_].readers.fetch_add(1);
        if (all_.current_.load() == generation_) return;
        all_.CountOut(*generation_, stripe_);
      }
    }
    ~Pin() { all_.CountOut(*generation_, stripe_); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

    const Generation* operator->() const { return generation_; }

   private:
    const Generations& all_;
    const size_t stripe_;
    Generation* generation_ = nullptr;
  };

  // The one in force. What it publishes may be read without a pin; its rows may not, except on the
  // thread that replaces.
  Generation& current() const { return *current_.load(std::memory_order_acquire); }

  void Replace(std::unique_ptr<Generation> next) {
    Generation& before = current();
    Add(std::move(next));
    before.is_replaced.store(true);
  }

  // Waits until nobody reads a replaced state and closes it.
  void CloseReplaced() {
    std::vector<Generation*> replaced;
    {
      base::MutexLock lock(mutex_);
      for (const auto& generation : all_) {
        if (generation->is_replaced.load() && generation->backend != nullptr) {
          replaced.push_back(generation.get());
        }
      }
    }
    for (Generation* const generation : replaced) {
      {
        base::MutexLock lock(mutex_);
        while (CountReaders(*generation) > 0) changed_.Wait(mutex_);
      }
      generation->batch.reset();
      generation->backend.reset();
    }
  }

  // The one in force, of which this object is the only user. It is no use afterwards.
  std::unique_ptr<Generation> Release() {
    base::MutexLock lock(mutex_);
    CAIRN_CHECK_EQ(all_.size(), size_t{1});
    return std::exchange(all_.front(), nullptr);
  }
  bool is_released() const {
    base::MutexLock lock(mutex_);
    return all_.front() == nullptr;
  }

 private:
  static size_t StripeOfThread() {
    static std::atomic<size_t> next{0};
    thread_local const size_t stripe = next.fetch_add(1) % Generation::kStripes;
    return stripe;
  }

  static int64_t CountReaders(const Generation& generation) {
    int64_t readers = 0;
    for (const Generation::Stripe& stripe : generation.stripes) readers += stripe.readers.load();
    return readers;
  }

  void CountOut(const Generation& generation, size_t stripe) const {
    generation.stripes[stripe].readers.fetch_sub(1);
    if (!generation.is_replaced.load()) [[likely]] {
      return;
    }
    base::MutexLock lock(mutex_);
    changed_.SignalAll();
  }

  void Add(std::unique_ptr<Generation> next) {
    base::MutexLock lock(mutex_);
    all_.push_back(std::move(next));
    current_.store(all_.back().get());
  }

  std::atomic<Generation*> current_{nullptr};
  mutable base::Mutex mutex_;
  mutable base::ConditionVariable changed_;
  std::vector<std::unique_ptr<Generation>> all_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_GENERATION_H_
