#include "server/space_alarm.h"

#include <gtest/gtest.h>

namespace cairn::server {
namespace {

constexpr auto kNone = SpaceDecision::kNone;
constexpr auto kRaise = SpaceDecision::kRaise;
constexpr auto kClear = SpaceDecision::kClear;

struct Case {
  const char* name;
  SpaceView view;
  SpaceDecision expected;
};

const Case kCases[] = {
    {"no quota, room on the disk", {.used_bytes = 1000}, kNone},
    {"below the quota", {.quota_bytes = 160, .used_bytes = 159}, kNone},
    {"at the quota", {.quota_bytes = 160, .used_bytes = 160}, kRaise},
    {"above the quota", {.quota_bytes = 160, .used_bytes = 200}, kRaise},
    {"the disk is full", {.is_disk_full = true}, kRaise},
    {"what was refused does not fit",
     {.quota_bytes = 160, .used_bytes = 100, .refused_bytes = 61},
     kRaise},
    {"what was refused fits by now",
     {.quota_bytes = 160, .used_bytes = 100, .refused_bytes = 60},
     kNone},
    {"raised and still full",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 160},
     kNone},
    {"a sixteenth is not free",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 151},
     kNone},
    {"a sixteenth is free",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 1000,
      .quota_bytes = 160,
      .used_bytes = 150},
     kClear},
    {"not within a second",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 999,
      .quota_bytes = 160,
      .used_bytes = 0},
     kNone},
    {"what was refused still does not fit",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 110,
      .refused_bytes = 51},
     kNone},
    {"what was refused fits",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 109,
      .refused_bytes = 51},
     kClear},
    {"what can never fit is waited for up to half the quota",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 80,
      .refused_bytes = 500},
     kClear},
    {"and no less",
     {.is_raised = true,
      .is_automatic = true,
      .raised_for_ms = 5000,
      .quota_bytes = 160,
      .used_bytes = 81,
      .refused_bytes = 500},
     kNone},
    {"the quota was taken away",
     {.is_raised = true, .is_automatic = true, .raised_for_ms = 5000, .used_bytes = 1000},
     kClear},
    {"room, but the disk is full",
     {.is_raised = true, .is_automatic = true, .raised_for_ms = 5000, .is_disk_full = true},
     kNone},
    {"the disk has room again",
     {.is_raised = true, .is_automatic = true, .raised_for_ms = 5000},
     kClear},
    {"a client's alarm stays", {.is_raised = true, .raised_for_ms = 5000}, kNone},
    {"a client's alarm needs no second one",
     {.is_raised = true, .raised_for_ms = 5000, .is_disk_full = true},
     kNone},
};

TEST(SpaceAlarmTest, Decides) {
  for (const Case& c : kCases) EXPECT_EQ(DecideSpaceAlarm(c.view), c.expected) << c.name;
}

}  // namespace
}  // namespace cairn::server
