#include "test/differential/watch_stream.h"

namespace cairn::test {

WatchStream::WatchStream(const Client& client)
    : stub_(etcdserverpb::Watch::NewStub(client.channel())),
      stream_(stub_->Watch(&context_)),
      thread_([this] { Read(); }) {}

WatchStream::~WatchStream() {
  context_.TryCancel();
  thread_.join();
  stream_->Finish();
}

void WatchStream::Read() {
  etcdserverpb::WatchResponse response;
  while (stream_->Read(&response)) {
    base::MutexLock lock(mutex_);
    book_.Add(response);
    changed_.SignalAll();
  }
}

bool WatchStream::WaitFor(absl::FunctionRef<bool(const WatchBook&)> is_there,
                          std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  base::MutexLock lock(mutex_);
  while (!is_there(book_)) {
    if (!changed_.WaitUntil(mutex_, deadline)) return is_there(book_);
  }
  return true;
}

void WatchStream::Look(absl::FunctionRef<void(const WatchBook&)> look) {
  base::MutexLock lock(mutex_);
  look(book_);
}

void WatchStream::Forget() {
  base::MutexLock lock(mutex_);
  book_.Forget();
}

}  // namespace cairn::test
