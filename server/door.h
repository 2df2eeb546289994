// How a callback that may come late finds an object that may have gone.
//
// Whoever hands callbacks out owns a shared Door, opens it on itself and closes it before it goes;
// the callbacks keep the door and Visit. Close waits for visits that are under way, so a visit may
// use the object to its end, and may visit again; it must not close. Any thread.
#ifndef CAIRN_SERVER_DOOR_H_
#define CAIRN_SERVER_DOOR_H_

#include <absl/base/thread_annotations.h>

#include "base/mutex.h"

namespace cairn::server {

template <typename T>
class Door {
 public:
  Door() = default;
  explicit Door(T* object) : object_(object) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  void Open(T* object) {
    base::MutexLock lock(mutex_);
    object_ = object;
  }

  // From here on visits find nobody.
  void Close() {
    base::MutexLock lock(mutex_);
    object_ = nullptr;
    while (visits_ > 0) left_.Wait(mutex_);
  }

  // Calls visit(T&), if the door is open.
  template <typename Visitor>
  void Visit(const Visitor& visit) {
    T* object = nullptr;
    {
      base::MutexLock lock(mutex_);
      if (object_ == nullptr) return;
      object = object_;
      ++visits_;
    }
    visit(*object);
    base::MutexLock lock(mutex_);
    if (--visits_ == 0) left_.SignalAll();
  }

 private:
  base::Mutex mutex_;
  base::ConditionVariable left_;
  T* object_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int visits_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_DOOR_H_
