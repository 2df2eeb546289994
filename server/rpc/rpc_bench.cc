// What a unary call costs the server: an echo through the whole call interface, against the same
// echo on bare grpc++.
//
//   rpc_bench serve|bare PORT                          runs a server until it is killed
//   rpc_bench load PORT PID CLIENTS CONNECTIONS SECONDS
//                              drives it and prints calls per second and CPU of process PID per
//                              call
//
// Pin the two to different cores (taskset); README.md holds figures and the command.
#include <fmt/format.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "server/rpc/grpc_engine.h"
#include "server/rpc/service_table.h"

namespace cairn::rpc {
namespace {

constexpr std::string_view kService = "bench.Echo";
constexpr std::string_view kMethod = "Put";
constexpr char kPath[] = "/bench.Echo/Put";
// A put of a 256-byte value and its answer.
constexpr size_t kRequestBytes = 300;
constexpr size_t kResponseBytes = 30;

int Serve(const std::string& port) {
  ServiceTable table;
  table.AddUnary(kService, kMethod, [](std::unique_ptr<UnaryCall> call) {
    call->Finish(SliceList(std::string(call->request().substr(0, kResponseBytes))));
  });
  GrpcEngineOptions options;
  options.listen = {{.address = "127.0.0.1:" + port, .flag = "PORT"}};
  const auto engine = GrpcEngine::Start(table, options);
  if (!engine.ok()) {
    fmt::print(stderr, "{}\n", engine.status().ToString());
    return 1;
  }
  pause();
  return 0;
}

class BareService final : public grpc::Service {
 public:
  BareService() {
    AddMethod(new grpc::internal::RpcServiceMethod(kPath, grpc::internal::RpcMethod::NORMAL_RPC,
                                                   nullptr));
    MarkMethodRawCallback(
        0, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
               [](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                  grpc::ByteBuffer* response) {
                 grpc::Slice slice;
                 request->DumpToSingleSlice(&slice);
                 const grpc::Slice part(slice.begin(), kResponseBytes);
                 *response = grpc::ByteBuffer(&part, 1);
                 grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
                 reactor->Finish(grpc::Status());
                 return reactor;
               }));
  }
};

int ServeBare(const std::string& port) {
  BareService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + port, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  pause();
  return 0;
}

// User and system time of a process, from its /proc entry.
double CpuSeconds(const std::string& pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  constexpr int kUserField = 12;  // Counted from the state, which follows the name in brackets.
  size_t at = text.rfind(')') + 1;
  for (int field = 1; field < kUserField; ++field) at = text.find(' ', at + 1);
  char* end = nullptr;
  const double user = std::strtod(text.c_str() + at, &end);
  return (user + std::strtod(end, nullptr)) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Keeps one call in flight until told to stop.
struct Client {
  grpc::CompletionQueue* queue = nullptr;
  grpc::GenericStub* stub = nullptr;
  const grpc::ByteBuffer* request = nullptr;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer response;
  grpc::Status status;

  void Start() {
    context = std::make_unique<grpc::ClientContext>();
    reader = stub->PrepareUnaryCall(context.get(), kPath, *request, queue);
    reader->StartCall();
    reader->Finish(&response, &status, this);
  }
};

int Load(const std::string& port, const std::string& pid, int clients, int connections,
         int seconds) {
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(std::make_unique<grpc::GenericStub>(grpc::CreateCustomChannel(
        "127.0.0.1:" + port, grpc::InsecureChannelCredentials(), arguments)));
  }
  const grpc::Slice slice(std::string(kRequestBytes, 'x'));
  const grpc::ByteBuffer request(&slice, 1);
  std::vector<Client> all(clients);
  for (int i = 0; i < clients; ++i) {
    all[i].queue = &queue;
    all[i].stub = stubs[i % connections].get();
    all[i].request = &request;
    all[i].Start();
  }
  using Clock = std::chrono::steady_clock;
  const auto warm = Clock::now() + std::chrono::seconds(1);
  auto begin = warm;
  auto end = warm + std::chrono::seconds(seconds);
  double cpu = -1;
  int64_t calls = 0;
  int64_t failures = 0;
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) {
    auto* client = static_cast<Client*>(tag);
    failures += client->status.ok() ? 0 : 1;
    ++calls;
    const auto now = Clock::now();
    if (cpu < 0 && now >= warm) {
      cpu = CpuSeconds(pid);
      calls = 0;
      begin = now;
    }
    if (now >= end) break;
    client->Start();
  }
  cpu = CpuSeconds(pid) - cpu;
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  fmt::print("{:.0f} calls/s, server CPU {:.2f} us per call, {} failures\n",
             static_cast<double>(calls) / elapsed, cpu * 1e6 / static_cast<double>(calls),
             failures);
  // The calls still in flight are not worth an orderly end.
  std::fflush(stdout);
  std::_Exit(failures == 0 ? 0 : 1);
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() == 3 && arguments[1] == "serve") return Serve(arguments[2]);
  if (arguments.size() == 3 && arguments[1] == "bare") return ServeBare(arguments[2]);
  if (arguments.size() == 7 && arguments[1] == "load") {
    return Load(arguments[2], arguments[3], std::atoi(arguments[4].c_str()),
                std::atoi(arguments[5].c_str()), std::atoi(arguments[6].c_str()));
  }
  fmt::print(stderr,
             "usage: rpc_bench serve|bare PORT | load PORT PID CLIENTS CONNECTIONS SECONDS\n");
  return 2;
}

}  // namespace
}  // namespace cairn::rpc

int main(int argc, char** argv) {
  return cairn::rpc::Main(std::vector<std::string>(argv, argv + argc));
}
