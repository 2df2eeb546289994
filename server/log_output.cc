#include "server/log_output.h"

#include <absl/base/thread_annotations.h>
#include <fmt/format.h>
#include <glog/logging.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <string_view>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

void WriteAll(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {
      // Somebody who shares the file has made it so.
      pollfd ready = {.fd = file, .events = POLLOUT, .revents = 0};
      poll(&ready, 1, /*timeout=*/-1);
      continue;
    }
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

struct LogOutput::State {
  State(int to, size_t bytes_max) : file(to), queued_bytes_max(bytes_max) {}

  // The thread.
  void Run();

  const int file;
  const size_t queued_bytes_max;
  // Bytes that were taken and are not written, those under way included.
  std::atomic<size_t> unwritten_bytes = 0;
  static_assert(std::atomic<size_t>::is_always_lock_free, "read by a signal handler");

  base::Mutex mutex;
  base::ConditionVariable changed;
  std::string queued ABSL_GUARDED_BY(mutex);
  uint64_t dropped_lines ABSL_GUARDED_BY(mutex) = 0;
  bool ends ABSL_GUARDED_BY(mutex) = false;
};

void LogOutput::State::Run() {
  base::NameThread("log-output");
  std::string taken;
  while (true) {
    {
      base::MutexLock lock(mutex);
      while (queued.empty() && !ends) changed.Wait(mutex);
      if (queued.empty()) return;
      std::swap(taken, queued);
      if (dropped_lines > 0) {
        // After what came before the loss, and before what comes next.
        queued = fmt::format("{} lines of the log were dropped: whoever reads it was too slow\n",
                             std::exchange(dropped_lines, 0));
        unwritten_bytes += queued.size();
      }
    }
    WriteAll(file, taken);
    base::MutexLock lock(mutex);
    unwritten_bytes -= taken.size();
    taken.clear();
    changed.SignalAll();
  }
}

// glog calls it under a lock of its own, one line at a time.
class LogOutput::Sink final : public google::LogSink {
 public:
  explicit Sink(LogOutput& output) : output_(output) { google::AddLogSink(this); }
  ~Sink() override { google::RemoveLogSink(this); }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  using google::LogSink::send;
  void send(google::LogSeverity severity, const char* /*full_filename*/, const char* base_filename,
            int line, const google::LogMessageTime& time, const char* message,
            size_t message_len) override {
    output_.Add(ToString(severity, base_filename, line, time, message, message_len));
  }

 private:
  LogOutput& output_;
};

LogOutput::LogOutput(int file, size_t queued_bytes_max)
    : state_(std::make_shared<State>(file, queued_bytes_max)) {
  std::thread([state = state_] { state->Run(); }).detach();
}

LogOutput::~LogOutput() {
  sink_.reset();
  base::MutexLock lock(state_->mutex);
  state_->ends = true;
  state_->changed.SignalAll();
}

void LogOutput::TakeGlog() {
  FLAGS_logtostderr = false;
  // Neither standard error, which would be written to by whoever logs, nor files.
  FLAGS_stderrthreshold = google::NUM_SEVERITIES;
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");
  }
  sink_ = std::make_unique<Sink>(*this);
}

void LogOutput::Add(std::string line) {
  if (!line.ends_with('\n')) line.push_back('\n');
  base::MutexLock lock(state_->mutex);
  if (state_->queued.size() + line.size() > state_->queued_bytes_max) {
    ++state_->dropped_lines;
    return;
  }
  state_->unwritten_bytes += line.size();
  state_->queued += line;
  state_->changed.SignalAll();
}

bool LogOutput::Flush(milliseconds timeout) const {
  const auto deadline = steady_clock::now() + timeout;
  base::MutexLock lock(state_->mutex);
  while (state_->unwritten_bytes > 0) {
    if (!state_->changed.WaitUntil(state_->mutex, deadline)) return false;
  }
  return true;
}

void LogOutput::FlushInAbort(milliseconds timeout) const {
  constexpr timespec kMillisecond{.tv_sec = 0, .tv_nsec = 1'000'000};
  for (int64_t i = 0; i < timeout.count() && state_->unwritten_bytes > 0; ++i) {
    nanosleep(&kMillisecond, nullptr);
  }
}

}  // namespace cairn::server
