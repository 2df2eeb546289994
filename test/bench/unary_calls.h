// Unary calls of one method, beside whatever else happens on an event loop.
//
// Closed loop, or open loop at a rate, as in `load`, which is the leaner one for a run that has
// nothing beside it. Nothing is retried; errors are counted. Its owner keeps it until the event
// loop is drained. One thread.
#ifndef CAIRN_TEST_BENCH_UNARY_CALLS_H_
#define CAIRN_TEST_BENCH_UNARY_CALLS_H_

#include <grpcpp/generic/generic_stub.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "test/bench/event_loop.h"

namespace cairn::bench {

using Stubs = std::vector<std::unique_ptr<grpc::GenericStub>>;

class UnaryCalls {
 public:
  struct Plan {
    std::string method;
    uint32_t clients = 1;
    // Calls a second on schedule; 0: a client calls when its answer has come.
    uint64_t rate = 0;
    // How many calls; 0: until Stop.
    uint64_t total = 0;
    // The first call's number; the others follow.
    uint64_t first = 0;
    // Fills in the bytes of call `number`.
    std::function<void(uint64_t number, std::string& out)> encode;
    // Call `number` was answered without an error; it was due at `due`.
    std::function<void(uint64_t number, Clock::time_point due, Clock::time_point now)> answered;
  };

  // `stubs` outlive the calls; clients are dealt to them in turn.
  UnaryCalls(EventLoop& loop, const Stubs& stubs, Plan plan);
  UnaryCalls(const UnaryCalls&) = delete;
  UnaryCalls& operator=(const UnaryCalls&) = delete;

  void Start();
  // Sends what a rate has made due. To be called between the events of the loop.
  void SendDue();
  // Sends nothing any more.
  void Stop() { is_stopped_ = true; }
  // Stops, and gives up what is under way.
  void Cancel();

  bool MaySend() const { return !is_stopped_ && (plan_.total == 0 || sent_ < plan_.total); }
  // Everything that was to be sent has been answered.
  bool finished() const { return !MaySend() && in_flight_ == 0; }
  bool paced() const { return plan_.rate != 0; }
  uint64_t sent() const { return sent_; }
  uint64_t answered() const { return answered_; }
  uint64_t errors() const { return errors_; }
  const std::string& first_error() const { return first_error_; }

 private:
  struct Client final : public Event {
    void Happened(bool /*ok*/) override { owner->Ended(*this); }

    UnaryCalls* owner = nullptr;
    grpc::GenericStub* stub = nullptr;
    uint64_t number = 0;
    Clock::time_point due;
    std::optional<grpc::ClientContext> context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> call;
    grpc::ByteBuffer response;
    grpc::Status status;
  };

  void Send(Client& client, Clock::time_point due);
  void Ended(Client& client);

  EventLoop& loop_;
  const Plan plan_;
  std::deque<Client> clients_;  // never moves: addresses are tags
  std::vector<Client*> idle_;   // open loop only
  std::string scratch_;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  uint64_t in_flight_ = 0;
  uint64_t errors_ = 0;
  std::string first_error_;
  bool is_stopped_ = false;
  Clock::time_point next_due_;
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_UNARY_CALLS_H_
