// The least server there can be: answers Put and Range with an empty message.
//
// It does what gRPC makes every server do and nothing else, so its throughput is what any service
// on this engine can reach at best on this machine (the limits probe of the benchmark).
// Usage: echo_server HOST:PORT; runs until it is killed or its parent dies.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <memory>

#include "api/rpc.grpc.pb.h"
#include "test/bench/connection.h"

namespace cairn::bench {
namespace {

class EchoService final : public etcdserverpb::KV::CallbackService {
 public:
  // The blocking forms stay visible beside the ones overridden here.
  using Base = etcdserverpb::KV::CallbackService;
  using Base::Put;
  using Base::Range;

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

int Main(const char* address) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  DisableLockOrderCheck();
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    fmt::print(stderr, "echo_server: cannot listen on {}\n", address);
    return 1;
  }
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: echo_server HOST:PORT\n");
    return 2;
  }
  return cairn::bench::Main(argv[1]);
}
