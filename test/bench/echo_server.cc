// The limits probe's server: calls and streams with nothing behind them.
//
// Usage: echo_server HOST:PORT; runs until it is killed or its parent dies.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <memory>

#include "test/bench/connection.h"
#include "test/bench/echo_service.h"
#include "test/bench/echo_streams.h"

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 2) {
    fmt::print(stderr, "usage: echo_server HOST:PORT\n");
    return 2;
  }
  cairn::bench::DisableLockOrderCheck();
  cairn::bench::EchoService service;
  cairn::bench::EchoWatchService watch_service;
  cairn::bench::EchoLeaseService lease_service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  builder.RegisterService(&watch_service);
  builder.RegisterService(&lease_service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    fmt::print(stderr, "echo_server: cannot listen on {}\n", argv[1]);
    return 1;
  }
  server->Wait();
  return 0;
}
