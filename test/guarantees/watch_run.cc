#include "test/guarantees/watch_run.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "base/mutex.h"
#include "base/status.h"
#include "test/harness/client.h"
#include "test/harness/server.h"

namespace cairn::test {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using WatchStream = grpc::ClientReaderWriter<WatchRequest, WatchResponse>;

constexpr milliseconds kRetryPause{20};
// After one in so many responses a client asks for progress.
constexpr uint64_t kProgressOneIn = 20;
// In answers to that.
constexpr int64_t kEveryWatcher = -1;
// How long watchers may take to be told everything after the last write.
constexpr std::chrono::seconds kDrainDeadline{120};

// What a thread does, drawn from its own seed.
struct Dice {
  explicit Dice(uint64_t seed) : random(seed) {}
  uint64_t Draw(uint64_t count) { return random() % count; }
  std::string DrawKey() { return fmt::format("k{}", Draw(12)); }
  std::mt19937_64 random;
};

// One client with one stream at a time and a few watchers on it, across all its connections.
class Watcher {
 public:
  Watcher(std::string address, std::vector<WatchRecord> requests, uint64_t seed, bool is_faithful)
      : client_(address),
        stub_(etcdserverpb::Watch::NewStub(client_.channel())),
        dice_(seed),
        is_faithful_(is_faithful) {
    for (WatchRecord& request : requests) {
      lanes_.push_back({.request = request, .records = {request}});
    }
    thread_ = std::thread([this] { Run(); });
  }
  ~Watcher() { Stop(); }
  void Stop() {
    stopping_ = true;
    {
      base::MutexLock lock(mutex_);
      if (context_ != nullptr) context_->TryCancel();
    }
    if (thread_.joinable()) thread_.join();
  }

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
  const std::string& name() const { return lanes_.front().request.name; }
  // Call after Stop. Of each watcher one record for each start that was not a resumption.
  std::vector<WatchRecord> records() const {
    std::vector<WatchRecord> all;
    for (const Lane& lane : lanes_) all.insert(all.end(), lane.records.begin(), lane.records.end());
    return all;
  }

 private:
  // One of the watchers; its id on every stream is its place plus one.
  struct Lane {
    WatchRecord request;
    std::vector<WatchRecord> records;
    int64_t next = 1;
    int64_t promised = 0;

    // Everything through here was told or promised. (To who resumes beyond the present nothing is
    // promised before it gets there.)
    int64_t covered() const { return std::max(promised, next - 1); }
  };

  void Run() {
    while (!stopping_) {
      Connect();
      std::this_thread::sleep_for(kRetryPause);
    }
  }

  void Connect() {
    grpc::ClientContext context;
    const std::unique_ptr<WatchStream> stream = stub_->Watch(&context);
    {
      base::MutexLock lock(mutex_);
      context_ = &context;
      stream_ = stream.get();
    }
    bool is_connected = true;
    for (size_t i = 0; i < lanes_.size(); ++i) is_connected = is_connected && Create(i);
    if (is_connected) {
      ++connections_;
      Listen(*stream);
    }
    {
      base::MutexLock lock(mutex_);
      context_ = nullptr;
      stream_ = nullptr;
    }
    context.TryCancel();
    WatchResponse rest;
    while (stream->Read(&rest)) {
    }
    stream->Finish();
  }

  bool Create(size_t place) {
    Lane& lane = lanes_[place];
    WatchRequest request;
    auto& create = *request.mutable_create_request();
    create.set_watch_id(static_cast<int64_t>(place) + 1);
    create.set_key(lane.request.first);
    create.set_range_end(lane.request.limit);
    create.set_start_revision(lane.next);
    create.set_prev_kv(lane.request.wants_previous);
    create.set_progress_notify(true);
    if (lane.request.skips_puts) create.add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
    if (lane.request.skips_deletions)
      create.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
    base::MutexLock lock(mutex_);
    if (!stream_->Write(request)) return false;
    lane.records.back().responses.push_back({.start = lane.next});
    return true;
  }

  void AskProgress() {
    WatchRequest request;
    request.mutable_progress_request();
    base::MutexLock lock(mutex_);
    if (stream_ != nullptr) stream_->Write(request);
  }

  void Listen(WatchStream& stream) {
    const uint64_t patience = is_faithful_ ? UINT64_MAX : 1 + dice_.Draw(400);
    const bool is_slow = !is_faithful_ && dice_.Draw(3) == 0;
    WatchResponse response;
    for (uint64_t taken = 0; taken < patience || final_ != 0; ++taken) {
      if (!stream.Read(&response) || stopping_) return;
      if (response.created()) continue;
      if (response.canceled()) return Overtaken(response);
      Take(response);
      if (dice_.Draw(kProgressOneIn) == 0) AskProgress();
      if (is_slow && final_ == 0) std::this_thread::sleep_for(milliseconds(dice_.Draw(30)));
    }
  }

  // By a compaction: what follows, on another stream, is another story.
  void Overtaken(const WatchResponse& response) {
    ++compacted_;
    Lane& lane = lanes_[static_cast<size_t>(response.watch_id()) - 1];
    lane.records.back().responses.push_back({.overtaken_by = response.compact_revision()});
    lane.next = std::max(lane.next, response.compact_revision());
    lane.records.push_back(lane.request);
  }

  void Take(const WatchResponse& response) {
    WatchRecord::Response taken = {.revision = response.header().revision()};
    for (const mvccpb::Event& event : response.events()) {
      WatchedEvent& watched = taken.events.emplace_back();
      watched.revision = event.kv().mod_revision();
      watched.key = event.kv().key();
      watched.is_deletion = event.type() == mvccpb::Event::DELETE;
      watched.value = event.kv().value();
      watched.create_revision = event.kv().create_revision();
      watched.version = event.kv().version();
      if (event.has_prev_kv()) watched.previous = event.prev_kv().value();
    }
    int64_t covered = INT64_MAX;
    for (size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[i];
      const bool is_meant = response.watch_id() == kEveryWatcher ||
                            response.watch_id() == static_cast<int64_t>(i) + 1;
      if (is_meant) {
        if (taken.events.empty()) {
          lane.promised = std::max(lane.promised, taken.revision);
        } else {
          lane.next = taken.events.back().revision + 1;
          if (i == 0) told_ = taken.events.back().revision;
        }
        lane.records.back().responses.push_back(taken);
      }
      covered = std::min(covered, lane.covered());
    }
    covered_ = covered;
  }

  Client client_;
  const std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  Dice dice_;
  // Never hangs up and never dawdles: its record is the history.
  const bool is_faithful_;
  std::vector<Lane> lanes_;
  std::atomic<int64_t> told_ = 0;
  std::atomic<int64_t> final_ = 0;
  std::atomic<int64_t> connections_ = 0;
  std::atomic<int64_t> compacted_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> covered_ = 0;
  base::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  WatchStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

// Writes until told to stop; keeps what was acknowledged.
class Writer {
 public:
  Writer(std::string address, uint64_t seed)
      : client_(address), dice_(seed), seed_(seed), thread_([this] { Run(); }) {}
  void Stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  ~Writer() { Stop(); }

  // After Stop.
  const std::vector<WatchedEvent>& acknowledged() const { return acknowledged_; }

 private:
  void Run() {
    while (!stopping_) {
      if (!WriteOnce()) std::this_thread::sleep_for(kRetryPause);
    }
  }

  bool WriteOnce() {
    const std::string value = fmt::format("{}-{}", seed_, ++writes_);
    etcdserverpb::TxnRequest request;
    std::vector<WatchedEvent> events;
    const uint64_t puts = 1 + dice_.Draw(3);
    for (uint64_t i = 0; i < puts; ++i) {
      const std::string key = fmt::format("k{}", (dice_.Draw(4) + 4 * i) % 12);
      auto& put = *request.add_success()->mutable_request_put();
      put.set_key(key);
      put.set_value(value);
      events.push_back({.key = key, .value = value});
    }
    if (dice_.Draw(4) == 0) {
      request.Clear();
      events.clear();
      request.add_success()->mutable_request_delete_range()->set_key(dice_.DrawKey());
    }
    etcdserverpb::TxnResponse response;
    const CallOptions patience = {.timeout = milliseconds(2000)};
    if (!client_.Txn(request, &response, patience).ok()) return false;
    for (WatchedEvent& event : events) {
      event.revision = response.header().revision();
      acknowledged_.push_back(std::move(event));
    }
    return true;
  }

  Client client_;
  Dice dice_;
  const uint64_t seed_;
  int64_t writes_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<WatchedEvent> acknowledged_;
  std::thread thread_;
};

WatchRecord DrawRequest(Dice& dice, int number) {
  WatchRecord request = {.name = fmt::format("watcher {}", number), .first = dice.DrawKey()};
  if (dice.Draw(3) != 0) request.limit = dice.Draw(2) == 0 ? "l" : request.first + "\x7f";
  request.skips_puts = dice.Draw(8) == 0;
  request.skips_deletions = !request.skips_puts && dice.Draw(8) == 0;
  request.wants_previous = dice.Draw(2) == 0;
  return request;
}

// The history that the faithful watcher saw, with what each event replaced, worked out anew.
WatchedHistory HistoryOf(const WatchRecord& record) {
  WatchedHistory history;
  std::map<std::string, WatchedEvent> state;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& told : response.events) {
      WatchedEvent event = told;
      event.previous.reset();
      event.create_revision = event.is_deletion ? 0 : event.revision;
      event.version = event.is_deletion ? 0 : 1;
      if (const auto found = state.find(event.key); found != state.end()) {
        event.previous = found->second.value;
        if (!event.is_deletion) {
          event.create_revision = found->second.create_revision;
          event.version = found->second.version + 1;
        }
      }
      if (event.is_deletion) {
        state.erase(event.key);
      } else {
        state[event.key] = event;
      }
      history[event.revision].push_back(std::move(event));
    }
  }
  return history;
}

Violations CheckAcknowledged(const std::vector<WatchedEvent>& acknowledged,
                             const WatchedHistory& history) {
  Violations violations;
  for (const WatchedEvent& event : acknowledged) {
    const auto found = history.find(event.revision);
    const bool is_told =
        found != history.end() &&
        std::any_of(found->second.begin(), found->second.end(), [&](const WatchedEvent& told) {
          return told.key == event.key && told.value == event.value && !told.is_deletion;
        });
    if (!is_told) {
      violations.push_back(fmt::format("the acknowledged put of {} at {} was told to nobody",
                                       event.key, event.revision));
    }
  }
  return violations;
}

}  // namespace

absl::StatusOr<WatchRunReport> RunWatchers(const Target& target, const WatchRunOptions& options) {
  WatchRunReport report;
  ServerOptions server_options = OptionsFor(target, fmt::format("watch{}", options.seed));
  server_options.extra_flags.push_back(NotifyIntervalFlag(target, "100ms"));
  Server server(std::move(server_options));
  CAIRN_RETURN_IF_ERROR(server.Start());
  Dice dice(options.seed);
  Watcher faithful(server.address(), {{.name = "the faithful watcher", .first = "k", .limit = "l"}},
                   options.seed, true);
  std::list<Watcher> watchers;
  for (int i = 0; i < options.watchers;) {
    std::vector<WatchRecord> requests;
    for (uint64_t count = 1 + dice.Draw(4); count > 0 && i < options.watchers; --count) {
      requests.push_back(DrawRequest(dice, i++));
    }
    watchers.emplace_back(server.address(), std::move(requests), dice.random(), false);
  }
  std::list<Writer> writers;
  for (int i = 0; i < options.writers; ++i) writers.emplace_back(server.address(), dice.random());
  Client client(server.address());
  int64_t compacted = 0;
  for (int round = 0; round <= options.kills; ++round) {
    const auto end = steady_clock::now() + options.round;
    while (steady_clock::now() < end) {
      server.LetRun(milliseconds(50 + static_cast<int64_t>(dice.Draw(200))));
      // Never beyond what the history is known to hold.
      const int64_t told = faithful.told();
      if (told < 2) continue;
      etcdserverpb::CompactionRequest request;
      request.set_revision(told - static_cast<int64_t>(dice.Draw(30)));
      etcdserverpb::CompactionResponse response;
      if (!client.Compact(request, &response).ok()) continue;
      ++report.compactions;
      compacted = request.revision();
    }
    if (round == options.kills) break;
    server.Kill();
    CAIRN_RETURN_IF_ERROR(server.Start());
  }
  for (Writer& writer : writers) writer.Stop();
  // Beyond whatever a watcher has asked for so far: it can be promised.
  etcdserverpb::PutRequest last;
  last.set_key("k last");
  etcdserverpb::PutResponse now;
  if (const grpc::Status status = client.Put(last, &now, {.wait_for_ready = true}); !status.ok()) {
    return base::MakeStatus(absl::StatusCode::kInternal, status.error_message());
  }
  std::vector<Watcher*> all = {&faithful};
  for (Watcher& watcher : watchers) all.push_back(&watcher);
  const auto deadline = steady_clock::now() + kDrainDeadline;
  for (Watcher* const watcher : all) {
    while (!watcher->is_done()) {
      if (steady_clock::now() > deadline) {
        return base::Error(absl::StatusCode::kDeadlineExceeded,
                           "{} was never told that it has everything through {}", watcher->name(),
                           now.header().revision());
      }
      for (Watcher* const each : all) {
        if (!each->is_done()) each->Finish(now.header().revision());
      }
      server.LetRun(milliseconds(50));
    }
  }
  for (Watcher* const watcher : all) watcher->Stop();
  const std::vector<WatchRecord> told = faithful.records();
  if (told.size() != 1) {
    return base::MakeStatus(absl::StatusCode::kInternal, "the history was compacted away");
  }
  const WatchedHistory history = HistoryOf(told.front());
  report.revisions = now.header().revision();
  for (const Writer& writer : writers) {
    for (std::string& violation : CheckAcknowledged(writer.acknowledged(), history)) {
      report.violations.push_back(std::move(violation));
    }
  }
  for (const Watcher* const watcher : all) {
    report.connections += watcher->connections();
    report.compacted += watcher->compacted();
    for (WatchRecord record : watcher->records()) {
      record.compacted = compacted;
      for (const WatchRecord::Response& response : record.responses) {
        report.events += static_cast<int64_t>(response.events.size());
        report.promises += response.events.empty() && !response.start.has_value() &&
                           !response.overtaken_by.has_value();
      }
      for (std::string& violation : CheckAll(record, history)) {
        report.violations.push_back(std::move(violation));
      }
    }
  }
  return report;
}

}  // namespace cairn::test
