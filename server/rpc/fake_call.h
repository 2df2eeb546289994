// Calls without a transport, for the tests of services: what the client would send is set, what it
// would receive is recorded.
//
// The test keeps the Fake...: a handle whose state is shared with the call that the service gets,
// so it stays readable after the service has finished and deleted the call. Everything is
// thread-safe; callbacks run on the thread that causes them. Test only.
#ifndef CAIRN_SERVER_RPC_FAKE_CALL_H_
#define CAIRN_SERVER_RPC_FAKE_CALL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/rpc/call.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {

// What a fake client sends along.
struct FakeCallOptions {
  std::string path = "/test.Service/Method";
  std::string peer = "127.0.0.1:4711";
  std::map<std::string, std::string, std::less<>> metadata;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // Streams only.
  int64_t high_water_bytes = kStreamHighWaterBytes;
};

class FakeUnaryCall {
 public:
  explicit FakeUnaryCall(std::string request, FakeCallOptions options = {});

  // The service's side of the call; once.
  std::unique_ptr<UnaryCall> TakeCall();

  void Cancel();
  bool finished() const;
  // The answer; none while there is none.
  std::optional<absl::StatusOr<std::string>> answer() const;
  // Waits for the answer, at most `timeout` (a test that needs longer has failed):
  // DEADLINE_EXCEEDED with the text "no answer" then.
  absl::StatusOr<std::string> Wait(std::chrono::milliseconds timeout = std::chrono::seconds(10));

  struct State;

 private:
  std::shared_ptr<State> state_;
};

class FakeStreamCall {
 public:
  explicit FakeStreamCall(FakeCallOptions options = {});

  std::shared_ptr<StreamCall> TakeCall();

  // The client's side: sends a message, ends its half, goes away.
  void Send(std::string message);
  void HalfClose();
  void Cancel();

  // Takes the oldest unread message that the service wrote, if any, which is what makes room in the
  // queue.
  std::optional<std::string> Receive();
  // The same, but waits for one; none when the stream ends without, or after `timeout`.
  std::optional<std::string> WaitReceive(
      std::chrono::milliseconds timeout = std::chrono::seconds(10));
  int64_t queued_bytes() const;
  // How the service ended the call; none while it has not. As on a wire a client would see it only
  // after the last message.
  std::optional<absl::Status> status() const;
  absl::Status WaitStatus(std::chrono::milliseconds timeout = std::chrono::seconds(10));

  struct State;

 private:
  std::shared_ptr<State> state_;
};

// Calls the unary method at `path` of `table` (not a stream) and waits for its answer, as a client
// would.
absl::StatusOr<std::string> CallUnary(const ServiceTable& table, std::string_view path,
                                      std::string request, FakeCallOptions options = {});

// Starts the stream at `path`; what has no handler ends at once with its error.
FakeStreamCall StartStream(const ServiceTable& table, std::string_view path,
                           FakeCallOptions options = {});

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_FAKE_CALL_H_
