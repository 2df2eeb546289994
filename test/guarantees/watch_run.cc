#include "test/guarantees/watch_run.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/rpc.grpc.pb.h"
#include "base/status.h"
#include "test/guarantees/fall_counter.h"
#include "test/guarantees/watch_clients.h"
#include "test/harness/client.h"
#include "test/harness/server.h"

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long watchers may take to be told everything after the last write.
constexpr std::chrono::seconds kDrainDeadline{120};

// --- What a heavy run adds ---
// How long readers stop at least.
constexpr milliseconds kStopMin{1000};
// And at most: some hundred megabytes are written by then.
constexpr milliseconds kStopMax{10000};
// By then what a round is to bring about has happened on any machine.
constexpr std::chrono::seconds kStrainDeadline{90};

// The history that the faithful watcher saw, with what each event replaced, worked out anew.
WatchedHistory HistoryOf(const WatchRecord& record) {
  WatchedHistory history;
  std::map<std::string, WatchedEvent> state;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& told : response.events) {
      WatchedEvent event = told;
      std::optional<std::string> previous;
      event.create_revision = event.is_deletion ? 0 : event.revision;
      event.version = event.is_deletion ? 0 : 1;
      if (const auto found = state.find(event.key); found != state.end()) {
        previous = found->second.value;
        if (!event.is_deletion) {
          event.create_revision = found->second.create_revision;
          event.version = found->second.version + 1;
        }
      }
      event.previous = std::move(previous);
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

// One run: the server, those who write and watch, and the thread that drives them.
class Run {
 public:
  Run(const Target& target, const WatchRunOptions& options)
      : options_(options),
        is_reference_(target.is_reference),
        server_(MakeOptions(target, options)),
        client_(server_.address()),
        falls_(client_.channel()),
        dice_(options.seed) {}

  absl::StatusOr<WatchRunReport> Play() {
    CAIRN_RETURN_IF_ERROR(server_.Start());
    Begin();
    for (int round = 0; round <= options_.kills; ++round) {
      const auto end = steady_clock::now() + options_.round;
      if (options_.is_heavy) CAIRN_RETURN_IF_ERROR(StopReaders());
      while (steady_clock::now() < end) {
        server_.LetRun(milliseconds(50 + static_cast<int64_t>(dice_.Draw(200))));
        Compact();
      }
      if (round == options_.kills) break;
      server_.Kill();
      CAIRN_RETURN_IF_ERROR(server_.Start());
      falls_.Forget();
    }
    CAIRN_RETURN_IF_ERROR(Drain());
    CAIRN_RETURN_IF_ERROR(Judge());
    return report_;
  }

 private:
  static ServerOptions MakeOptions(const Target& target, const WatchRunOptions& options) {
    ServerOptions made = OptionsFor(target, fmt::format("watch{}", options.seed));
    made.extra_flags.push_back(NotifyIntervalFlag(target, "100ms"));
    return made;
  }

  void Begin() {
    faithful_.emplace(
        server_.address(),
        std::vector<WatchRecord>{
            {.name = "the faithful watcher", .first = kBelowKeys, .limit = kKeysLimit}},
        options_.seed, Reader::kFaithful, reading_stops_);
    const int count = options_.is_heavy ? options_.watchers / 2 : options_.watchers;
    for (int i = 0; i < count;) {
      std::vector<WatchRecord> requests;
      for (uint64_t lanes = 1 + dice_.Draw(4); lanes > 0 && i < count; --lanes, ++i) {
        requests.push_back(DrawRequest(dice_, i, options_.is_heavy));
      }
      const bool stops = options_.is_heavy && watchers_.size() % 2 == 0;
      watchers_.emplace_back(server_.address(), std::move(requests), dice_.random(),
                             stops ? Reader::kStopping : Reader::kFickle, reading_stops_);
    }
    for (int i = 0; i < options_.writers; ++i) {
      writers_.emplace_back(server_.address(), dice_.random(), options_.is_heavy, pace_);
    }
    all_ = {&*faithful_};
    for (Watcher& watcher : watchers_) all_.push_back(&watcher);
  }

  void Compact() {
    // Never beyond what the history is known to hold.
    const int64_t told = faithful_->told();
    if (told < 2) return;
    // Who stopped is so far behind, and only some of them are to be overtaken.
    const uint64_t distance_max = options_.is_heavy ? 100 : 30;
    etcdserverpb::CompactionRequest request;
    request.set_revision(told - static_cast<int64_t>(dice_.Draw(distance_max)));
    etcdserverpb::CompactionResponse response;
    if (!client_.Compact(request, &response).ok()) return;
    ++report_.compactions;
    compacted_ = request.revision();
  }

  // Has everything written at full pace from when everyone is told of the present: who is not
  // cannot fall behind.
  absl::Status WriteFromPresent() {
    pace_ = is_reference_ ? Pace::kFull : Pace::kRest;
    if (is_reference_) return absl::OkStatus();
    const auto deadline = steady_clock::now() + kStrainDeadline;
    for (falls_.Look(); !falls_.is_all_synced(); falls_.Look()) {
      if (steady_clock::now() > deadline) return Late("not everyone catches up");
      server_.LetRun(milliseconds(20));
    }
    pace_ = Pace::kFull;
    return absl::OkStatus();
  }

  // For a while, and until the server has dropped what it kept for some of them if it does.
  absl::Status StopReaders() {
    CAIRN_RETURN_IF_ERROR(WriteFromPresent());
    reading_stops_ = true;
    const auto end = steady_clock::now() + kStopMin;
    // Who has not come back from the last kill cannot fall, and on a slow machine that may be all
    // of them, so a round without a fall is none of the server's faults. The report tells how many
    // fell.
    const auto deadline = steady_clock::now() + kStopMax;
    const int64_t before = falls_.fallen();
    while (steady_clock::now() < end || (!is_reference_ && falls_.fallen() == before)) {
      if (steady_clock::now() > deadline) break;
      server_.LetRun(milliseconds(50));
      if (!is_reference_) falls_.Look();
    }
    reading_stops_ = false;
    pace_ = Pace::kSteady;
    return absl::OkStatus();
  }

  absl::Status Late(std::string_view what) const {
    return base::Error(absl::StatusCode::kDeadlineExceeded, "{}\n{}", what, server_.Log());
  }

  // Ends the writing, and waits until everyone was told or promised everything.
  absl::Status Drain() {
    for (Writer& writer : writers_) writer.Stop();
    // Beyond whatever a watcher has asked for so far: it can be promised.
    etcdserverpb::PutRequest last;
    last.set_key("k last");
    etcdserverpb::PutResponse now;
    const grpc::Status status = client_.Put(last, &now, {.wait_for_ready = true});
    if (!status.ok()) {
      return base::MakeStatus(absl::StatusCode::kInternal, status.error_message());
    }
    report_.revisions = now.header().revision();
    const auto deadline = steady_clock::now() + kDrainDeadline;
    for (Watcher* const watcher : all_) {
      while (!watcher->is_done()) {
        if (steady_clock::now() > deadline) {
          return base::Error(absl::StatusCode::kDeadlineExceeded,
                             "{} was never told that it has everything through {}", watcher->name(),
                             report_.revisions);
        }
        for (Watcher* const each : all_) {
          if (!each->is_done()) each->Finish(report_.revisions);
        }
        server_.LetRun(milliseconds(50));
      }
    }
    for (Watcher* const watcher : all_) watcher->Stop();
    return absl::OkStatus();
  }

  absl::Status Judge() {
    const std::vector<WatchRecord> told = faithful_->records();
    if (told.size() != 1) {
      return base::MakeStatus(absl::StatusCode::kInternal, "the history was compacted away");
    }
    const WatchedHistory history = HistoryOf(told.front());
    const auto add = [&](Violations violations) {
      std::move(violations.begin(), violations.end(), std::back_inserter(report_.violations));
    };
    for (const Writer& writer : writers_) add(CheckAcknowledged(writer.acknowledged(), history));
    for (const Watcher* const watcher : all_) {
      report_.connections += watcher->connections();
      report_.compacted += watcher->compacted();
      report_.fragments += watcher->fragments();
      for (WatchRecord record : watcher->records()) {
        record.compacted = compacted_;
        for (const WatchRecord::Response& response : record.responses) {
          report_.events += static_cast<int64_t>(response.events.size());
          report_.promises += response.events.empty() && !response.start.has_value() &&
                              !response.overtaken_by.has_value();
        }
        add(CheckAll(record, history));
      }
    }
    report_.fallen = falls_.fallen();
    if (options_.is_heavy && report_.fragments == 0) {
      return base::MakeStatus(absl::StatusCode::kInternal, "nothing came in fragments");
    }
    return absl::OkStatus();
  }

  const WatchRunOptions options_;
  const bool is_reference_;
  Server server_;
  Client client_;
  FallCounter falls_;
  Dice dice_;
  std::atomic<bool> reading_stops_ = false;
  std::atomic<Pace> pace_ = Pace::kFull;
  std::optional<Watcher> faithful_;
  std::list<Watcher> watchers_;
  std::vector<Watcher*> all_;  // The faithful one first.
  std::list<Writer> writers_;
  int64_t compacted_ = 0;
  WatchRunReport report_;
};

}  // namespace

absl::StatusOr<WatchRunReport> RunWatchers(const Target& target, const WatchRunOptions& options) {
  return Run(target, options).Play();
}

}  // namespace cairn::test
