// One bidirectional stream that stays open for the run: raw bytes in both directions.
//
// At most one write and one read are under way, as gRPC demands; who writes waits for `written` or
// for an answer.
// Its owner keeps it until the event loop is drained. One thread.
#ifndef CAIRN_TEST_BENCH_HELD_STREAM_H_
#define CAIRN_TEST_BENCH_HELD_STREAM_H_

#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "test/bench/event_loop.h"

namespace cairn::bench {

class HeldStream {
 public:
  struct Handlers {
    // The stream is open, or the last write has been handed to the transport: it may write again.
    std::function<void()> written;
    // A message came; its bytes live as long as the call.
    std::function<void(std::string_view)> message;
    // The stream ended, which nobody asked for.
    std::function<void(const grpc::Status&)> ended;
  };

  HeldStream(EventLoop& loop, Handlers handlers) : loop_(loop), handlers_(std::move(handlers)) {}
  HeldStream(const HeldStream&) = delete;
  HeldStream& operator=(const HeldStream&) = delete;

  void Open(grpc::GenericStub& stub, const char* method);
  // Sends one message. An answer may be read before its request's write is told to be over: one
  // message waits for that, and no second one may be given meanwhile.
  void Write(const std::string& bytes);
  // Takes no message after the one that is under way, until ResumeReading: gRPC's window fills and
  // the server finds that this client does not read.
  void StopReading() { may_read_ = false; }
  void ResumeReading();
  // For the end of the run: nothing is told after it.
  void Cancel();

 private:
  // The four operations of a stream as tags.
  class Operation final : public Event {
   public:
    Operation(HeldStream& stream, void (HeldStream::*done)(bool)) : stream_(stream), done_(done) {}
    void Happened(bool ok) override { (stream_.*done_)(ok); }

   private:
    HeldStream& stream_;
    void (HeldStream::*const done_)(bool);
  };

  void Opened(bool ok);
  void Written(bool ok);
  void HasRead(bool ok);
  void Finished(bool ok);
  void Read();
  void Finish();

  EventLoop& loop_;
  const Handlers handlers_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  Operation opened_{*this, &HeldStream::Opened};
  Operation written_{*this, &HeldStream::Written};
  Operation read_{*this, &HeldStream::HasRead};
  Operation finished_{*this, &HeldStream::Finished};
  grpc::ByteBuffer message_;
  grpc::Status status_;
  std::optional<std::string> waiting_;  // for the write under way
  bool is_writing_ = false;
  bool may_read_ = true;
  bool is_reading_ = false;
  bool is_ended_ = false;
  bool is_cancelled_ = false;
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_HELD_STREAM_H_
