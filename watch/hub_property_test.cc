// The hub against an oracle that keeps everything: random watchers, changes, compactions, slow and
// stopped streams, gaps, steps of history that come late or fail.
//
// Each watcher's events are checked as they come, against the whole history: ordered, unique, whole
// revisions, nothing missing, nothing that its filter forbids, previous values right; and no
// progress revision is told before everything through it was handed out. One seed decides all; a
// failure prints it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "mvcc/key_value.h"
#include "watch/hub.h"

namespace cairn::watch {
namespace {

struct Past {
  mvcc::ChangeKind kind;
  RowRevision revision;
  std::string key;
  std::string key_value;
  std::optional<std::string> previous;

  mvcc::Event event() const {
    return {.kind = kind, .revision = revision, .key = key, .key_value = key_value};
  }
  bool is_deletion() const { return kind == mvcc::ChangeKind::kDeletion; }
};

// What a client knows of one of its watchers.
struct Client {
  CreateRequest request;
  std::string key;
  std::string range_end;
  // The next event that it is owed lies here in history or behind.
  size_t position = 0;
  Revision start;
  bool is_created = false;
  // Of the last response with events.
  Revision header;
  std::vector<mvccpb::Event> fragments;

  bool Wants(const Past& past) const {
    if (past.revision.main < start) return false;
    if (past.is_deletion() ? request.skips_deletions : request.skips_puts) return false;
    if (range_end.empty()) return past.key == key;
    if (range_end == std::string(1, '\0')) return past.key >= key;
    return past.key >= key && past.key < range_end;
  }
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    options_.retained_bytes_max = 500 + Draw(4000);
    options_.batch_bytes = 40 + Draw(200);
    options_.response_bytes = 60 + Draw(400);
    options_.fragment_bytes = 100 + Draw(400);
    options_.step_revisions = 1 + static_cast<int64_t>(Draw(8));
    options_.step_watchers_asked = Draw(6);
    options_.progress_interval_ms = 100;
    hub_ = std::make_unique<Hub>(options_, published_.revision, 0);
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) Step();
    if (!::testing::Test::HasFailure()) Finish();
  }

  HubStats total;

 private:
  uint64_t Draw(uint64_t count) { return random_() % count; }
  bool OneIn(uint64_t count) { return Draw(count) == 0; }
  std::string DrawKey() {
    std::string key(1, static_cast<char>('a' + Draw(3)));
    if (OneIn(2)) key.push_back(static_cast<char>('a' + Draw(3)));
    return key;
  }

  void Step() {
    switch (Draw(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return Commit();
      case 4:
      case 5:
      case 6:
        return Tell();
      case 7:
        return Create();
      case 8:
        if (OneIn(3)) Cancel();
        return;
      case 9:
        if (OneIn(3)) hub_->RequestProgress(DrawStream(), published_.revision);
        return;
      case 10: {
        const StreamId stream = DrawStream();
        const bool is_blocked = OneIn(2);
        blocked_[stream] = is_blocked;
        hub_->SetBlocked(stream, is_blocked);
        return;
      }
      case 11:
        if (OneIn(4)) Compact();
        return;
      case 12:
        hub_->Tick(now_ms_ += 20);
        return;
      case 13:
        if (OneIn(10)) CloseOne();
        return;
      default:
        History();
        Serve(1 + Draw(6));
    }
  }

  // --- The store ---

  void Commit() {
    const Revision revision = published_.revision + 1;
    std::map<std::string, std::string> now = state_;
    int64_t sub = 0;
    const uint64_t changes = 1 + Draw(OneIn(10) ? 12 : 3);
    for (uint64_t i = 0; i < changes; ++i) {
      const std::string key = DrawKey();
      if (std::any_of(past_.begin(), past_.end(), [&](const Past& past) {
            return past.revision.main == revision && past.key == key;
          })) {
        continue;
      }
      const auto found = state_.find(key);
      Past past = {.revision = {revision, sub}, .key = key};
      if (found != state_.end()) past.previous = found->second;
      if (found != state_.end() && OneIn(3)) {
        past.kind = mvcc::ChangeKind::kDeletion;
        mvcc::AppendKeyValue(past.key_value, {.key = key});
        now.erase(key);
      } else {
        past.kind = found == state_.end() ? mvcc::ChangeKind::kCreation : mvcc::ChangeKind::kUpdate;
        mvcc::AppendKeyValue(past.key_value, {.key = key,
                                              .create_revision = Revision(1),
                                              .mod_revision = revision,
                                              .version = 1,
                                              .value = std::string(Draw(30), 'v')});
        now[key] = past.key_value;
      }
      past_.push_back(std::move(past));
      ++sub;
    }
    if (sub == 0) return;
    state_ = std::move(now);
    published_.revision = revision;
  }

  void Compact() {
    if (published_.revision <= published_.watermark + 1) return;
    published_.watermark = std::max(
        published_.watermark + 1,
        Revision(1 +
                 static_cast<int64_t>(Draw(static_cast<uint64_t>(published_.revision.value())))));
  }

  size_t FirstAt(Revision revision) const {
    return static_cast<size_t>(
        std::partition_point(past_.begin(), past_.end(),
                             [&](const Past& past) { return past.revision.main < revision; }) -
        past_.begin());
  }

  // Some or all of what the hub has not heard of, or a gap.
  void Tell() {
    const int64_t behind = published_.revision - hub_->cursor();
    if (behind == 0) return;
    const Revision through =
        hub_->cursor() + (1 + static_cast<int64_t>(Draw(static_cast<uint64_t>(behind))));
    if (OneIn(20)) return hub_->Skip(through);
    std::vector<mvcc::Event> events;
    for (size_t i = FirstAt(hub_->cursor() + 1); i < FirstAt(through + 1); ++i) {
      events.push_back(past_[i].event());
    }
    hub_->Notify(events, through, [&](const mvcc::Event& event, std::string& previous) {
      const Past& past =
          past_[FirstAt(event.revision.main) + static_cast<size_t>(event.revision.sub)];
      if (!past.previous.has_value()) return false;
      previous = *past.previous;
      return true;
    });
  }

  // --- History: begun, and answered at once or later ---

  void History() {
    if (!step_.has_value()) {
      std::optional<HistoryRequest> request = hub_->NextHistory(published_.watermark);
      if (!request.has_value()) return;
      EXPECT_GE(request->first, published_.watermark);
      EXPECT_LE(request->last, hub_->cursor());
      step_ = Pending{request->first, request->last, request->wants_previous, {}};
      for (const WatchedRange& range : request->ranges) {
        step_->ranges.push_back({range.is_single_key, std::string(range.interval.first),
                                 std::string(range.interval.limit.value_or("")),
                                 range.interval.limit.has_value()});
      }
      if (OneIn(2)) return;
    }
    const Pending step = *std::exchange(step_, std::nullopt);
    if (step.first < published_.watermark) return hub_->OnHistoryFailed();
    const Revision through =
        step.first + static_cast<int64_t>(Draw(static_cast<uint64_t>(step.last - step.first) + 1));
    std::vector<HistoryRow> rows;
    for (size_t i = FirstAt(step.first); i < FirstAt(through + 1); ++i) {
      if (!step.Wants(past_[i].key)) continue;
      HistoryRow row = {.event = past_[i].event()};
      if (step.wants_previous && past_[i].previous.has_value()) row.previous = *past_[i].previous;
      rows.push_back(row);
    }
    hub_->OnHistory(rows, through);
  }

  // --- Clients ---

  StreamId DrawStream() {
    if (streams_.empty() || (streams_.size() < 4 && OneIn(10))) {
      const StreamId id = hub_->OpenStream();
      streams_[id];
      blocked_[id] = false;
    }
    auto it = streams_.begin();
    std::advance(it, static_cast<ptrdiff_t>(Draw(streams_.size())));
    return it->first;
  }

  void Create() {
    const StreamId id = DrawStream();
    auto& clients = streams_[id];
    // Until all is said, the client does not know which ids are free.
    while (const std::optional<Message> message = hub_->Take(id)) Receive(id, *message);
    Client client;
    client.key = DrawKey();
    if (OneIn(2)) client.range_end = OneIn(3) ? std::string(1, '\0') : DrawKey();
    client.request = {.id = WatchId(OneIn(3) ? static_cast<int64_t>(Draw(6)) : 0),
                      .start = Revision(OneIn(2) ? 0
                                                 : static_cast<int64_t>(Draw(static_cast<uint64_t>(
                                                       published_.revision.value() + 4)))),
                      .skips_puts = OneIn(6),
                      .skips_deletions = OneIn(6),
                      .wants_previous = OneIn(3),
                      .progress_notify = OneIn(3),
                      .fragment = OneIn(2)};
    CreateRequest request = client.request;
    request.key = client.key;
    request.range_end = client.range_end;
    client.start = request.start == Revision(0) ? published_.revision + 1 : request.start;
    client.position = FirstAt(client.start);
    const bool is_empty = !client.range_end.empty() && client.range_end != std::string(1, '\0') &&
                          client.range_end <= client.key;
    const bool is_duplicate = request.id != WatchId(0) && clients.contains(request.id);
    hub_->Create(id, request, published_);
    if (is_empty || is_duplicate) {
      ++refusals_[id];
      return;
    }
    created_[id].push_back(std::move(client));
  }

  void Cancel() {
    const StreamId id = DrawStream();
    auto& clients = streams_[id];
    if (clients.empty() || !created_[id].empty()) return;
    auto it = clients.begin();
    std::advance(it, static_cast<ptrdiff_t>(Draw(clients.size())));
    hub_->Cancel(id, it->first, published_.revision);
    hub_->Cancel(id, WatchId(77), published_.revision);
    cancelled_[id][it->first] = true;
  }

  void CloseOne() {
    const StreamId id = DrawStream();
    hub_->CloseStream(id);
    streams_.erase(id);
    blocked_.erase(id);
    created_.erase(id);
    refusals_.erase(id);
    cancelled_.erase(id);
  }

  void Serve(uint64_t messages) {
    for (const StreamId id : hub_->TakeReady()) pending_.push_back(id);
    while (!pending_.empty() && messages > 0) {
      const StreamId id = pending_.front();
      if (!streams_.contains(id) || blocked_[id]) {
        pending_.pop_front();
        continue;
      }
      std::optional<Message> message = OneIn(3) ? hub_->Take(id, 1 + Draw(200)) : hub_->Take(id);
      if (!message.has_value()) {
        pending_.pop_front();
        continue;
      }
      --messages;
      Receive(id, *message);
      // As a stream that has had its part of a turn.
      if (OneIn(12)) {
        pending_.pop_front();
        hub_->ListAgain(id);
        for (const StreamId ready : hub_->TakeReady()) pending_.push_back(ready);
        continue;
      }
      // As a stream whose queue is full: it is listed again when there is room.
      if (OneIn(12)) {
        hub_->SetBlocked(id, true);
        hub_->SetBlocked(id, false);
      }
    }
  }

  void Receive(StreamId id, const Message& message) {
    std::string bytes;
    for (const SharedBytes& part : message.events) bytes += part.bytes;
    etcdserverpb::WatchResponse response;
    ASSERT_TRUE(response.ParseFromString(bytes));
    auto& clients = streams_[id];
    if (message.created) return ReceiveCreated(id, message);
    if (message.id == kNoWatch) {
      for (const auto& [watch_id, client] : clients) CheckDelivered(client, message.revision);
      ++progress_;
      return;
    }
    const auto found = clients.find(message.id);
    ASSERT_NE(found, clients.end()) << "a message for no watcher " << message.id;
    Client& client = found->second;
    if (message.canceled) {
      if (message.compact_revision != Revision(0)) {
        EXPECT_EQ(message.revision, Revision(0));
        EXPECT_LE(message.compact_revision, published_.watermark);
        // It was overtaken: nothing through the watermark was promised, or owed before it.
        ++compacted_;
      } else {
        EXPECT_TRUE(cancelled_[id].contains(message.id));
      }
      cancelled_[id].erase(message.id);
      clients.erase(found);
      return;
    }
    if (message.events.empty()) {
      ++progress_;
      return CheckDelivered(client, message.revision);
    }
    if (message.fragment) ++fragments_;
    for (const mvccpb::Event& event : response.events()) client.fragments.push_back(event);
    if (message.fragment) return;
    CheckEvents(client, message);
    client.fragments.clear();
  }

  void ReceiveCreated(StreamId id, const Message& message) {
    if (message.canceled) {
      EXPECT_EQ(message.id, kNoWatch);
      EXPECT_GT(refusals_[id], 0);
      --refusals_[id];
      return;
    }
    ASSERT_FALSE(created_[id].empty());
    Client client = std::move(created_[id].front());
    created_[id].erase(created_[id].begin());
    if (client.request.id != WatchId(0)) {
      EXPECT_EQ(message.id, client.request.id);
    }
    ASSERT_TRUE(streams_[id].emplace(message.id, std::move(client)).second);
  }

  // Whole revisions, the next ones that this watcher is owed.
  void CheckEvents(Client& client, const Message& message) {
    Revision last;
    for (const mvccpb::Event& event : client.fragments) {
      while (client.position < past_.size() && !client.Wants(past_[client.position])) {
        ++client.position;
      }
      ASSERT_LT(client.position, past_.size()) << event.ShortDebugString();
      const Past& past = past_[client.position++];
      ASSERT_EQ(event.kv().key(), past.key);
      ASSERT_EQ(event.kv().mod_revision(), past.revision.main.value());
      EXPECT_EQ(event.type() == mvccpb::Event::DELETE, past.is_deletion());
      const bool has_previous = client.request.wants_previous && past.previous.has_value();
      ASSERT_EQ(event.has_prev_kv(), has_previous);
      if (has_previous) {
        EXPECT_EQ(event.prev_kv().SerializeAsString(), *past.previous);
      }
      last = past.revision.main;
    }
    EXPECT_GE(message.revision, last);
    EXPECT_GE(message.revision, client.header) << "the header's revision went back";
    client.header = message.revision;
    for (size_t i = client.position; i < past_.size() && past_[i].revision.main == last; ++i) {
      EXPECT_FALSE(client.Wants(past_[i])) << "revision " << last << " was cut";
    }
    ++responses_;
  }

  void CheckDelivered(const Client& client, Revision revision) {
    EXPECT_TRUE(client.fragments.empty());
    for (size_t i = client.position; i < past_.size() && past_[i].revision.main <= revision; ++i) {
      ASSERT_FALSE(client.Wants(past_[i]))
          << "progress " << revision << " before " << past_[i].revision.main;
    }
  }

  // Everything flows: every watcher that lives ends up with everything.
  void Finish() {
    for (const auto& [id, clients] : streams_) {
      blocked_[id] = false;
      hub_->SetBlocked(id, false);
    }
    while (hub_->cursor() < published_.revision) Tell();
    for (int quiet = 0; quiet < 20;) {
      History();
      const auto before = std::make_tuple(responses_, fragments_, compacted_);
      Serve(1000);
      const bool has_moved = before != std::make_tuple(responses_, fragments_, compacted_);
      quiet = has_moved || hub_->stats().lagging > 0 ? 0 : quiet + 1;
      if (::testing::Test::HasFailure()) return;
    }
    for (const auto& [id, clients] : streams_) {
      for (const auto& [watch_id, client] : clients) {
        CheckDelivered(client, published_.revision);
      }
      if (clients.empty()) continue;
      // And now the whole stream may say so, unless someone waits for the future.
      const bool waits = std::any_of(clients.begin(), clients.end(), [&](const auto& it) {
        return it.second.start > published_.revision;
      });
      const int64_t told = progress_;
      hub_->RequestProgress(id, published_.revision);
      Serve(10);
      EXPECT_EQ(progress_ > told || waits, true);
    }
    total = hub_->stats();
    EXPECT_EQ(total.retained_bytes, 0u);
    while (!streams_.empty()) {
      hub_->CloseStream(streams_.begin()->first);
      streams_.erase(streams_.begin());
    }
    EXPECT_EQ(hub_->stats().groups, 0u);
    EXPECT_EQ(hub_->stats().watchers, 0u);
  }

  struct OwnedRange {
    bool is_single_key;
    std::string first;
    std::string limit;
    bool has_limit;
  };
  struct Pending {
    Revision first;
    Revision last;
    bool wants_previous;
    std::vector<OwnedRange> ranges;

    bool Wants(const std::string& key) const {
      return ranges.empty() ||
             std::any_of(ranges.begin(), ranges.end(), [&](const OwnedRange& range) {
               if (range.is_single_key) return key == range.first;
               return key >= range.first && (!range.has_limit || key < range.limit);
             });
    }
  };

  std::mt19937_64 random_;
  HubOptions options_;
  std::unique_ptr<Hub> hub_;
  mvcc::Published published_;
  std::deque<Past> past_;
  std::map<std::string, std::string> state_;
  int64_t now_ms_ = 0;
  std::optional<Pending> step_;
  std::deque<StreamId> pending_;
  std::map<StreamId, std::map<WatchId, Client>> streams_;
  std::map<StreamId, bool> blocked_;
  // Creations that are not answered yet, in order; how many of them will fail.
  std::map<StreamId, std::vector<Client>> created_;
  std::map<StreamId, int64_t> refusals_;
  std::map<StreamId, std::map<WatchId, bool>> cancelled_;

 public:
  int64_t responses_ = 0;
  int64_t fragments_ = 0;
  int64_t progress_ = 0;
  int64_t compacted_ = 0;
};

TEST(HubProperty, EveryPromiseUnderRandomWorlds) {
  constexpr uint64_t kSeeds = 500;
  constexpr int kSteps = 800;
  int64_t responses = 0;
  int64_t fragments = 0;
  int64_t progress = 0;
  int64_t compacted = 0;
  uint64_t fallen_behind = 0;
  uint64_t steps = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    World world(seed);
    world.Run(kSteps);
    if (HasFailure()) return;
    responses += world.responses_;
    fragments += world.fragments_;
    progress += world.progress_;
    compacted += world.compacted_;
    fallen_behind += world.total.fallen_behind;
    steps += world.total.history_steps;
  }
  // The worlds were worth living in.
  EXPECT_GT(responses, 1000);
  EXPECT_GT(fragments, 100);
  EXPECT_GT(progress, 100);
  EXPECT_GT(compacted, 10);
  EXPECT_GT(fallen_behind, 100u);
  EXPECT_GT(steps, 1000u);
  fmt::print("responses {} fragments {} progress {} compacted {} fallen behind {} steps {}\n",
             responses, fragments, progress, compacted, fallen_behind, steps);
}

}  // namespace
}  // namespace cairn::watch
