// The least watch and lease service there can be: what bare grpc++ streaming reaches.
//
// A watcher asked to begin at revision N is sent N messages of one event each, as fast as the
// stream takes them; a renewal is answered at once. Bytes are handed to gRPC as they are, encoded
// here field by field, so that nothing but gRPC is measured. gRPC's threads call it; it has no
// state but that of its streams.
#ifndef CAIRN_TEST_BENCH_ECHO_STREAMS_H_
#define CAIRN_TEST_BENCH_ECHO_STREAMS_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>

#include "api/rpc.grpc.pb.h"
#include "test/bench/byte_buffer.h"
#include "test/bench/proto_bytes.h"

namespace cairn::bench {

using RawReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

class EchoWatchService final
    : public etcdserverpb::Watch::WithRawCallbackMethod_Watch<etcdserverpb::Watch::Service> {
 public:
  static constexpr size_t kValueBytes = 256;

  // The blocking form stays visible beside the one overridden here.
  using Base = etcdserverpb::Watch::WithRawCallbackMethod_Watch<etcdserverpb::Watch::Service>;
  using Base::Watch;

  RawReactor* Watch(grpc::CallbackServerContext* /*context*/) override { return new Stream; }

 private:
  // Reads a request, sends everything it asked for, reads the next: one thing at a time.
  class Stream final : public RawReactor {
   public:
    Stream() { StartRead(&request_); }

    void OnReadDone(bool ok) override {
      etcdserverpb::WatchRequest request;
      if (!ok || !request.ParseFromString(BytesOf(request_))) return Finish(grpc::Status::OK);
      watch_id_ = request.create_request().watch_id();
      last_ = request.create_request().start_revision();
      next_ = 0;
      OnWriteDone(true);
    }
    void OnWriteDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::OK);
      if (next_ > last_) return StartRead(&request_);
      response_ = BufferOf(next_ == 0 ? Created() : EventAt(next_));
      // What follows at once goes out with it, as any server that has much to send would ask.
      grpc::WriteOptions options;
      if (next_ > 0 && next_ < last_) options.set_buffer_hint();
      ++next_;
      StartWrite(&response_, options);
    }
    void OnDone() override { delete this; }

   private:
    std::string Created() const {
      std::string out;
      AppendNumber(2, static_cast<uint64_t>(watch_id_), out);
      AppendNumber(3, 1, out);
      return out;
    }
    std::string EventAt(int64_t revision) {
      std::string key_value;
      AppendBytes(1, "00000000", key_value);
      AppendNumber(2, 1, key_value);
      AppendNumber(3, static_cast<uint64_t>(revision), key_value);
      AppendNumber(4, static_cast<uint64_t>(revision), key_value);
      AppendBytes(5, value_, key_value);
      std::string event;
      AppendBytes(2, key_value, event);
      std::string out;
      AppendNumber(2, static_cast<uint64_t>(watch_id_), out);
      AppendBytes(11, event, out);
      return out;
    }

    const std::string value_ = std::string(kValueBytes, 'v');
    grpc::ByteBuffer request_;
    grpc::ByteBuffer response_;
    int64_t watch_id_ = 0;
    int64_t next_ = 0;  // 0 is the answer to the creation
    int64_t last_ = 0;
  };
};

class EchoLeaseService final : public etcdserverpb::Lease::WithRawCallbackMethod_LeaseKeepAlive<
                                   etcdserverpb::Lease::Service> {
 public:
  using Base =
      etcdserverpb::Lease::WithRawCallbackMethod_LeaseKeepAlive<etcdserverpb::Lease::Service>;
  using Base::LeaseKeepAlive;

  RawReactor* LeaseKeepAlive(grpc::CallbackServerContext* /*context*/) override {
    return new Stream;
  }

 private:
  class Stream final : public RawReactor {
   public:
    Stream() { StartRead(&request_); }

    void OnReadDone(bool ok) override {
      etcdserverpb::LeaseKeepAliveRequest request;
      if (!ok || !request.ParseFromString(BytesOf(request_))) return Finish(grpc::Status::OK);
      std::string answer;
      AppendNumber(2, static_cast<uint64_t>(request.id()), answer);
      AppendNumber(3, 60, answer);
      response_ = BufferOf(answer);
      StartWrite(&response_);
    }
    void OnWriteDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::OK);
      StartRead(&request_);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_;
    grpc::ByteBuffer response_;
  };
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_ECHO_STREAMS_H_
