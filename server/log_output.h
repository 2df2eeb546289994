// Where the lines of the process' log leave: a thread of its own writes them, so that nobody who
// logs ever waits for whoever reads them, or for the disk they land on.
//
// One per process, made in main before the server starts. Lines wait in a queue that is bounded by
// bytes. What does not fit is dropped and counted, and the count takes its place in the log as soon
// as there is room: a member that leads is worth more than its log. Lines of one thread stay in
// order. Any thread.
#ifndef CAIRN_SERVER_LOG_OUTPUT_H_
#define CAIRN_SERVER_LOG_OUTPUT_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace cairn::server {

class LogOutput {
 public:
  // Some thousand lines: more than a start, or a stormy minute, writes.
  static constexpr size_t kQueuedBytesMax = size_t{1} << 20;

  // Writes to `file`, which must stay open for the life of the process. A failed write drops what
  // it was to write.
  explicit LogOutput(int file, size_t queued_bytes_max = kQueuedBytesMax);
  // Leaves what is queued to the thread, which ends when it is written; never waits.
  ~LogOutput();
  LogOutput(const LogOutput&) = delete;
  LogOutput& operator=(const LogOutput&) = delete;

  // From now on all that glog logs comes here, in glog's form, and goes nowhere else. Once.
  void TakeGlog();

  // Queues a line, or some that are to stay together; the last may lack its end. Never blocks.
  void Add(std::string line);

  // Waits until all is written, at most so long. False if it is not.
  bool Flush(std::chrono::milliseconds timeout) const;
  // The same for a process that aborts: takes no lock and makes no memory, so a signal handler may
  // call it.
  void FlushInAbort(std::chrono::milliseconds timeout) const;

 private:
  class Sink;
  struct State;

  // Shared with the thread, which may be stuck in a write for longer than this object lives.
  std::shared_ptr<State> state_;
  std::unique_ptr<Sink> sink_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LOG_OUTPUT_H_
