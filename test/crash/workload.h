// The load of a crash test: writers that keep the server busy until it dies, and the record of what
// they were told.
//
// Run() starts the threads and returns once all have seen the server die (or a violation). What
// each thread was told goes into the ledger afterwards, in one thread, ordered by revision.
#ifndef CAIRN_TEST_CRASH_WORKLOAD_H_
#define CAIRN_TEST_CRASH_WORKLOAD_H_

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "test/crash/ledger.h"
#include "test/harness/client.h"
#include "test/harness/random.h"

namespace cairn::test {

inline constexpr int kWriters = 6;
inline constexpr int kKeysPerWriter = 6;

class Workload {
 public:
  // `round` makes values unique over the run.
  Workload(const std::string& address, uint64_t seed, int64_t round, const Ledger& ledger);
  ~Workload();

  void Start();
  // Blocks until this many writes were acknowledged, or every thread has ended.
  void AwaitAcknowledged(int64_t count);
  // Joins the threads; the server must have been killed. Adds what they were told to the ledger.
  absl::Status Finish(Ledger& ledger);

 private:
  struct Answer {
    Write write;
    int64_t revision = 0;
    int64_t floor = 0;
    // For the counter.
    bool is_count = false;
    std::string value;
    int64_t version = 0;
  };
  struct Thread {
    std::thread thread;
    std::vector<Answer> answers;
    std::vector<Write> open;
    std::vector<std::string> open_counts;
    absl::Status violation;
  };

  void WriterLoop(int writer, uint64_t seed);
  // Each returns false when the thread is to end.
  bool OneWrite(int writer, Random& random, Thread& thread);
  bool OneCount(int writer, Random& random, Thread& thread);
  void CompactorLoop(uint64_t seed);
  std::string Value(int writer, Random& random);
  // Notes an answer's revision and counts it.
  void Saw(int64_t revision);
  void ThreadEnded();

  Client client_;
  const uint64_t seed_;
  const int64_t round_;
  std::vector<Thread> threads_;
  std::thread compactor_;
  int64_t compacted_ = 0;
  std::vector<int64_t> compactions_;
  std::vector<int64_t> open_compactions_;
  std::atomic<int64_t> sequence_ = 0;
  std::atomic<int64_t> highest_revision_;
  // Acknowledged writes; a large number once all writers have ended. Waited on.
  std::atomic<int64_t> progress_ = 0;
  std::atomic<int> running_ = 0;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_CRASH_WORKLOAD_H_
