// Who may walk history: hashes, which need removal to rest, and removal, which must not rest for
// ever.
//
// Any number of hashes hold removal back at a time. Once removal has been refused, hashes that come
// later wait until the earlier ones are done and removal has had a turn, so hashes in a loop cannot
// starve it. Thread-safe.
#ifndef CAIRN_MVCC_REMOVAL_TURNS_H_
#define CAIRN_MVCC_REMOVAL_TURNS_H_

#include <chrono>

#include "base/mutex.h"

namespace cairn::mvcc {

class RemovalTurns {
 public:
  // The longest turn of removal while a hash waits. At a pace of 1,000 rows in 10 ms this is up to
  // 100,000 rows between two hashes, and a delay that nobody minds who hashes all of history.
  static constexpr std::chrono::milliseconds kTurn{1000};

  // Asks removal to rest while it lives. Its making waits for removal's turn if there is one: for
  // the hashes that came before, then for kTurn at most.
  class Hold {
   public:
    explicit Hold(RemovalTurns& turns) : turns_(turns) { turns_.Enter(); }
    ~Hold() { turns_.Leave(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    RemovalTurns& turns_;
  };

  bool is_held() const {
    base::MutexLock lock(mutex_);
    return holds_ > 0;
  }
  // Removal has something to do. False while it must rest; it then has the next turn.
  bool Ask() {
    base::MutexLock lock(mutex_);
    if (holds_ > 0) is_waiting_ = true;
    return holds_ == 0;
  }
  // Removal has caught up.
  void Finish() {
    base::MutexLock lock(mutex_);
    is_waiting_ = false;
    changed_.SignalAll();
  }

 private:
  void Enter() {
    base::MutexLock lock(mutex_);
    while (is_waiting_) {
      if (holds_ > 0) {
        changed_.Wait(mutex_);
      } else if (!changed_.WaitUntil(mutex_, turn_ends_)) {
        is_waiting_ = false;
      }
    }
    ++holds_;
  }
  void Leave() {
    base::MutexLock lock(mutex_);
    if (--holds_ > 0) return;
    turn_ends_ = std::chrono::steady_clock::now() + kTurn;
    changed_.SignalAll();
  }

  mutable base::Mutex mutex_;
  base::ConditionVariable changed_;
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_waiting_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point turn_ends_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_REMOVAL_TURNS_H_
