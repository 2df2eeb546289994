#include "wal/pins.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::wal {
namespace {

TEST(PinsTest, TheTailStaysWithinBothBounds) {
  struct Case {
    std::string name;
    std::vector<uint64_t> before_first;  // Of each segment, oldest first.
    std::vector<uint64_t> used_bytes;
    uint64_t last;
    TailToKeep tail;
    uint64_t expected;
  };
  const uint64_t none = kKeepNothing.value();
  const std::vector<Case> cases = {
      {"no tail", {0, 10}, {8, 8}, 20, kNoTail, none},
      {"no entries", {0, 10}, {8, 8}, 20, {0, 100}, none},
      {"all of it", {0, 10}, {8, 8}, 20, {50, 100}, 1},
      {"all of a log that was cut before", {5, 10}, {8, 8}, 20, {50, 100}, 6},
      {"so many entries", {0, 10}, {8, 8}, 20, {5, 100}, 16},
      {"every entry just fits", {0, 10}, {8, 8}, 20, {20, 100}, 1},
      {"one segment's bytes", {0, 10}, {8, 8}, 20, {50, 15}, 11},
      {"both segments just fit", {0, 10}, {8, 8}, 20, {50, 16}, 1},
      {"not even the current segment", {0, 10}, {8, 8}, 20, {50, 7}, none},
      {"entries within a segment that fits", {0, 10}, {8, 8}, 20, {3, 8}, 18},
      {"an empty log", {0}, {1}, 0, {50, 100}, 1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<SegmentSummary> segments;
    for (const uint64_t before : c.before_first) {
      segments.push_back(
          {.sequence = segments.size() + 1, .before_first = {Term(1), Index(before)}});
    }
    EXPECT_EQ(TailStart({segments, c.used_bytes, Index(c.last)}, c.tail), Index(c.expected));
  }
}

// Three segments: entries 1 to 10, 11 to 20, 21 to 25 in the one that is written.
class ResolveTest : public testing::Test {
 protected:
  ResolveTest() {
    for (const uint64_t before : {uint64_t{0}, uint64_t{10}, uint64_t{20}}) {
      segments_.push_back(
          {.sequence = segments_.size() + 1, .before_first = {Term(1), Index(before)}});
    }
  }
  Retention Of(const Pins& pins) { return Resolve(pins, {segments_, used_bytes_, Index(25)}); }

  std::vector<SegmentSummary> segments_;
  const std::vector<uint64_t> used_bytes_ = {100, 100, 50};
  const TailToKeep tail_ = {.entries_max = 12, .bytes_max = 1000};
};

TEST_F(ResolveTest, NobodyNeedsAnything) {
  const Retention nothing = Of({});
  EXPECT_EQ(nothing.keep_from, kKeepNothing);
  EXPECT_TRUE(nothing.pins.empty());
}

TEST_F(ResolveTest, AFollowersPinNeverExceedsTheTail) {
  const Retention retention =
      Of({.tail = tail_,
          .pins = {{PinKind::kFollower, 7, Index(26)},    // Has everything.
                   {PinKind::kFollower, 8, Index(14)},    // As much as the tail has.
                   {PinKind::kLearner, 9, Index(13)}}});  // One entry more: a snapshot.
  EXPECT_EQ(retention.keep_from, Index(14));
  ASSERT_EQ(retention.pins.size(), 4u);
  const PinView& tail = retention.pins[0];
  EXPECT_EQ(tail.pin, (Pin{PinKind::kTail, 0, Index(14)}));
  EXPECT_TRUE(tail.is_kept);
  EXPECT_EQ(tail.entries, 12u);
  EXPECT_EQ(tail.bytes, 150u);
  EXPECT_EQ(tail.segments, 2u);
  const PinView& whole = retention.pins[1];
  EXPECT_TRUE(whole.is_kept);
  EXPECT_EQ(whole.entries + whole.bytes + whole.segments, 0u);
  EXPECT_TRUE(retention.pins[2].is_kept);
  EXPECT_EQ(retention.pins[2].entries, 12u);
  const PinView& gave_way = retention.pins[3];
  EXPECT_FALSE(gave_way.is_kept);
  EXPECT_EQ(gave_way.entries, 13u);
}

TEST_F(ResolveTest, AFollowerWithoutATailKeepsNothing) {
  const Retention retention = Of({.pins = {{PinKind::kFollower, 7, Index(5)}}});
  EXPECT_EQ(retention.keep_from, kKeepNothing);
  ASSERT_EQ(retention.pins.size(), 1u);
  EXPECT_FALSE(retention.pins[0].is_kept);
  EXPECT_EQ(retention.pins[0].entries, 21u) << "its lag is known all the same";
  EXPECT_EQ(retention.pins[0].segments, 3u);
}

TEST_F(ResolveTest, ACopyKeepsWhatFollowsItUpToItsOwnBound) {
  Pins pins{.tail = tail_,
            .copy_bytes_max = 250,
            .pins = {{PinKind::kSnapshot, 1, Index(5)}, {PinKind::kBackup, 2, Index(8)}}};
  EXPECT_EQ(Of(pins).keep_from, Index(5));
  pins.pins.erase(pins.pins.begin());
  EXPECT_EQ(Of(pins).keep_from, Index(8));
  pins.copy_bytes_max = 249;
  EXPECT_EQ(Of(pins).keep_from, Index(14));
  EXPECT_FALSE(Of(pins).pins[1].is_kept);
}

// A pin of what is gone keeps nothing: a snapshot that took too long, a follower far behind.
TEST_F(ResolveTest, WhatIsGoneIsNotKept) {
  segments_[0].before_first.index = Index(3);
  const Retention retention = Of({.tail = {.entries_max = 100, .bytes_max = 1000},
                                  .pins = {{PinKind::kFollower, 7, Index(2)},
                                           {PinKind::kSnapshot, 1, Index(3)},
                                           {PinKind::kFollower, 8, Index(4)}}});
  EXPECT_EQ(retention.keep_from, Index(4));
  EXPECT_FALSE(retention.pins[1].is_kept);
  EXPECT_EQ(retention.pins[1].entries, 22u);
  EXPECT_FALSE(retention.pins[2].is_kept);
  EXPECT_TRUE(retention.pins[3].is_kept);
}

TEST_F(ResolveTest, AnEmptyLog) {
  segments_.resize(1);
  const Retention retention = Resolve({.tail = tail_, .pins = {{PinKind::kFollower, 7, Index(1)}}},
                                      {segments_, std::vector<uint64_t>{50}, Index(0)});
  EXPECT_EQ(retention.keep_from, Index(1));
  EXPECT_TRUE(retention.pins[1].is_kept);
}

TEST(PinKindTest, Names) {
  EXPECT_EQ(PinKindName(PinKind::kTail), "tail");
  EXPECT_EQ(PinKindName(PinKind::kBackup), "backup");
}

}  // namespace
}  // namespace cairn::wal
