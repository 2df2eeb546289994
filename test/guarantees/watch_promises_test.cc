// Every promise, kept and broken: a checker that finds nothing proves nothing.
#include "test/guarantees/watch_promises.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cairn::test {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

const WatchedEvent kA2 = {.revision = 2, .key = "a", .value = "1"};
const WatchedEvent kA3 = {.revision = 3, .key = "a", .value = "2", .previous = "1"};
const WatchedEvent kB3 = {.revision = 3, .key = "b", .value = "2"};
const WatchedEvent kA4 = {.revision = 4, .key = "a", .is_deletion = true, .previous = "2"};
const WatchedHistory kHistory = {{2, {kA2}}, {3, {kA3, kB3}}, {4, {kA4}}};

WatchedEvent Plain(WatchedEvent event) {
  event.previous.reset();
  return event;
}

WatchRecord Record(std::vector<WatchRecord::Response> responses) {
  return {.name = "w", .first = "a", .limit = "c", .responses = std::move(responses)};
}

TEST(WatchPromises, AFaithfulRecordHasNoViolation) {
  const WatchRecord record = Record({{.start = 2},
                                     {.revision = 2, .events = {kA2}},
                                     {.revision = 2},
                                     {.start = 3},
                                     {.revision = 4, .events = {Plain(kA3), kB3, Plain(kA4)}},
                                     {.revision = 9}});
  EXPECT_THAT(CheckAll(record, kHistory), IsEmpty());
}

TEST(WatchPromises, EachBrokenPromiseIsFound) {
  EXPECT_THAT(CheckOrdered(Record({{.events = {Plain(kA4)}}, {.events = {kA2}}})), Not(IsEmpty()));
  EXPECT_THAT(CheckUnique(Record({{.events = {kA2}}, {.start = 2}, {.events = {kA2}}})),
              Not(IsEmpty()));
  EXPECT_THAT(CheckAtomic(Record({{.events = {Plain(kA3)}}, {.events = {kB3}}}), kHistory),
              Not(IsEmpty()));
  EXPECT_THAT(
      CheckComplete(Record({{.start = 2}, {.events = {kA2}}, {.events = {Plain(kA4)}}}), kHistory),
      Not(IsEmpty()));
  EXPECT_THAT(CheckResumable(Record({{.start = 3}, {.events = {kA2}}})), Not(IsEmpty()));
  EXPECT_THAT(CheckBookmarkable(Record({{.start = 2}, {.revision = 3}}), kHistory), Not(IsEmpty()));
  EXPECT_THAT(
      CheckBookmarkable(
          Record({{.start = 2}, {.events = {kA2}}, {.revision = 2}, {.events = {kA2}}}), kHistory),
      Not(IsEmpty()));
  WatchedEvent other = kA2;
  other.key = "x";
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {other}}}), kHistory), Not(IsEmpty()));
  other = kA2;
  other.value = "never";
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {other}}}), kHistory), Not(IsEmpty()));
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {kA3}}}), kHistory), Not(IsEmpty()));
}

}  // namespace
}  // namespace cairn::test
