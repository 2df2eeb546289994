// Mutex, lock guard and condition variable with thread annotations.
//
// The standard ones under Abseil's annotations (checked by Clang's -Wthread-safety). Abseil's own
// are not used: the packaged library is not instrumented, so the thread sanitizer reports races
// that do not exist.
#ifndef CAIRN_BASE_MUTEX_H_
#define CAIRN_BASE_MUTEX_H_

#include <absl/base/thread_annotations.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace cairn::base {

class ConditionVariable;

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  inline void Unlock() ABSL_UNLOCK_FUNCTION();

  // Signals `condition` right behind the next Unlock. For what is signalled thousands of times a
  // second: a thread that is woken under the lock may run at once, only to wait for it. Not for
  // a condition that the thread it wakes may destroy at once.
  inline void SignalBehind(ConditionVariable& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this);

 private:
  friend class ConditionVariable;
  // Lets go for a wait: what SignalBehind left until then is signalled first.
  inline void SignalNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(this);

  std::mutex mutex_;
  ConditionVariable* behind_ = nullptr;  // Guarded by mutex_.
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits release the mutex and hold it again when they return. Wake-ups may be spurious: call in a
// loop on the condition.
class ConditionVariable {
 public:
  void Wait(Mutex& mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    mutex.SignalNow();
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False when `deadline` passed first.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    mutex.SignalNow();
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool signalled = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return signalled;
  }
  void Signal() { condition_.notify_one(); }
  void SignalAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

void Mutex::Unlock() {
  ConditionVariable* const condition = std::exchange(behind_, nullptr);
  mutex_.unlock();
  if (condition != nullptr) condition->Signal();
}

void Mutex::SignalBehind(ConditionVariable& condition) {
  if (behind_ != &condition) SignalNow();  // There is room for one.
  behind_ = &condition;
}

void Mutex::SignalNow() {
  if (behind_ != nullptr) std::exchange(behind_, nullptr)->Signal();
}

}  // namespace cairn::base

#endif  // CAIRN_BASE_MUTEX_H_
