// The present and the past of keys, in order, to whoever asked: all streams, all watchers.
//
// Pure: told of changes, requests and time; gives out messages when asked. One thread owns it. It
// has one cursor, the revision through which it was told of changes, and two kinds of watchers:
// *synced* ones are handed each new batch, *lagging* ones read history in bounded steps until they
// meet the cursor. (A watcher whose start lies in the future waits aside and is neither.)
//
// Nothing is copied per watcher. The events of a batch are encoded once; each group of equal
// watchers gets a parcel that names its part of them; a watcher remembers the first parcel that it
// has not taken. A stream takes from the hub when it has room (Take), so what a slow client has not
// taken is a pointer and not a queue, and several parcels leave in one response. Parcels live as
// long as someone waits for them, all together within a bound; beyond it the oldest are dropped and
// who waited for them lags. No watcher is dropped for being slow.
#ifndef CAIRN_WATCH_HUB_H_
#define CAIRN_WATCH_HUB_H_

#include <absl/functional/function_ref.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "mvcc/event_reader.h"
#include "mvcc/types.h"
#include "watch/event_batch.h"
#include "watch/group_index.h"
#include "watch/message.h"
#include "watch/watcher.h"

namespace cairn::watch {

struct HubOptions {
  // Events that someone has yet to take: the shared ring of design.md section 9.
  size_t retained_bytes_max = size_t{64} << 20;
  // Events encoded together, and those that leave in one response, unless one revision has more.
  // Large enough that a message's cost no longer counts.
  size_t batch_bytes = size_t{64} << 10;
  size_t response_bytes = size_t{64} << 10;
  // Events of fewer bytes are copied by whoever sends them; from this size on they are shared.
  size_t shared_bytes_min = 2048;
  // From this size on a response is sent in fragments to who allows it (etcd: --max-request-bytes
  // plus 512 KiB).
  size_t fragment_bytes = size_t{2} << 20;
  // Revisions of one history step.
  int64_t step_revisions = 1000;
  // A step of so many watchers asks each for its group when it begins; one of more asks the groups
  // that rows match for their watchers. About as many as it has rows, so that either is little.
  size_t step_watchers_asked = 1000;
  // Watchers of one stream, and of all. Their ranges are bounded with them: those of one stream
  // hold 160 bytes for each watcher that it may have, and those of all, where equal ones count
  // once, 64 (16 MB and 128 MB), and in any case those of one request.
  size_t stream_watchers_max = 100'000;
  size_t watchers_max = 2'000'000;
  // Between two progress notifications of a watcher (etcd: 10 min); up to a tenth more, by stream,
  // so that they do not come all at once.
  int64_t progress_interval_ms = 600'000;
  // Decides the shape of the index of ranges: whoever serves clients draws one that they cannot
  // know (interval_index.h).
  uint64_t index_seed = 1;
};

struct CreateRequest {
  // 0: the hub picks one.
  WatchId id;
  // As on the wire: an empty key is "\0", a limit "\0" is none, an empty limit is one key.
  std::string_view key;
  std::string_view range_end;
  // 0: from now on.
  Revision start;
  bool skips_puts = false;
  bool skips_deletions = false;
  bool wants_previous = false;
  bool progress_notify = false;
  bool fragment = false;
};

// Which history to read next. At most one is under way.
struct HistoryRequest {
  Revision first;
  Revision last;
  bool wants_previous = false;
  // Rows that no range holds are not needed; empty: all of them are. Views into the hub: copy them
  // before any other call.
  std::vector<WatchedRange> ranges;
};

// A row of history, with what it replaced if that was asked for.
struct HistoryRow {
  mvcc::Event event;
  std::optional<std::string_view> previous;
};

// What stands in the books, for inspection and tests.
struct HubStats {
  size_t streams = 0;
  size_t watchers = 0;
  size_t lagging = 0;
  size_t groups = 0;
  size_t retained_bytes = 0;
  uint64_t fallen_behind = 0;
  uint64_t history_steps = 0;
};

// A watcher as an observer sees it.
struct WatcherView {
  enum class State { kFuture, kSynced, kLagging };

  WatchId id;
  // As on the wire: an empty limit is one key, "\0" is none.
  std::string key;
  std::string range_end;
  State state = State::kSynced;
  // Everything before it was handed out, or was not wanted.
  Revision next;
  bool skips_puts = false;
  bool skips_deletions = false;
  bool wants_previous = false;
  bool progress_notify = false;
  bool fragment = false;
};

// A stream, with those of its watchers that are on this page.
struct StreamView {
  StreamId id;
  size_t watchers = 0;
  size_t lagging = 0;
  // Watchers with events to take.
  size_t waiting = 0;
  // The client does not take what it was sent.
  bool is_blocked = false;
  std::vector<WatcherView> shown;
};

// Behind a stream (which was shown itself) or one of its watchers; behind stream 0: the beginning.
struct HubPlace {
  StreamId stream;
  std::optional<WatchId> watcher;
};

struct HubPage {
  std::vector<StreamView> streams;
  // Where the next page begins; none: this is the last.
  std::optional<HubPlace> next;
};

class Hub {
 public:
  static constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

  // Finds what an event replaced: fills the string and returns true, or false for nothing.
  using PreviousFinder = absl::FunctionRef<bool(const mvcc::Event&, std::string&)>;

  // `cursor`: everything through this revision has been told of, to nobody. `now_ms` of any clock.
  Hub(HubOptions options, Revision cursor, int64_t now_ms);
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  Revision cursor() const { return cursor_; }
  bool has_watchers() const { return watchers_ > 0; }
  HubStats stats() const;
  // The streams and watchers behind `after`, in order of their ids: at most `items_max` of both
  // together, and no more once their ranges have `range_bytes_max` bytes; one at least. Costs what
  // it shows. What is there all the while is on exactly one page of those that follow each other.
  HubPage Look(const HubPlace& after, size_t items_max, size_t range_bytes_max) const;

  // -- Streams and requests. `published` is the store's revision at the time of the call, at least
  // the cursor: what a client has been answered lies at or below it. Answers become messages.

  StreamId OpenStream();
  // Forgets the stream and its watchers. Unknown ids are ignored.
  void CloseStream(StreamId id);
  void Create(StreamId stream, const CreateRequest& request, mvcc::Published published);
  void Cancel(StreamId stream, WatchId id, Revision published);
  void RequestProgress(StreamId stream, Revision published);

  // -- Changes.

  // Tells of all changes in (cursor, through], in order, and moves the cursor there.
  void Notify(std::span<const mvcc::Event> events, Revision through, PreviousFinder find_previous);
  // Moves the cursor without telling what happened: who listened reads it from history.
  void Skip(Revision through);

  // -- Messages.

  // Streams that have become worth serving since the last call: ask Take of each until there is
  // nothing, or list it again.
  std::vector<StreamId> TakeReady();
  bool has_ready() const { return !ready_.empty(); }
  // Has TakeReady tell of the stream once more, behind those that wait already.
  void ListAgain(StreamId stream);
  // The next message of a stream; none when there is nothing to say now. Its events have no more
  // bytes than `events_bytes_max` (> 0) and HubOptions::response_bytes allow, or a quarter more
  // where that is all there is, or are of one revision: what is cut off comes with later messages.
  std::optional<Message> Take(StreamId stream, size_t events_bytes_max = kUnbounded);
  // Whether the client takes what it is sent. A blocked stream is not ready, and its lagging
  // watchers rest.
  void SetBlocked(StreamId stream, bool is_blocked);

  // -- History.

  // What to read next for lagging watchers, streams taking turns; none when nobody needs any, or a
  // step is under way. Cancels lagging watchers that need what lies below the watermark.
  std::optional<HistoryRequest> NextHistory(Revision watermark);
  // The rows of the step under way: all that match its ranges in [its first, `through`], in order.
  void OnHistory(std::span<const HistoryRow> rows, Revision through);
  // The step under way has failed (it was overtaken by a compaction): its watchers lag on.
  void OnHistoryFailed();

  // -- Time.

  // Has the progress notifications that are due taken from now on. `now_ms` never falls. Costs
  // nothing before the time that next_tick_ms tells, and after it the streams that are due.
  void Tick(int64_t now_ms);
  // When Tick has something to do next; none without watchers that asked for progress.
  std::optional<int64_t> next_tick_ms() const;

 private:
  // A group that the batch at hand touches, and which of its events it gets.
  struct Touched {
    Group* group = nullptr;
    absl::InlinedVector<Run, 2> runs;
    // History: the parcel, once a watcher wants it.
    Parcel* history = nullptr;
  };
  // What one response takes of a parcel: whole revisions.
  struct Portion {
    absl::InlinedVector<Run, 8> runs;
    size_t size_bytes = 0;
    Revision first;
    Revision last;
    // Nothing of the parcel is left.
    bool is_rest = true;
  };

  Stream* Find(StreamId id);
  void Refuse(Stream& stream, std::string reason, Revision published);
  std::optional<std::string> CheckRoom(const Stream& stream, size_t range_bytes) const;
  void Say(Stream& stream, Message message);
  void List(Stream& stream);
  void ClearFuture(Watcher& watcher);

  // Watchers in and out of their lists.
  void Place(Watcher& watcher);
  void Join(Watcher& watcher);
  void Leave(Watcher& watcher);
  void MarkDirty(Watcher& watcher);
  void Unmark(Watcher& watcher);
  void AddLagging(Watcher& watcher);
  void RemoveLagging(Watcher& watcher);
  void RemoveFuture(Watcher& watcher);
  void FallBehind(Watcher& watcher);
  // Takes the watcher out of everything and deletes it.
  void Remove(Watcher& watcher);
  void ActivateFuture();

  // Batches and parcels.
  void Touch(Group& group, uint32_t index);
  // Makes one batch of as many events as it takes, whole revisions, and says how many those were.
  size_t Ingest(std::span<const mvcc::Event> events, PreviousFinder find_previous);
  Retained& Retain(const EventBatch& batch);
  Parcel* MakeParcel(const std::shared_ptr<const EventBatch>& batch, Retained& retained,
                     Group& group, std::span<const Run> runs, Revision through);
  // What the watcher takes next of the present; null: nothing. Releases what that was before.
  void SetPending(Watcher& watcher, Parcel* parcel);
  // One less waits for it. Frees what nobody waits for any more.
  void Release(Parcel* parcel);
  void Free(Parcel* parcel);
  void DropRetained();
  void DropParcel(Parcel* parcel);

  // Taking.
  Message TakeEvents(Watcher& watcher, size_t bytes_max);
  void TakePresent(Watcher& watcher, size_t bytes_max, Message& message);
  void TakeHistory(Watcher& watcher, size_t bytes_max, Message& message);
  // What a watcher that has everything before `next` takes of `parcel` with one response.
  static Portion Cut(const Parcel& parcel, Revision next, size_t bytes_max);
  static void Shorten(const EventBatch& batch, Encoding encoding, size_t bytes_max,
                      Portion& portion);
  static void Append(const Parcel& parcel, const Portion& portion, Message& message);
  void Flatten(uint64_t parcel, Revision first, Revision last, size_t pinned_bytes,
               Message& message);
  void Split(Watcher& watcher, const Parcel& parcel, const Portion& portion, Message& message);
  std::optional<Message> TakeProgress(Stream& stream);
  // The next notification of the tick at hand, if one of the next few watchers is to have one.
  std::optional<Message> TakeTick(Stream& stream);
  bool IsWithheld(const Stream& stream, Revision revision) const;
  bool IsDelivered(const Stream& stream, Revision revision) const;
  int64_t ProgressPauseMs(const Stream& stream) const;
  // In and out of `progress_due_`.
  void ScheduleProgress(Stream& stream);
  void UnscheduleProgress(const Stream& stream);

  // Cohorts: see catch_up.cc.
  void AddToCohort(Watcher& watcher);
  void LeaveCohort(Watcher& watcher);
  // Puts a cohort into the list of lagging ones, or its members into the one that is there.
  void PlaceCohort(std::unique_ptr<Cohort> cohort);

  // History.
  void CancelCompacted(Revision watermark);
  HistoryRequest BeginStep(Revision first);
  // Marks the groups of the step's watchers, and returns their ranges if these are few.
  std::vector<WatchedRange> MarkStepGroups();
  template <typename Visit>
  void ForStepCohorts(const Visit& visit);
  bool IsInStep(const Watcher& watcher) const;
  // Whether it has members there.
  bool IsInStep(Group& group);
  // Whether the group has members that get parcels of the present.
  bool HasJoined(Group& group);
  // Those of the group's members that a step joins as part of their cohorts join by themselves.
  void JoinFromStep(Group& group);
  void TouchHistory(std::span<const HistoryRow> rows, EventBatch& batch);
  // Gives a watcher what the step at hand has for it, if anything.
  void GiveHistory(Watcher& watcher, const std::shared_ptr<const EventBatch>& batch,
                   Retained*& retained, Revision through);
  void FinishStep(Watcher& watcher, Parcel* parcel, Revision through);
  void FinishCohort(std::unique_ptr<Cohort> cohort, Revision through);
  // It stays where it is, for another step.
  void LeaveStep(Watcher& watcher);
  // `through`: as far as the step has come; before its first revision if it has failed.
  void EndStep(Revision through);

  const HubOptions options_;
  Revision cursor_;
  int64_t now_ms_;
  uint64_t next_stream_ = 1;
  // Ordered, so that what the hub does depends on the calls alone.
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  size_t watchers_ = 0;
  size_t lagging_watchers_ = 0;
  // Of all groups.
  size_t range_bytes_ = 0;
  // Streams with watchers that asked for progress, by their `next_progress_ms`.
  std::set<std::pair<int64_t, StreamId>> progress_due_;

  GroupIndex index_;
  std::vector<Touched> touched_;

  std::list<Retained> retained_;
  size_t retained_bytes_ = 0;
  uint64_t fallen_behind_ = 0;

  // Waiting for their start, by `next`.
  std::map<Revision, WatcherList<&Watcher::by_revision>> future_;
  // Lagging and without history to take, by `next`, but for those of the step under way.
  std::map<Revision, std::unique_ptr<Cohort>> lagging_;
  // Streams with lagging watchers that are not blocked, the next one first.
  std::deque<StreamId> rotation_;

  // The step under way; 0: none.
  uint32_t step_ = 0;
  uint32_t last_step_ = 0;
  uint64_t steps_ = 0;
  Revision step_first_;
  Revision step_last_;
  // Whether it will meet the present: all who take part get its parcels.
  bool is_step_joined_ = false;
  // Its watchers are so few that their groups were marked when it began.
  bool are_step_groups_known_ = false;
  std::vector<std::unique_ptr<Cohort>> step_cohorts_;
  // Those who got parcels of the present since: no longer of a cohort.
  WatcherList<&Watcher::by_revision> step_joined_;

  std::vector<StreamId> ready_;
  // Streams whose progress marks wait for the cursor.
  std::vector<StreamId> marked_;

  // The body put together last, beginning in which parcel, of which revisions: the next watcher of
  // the same group most likely wants it too.
  struct Body {
    uint64_t parcel = 0;
    Revision first;
    Revision last;
    std::shared_ptr<const std::string> bytes;
  };
  Body body_;
  uint64_t last_parcel_ = 0;
};

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_HUB_H_
