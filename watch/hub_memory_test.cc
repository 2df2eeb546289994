// What an idle watcher costs, and one that takes nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvcc/key_value.h"
#include "watch/hub.h"

namespace cairn::watch {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasOwnHeap = true;  // The sanitizer's, which counts otherwise.
#else
constexpr bool kHasOwnHeap = false;
#endif

// Bytes per watcher for 100 streams of 2,000 watchers; `distinct` ones have a key each.
double BytesPerWatcher(bool distinct) {
  constexpr int kStreams = 100;
  constexpr int kWatchers = 2000;
  const size_t before = mallinfo2().uordblks;
  Hub hub({}, Revision(1), 0);
  for (int i = 0; i < kStreams; ++i) {
    const StreamId stream = hub.OpenStream();
    for (int j = 0; j < kWatchers; ++j) {
      const int number = distinct ? i * kWatchers + j : j;
      // 32 bytes, as keys of services are.
      const std::string key = fmt::format("/registry/services/{:013}", number);
      hub.Create(stream, {.key = key}, {.revision = Revision(1)});
      while (hub.Take(stream).has_value()) {
      }
    }
  }
  hub.TakeReady();
  return static_cast<double>(mallinfo2().uordblks - before) / (kStreams * kWatchers);
}

TEST(HubMemory, AnIdleWatcherTakesAtMost300Bytes) {
  if (kHasOwnHeap) GTEST_SKIP() << "not under a sanitizer";
  const double distinct = BytesPerWatcher(true);
  const double shared = BytesPerWatcher(false);
  fmt::print("{:.0f} bytes with a key of its own, {:.0f} with one that 100 share\n", distinct,
             shared);
  EXPECT_LE(distinct, 300);
  EXPECT_LE(shared, 300);
}

// A megabyte of key costs a client nothing: the ranges of a stream and of all have bounds of their
// own, and room comes back with each watcher that ends.
TEST(HubMemory, RangesAreBoundedByBytes) {
  constexpr size_t kKeyBytes = size_t{1} << 20;
  // 5 MiB a stream, 8 MiB for all.
  Hub hub({.stream_watchers_max = size_t{1} << 15, .watchers_max = size_t{1} << 17}, Revision(1),
          0);
  const mvcc::Published published = {.revision = Revision(1)};
  const auto create = [&](StreamId stream, const std::string& key) {
    hub.Create(stream, {.key = key}, published);
    return *hub.Take(stream);
  };
  const auto key_of = [](int number) {
    std::string key = fmt::format("{:05}", number);
    key.resize(kKeyBytes, 'x');
    return key;
  };
  const StreamId one = hub.OpenStream();
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(create(one, key_of(i)).canceled);
  EXPECT_EQ(create(one, "a").cancel_reason,
            "cairn: the ranges watched on this stream are too long: more than 5242880 bytes, 160 "
            "for each of --max-watchers-per-stream=32768");
  const StreamId two = hub.OpenStream();
  // What others watch too is there already.
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(create(two, key_of(i)).canceled);
  const StreamId three = hub.OpenStream();
  for (int i = 5; i < 8; ++i) EXPECT_FALSE(create(three, key_of(i)).canceled);
  EXPECT_EQ(create(three, "a").cancel_reason,
            "cairn: the ranges watched are too long: more than 8388608 bytes, 64 for each of "
            "--max-watchers=131072");
  hub.Cancel(three, WatchId(0), Revision(1));
  EXPECT_TRUE(hub.Take(three)->canceled);
  EXPECT_FALSE(create(three, "a").canceled);
  hub.CloseStream(one);
  for (int i = 10; i < 12; ++i) EXPECT_FALSE(create(two, key_of(i)).canceled);
}

// A client that does not send what it was given keeps that and little more, whatever came in the
// same batch; equal watchers share even the copy.
TEST(HubMemory, APartOfABatchDoesNotKeepTheBatch) {
  Hub hub({}, Revision(1), 0);
  const StreamId one = hub.OpenStream();
  const StreamId two = hub.OpenStream();
  const StreamId all = hub.OpenStream();
  hub.Create(one, {.key = "small"}, {.revision = Revision(1)});
  hub.Create(two, {.key = "small"}, {.revision = Revision(1)});
  hub.Create(all, {.key = "a", .range_end = "z"}, {.revision = Revision(1)});
  for (const StreamId stream : {one, two, all}) hub.Take(stream);
  const auto row = [](std::string_view key, size_t value_bytes) {
    std::string bytes;
    mvcc::AppendKeyValue(bytes, {.key = key, .value = std::string(value_bytes, 'v')});
    return bytes;
  };
  const std::string small = row("small", 3000);
  const std::string large = row("large", 1 << 20);
  const mvcc::Event events[] = {{.revision = {Revision(2), 0}, .key = "large", .key_value = large},
                                {.revision = {Revision(2), 1}, .key = "small", .key_value = small}};
  hub.Notify(events, Revision(2), [](const mvcc::Event&, std::string&) { return false; });
  const std::optional<Message> first = hub.Take(one);
  const std::optional<Message> second = hub.Take(two);
  std::optional<Message> whole = hub.Take(all);
  ASSERT_TRUE(first.has_value() && second.has_value() && whole.has_value());
  ASSERT_EQ(first->events.size(), 1u);
  EXPECT_GE(first->events_bytes(), small.size());
  const auto pinned = [&](const Message& message) { return message.events[0].owner; };
  EXPECT_EQ(pinned(*first), pinned(*second));
  EXPECT_NE(pinned(*first), pinned(*whole));
  // The batch is gone with the last who has a large part of it.
  const std::weak_ptr<const void> batch = pinned(*whole);
  whole.reset();
  EXPECT_TRUE(batch.expired());
  EXPECT_EQ(hub.stats().retained_bytes, 0u);
}

// Deletions of large values: small themselves, large with what they replaced.
TEST(HubMemory, WhatEventsReplacedCountsForTheBounds) {
  constexpr int kEvents = 1000;
  const HubOptions options{.retained_bytes_max = size_t{64} << 10, .batch_bytes = size_t{4} << 10};
  Hub hub(options, Revision(1), 0);
  const StreamId stream = hub.OpenStream();
  hub.Create(stream, {.key = "a", .wants_previous = true}, {.revision = Revision(1)});
  // KeyValue{key: "a"}.
  const std::string key_value =
      "\x0a\x01"
      "a";
  std::vector<mvcc::Event> events;
  for (int64_t i = 2; i < 2 + kEvents; ++i) {
    events.push_back({.kind = mvcc::ChangeKind::kDeletion,
                      .revision = {Revision(i), 0},
                      .key = "a",
                      .key_value = key_value});
  }
  hub.Notify(events, Revision(1 + kEvents), [](const mvcc::Event&, std::string& previous) {
    previous.assign(4096, 'v');
    return true;
  });
  EXPECT_LE(hub.stats().retained_bytes, options.retained_bytes_max);
  EXPECT_EQ(hub.cursor(), Revision(1 + kEvents));
  EXPECT_EQ(hub.stats().lagging, 1u);
}

// Txns that change what a watcher wants and what it does not in turn: its part of a batch is not
// one piece.
TEST(HubMemory, PiecesOfABatchCountForTheBounds) {
  if (kHasOwnHeap) GTEST_SKIP() << "not under a sanitizer";
  const HubOptions options{.retained_bytes_max = size_t{4} << 20};
  const size_t before = mallinfo2().uordblks;
  Hub hub(options, Revision(1), 0);
  const StreamId stopped = hub.OpenStream();
  for (int i = 0; i < 1000; ++i) {
    hub.Create(stopped, {.key = "a", .range_end = fmt::format("b{}", i)},
               {.revision = Revision(1)});
  }
  const StreamId other = hub.OpenStream();
  hub.Create(other, {.key = "z"}, {.revision = Revision(1)});
  for (const StreamId stream : {stopped, other}) {
    while (hub.Take(stream).has_value()) {
    }
  }
  hub.SetBlocked(stopped, true);
  const size_t idle = mallinfo2().uordblks;
  std::string rows[2];
  mvcc::AppendKeyValue(rows[0], {.key = "a"});
  mvcc::AppendKeyValue(rows[1], {.key = "z"});
  for (int64_t i = 2; i < 50; ++i) {
    std::vector<mvcc::Event> events;
    for (int64_t sub = 0; sub < 128; ++sub) {
      events.push_back({.revision = {Revision(i), sub},
                        .key = sub % 2 == 0 ? "a" : "z",
                        .key_value = rows[sub % 2]});
    }
    hub.Notify(events, Revision(i), [](const mvcc::Event&, std::string&) { return false; });
    while (hub.Take(other).has_value()) {
    }
    // The newest few batches are kept whatever they hold.
    EXPECT_LE(mallinfo2().uordblks - idle, 2 * options.retained_bytes_max);
  }
  EXPECT_GT(hub.stats().fallen_behind, 0u);
  EXPECT_LT(idle - before, options.retained_bytes_max);
}

// Many watchers of one range that came and went.
TEST(HubMemory, AGroupKeepsNoRoomForThoseWhoLeft) {
  if (kHasOwnHeap) GTEST_SKIP() << "not under a sanitizer";
  Hub hub({}, Revision(1), 0);
  const StreamId stream = hub.OpenStream();
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < 100; ++i) {
    const std::string key = fmt::format("{}", i);
    for (int64_t j = 0; j < 1000; ++j) {
      hub.Create(stream, {.id = WatchId(1000 * i + j + 1), .key = key}, {.revision = Revision(1)});
    }
    for (int64_t j = 1; j < 1000; ++j) {
      hub.Cancel(stream, WatchId(1000 * i + j + 1), Revision(1));
    }
    while (hub.Take(stream).has_value()) {
    }
  }
  EXPECT_EQ(hub.stats().watchers, 100u);
  EXPECT_LT(mallinfo2().uordblks - before, size_t{100} << 10);
}

}  // namespace
}  // namespace cairn::watch
