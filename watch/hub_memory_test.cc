// What an idle watcher costs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

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

}  // namespace
}  // namespace cairn::watch
