// The clients of a run (watch_run.h): those who watch and keep what they were told, and those who
// write and keep what was acknowledged.
//
// Each has a thread of its own, which ends with it; the methods are for the thread that owns it.
#ifndef CAIRN_TEST_GUARANTEES_WATCH_CLIENTS_H_
#define CAIRN_TEST_GUARANTEES_WATCH_CLIENTS_H_

#include <absl/base/thread_annotations.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "base/mutex.h"
#include "test/guarantees/watch_promises.h"
#include "test/harness/client.h"

namespace cairn::test {

// The range of every key, from below the least or from the least on, to where it ends.
inline constexpr char kBelowKeys[] = "k";
inline constexpr char kLeastKey[] = "k0";
inline constexpr char kKeysLimit[] = "l";
inline constexpr uint64_t kKeys = 12;

// What a thread does, drawn from its own seed.
struct Dice {
  explicit Dice(uint64_t seed) : random(seed) {}
  uint64_t Draw(uint64_t count) { return random() % count; }
  std::string DrawKey() { return fmt::format("k{}", Draw(kKeys)); }
  std::mt19937_64 random;
};

// What to watch. In a heavy run every fourth wants everything with what it replaced, which is more
// than a fragment holds.
WatchRecord DrawRequest(Dice& dice, int number, bool is_heavy);

enum class Reader {
  kFaithful,  // Never hangs up and never dawdles: its record is the history.
  kFickle,    // Hangs up now and then, and some of its streams are slow.
  kStopping,  // As kFickle, and reads nothing while readers are told to stop.
};

// One client with one stream at a time and a few watchers on it, across all its connections.
class Watcher {
 public:
  // Readers are told to stop by `stop`, which must outlive this object.
  Watcher(const std::string& address, const std::vector<WatchRecord>& requests, uint64_t seed,
          Reader reader, const std::atomic<bool>& stop);
  ~Watcher() { Stop(); }
  void Stop();

  // Asks for word that everything through `revision` was told.
  void Finish(int64_t revision) {
    final_ = revision;
    AskProgress();
  }
  // Whether each of them was told or promised everything through there.
  bool is_done() const { return final_ != 0 && covered_ >= final_; }
  // The last revision of an event that the first of them was told.
  int64_t told() const { return told_; }
  int64_t connections() const { return connections_; }
  int64_t compacted() const { return compacted_; }
  // Pieces of responses, the last of each not counted.
  int64_t fragments() const { return fragments_; }
  const std::string& name() const { return lanes_.front().request.name; }
  // Call after Stop. Of each watcher one record for each start that was not a resumption.
  std::vector<WatchRecord> records() const;

 private:
  using Stream = grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;
  // One of the watchers; its id on every stream is its place plus one.
  struct Lane {
    WatchRecord request;
    std::vector<WatchRecord> records;
    int64_t next = 1;
    int64_t promised = 0;
    // On the stream at hand: it takes part in what is promised there from then on.
    bool is_created = false;
    // Of a response that has not come to its end.
    std::vector<WatchedEvent> pieces = {};

    // Everything through here was told or promised. (To who resumes beyond the present nothing is
    // promised before it gets there.)
    int64_t covered() const { return std::max(promised, next - 1); }
  };

  void Run();
  void Connect();
  bool Create(size_t place);
  void AskProgress();
  void Listen(Stream& stream);
  // By a compaction: what follows, on another stream, is another story.
  void Overtaken(const etcdserverpb::WatchResponse& response);
  void Take(const etcdserverpb::WatchResponse& response);

  Client client_;
  const std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  Dice dice_;
  const Reader reader_;
  const std::atomic<bool>& reading_stops_;
  std::vector<Lane> lanes_;
  std::atomic<int64_t> told_ = 0;
  std::atomic<int64_t> final_ = 0;
  std::atomic<int64_t> connections_ = 0;
  std::atomic<int64_t> compacted_ = 0;
  std::atomic<int64_t> fragments_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> covered_ = 0;
  base::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

enum class Pace {
  kFull,
  kSteady,  // What readers of history can follow, large as the values are.
  kRest,
};

// Writes until told to stop; keeps what was acknowledged. Large values if `is_heavy`.
class Writer {
 public:
  // `pace` must outlive this object.
  Writer(const std::string& address, uint64_t seed, bool is_heavy, const std::atomic<Pace>& pace);
  ~Writer() { Stop(); }
  void Stop();

  // After Stop.
  const std::vector<WatchedEvent>& acknowledged() const { return acknowledged_; }
  // Of acknowledged values.
  int64_t written_bytes() const { return written_bytes_; }

 private:
  void Run();
  bool WriteOnce();

  Client client_;
  Dice dice_;
  const uint64_t seed_;
  const bool is_heavy_;
  const std::atomic<Pace>& pace_;
  int64_t writes_ = 0;
  std::atomic<int64_t> written_bytes_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<WatchedEvent> acknowledged_;
  std::thread thread_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_GUARANTEES_WATCH_CLIENTS_H_
