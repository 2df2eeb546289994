// The hub told as a story: testdata/hub.txt.
//
//   hub retained=N batch=N response=N fragment=N step=N progress=MS
//   open | close S | block S | unblock S
//   watch S KEY [end=KEY|open] [start=R] [id=N] flags...   (prev noput nodelete progress fragment)
//   cancel S ID | ask S
//   put KEY [VALUE] | del KEY | also ...   (`also` joins the revision before it)
//   tell | skip | compact R | tick MS
//   history                                 (one step, answered at once)
//   take [S] [bytes=N]                      (all that can be taken; N bytes of events at a time)
//   look [max=N] [bytes=N]                  (all pages of so many items)
#include "watch/hub.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "mvcc/key_value.h"
#include "test/datadriven/datadriven.h"

namespace cairn::watch {
namespace {

using datadriven::Command;

struct Past {
  mvcc::ChangeKind kind;
  RowRevision revision;
  std::string key;
  std::string key_value;
  std::optional<std::string> previous;
};

class Story {
 public:
  Story() { hub_ = std::make_unique<Hub>(options_, published_.revision, 0); }

  std::string Handle(const Command& command) {
    const std::string& name = command.name;
    if (name == "hub") return Reset(command);
    if (name == "open") return fmt::format("stream {}", hub_->OpenStream());
    if (name == "close") return Do([&] { hub_->CloseStream(StreamOf(command)); });
    if (name == "block") return Do([&] { hub_->SetBlocked(StreamOf(command), true); });
    if (name == "unblock") return Do([&] { hub_->SetBlocked(StreamOf(command), false); });
    if (name == "watch") return Do([&] { Watch(command); });
    if (name == "cancel") {
      return Do([&] {
        hub_->Cancel(StreamOf(command), WatchId(std::stoll(std::string(command.Argument(1)))),
                     published_.revision);
      });
    }
    if (name == "ask") {
      return Do([&] { hub_->RequestProgress(StreamOf(command), published_.revision); });
    }
    if (name == "put" || name == "del")
      return Change(name, command.Argument(0), command.Argument(1), true);
    if (name == "also") {
      return Change(std::string(command.Argument(0)), command.Argument(1), command.Argument(2),
                    false);
    }
    if (name == "tell") return Do([&] { Tell(); });
    if (name == "skip") return Do([&] { hub_->Skip(published_.revision); });
    if (name == "compact") {
      published_.watermark = Revision(static_cast<int64_t>(command.Number(0, 0)));
      return "";
    }
    if (name == "tick") {
      return Do([&] { hub_->Tick(static_cast<int64_t>(command.Number(0, 0))); });
    }
    if (name == "history") return History();
    if (name == "take") return TakeAll(command);
    if (name == "look") return Look(command);
    return "unknown command";
  }

 private:
  template <typename Work>
  std::string Do(const Work& work) {
    work();
    return "";
  }

  std::string Reset(const Command& command) {
    options_ = {};
    for (const auto& [key, value] : command.options) {
      const auto number = static_cast<size_t>(std::stoull(value));
      if (key == "retained") options_.retained_bytes_max = number;
      if (key == "batch") options_.batch_bytes = number;
      if (key == "response") options_.response_bytes = number;
      if (key == "fragment") options_.fragment_bytes = number;
      if (key == "step") options_.step_revisions = static_cast<int64_t>(number);
      if (key == "progress") options_.progress_interval_ms = static_cast<int64_t>(number);
      if (key == "watchers") options_.watchers_max = number;
      if (key == "stream_watchers") options_.stream_watchers_max = number;
    }
    published_ = {};
    past_.clear();
    now_.clear();
    hub_ = std::make_unique<Hub>(options_, published_.revision, 0);
    return "";
  }

  static StreamId StreamOf(const Command& command) { return StreamId(command.Number(0, 1)); }

  void Watch(const Command& command) {
    CreateRequest request = {.key = command.Argument(1)};
    if (request.key == "-") request.key = "";
    for (const std::string& word : command.arguments) {
      request.wants_previous |= word == "prev";
      request.skips_puts |= word == "noput";
      request.skips_deletions |= word == "nodelete";
      request.progress_notify |= word == "progress";
      request.fragment |= word == "fragment";
    }
    if (const auto end = command.Option("end"); end.has_value()) {
      request.range_end = *end == "open" ? std::string_view("\0", 1) : *end;
    }
    if (const auto start = command.Option("start"); start.has_value()) {
      request.start = Revision(std::stoll(std::string(*start)));
    }
    if (const auto id = command.Option("id"); id.has_value()) {
      request.id = WatchId(std::stoll(std::string(*id)));
    }
    hub_->Create(StreamOf(command), request, published_);
  }

  std::string Change(std::string_view what, std::string_view key, std::string_view value,
                     bool is_new) {
    if (is_new) ++published_.revision;
    const int64_t sub = is_new ? 0 : past_.back().revision.sub + 1;
    Past past = {.revision = {published_.revision, sub}, .key = std::string(key)};
    const auto found = now_.find(past.key);
    if (found != now_.end()) past.previous = found->second;
    if (what == "del") {
      past.kind = mvcc::ChangeKind::kDeletion;
      mvcc::AppendKeyValue(past.key_value, {.key = key});
      now_.erase(past.key);
    } else {
      past.kind = found == now_.end() ? mvcc::ChangeKind::kCreation : mvcc::ChangeKind::kUpdate;
      mvcc::AppendKeyValue(past.key_value, {.key = key,
                                            .create_revision = published_.revision,
                                            .mod_revision = published_.revision,
                                            .version = 1,
                                            .value = value});
      now_[past.key] = past.key_value;
    }
    past_.push_back(std::move(past));
    return fmt::format("revision {}", published_.revision);
  }

  static mvcc::Event EventOf(const Past& past) {
    return {
        .kind = past.kind, .revision = past.revision, .key = past.key, .key_value = past.key_value};
  }

  void Tell() {
    std::vector<mvcc::Event> events;
    for (const Past& past : past_) {
      if (past.revision.main > hub_->cursor()) events.push_back(EventOf(past));
    }
    hub_->Notify(events, published_.revision, [&](const mvcc::Event& event, std::string& previous) {
      const auto found = std::find_if(past_.begin(), past_.end(), [&](const Past& past) {
        return past.revision == event.revision;
      });
      if (!found->previous.has_value()) return false;
      previous = *found->previous;
      return true;
    });
  }

  std::string History() {
    const std::optional<HistoryRequest> request = hub_->NextHistory(published_.watermark);
    if (!request.has_value()) return "nothing to read";
    std::string text = fmt::format("read {} to {}", request->first, request->last);
    std::vector<HistoryRow> rows;
    for (const Past& past : past_) {
      if (past.revision.main < request->first || past.revision.main > request->last) continue;
      rows.push_back({.event = EventOf(past), .previous = past.previous});
    }
    hub_->OnHistory(rows, request->last);
    return text;
  }

  std::string TakeAll(const Command& command) {
    std::vector<StreamId> streams = hub_->TakeReady();
    if (!command.arguments.empty()) streams = {StreamOf(command)};
    const auto bytes = command.Option("bytes");
    const size_t bytes_max = bytes.has_value() ? std::stoull(std::string(*bytes)) : Hub::kUnbounded;
    std::string text;
    for (const StreamId id : streams) {
      while (const std::optional<Message> message = hub_->Take(id, bytes_max)) {
        text += fmt::format("{}: {}\n", id, Show(*message));
      }
    }
    return text.empty() ? "nothing" : text;
  }

  std::string Look(const Command& command) {
    const auto number = [&](const char* option) {
      const auto value = command.Option(option);
      return value.has_value() ? static_cast<size_t>(std::stoull(std::string(*value))) : 1'000'000;
    };
    std::string text;
    std::optional<HubPlace> place = HubPlace{};
    while (place.has_value()) {
      const HubPage page = hub_->Look(*place, number("max"), number("bytes"));
      for (const StreamView& stream : page.streams) text += Show(stream);
      if (page.next.has_value()) text += "--\n";
      place = page.next;
    }
    return text.empty() ? "nothing" : text;
  }

  static std::string Show(const StreamView& stream) {
    std::string text = fmt::format("stream {}: {} watchers, {} lagging, {} waiting{}\n", stream.id,
                                   stream.watchers, stream.lagging, stream.waiting,
                                   stream.is_blocked ? ", blocked" : "");
    for (const WatcherView& watcher : stream.shown) {
      constexpr const char* kStates[] = {"future", "synced", "lagging"};
      std::string end = watcher.range_end;
      if (end == std::string(1, '\0')) end = "open";
      text += fmt::format(
          "  {} {}{} {} next {}{}{}{}{}{}\n", watcher.id,
          watcher.key == std::string(1, '\0') ? "-" : watcher.key, end.empty() ? "" : " to " + end,
          kStates[static_cast<int>(watcher.state)], watcher.next,
          watcher.skips_puts ? " noput" : "", watcher.skips_deletions ? " nodelete" : "",
          watcher.wants_previous ? " prev" : "", watcher.progress_notify ? " progress" : "",
          watcher.fragment ? " fragment" : "");
    }
    return text;
  }

  static std::string Show(const Message& message) {
    std::string text = fmt::format("watch {} at {}", message.id, message.revision);
    if (message.created) text += " created";
    if (message.canceled) text += " canceled";
    if (message.compact_revision != Revision(0)) {
      text += fmt::format(" compacted={}", message.compact_revision);
    }
    if (!message.cancel_reason.empty()) text += ": " + message.cancel_reason;
    std::string bytes;
    for (const SharedBytes& part : message.events) bytes += part.bytes;
    etcdserverpb::WatchResponse response;
    EXPECT_TRUE(response.ParseFromString(bytes));
    for (const mvccpb::Event& event : response.events()) {
      text += event.type() == mvccpb::Event::DELETE
                  ? fmt::format(" -{}@{}", event.kv().key(), event.kv().mod_revision())
                  : fmt::format(" +{}={}@{}", event.kv().key(), event.kv().value(),
                                event.kv().mod_revision());
      if (event.has_prev_kv()) text += fmt::format("(was {})", event.prev_kv().value());
    }
    if (message.fragment) text += " more";
    return text;
  }

  HubOptions options_;
  std::unique_ptr<Hub> hub_;
  mvcc::Published published_;
  std::vector<Past> past_;
  std::map<std::string, std::string> now_;
};

TEST(Hub, Transcript) {
  Story story;
  datadriven::RunTranscript("watch/testdata/hub.txt",
                            [&](const Command& command) { return story.Handle(command); });
}

// Ticks come with every turn; streams are looked at when they are due, each at its own time.
TEST(Hub, ATickLooksAtTheStreamsThatAreDue) {
  constexpr int64_t kIntervalMs = 100'000;
  constexpr int kStreams = 50;
  Hub hub({.progress_interval_ms = kIntervalMs}, Revision(1), 0);
  const mvcc::Published published = {.revision = Revision(1)};
  EXPECT_EQ(hub.next_tick_ms(), std::nullopt);
  for (int i = 0; i < kStreams; ++i) {
    hub.Create(hub.OpenStream(), {.key = "a", .progress_notify = true}, published);
  }
  for (const StreamId id : hub.TakeReady()) EXPECT_TRUE(hub.Take(id)->created);
  // One round, and another: later by an interval and up to a tenth more, never all together.
  for (int64_t round = 1; round <= 2; ++round) {
    std::map<StreamId, int64_t> told_ms;
    while (told_ms.size() < kStreams) {
      const int64_t due_ms = *hub.next_tick_ms();
      ASSERT_GE(due_ms, round * kIntervalMs);
      ASSERT_LE(due_ms, round * (kIntervalMs + kIntervalMs / 10));
      hub.Tick(due_ms - 1);
      ASSERT_TRUE(hub.TakeReady().empty());
      hub.Tick(due_ms);
      const std::vector<StreamId> ready = hub.TakeReady();
      ASSERT_FALSE(ready.empty());
      EXPECT_LT(ready.size(), kStreams / 5u);
      for (const StreamId id : ready) {
        EXPECT_TRUE(told_ms.emplace(id, due_ms).second);
        EXPECT_EQ(hub.Take(id)->revision, Revision(1));
        EXPECT_FALSE(hub.Take(id).has_value());
      }
    }
  }
  // Who has nobody left that asked is not waited for; who has again begins anew.
  const int64_t now_ms = *hub.next_tick_ms() - 1;
  hub.Tick(now_ms);
  hub.Cancel(StreamId(1), WatchId(0), Revision(1));
  for (int i = 2; i <= kStreams; ++i) hub.CloseStream(StreamId(static_cast<uint64_t>(i)));
  EXPECT_EQ(hub.next_tick_ms(), std::nullopt);
  hub.Create(StreamId(1), {.key = "a", .progress_notify = true}, published);
  EXPECT_GE(*hub.next_tick_ms(), now_ms + kIntervalMs);
}

// Nobody is kept waiting while it looks at the watchers of a stream, and a client that takes none
// of its notifications has each watcher's once.
TEST(Hub, ATickIsTakenBitByBitAndWaitsForTheLastOne) {
  constexpr int kSilent = 5000;
  Hub hub({.progress_interval_ms = 100}, Revision(1), 0);
  const mvcc::Published published = {.revision = Revision(1)};
  const StreamId stream = hub.OpenStream();
  for (int i = 0; i < kSilent; ++i) hub.Create(stream, {.key = "a"}, published);
  for (int i = 0; i < 2; ++i) {
    hub.Create(stream, {.key = "a", .progress_notify = true}, published);
  }
  while (hub.Take(stream).has_value()) {
  }
  hub.TakeReady();
  for (int i = 0; i < 10; ++i) hub.Tick(*hub.next_tick_ms());
  std::vector<WatchId> told;
  int turns = 0;
  for (; hub.has_ready(); ++turns) {
    ASSERT_EQ(hub.TakeReady(), std::vector{stream});
    while (const std::optional<Message> message = hub.Take(stream)) told.push_back(message->id);
  }
  EXPECT_EQ(told, (std::vector{WatchId(kSilent), WatchId(kSilent + 1)}));
  EXPECT_GT(turns, 3);
  EXPECT_LT(turns, 10);
}

// They wait for the same; the last one who goes takes it along, whoever that is.
TEST(Hub, EqualWatchersThatTakeNothingLeaveInAnyOrder) {
  constexpr int kWatchers = 1000;
  constexpr int64_t kEvents = 1000;
  Hub hub({}, Revision(1), 0);
  const StreamId stream = hub.OpenStream();
  std::string key_value;
  mvcc::AppendKeyValue(key_value, {.key = "a"});
  // Each begins with an event of its own.
  for (int64_t i = 0; i < kEvents; ++i) {
    if (i < kWatchers) hub.Create(stream, {.key = "a"}, {.revision = Revision(1 + i)});
    const mvcc::Event event = {
        .revision = {Revision(2 + i), 0}, .key = "a", .key_value = key_value};
    hub.Notify({&event, 1}, Revision(2 + i),
               [](const mvcc::Event&, std::string&) { return false; });
  }
  EXPECT_GT(hub.stats().retained_bytes, kEvents * key_value.size());
  for (int64_t i = 0; i < kWatchers; i += 2) hub.Cancel(stream, WatchId(i), Revision(1));
  const size_t retained_bytes = hub.stats().retained_bytes;
  hub.Cancel(stream, WatchId(1), Revision(1));
  EXPECT_LT(hub.stats().retained_bytes, retained_bytes) << "what it alone had not taken";
  // What the next one of them has to take is all there.
  std::vector<Revision> told;
  while (const std::optional<Message> message = hub.Take(stream)) {
    if (message->id == WatchId(3) && !message->events.empty()) told.push_back(message->revision);
  }
  EXPECT_EQ(told, std::vector{Revision(1 + kEvents)});
  EXPECT_EQ(hub.stats().retained_bytes, 0u);
}

}  // namespace
}  // namespace cairn::watch
