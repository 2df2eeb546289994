// The Watch service over calls without a transport: threads, back-pressure, ends of streams.
#include "server/watch_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/mutex.h"
#include "base/status.h"
#include "mvcc/key_value.h"
#include "server/fake_node.h"
#include "server/leader_loss.h"
#include "server/response_buffer.h"
#include "server/rpc/eager_call.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

constexpr std::string_view kPath = "/etcdserverpb.Watch/Watch";

class WatchServiceTest : public ::testing::Test {
 protected:
  explicit WatchServiceTest(WatchOptions options = {})
      : feed_(node_.store().published().revision),
        service_({node_, node_.store(), budget_, {}}, feed_, std::move(options)) {
    node_.sink = &feed_;
    service_.Register(table_);
  }

  rpc::FakeStreamCall Open(rpc::FakeCallOptions options = {}) {
    return rpc::StartStream(table_, kPath, std::move(options));
  }
  static void Ask(rpc::FakeStreamCall& stream, std::string_view text) {
    WatchRequest request;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(text), &request)) << text;
    stream.Send(request.SerializeAsString());
  }
  static WatchResponse Next(rpc::FakeStreamCall& stream) {
    WatchResponse response;
    const std::optional<std::string> bytes = stream.WaitReceive(std::chrono::seconds(60));
    EXPECT_TRUE(bytes.has_value()) << "no response";
    if (bytes.has_value()) {
      EXPECT_TRUE(response.ParseFromString(*bytes));
    }
    return response;
  }
  // A response without the ids and term of its header, which are checked.
  static std::string Shown(rpc::FakeStreamCall& stream) {
    WatchResponse response = Next(stream);
    EXPECT_EQ(response.header().cluster_id(), 11u);
    EXPECT_EQ(response.header().member_id(), 22u);
    EXPECT_EQ(response.header().raft_term(), 3u);
    response.mutable_header()->clear_cluster_id();
    response.mutable_header()->clear_member_id();
    response.mutable_header()->clear_raft_term();
    google::protobuf::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    std::string text;
    printer.PrintToString(response, &text);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  }

  void Put(std::string_view key, std::string_view value) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_value(std::string(value));
    ASSERT_TRUE(node_.Apply(CommandKind::kPut, request.SerializeAsString()).status.ok());
  }
  void Compact(int64_t revision) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision);
    ASSERT_TRUE(node_.Apply(CommandKind::kCompact, request.SerializeAsString()).status.ok());
  }
  // Takes responses until `count` events of one key have come; their values must be first,
  // first + 1, ...
  static void ExpectValues(rpc::FakeStreamCall& stream, int first, int count) {
    int64_t last_revision = 0;
    for (int expected = first; expected < first + count;) {
      const WatchResponse response = Next(stream);
      ASSERT_GT(response.events_size(), 0) << response.ShortDebugString();
      for (const mvccpb::Event& event : response.events()) {
        ASSERT_EQ(event.kv().value(), std::to_string(expected));
        ASSERT_GT(event.kv().mod_revision(), last_revision);
        last_revision = event.kv().mod_revision();
        ++expected;
      }
    }
  }

  // What a client that stops is sent at the most: half of its share, and one response more.
  static int64_t QueuedBytesMax(int64_t share_bytes) {
    constexpr int64_t kMessageBytes = rpc::kQueuedMessageOverheadBytes + 100;
    return share_bytes + share_bytes / 8 + kMessageBytes;
  }

  FakeNode node_;
  ResponseBudget budget_;
  WatchFeed feed_;
  rpc::ServiceTable table_;
  WatchService service_;
};

TEST_F(WatchServiceTest, TheWireAsEtcdHasIt) {
  Put("a", "1");
  rpc::FakeStreamCall stream = Open();
  Ask(stream, R"(create_request { key: "a" prev_kv: true })");
  EXPECT_EQ(Shown(stream), "header { revision: 2 } created: true");
  Put("a", "2");
  EXPECT_EQ(Shown(stream),
            R"(header { revision: 3 } events { kv { key: "a" create_revision: 2 mod_revision: 3 )"
            R"(version: 2 value: "2" } prev_kv { key: "a" create_revision: 2 mod_revision: 2 )"
            R"(version: 1 value: "1" } })");
  Ask(stream, R"(create_request { key: "a" start_revision: 2 watch_id: 9 filters: NODELETE })");
  EXPECT_EQ(Shown(stream), "header { revision: 3 } watch_id: 9 created: true");
  EXPECT_EQ(Shown(stream),
            R"(header { revision: 3 } watch_id: 9 events { kv { key: "a" create_revision: 2 )"
            R"(mod_revision: 2 version: 1 value: "1" } } events { kv { key: "a" )"
            R"(create_revision: 2 mod_revision: 3 version: 2 value: "2" } })");
  Ask(stream, "progress_request {}");
  EXPECT_EQ(Shown(stream), "header { revision: 3 } watch_id: -1");
  Ask(stream, "cancel_request { watch_id: 9 }");
  EXPECT_EQ(Shown(stream), "header { revision: 3 } watch_id: 9 canceled: true");
  Ask(stream, R"(create_request { key: "b" range_end: "a" })");
  EXPECT_EQ(Shown(stream),
            "header { revision: 3 } watch_id: -1 created: true canceled: true cancel_reason: "
            "\"mvcc: watcher range is empty\"");
  Compact(3);
  Ask(stream, R"(create_request { key: "a" start_revision: 2 watch_id: 5 })");
  EXPECT_EQ(Shown(stream), "header { revision: 3 } watch_id: 5 created: true");
  EXPECT_EQ(Shown(stream), "header { } watch_id: 5 canceled: true compact_revision: 3");
  // One that says nothing is ignored; the stream lives.
  stream.Send("");
  Ask(stream, "cancel_request { watch_id: 77 }");
  Put("a", "3");
  EXPECT_EQ(Next(stream).events_size(), 1);
}

// A client that has nothing more to ask still wants its events.
TEST_F(WatchServiceTest, HalfCloseLeavesTheWatchRunning) {
  rpc::FakeStreamCall stream = Open();
  Ask(stream, R"(create_request { key: "a" })");
  EXPECT_TRUE(Next(stream).created());
  stream.HalfClose();
  Put("a", "0");
  ExpectValues(stream, 0, 1);
  EXPECT_FALSE(stream.status().has_value());
}

TEST_F(WatchServiceTest, EndsOfStreams) {
  rpc::FakeStreamCall garbage = Open();
  garbage.Send("\xff\xff");
  EXPECT_EQ(garbage.WaitStatus().code(), absl::StatusCode::kInternal);

  rpc::FakeStreamCall gone = Open();
  Ask(gone, R"(create_request { key: "a" })");
  EXPECT_TRUE(Next(gone).created());
  gone.Cancel();
  EXPECT_EQ(gone.WaitStatus(), api::ToStatus(api::Error::kWatchCanceled));

  rpc::FakeStreamCall open = Open();
  Ask(open, R"(create_request { key: "a" })");
  EXPECT_TRUE(Next(open).created());
  service_.Stop();
  EXPECT_EQ(open.WaitStatus(), api::ToStatus(api::Error::kServerStopped));
  rpc::FakeStreamCall late = Open();
  EXPECT_EQ(late.WaitStatus(), api::ToStatus(api::Error::kServerStopped));
}

TEST_F(WatchServiceTest, AStreamThatWantsALeaderIsRefusedWithoutOne) {
  node_.status_.leader = MemberId(0);
  rpc::FakeStreamCall stream = Open({.metadata = {{"hasleader", "true"}}});
  EXPECT_EQ(stream.WaitStatus(), api::ToStatus(api::Error::kNoLeader));
}

TEST_F(WatchServiceTest, ALearnerServesNoWatches) {
  node_.status_.is_learner = true;
  EXPECT_EQ(Open().WaitStatus(), api::ToStatus(api::Error::kNotSupportedForLearner));
}

TEST_F(WatchServiceTest, AStreamThatWantsALeaderEndsWhenItIsLost) {
  rpc::FakeStreamCall asking = Open({.metadata = {{"hasleader", "true"}}});
  rpc::FakeStreamCall indifferent = Open();
  for (rpc::FakeStreamCall* const stream : {&asking, &indifferent}) {
    Ask(*stream, R"(create_request { key: "a" })");
    EXPECT_TRUE(Next(*stream).created());
  }
  for (int i = 0; i < 3; ++i) node_.leader_loss().Tick(false);
  EXPECT_EQ(asking.WaitStatus(), api::ToStatus(api::Error::kNoLeader));
  Put("a", "0");
  ExpectValues(indifferent, 0, 1);
}

// Writers and watchers that come and go at the same time: each hears of everything, once, in order.
TEST_F(WatchServiceTest, WatchersThatJoinUnderWritesMissNothing) {
  constexpr int kPuts = 3000;
  constexpr int kStreams = 8;
  Put("a", "0");
  std::atomic<int> put = 0;
  std::thread writer([&] {
    for (int i = 1; i <= kPuts; ++i) {
      Put("a", std::to_string(i));
      put = i;
    }
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < kStreams; ++i) {
    readers.emplace_back([&, i] {
      while (put < i * kPuts / kStreams) std::this_thread::yield();
      rpc::FakeStreamCall stream = Open();
      Ask(stream, R"(create_request { key: "a" start_revision: 1 })");
      EXPECT_TRUE(Next(stream).created());
      ExpectValues(stream, 0, kPuts + 1);
      stream.Cancel();
    });
  }
  writer.join();
  for (std::thread& reader : readers) reader.join();
}

// A stopped client holds up nobody, is sent no more than its share, and has everything in the end.
TEST_F(WatchServiceTest, AStoppedClientCostsItsShareAndLosesNothing) {
  constexpr int kPuts = 2000;
  rpc::FakeStreamCall stopped = Open();
  rpc::FakeStreamCall reading = Open();
  for (rpc::FakeStreamCall* stream : {&stopped, &reading}) {
    Ask(*stream, R"(create_request { key: "a" })");
    EXPECT_TRUE(Next(*stream).created());
  }
  for (int i = 0; i < kPuts; ++i) {
    Put("a", std::to_string(i));
    Put("b", std::string(200, 'x'));
    if (i % 10 == 9) ExpectValues(reading, i - 9, 10);
  }
  EXPECT_LE(stopped.queued_bytes(), QueuedBytesMax(WatchService::kStreamQueuedBytesMax));
  ExpectValues(stopped, 0, kPuts);
}

// A share is of what there is for all: the more streams, the less each queues, also in one message.
TEST_F(WatchServiceTest, ManyStoppedClientsShareWhatThereIsForAll) {
  constexpr int64_t kStreams = 2048;
  constexpr int kPuts = 100;
  const int64_t share_bytes = WatchService::kQueuedBytesMax / kStreams;
  std::vector<rpc::FakeStreamCall> streams;
  for (int64_t i = 0; i < kStreams; ++i) {
    streams.push_back(Open());
    Ask(streams.back(), R"(create_request { key: "k" range_end: "l" })");
    EXPECT_TRUE(Next(streams.back()).created());
  }
  // In values, for the stream that reads; large enough, for those that do not.
  const std::string key(1000, 'k');
  for (int i = 0; i < kPuts; ++i) Put(key, std::to_string(i));
  ExpectValues(streams[0], 0, kPuts);
  int64_t total_bytes = 0;
  for (int64_t i = 1; i < kStreams; ++i) {
    // All were served when the first had everything, or are now.
    while (streams[i].queued_bytes() <= share_bytes / 2) std::this_thread::yield();
    EXPECT_LE(streams[i].queued_bytes(), QueuedBytesMax(share_bytes));
    total_bytes += streams[i].queued_bytes();
  }
  EXPECT_LE(total_bytes, WatchService::kQueuedBytesMax * 9 / 8);
  ExpectValues(streams[kStreams - 1], 0, kPuts);
}

// Who asks and asks and takes no answers is asked no more, until it takes them.
TEST_F(WatchServiceTest, AClientThatTakesNoAnswersIsHeldBack) {
  constexpr size_t kCreations = 3000;
  rpc::FakeStreamCall stopped = Open();
  for (size_t i = 0; i < kCreations; ++i) Ask(stopped, R"(create_request { key: "a" })");
  const auto look = [&] {
    std::promise<absl::StatusOr<WatchPage>> page;
    service_.Look({}, 1,
                  [&](absl::StatusOr<WatchPage> found) { page.set_value(std::move(found)); });
    return page.get_future().get().value();
  };
  WatchPage page = look();
  while (page.streams.empty() || !page.streams[0].view.is_blocked) page = look();
  const size_t watchers = page.stats.watchers;
  // One answer goes beyond the mark, no more.
  EXPECT_LE(watchers, static_cast<size_t>(WatchService::kStreamQueuedBytesMax / 2 /
                                          rpc::kQueuedMessageOverheadBytes) +
                          1);
  EXPECT_GT(watchers, 0u);
  // Others are heard meanwhile.
  rpc::FakeStreamCall reading = Open();
  for (int i = 0; i < 10; ++i) {
    Ask(reading, R"(create_request { key: "b" })");
    EXPECT_TRUE(Next(reading).created());
  }
  EXPECT_EQ(look().stats.watchers, watchers + 10);
  for (size_t i = 0; i < kCreations; ++i) {
    ASSERT_EQ(Next(stopped).watch_id(), static_cast<int64_t>(i));
  }
  EXPECT_EQ(look().stats.watchers, kCreations + 10);
}

// Whose messages went out, in which order.
class Journal {
 public:
  void Add(int writer) {
    base::MutexLock lock(mutex_);
    writers_.push_back(writer);
  }
  std::vector<int> Take() {
    base::MutexLock lock(mutex_);
    return std::exchange(writers_, {});
  }

 private:
  base::Mutex mutex_;
  std::vector<int> writers_ ABSL_GUARDED_BY(mutex_);
};

// However much a stream has to take and however fast it does: the others are served in between.
TEST_F(WatchServiceTest, AStreamHasNoMoreThanItsPartOfATurn) {
  constexpr int kWatchers = 10 * WatchService::kMessagesPerTurn;
  constexpr int kBusy = 1;
  constexpr int kOther = 2;
  Journal journal;
  rpc::FakeStreamCall busy;
  rpc::FakeStreamCall other;
  const auto& start = std::get<rpc::StreamHandler>(*table_.Find(kPath));
  start(std::make_shared<rpc::EagerCall>(busy.TakeCall(), [&journal] { journal.Add(kBusy); }));
  for (int i = 0; i < kWatchers; ++i) {
    Ask(busy, R"(create_request { key: "a" })");
    EXPECT_TRUE(Next(busy).created());
  }
  start(std::make_shared<rpc::EagerCall>(other.TakeCall(), [&journal] { journal.Add(kOther); }));
  Ask(other, R"(create_request { key: "a" })");
  EXPECT_TRUE(Next(other).created());
  journal.Take();
  Put("a", "0");
  ExpectValues(other, 0, 1);
  for (int i = 0; i < kWatchers; ++i) ExpectValues(busy, 0, 1);
  const std::vector<int> writers = journal.Take();
  EXPECT_THAT(writers, testing::SizeIs(kWatchers + 1));
  const auto before = std::find(writers.begin(), writers.end(), kOther) - writers.begin();
  EXPECT_LE(before, WatchService::kMessagesPerTurn);
  // Calls end before the journal does.
  service_.Stop();
}

class ProgressTest : public WatchServiceTest {
 protected:
  ProgressTest() : WatchServiceTest({.hub = {.progress_interval_ms = 20}}) {}
};

TEST_F(ProgressTest, IdleWatchersHearThatNothingHappened) {
  rpc::FakeStreamCall stream = Open();
  Ask(stream, R"(create_request { key: "a" progress_notify: true })");
  EXPECT_EQ(Shown(stream), "header { revision: 1 } created: true");
  EXPECT_EQ(Shown(stream), "header { revision: 1 }");
  Put("b", "1");
  while (Next(stream).header().revision() != 2) {
  }
}

// What small values replaced comes along; the rest is read.
TEST_F(WatchServiceTest, WhatEventsReplacedIsToldWhateverItsSize) {
  rpc::FakeStreamCall stream = Open();
  Ask(stream, R"(create_request { key: "a" range_end: "b" prev_kv: true })");
  EXPECT_TRUE(Next(stream).created());
  const std::string values[] = {"small", std::string(10'000, 'v'), "small again"};
  for (const std::string& value : values) Put("a", value);
  std::vector<std::string> previous;
  while (previous.size() < 3) {
    const WatchResponse response = Next(stream);
    ASSERT_GT(response.events_size(), 0);
    for (const mvccpb::Event& event : response.events()) {
      previous.push_back(event.has_prev_kv() ? event.prev_kv().value() : "none");
    }
  }
  EXPECT_THAT(previous, testing::ElementsAre("none", values[0], values[1]));
}

// Nobody pays for what nobody wants.
TEST(WatchFeed, CarriesWhatWasReplacedWhileItIsWanted) {
  WatchFeed feed(Revision(1));
  EXPECT_FALSE(feed.WantsPrevious());
  feed.Enable([] {});
  EXPECT_FALSE(feed.WantsPrevious());
  feed.EnablePrevious();
  EXPECT_TRUE(feed.WantsPrevious());
  std::string key_value;
  mvcc::AppendKeyValue(key_value, {.key = "k", .mod_revision = Revision(2), .value = "v"});
  const mvcc::Change changes[] = {
      {.revision = {Revision(2), 0}, .key = "k", .key_value = key_value},
      {.revision = {Revision(3), 0},
       .key = "k",
       .key_value = key_value,
       .previous_key_value = "before"}};
  feed.OnCommitted(changes, Revision(3));
  WatchFeed::Batch batch;
  ASSERT_TRUE(feed.Fetch(batch));
  EXPECT_EQ(batch.changes.Previous({Revision(2), 0}), std::nullopt);
  EXPECT_EQ(batch.changes.Previous({Revision(3), 0}), "before");
  EXPECT_EQ(batch.changes.Previous({Revision(4), 0}), std::nullopt);
  ASSERT_EQ(batch.changes.Events().size(), 2u);
  EXPECT_EQ(batch.changes.Events()[1].key_value, key_value);
  feed.Disable();
  EXPECT_FALSE(feed.WantsPrevious());
}

// The state was replaced: what had been collected is in the new history too.
TEST(WatchFeed, AReplacedStateIsAGapUpToItsRevision) {
  WatchFeed feed{Revision(5)};
  feed.OnReplaced(Revision(9));
  int wakes = 0;
  EXPECT_EQ(feed.Enable([&] { ++wakes; }), Revision(9));
  feed.OnReplaced(Revision(9));
  EXPECT_EQ(wakes, 0) << "at the same revision nothing is missing";
  feed.OnReplaced(Revision(30));
  feed.OnReplaced(Revision(40));
  EXPECT_EQ(wakes, 1);
  WatchFeed::Batch batch;
  ASSERT_TRUE(feed.Fetch(batch));
  EXPECT_TRUE(batch.has_gap);
  EXPECT_TRUE(batch.changes.empty());
  EXPECT_EQ(batch.through, Revision(40));
  EXPECT_FALSE(feed.Fetch(batch));
}

TEST(WatchFeed, BeyondItsBoundItTellsOfAGapAndHoldsNothing) {
  WatchFeed feed(Revision(1));
  std::string key_value;
  const std::string value(size_t{1} << 20, 'v');
  mvcc::AppendKeyValue(key_value, {.key = "k", .mod_revision = Revision(2), .value = value});
  const mvcc::Change change = {.revision = {Revision(2), 0}, .key = "k", .key_value = key_value};
  int wakes = 0;
  feed.OnCommitted({&change, 1}, Revision(2));  // Nobody listens.
  EXPECT_EQ(feed.Enable([&] { ++wakes; }), Revision(2));
  WatchFeed::Batch batch;
  EXPECT_FALSE(feed.Fetch(batch));
  feed.OnCommitted({&change, 1}, Revision(3));
  ASSERT_TRUE(feed.Fetch(batch));
  EXPECT_EQ(batch.through, Revision(3));
  ASSERT_EQ(batch.changes.Events().size(), 1u);
  EXPECT_EQ(batch.changes.Events()[0].key, "k");
  EXPECT_EQ(wakes, 1);
  for (int i = 0; i < 40; ++i) feed.OnCommitted({&change, 1}, Revision(4 + i));
  EXPECT_EQ(wakes, 2);
  ASSERT_TRUE(feed.Fetch(batch));
  EXPECT_TRUE(batch.has_gap);
  EXPECT_TRUE(batch.changes.empty());
  EXPECT_EQ(batch.through, Revision(43));
  EXPECT_FALSE(feed.Fetch(batch));
}

}  // namespace
}  // namespace cairn::server
