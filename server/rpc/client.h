// Calls to another member as our own code makes them, whatever carries them: the other half of
// call.h.
//
// A ClientConnection is one connection to one address; whoever made it may let go of it at any
// time, and it is closed once the streams and calls on it have ended. Functions may be called from
// any thread and none blocks. Callbacks run on threads of the transport, never within the call that
// asked for them; they must not block.
#ifndef CAIRN_SERVER_RPC_CLIENT_H_
#define CAIRN_SERVER_RPC_CLIENT_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/rpc/slice.h"

namespace cairn::rpc {

// What a stream tells whoever opened it.
class ClientStreamEvents {
 public:
  virtual ~ClientStreamEvents() = default;
  // `message` is valid only within the call. One at a time; the next is read after it returns.
  virtual void OnMessage(std::string_view message) = 0;
  // The message that was given to Write is out of our hands: the next may be written.
  virtual void OnWritten() = 0;
  // The stream has ended and says nothing more; OK only if the other side ended it so.
  virtual void OnEnd(absl::Status status) = 0;
};

class ClientStream {
 public:
  virtual ~ClientStream() = default;
  // Sends a message. One at a time: not before OnWritten told of the last. Dropped once the stream
  // has ended.
  virtual void Write(SliceList message) = 0;
  // Has the stream end soon, with CANCELLED.
  virtual void Cancel() = 0;
};

class ClientConnection {
 public:
  using CallDone = absl::AnyInvocable<void(absl::StatusOr<std::string> response)>;

  virtual ~ClientConnection() = default;

  // Opens a stream of `path` ("/service/method"). `events` is kept until OnEnd, which comes exactly
  // once. An address that cannot be reached ends the stream with UNAVAILABLE.
  virtual std::shared_ptr<ClientStream> OpenStream(std::string_view path,
                                                   std::shared_ptr<ClientStreamEvents> events) = 0;

  // Calls a unary rpc; `done` runs once, with DEADLINE_EXCEEDED after `timeout` at the latest.
  virtual void Call(std::string_view path, SliceList request, std::chrono::milliseconds timeout,
                    CallDone done) = 0;
};

// Makes a connection to "host:port"; it begins to connect with its first call.
using Connector = std::function<std::unique_ptr<ClientConnection>(const std::string& authority)>;

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_CLIENT_H_
