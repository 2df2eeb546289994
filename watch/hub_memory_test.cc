// What an idle watcher costs, and one that takes nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>
#include <vector>

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

}  // namespace
}  // namespace cairn::watch
