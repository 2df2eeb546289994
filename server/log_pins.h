// The register of who needs which entries of the log: followers and learners as their leader knows
// them, copies of the state while they are on their way, and the tail that stays for others.
//
// One per member; any thread; never waits. What a pin keeps, and when it gives way, is decided by
// wal/pins.h from what Now returns.
#ifndef CAIRN_SERVER_LOG_PINS_H_
#define CAIRN_SERVER_LOG_PINS_H_

#include <absl/base/thread_annotations.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "raft/core.h"
#include "wal/pins.h"

namespace cairn::server {

struct LogPinsOptions {
  // What is kept for followers and learners, as long as this member is not alone.
  wal::TailToKeep tail = wal::kFollowerTail;
  // wal::Pins::copy_bytes_max.
  uint64_t copy_bytes_max = uint64_t{1} << 30;
  // The monotonic clock; a test brings its own.
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

class LogPins {
  struct Copy {
    wal::Pin pin;
    // When the pin ends that nobody holds any more.
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::time_point::max();
  };

 public:
  explicit LogPins(LogPinsOptions options = {}) : options_(std::move(options)) {}
  LogPins(const LogPins&) = delete;
  LogPins& operator=(const LogPins&) = delete;

  // A copy's pin, until it is released. Must not outlive the register.
  class Hold {
   public:
    Hold() = default;
    ~Hold() { Release(); }
    Hold(Hold&& other) noexcept : pins_(std::exchange(other.pins_, nullptr)), copy_(other.copy_) {}
    Hold& operator=(Hold&& other) noexcept {
      if (this == &other) return *this;
      Release();
      pins_ = std::exchange(other.pins_, nullptr);
      copy_ = other.copy_;
      return *this;
    }

    // Ends the pin so much later: whoever got the copy connects and asks for what follows it.
    void Release(std::chrono::milliseconds after = std::chrono::milliseconds(0));

   private:
    friend class LogPins;
    Hold(LogPins* pins, std::list<Copy>::iterator copy) : pins_(pins), copy_(copy) {}

    LogPins* pins_ = nullptr;
    std::list<Copy>::iterator copy_;
  };

  // Pins the log from `from` on for the copy `id`; `kind` is kSnapshot or kBackup.
  [[nodiscard]] Hold Add(wal::PinKind kind, uint64_t id, Index from);

  // What a leader knows of the others now; of a member that does not lead `peers` is empty.
  void SetFollowers(const std::vector<raft::PeerStatus>& peers);
  // Whether there are other members, voters or learners: only then a tail is kept.
  void SetAlone(bool is_alone);

  // All pins at this moment. Followers come by id, then copies, the oldest first.
  wal::Pins Now() const;

 private:
  const LogPinsOptions options_;
  mutable base::Mutex mutex_;
  bool is_alone_ ABSL_GUARDED_BY(mutex_) = true;
  std::vector<wal::Pin> followers_ ABSL_GUARDED_BY(mutex_);
  mutable std::list<Copy> copies_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LOG_PINS_H_
