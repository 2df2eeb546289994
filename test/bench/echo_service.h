// The least etcd there can be: answers Put and Range with a header and nothing else.
//
// It does what gRPC makes every server do and no more, so what it reaches is what any service on
// this engine can reach at best. gRPC's threads call it; it has no state.
#ifndef CAIRN_TEST_BENCH_ECHO_SERVICE_H_
#define CAIRN_TEST_BENCH_ECHO_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>

#include "api/rpc.grpc.pb.h"

namespace cairn::bench {

class EchoService final : public etcdserverpb::KV::CallbackService {
 public:
  // The blocking forms stay visible beside the ones overridden here.
  using Base = etcdserverpb::KV::CallbackService;
  using Base::Put;
  using Base::Range;

  // The revision is the key's size: a proof that the request was read.
  grpc::ServerUnaryReactor* Put(grpc::CallbackServerContext* context,
                                const etcdserverpb::PutRequest* request,
                                etcdserverpb::PutResponse* response) override {
    response->mutable_header()->set_revision(static_cast<int64_t>(request->key().size()));
    return Finish(context);
  }

  grpc::ServerUnaryReactor* Range(grpc::CallbackServerContext* context,
                                  const etcdserverpb::RangeRequest* request,
                                  etcdserverpb::RangeResponse* response) override {
    response->mutable_header()->set_revision(static_cast<int64_t>(request->key().size()));
    return Finish(context);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_ECHO_SERVICE_H_
