#include "server/cluster_state.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::server {
namespace {

constexpr MemberId kOne(1);
constexpr MemberId kLarge(0x8e9e05c52164694d);

TEST(ClusterStateTest, AlarmsStandOnceAndInOrder) {
  ClusterState state;
  EXPECT_FALSE(HasAlarm(state, AlarmKind::kNoSpace));
  EXPECT_TRUE(AddAlarm(state, {AlarmKind::kCorrupt, kOne}));
  EXPECT_FALSE(HasAutomaticAlarm(state));
  EXPECT_TRUE(AddAlarm(state, {AlarmKind::kNoSpace, kLarge, true}));
  EXPECT_TRUE(HasAutomaticAlarm(state));
  EXPECT_TRUE(AddAlarm(state, {AlarmKind::kNoSpace, kOne}));
  // Who raised it first counts.
  EXPECT_FALSE(AddAlarm(state, {AlarmKind::kNoSpace, kOne, true}));
  EXPECT_EQ(state.alarms, (std::vector<Alarm>{{AlarmKind::kNoSpace, kOne, false},
                                              {AlarmKind::kNoSpace, kLarge, true},
                                              {AlarmKind::kCorrupt, kOne, false}}));
  EXPECT_TRUE(HasAlarm(state, AlarmKind::kCorrupt));
  EXPECT_EQ(FindAlarm(state, AlarmKind::kCorrupt, kLarge), nullptr);
  EXPECT_TRUE(FindAlarm(state, AlarmKind::kNoSpace, kLarge)->is_automatic);
  // 0 is an ordinary member.
  EXPECT_FALSE(RemoveAlarm(state, AlarmKind::kNoSpace, MemberId(0)));
  EXPECT_TRUE(RemoveAlarm(state, AlarmKind::kNoSpace, kOne));
  EXPECT_FALSE(RemoveAlarm(state, AlarmKind::kNoSpace, kOne));
  EXPECT_EQ(state.alarms.size(), 2U);
}

TEST(ClusterStateTest, TextsAreEtcds) {
  EXPECT_EQ(AlarmText({AlarmKind::kNoSpace, kLarge}),
            "memberID:10276657743932975437 alarm:NOSPACE");
  EXPECT_EQ(AlarmText({AlarmKind::kCorrupt, MemberId(0)}), "alarm:CORRUPT");
}

TEST(ClusterStateTest, RowsGoThereAndBack) {
  for (const Alarm& alarm :
       {Alarm{AlarmKind::kNoSpace, kLarge, true}, Alarm{AlarmKind::kCorrupt, MemberId(0), false}}) {
    const std::string key = AlarmRowKey(alarm.kind, alarm.member);
    const absl::StatusOr<Alarm> back = DecodeAlarmRow(key, EncodeAlarmRow(alarm));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, alarm);
    for (size_t size = 0; size < key.size(); ++size) {
      EXPECT_FALSE(DecodeAlarmRow(key.substr(0, size), EncodeAlarmRow(alarm)).ok()) << size;
    }
    EXPECT_FALSE(DecodeAlarmRow(key + "x", EncodeAlarmRow(alarm)).ok());
    EXPECT_FALSE(DecodeAlarmRow(key, "\xff").ok());
  }
  std::string unknown = AlarmRowKey(AlarmKind::kNoSpace, kOne);
  unknown[2] = 3;
  EXPECT_FALSE(DecodeAlarmRow(unknown, "").ok());
}

}  // namespace
}  // namespace cairn::server
