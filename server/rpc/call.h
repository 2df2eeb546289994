// A call as a service sees it, whatever carries it: unary, or a stream with back-pressure in bytes.
//
// The transport makes a call and hands it to the service's handler on a thread of the transport;
// handlers of different calls may run at the same time, or all on one thread. So a handler must not
// block, nor wait for another call: it answers at once, or moves the call to where the answer will
// come from. Every function here may be called from any thread and none blocks. The client may
// vanish at any time; a service need not care, since whatever it does to such a call is accepted
// and dropped. Messages are opaque bytes (proto.h knows Protobuf); statuses map one to one onto the
// wire's codes, their texts untouched.
#ifndef CAIRN_SERVER_RPC_CALL_H_
#define CAIRN_SERVER_RPC_CALL_H_

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "server/rpc/slice.h"

namespace cairn::rpc {

// What unary calls and streams have in common. Views stay valid until the call is finished.
class Call {
 public:
  Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual ~Call() = default;

  // The full path, "/etcdserverpb.KV/Put".
  virtual std::string_view path() const = 0;
  // When the client gives up; none if it waits for ever. The transport cancels the call by itself
  // then, some time after.
  virtual std::optional<std::chrono::steady_clock::time_point> deadline() const = 0;
  // The first value under `key` (lower case, e.g. "token", "hasleader", "client-api-version") of
  // what the client sent along.
  virtual std::optional<std::string_view> Find(std::string_view key) const = 0;
  // Where the client is, as text for a log: "127.0.0.1:4711", "[::1]:4711", "unix:".
  virtual std::string_view peer() const = 0;

  // Whether the client has gone, cancelled, or passed its deadline, or the server is stopping.
  virtual bool cancelled() const = 0;
  // Has `callback` run once, when (or if already) the call is cancelled before it is finished. It
  // runs on a thread of the transport, or before this returns, possibly while another thread
  // finishes the call; therefore it must not touch a UnaryCall, only tell the owner (post an id to
  // a queue). One callback per call; it is dropped once the call is finished.
  virtual void OnCancel(std::function<void()> callback) = 0;
};

// One request, one answer. Its owner finishes it exactly once and may then delete it; deleting it
// unfinished answers INTERNAL, so that a mistake of ours does not hang a client.
class UnaryCall : public Call {
 public:
  // The encoded request, contiguous, until the call is finished.
  virtual std::string_view request() const = 0;

  // Answers with a message.
  virtual void Finish(SliceList response) = 0;
  // Answers with an error; `error` is not OK.
  virtual void Finish(absl::Status error) = 0;
};

// How a read ended.
enum class ReadResult {
  kMessage,
  // The client has sent all it wanted to (half-close); it still takes messages.
  kEnd,
  // The call is cancelled or finished.
  kCancelled,
};

// Any number of messages either way. Shared: readers, writers and callbacks may hold it on
// different threads. Whoever is done finishes it; the last owner letting go unfinished answers
// INTERNAL.
class StreamCall : public Call {
 public:
  // `message` is empty unless kMessage, and valid only within the callback.
  using ReadCallback = std::function<void(ReadResult result, std::string_view message)>;

  // Asks for the next message: `callback` runs exactly once, on a thread of the transport or before
  // this returns. One read at a time; a callback may ask for the next. Nothing is taken from the
  // client without a read, so not reading holds the client back.
  virtual void Read(ReadCallback callback) = 0;

  // Queues a message for sending, in order. Accepted always, but false says that the queue now
  // holds more than the high-water mark: stop, and go on when OnWritable says so. Each queued
  // message counts its bytes plus a fixed overhead (kQueuedMessageOverheadBytes). Not to be called
  // after Finish.
  virtual bool Write(SliceList message) = 0;
  // Gives this stream a high-water mark of its own, `bytes` > 0, from the next Write on.
  virtual void SetHighWaterBytes(int64_t bytes) = 0;
  // Has `callback` run once, when the queue is (or if already) down to the low-water mark, half the
  // high one, or the call is cancelled. Runs like a read's callback. One at a time.
  virtual void OnWritable(std::function<void()> callback) = 0;
  // From now on OpenCalls::EndOverdue ends the stream when a message takes longer to leave than it
  // may: for streams whose messages hold memory that others wait for. Unary calls need no asking.
  virtual void LimitSendTime() = 0;
  // What is queued and not yet handed to the transport, as counted for the high-water mark. A
  // sender that must bound the whole adds these up.
  virtual int64_t queued_bytes() const = 0;

  // Ends the call from outside, as the transport does when the client goes: what is queued is still
  // sent, then the client hears `status`, an error. A pending read ends with kCancelled, and
  // OnCancel and OnWritable run, before this returns too; the service finishes the call all the
  // same, without effect. No effect on a call that has ended.
  virtual void Abort(absl::Status status) = 0;
  // The same for a client that takes nothing: what is queued is dropped instead, and what the
  // transport holds of it too, so that the memory comes back although the client stays.
  virtual void AbortNow(absl::Status status) = 0;

  // Ends the call after everything queued is sent; OK is a normal end. Exactly once. A pending read
  // ends with kCancelled; a pending OnWritable is dropped.
  virtual void Finish(absl::Status status) = 0;
};

// The text of the INTERNAL status of a call that was let go unfinished.
inline constexpr std::string_view kAbandonedText = "the server dropped the call without an answer";

// What a queued message counts beside its bytes, so that a flood of empty ones is bounded too.
inline constexpr int64_t kQueuedMessageOverheadBytes = 128;
// Where a stream's queue asks its writer to stop: two messages of RangeStream's size or a few
// thousand events, enough to keep a fast client busy, little enough for 10,000 slow ones at 10 GB.
inline constexpr int64_t kStreamHighWaterBytes = int64_t{1} << 20;

// What a message may take to leave once others wait for the memory that it holds: so long, and a
// second more for each kSendBytesPerSecond. A client on a slow line that takes what it asked for
// takes megabytes a second; one that has stopped takes nothing, and may not hold up the others for
// longer than they wait with a few attempts.
inline constexpr std::chrono::seconds kSendGrace{10};
inline constexpr int64_t kSendBytesPerSecond = int64_t{4} << 20;

constexpr std::chrono::milliseconds SendTimeMax(int64_t size_bytes) {
  return kSendGrace + std::chrono::milliseconds(size_bytes * 1000 / kSendBytesPerSecond);
}

// What the client of a call hears that EndOverdue has ended.
inline constexpr std::string_view kOverdueText =
    "cairn: the answer was not taken in time, and others wait for the memory it holds";

using UnaryHandler = std::function<void(std::unique_ptr<UnaryCall> call)>;
using StreamHandler = std::function<void(std::shared_ptr<StreamCall> call)>;
// For calls with one request and a stream of answers. `request` is valid only within the handler.
using ServerStreamHandler =
    std::function<void(std::shared_ptr<StreamCall> call, std::string_view request)>;

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_CALL_H_
