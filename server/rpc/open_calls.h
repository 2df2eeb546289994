// The calls that a transport has open: who made them, since when, what a stop has to end, and whose
// answers do not leave, so that what those hold can be taken back when others wait for it. And how
// many there have been.
//
// Owned by whoever starts the transport; one per transport, outlives its calls. Thread-safe. Adding
// and removing cost a lock among many and no memory, since every call pays for them. Looking does
// so in short steps, so that calls come and go meanwhile: what is open all the while is seen once,
// what comes or goes meanwhile once or not at all.
#ifndef CAIRN_SERVER_RPC_OPEN_CALLS_H_
#define CAIRN_SERVER_RPC_OPEN_CALLS_H_

#include <absl/functional/function_ref.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"

namespace cairn::rpc {

// A call as an observer sees it.
struct OpenCallView {
  // The full path, "/etcdserverpb.KV/Put"; the service table's.
  std::string_view path;
  // As Call::peer.
  std::string peer;
  std::chrono::steady_clock::time_point began;
  bool is_stream = false;
  // What the stream has queued and its transport has not taken.
  int64_t queued_bytes = 0;
};

// A call in the book.
class OpenCall {
 public:
  OpenCall() = default;
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;
  virtual ~OpenCall() = default;

  // Runs under a lock of the book: takes locks of the call at most.
  virtual OpenCallView View() const = 0;
  // Keeps the call while the stop looks at it; null: it has an end of its own. As View.
  virtual std::shared_ptr<OpenCall> Share() { return nullptr; }
  // Ends the call if its service waits for the client: that has no end that a stop could wait for.
  virtual void EndIfWaiting() {}
  // What ends the call if, at `now`, its answer has been on its way for longer than it may
  // (SendTimeMax); null if not. As View; what it returns may outlive the call and is called without
  // a lock.
  virtual std::function<void()> EndOfOverdue(std::chrono::steady_clock::time_point /*now*/) {
    return nullptr;
  }

 private:
  friend class OpenCalls;

  // A list, through the members; a place marker of a look in progress is in it too.
  OpenCall* previous_ = nullptr;
  OpenCall* next_ = nullptr;
  bool is_marker_ = false;
};

class OpenCalls {
 public:
  OpenCalls() = default;
  OpenCalls(const OpenCalls&) = delete;
  OpenCalls& operator=(const OpenCalls&) = delete;
  // Every call has been removed.
  ~OpenCalls();

  // A call is added once and removed before it dies.
  void Add(OpenCall& call);
  void Remove(OpenCall& call);

  // How many have been added so far. Takes no lock, so that whoever asks often holds up nobody.
  uint64_t begun() const;

  // Calls `visit` for every open call, without a lock.
  void Look(absl::FunctionRef<void(const OpenCallView&)> visit) const;
  // EndIfWaiting for every open call. Who begins to wait later has to end by itself.
  void EndWaiting();
  // Ends every call whose answer is overdue, so that the memory it holds comes back. Cheap enough
  // for a thread of the transport, some times a second: it looks at each call for a moment.
  void EndOverdue(std::chrono::steady_clock::time_point now) const;

 private:
  // Enough for the transport's threads to meet rarely.
  static constexpr size_t kShards = 16;
  // Calls seen under one lock: some ten microseconds.
  static constexpr size_t kStepCalls = 64;

  struct Marker;
  struct Shard {
    mutable base::Mutex mutex;
    mutable OpenCall* first ABSL_GUARDED_BY(mutex) = nullptr;
    mutable OpenCall* last ABSL_GUARDED_BY(mutex) = nullptr;
    // Written under the lock.
    std::atomic<uint64_t> begun = 0;

    void InsertAfter(OpenCall* place, OpenCall& call) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
    void Unlink(OpenCall& call) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  };

  Shard& ShardOf(const OpenCall& call);
  // Calls `take` under the lock for every call and `after_step`, without it, every kStepCalls.
  void Walk(absl::FunctionRef<void(OpenCall&)> take, absl::FunctionRef<void()> after_step) const;

  std::array<Shard, kShards> shards_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_OPEN_CALLS_H_
