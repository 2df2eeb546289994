// Counts the calls under way, and refuses new ones once the server is stopping.
//
// gRPC's own graceful stop waits for every connection to say goodbye, and a client that does not
// look at its idle connection does not: seconds pass for nothing. What a stop has to wait for is
// calls, so they are counted here. Thread-safe; outlives every call.
#ifndef CAIRN_SERVER_RPC_CALL_GATE_H_
#define CAIRN_SERVER_RPC_CALL_GATE_H_

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/mutex.h"

namespace cairn::rpc {

class CallGate {
 public:
  // A call begins; it counts until Leave, also when it is refused. False once the gate is closed.
  bool Enter() {
    calls_.fetch_add(1);
    return !is_closed_.load();
  }
  void Leave() {
    if (calls_.fetch_sub(1) > 1 || !is_closed_.load()) return;
    base::MutexLock lock(mutex_);
    left_.SignalAll();
  }

  void Close() { is_closed_.store(true); }
  bool is_closed() const { return is_closed_.load(); }

  // Waits until no call is under way, for `grace` at most. The gate is closed.
  void Wait(std::chrono::milliseconds grace) {
    const auto until = std::chrono::steady_clock::now() + grace;
    base::MutexLock lock(mutex_);
    while (calls_.load() > 0 && left_.WaitUntil(mutex_, until)) {
    }
  }

 private:
  std::atomic<int64_t> calls_ = 0;
  std::atomic<bool> is_closed_ = false;
  base::Mutex mutex_;
  base::ConditionVariable left_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_CALL_GATE_H_
