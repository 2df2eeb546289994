#include "server/rpc/grpc_threads.h"

#include <grpc/support/cpu.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/version_info.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"

namespace cairn::rpc {
namespace {

// What is known of its threads, and what one of them is kept from, holds for this one.
static_assert(GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51);

// From this many on half the cores are two threads or more, which is what gRPC starts.
constexpr unsigned kCoresWithoutSpare = 4;
// Well below the second after which a thread sleeps: whichever took the last one is awake until the
// next.
constexpr std::chrono::milliseconds kRousePeriod{400};

class Tamer {
 public:
  Tamer() {
    if (gpr_cpu_num_cores() >= kCoresWithoutSpare) {
      std::thread([this] { Rouse(); }).detach();
      return;
    }
    // The spare thread does it, and is so out of the way.
    CallBack([this] {
      begun_.count_down();
      Rouse();
    });
    begun_.wait();
  }

  // Nothing is called while the process takes itself apart.
  void End() {
    base::MutexLock lock(mutex_);
    has_ended_ = true;
  }

 private:
  struct Call {
    grpc::ClientContext context;
    grpc::Slice nothing;
    grpc::ByteBuffer request{&nothing, 1};
    grpc::ByteBuffer response;
  };

  // Runs `then` on a callback thread: behind a call that fails at once, for a channel without
  // credentials leads nowhere.
  void CallBack(std::function<void()> then) {
    auto call = std::make_shared<Call>();
    stub_.UnaryCall(&call->context, "/nowhere", grpc::StubOptions(), &call->request,
                    &call->response,
                    [call, then = std::move(then)](const grpc::Status&) { then(); });
  }

  // A thread that came back from here would be one too many.
  [[noreturn]] void Rouse() noexcept {
    base::NameThread("grpc-rouse");
    base::MutexLock lock(mutex_);
    while (true) {
      const auto next = std::chrono::steady_clock::now() + kRousePeriod;
      while (never_.WaitUntil(mutex_, next)) {
      }
      if (!has_ended_) CallBack([] {});
    }
  }

  // What keeps the threads.
  grpc::GenericStub stub_{grpc::CreateChannel("", nullptr)};
  std::latch begun_{1};
  base::Mutex mutex_;
  base::ConditionVariable never_;
  bool has_ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

void TameCallbackThreads() {
  // Never destroyed. Atomic, so that the leak checker sees it held.
  static std::atomic<Tamer*> tamer = [] {
    auto* const made = new Tamer;
    return made;
  }();
  [[maybe_unused]] static const int registered = std::atexit([] { tamer.load()->End(); });
}

}  // namespace cairn::rpc
