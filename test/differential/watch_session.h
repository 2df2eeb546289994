// Watch streams on a reference and on the server under test, side by side: the same requests to
// both, and what each watcher was told compared event by event.
//
// Driven by the session (session.h), which writes the same operations into both servers. One thread
// drives it; reading is the streams' (watch_stream.h). It never sleeps to be on the safe side:
// after each step it knows from the history what every watcher is owed, waits for that with a
// deadline, and compares. What comes too late or too often is found at the next step.
//
// Compared are: replies in their order, with reasons, ids and revisions; the events of each watcher
// in their order, all fields, on both sides and against the history; compactions that end a
// watcher; answers to progress requests, also that none comes; notifications; headers where they
// are determined. How revisions are put together into responses is not (watch_book.h says why), nor
// when a response comes.
#ifndef CAIRN_TEST_DIFFERENTIAL_WATCH_SESSION_H_
#define CAIRN_TEST_DIFFERENTIAL_WATCH_SESSION_H_

#include <absl/functional/function_ref.h>

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "test/differential/rules.h"
#include "test/differential/watch_plan.h"
#include "test/differential/watch_stream.h"

namespace cairn::test {

// The pause between two notifications that both servers are started with.
inline constexpr char kNotifyInterval[] = "200ms";

struct WatchCounts {
  int64_t streams = 0;
  int64_t watchers = 0;
  int64_t refused = 0;
  int64_t cancelled = 0;
  int64_t compacted = 0;
  int64_t events = 0;
  int64_t fragmented = 0;
  int64_t progress = 0;
  int64_t silences = 0;  // progress requests that rightly went unanswered
  int64_t notifications = 0;
  int64_t settled = 0;
};

class WatchSession {
 public:
  // `report` is called with each difference; `trace` prints all requests.
  WatchSession(uint64_t seed, const Knowledge* knowledge,
               std::function<void(const std::string&)> report, bool trace);

  // Begins to follow both servers, whose histories are alike through the knowledge's revision.
  void Connect(const std::string& reference, const std::string& under_test,
               const ReferenceRules& rules);
  // Ends all streams: before a restart.
  void Disconnect();

  Random& random() { return plan_.random(); }
  const WatchCounts& counts() const { return counts_; }

  // Creates watchers, which writes may follow at once.
  void Create();
  // Creates the watchers for whom large revisions are interesting.
  void CreateForLarge(const std::string& key);
  // After a write that every stream hears of (kSentinelKey): everything up to it has been told.
  void Settle();
  // Something that needs quiet: right after Settle.
  void Act();
  // The highest revision to which a compaction is certain to overtake nobody.
  int64_t CompactionLimit() const;
  // Waits until both servers have told of `revision`; false at the deadline.
  bool WaitForRevision(int64_t revision);

  // A put of it ends each step.
  static constexpr char kSentinelKey[] = "~sentinel";

 private:
  enum Side : size_t { kReference, kUnderTest };
  static constexpr std::array<Side, 2> kSides = {kReference, kUnderTest};

  // A watcher as both servers were asked for it.
  struct Planned {
    etcdserverpb::WatchCreateRequest request;
    int64_t id = 0;
    // Nothing before it is owed.
    int64_t start = 0;
    bool is_live = true;
    // Its start lies before the compaction: it must be cancelled.
    bool is_overtaken = false;
    // May not have caught up yet, for all that is known.
    bool may_lag = false;
    // What was compared so far.
    size_t history_index = 0;
    int64_t notifications = 0;
  };
  struct Pair {
    int64_t number = 0;
    std::array<std::unique_ptr<WatchStream>, 2> sides;
    std::vector<Planned> watchers;
    // Replies that came so far.
    size_t replies = 0;
    // Late answers to progress requests may still tell of this revision.
    int64_t proved_at = 0;
    bool is_half_closed = false;
    bool has_failed = false;
  };
  using Events = std::vector<const mvccpb::Event*>;

  Pair& Open();
  Pair* PickPair();
  std::vector<int64_t> LiveIds(const Pair& pair) const;
  // Changed a key twice. After a compaction right there it depends on time, and on the server,
  // how much is left of the two.
  bool MayBeHalfRemoved(int64_t revision) const;
  void CreateOn(Pair& pair, etcdserverpb::WatchCreateRequest request);
  // Sends a request to both, waits for so many replies, compares them.
  void Ask(Pair& pair, const etcdserverpb::WatchRequest& request, size_t replies);
  void Send(Pair& pair, const etcdserverpb::WatchRequest& request);
  void CompareReply(Pair& pair, const etcdserverpb::WatchRequest& request, size_t number);
  void Learn(Pair& pair, const etcdserverpb::WatchRequest& request,
             const etcdserverpb::WatchResponse& reply);
  // A round trip behind everything sent before.
  void Flush(Pair& pair);

  // With `is_quiet` nothing was written since the last time.
  void SettleAll(bool is_quiet);
  void SettlePair(Pair& pair, bool is_quiet);
  Events Owed(Planned& planned) const;
  void Compare(Pair& pair, bool is_quiet, const std::vector<Events>& owed);
  void CompareWatcher(const Pair& pair, const Planned& planned, bool is_quiet, const Events& owed,
                      const std::array<ToldWatcher, 2>& told);
  // If the newest watcher is overtaken: waits for the word, and makes its id free on both sides.
  void BuryOvertaken(Pair& pair);
  bool IsWithheld(const Pair& pair) const;
  // Whether this server must keep silent about progress then.
  bool Withholds(Side side) const { return side == kUnderTest || rules_.withholds_before_start; }
  // Asks both for progress until it is answered: nobody on the stream lags any more.
  void Prove(Pair& pair);

  void Cancel(Pair& pair);
  void AskProgress(Pair& pair);
  void AwaitNotifications();

  bool WaitBoth(Pair& pair, std::string_view what,
                absl::FunctionRef<bool(const WatchBook&)> is_there);
  void Report(const Pair& pair, const std::string& text);

  const Knowledge* const knowledge_;
  const std::function<void(const std::string&)> report_;
  const bool trace_;
  WatchPlan plan_;
  ReferenceRules rules_;
  std::array<std::unique_ptr<Client>, 2> clients_;
  // Everything that happened, from the reference.
  std::vector<mvccpb::Event> history_;
  // Its one watcher wants everything.
  std::unique_ptr<Pair> historian_;
  std::list<Pair> pairs_;
  WatchCounts counts_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_WATCH_SESSION_H_
