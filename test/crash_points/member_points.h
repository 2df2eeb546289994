// Every crash point of a member where log and state meet: a snapshot that takes the state's place,
// and the removal of what the state has made durable (flush, marker, plan, delete, directory).
//
// The log lies on FaultFs, the state in MemDisk: a crash keeps any subset of what is unsynced of
// the first and any prefix of what is unflushed of the second. From each outcome the real bootstrap
// starts, and must hold these promises: it starts; log and state meet; the state is the old one or
// the new one whole; everything acknowledged is there; the marker never promises more than the
// state has; and the member goes on, also over another crash.
#ifndef CAIRN_TEST_CRASH_POINTS_MEMBER_POINTS_H_
#define CAIRN_TEST_CRASH_POINTS_MEMBER_POINTS_H_

#include <span>
#include <string_view>

#include "test/crash_points/report.h"

namespace cairn::crash_points {

// Installations on followers whose log ends before the snapshot, at it, and behind it. One thread.
void EnumerateInstallations(const Bounds& bounds, Report& report);
// A member with all its threads, whose log is trimmed while it works. Which steps come in which
// order is the threads' business; each is met.
void EnumerateTrimming(const Bounds& bounds, Report& report);

// The steps that they must have met.
std::span<const std::string_view> MemberSteps();

}  // namespace cairn::crash_points

#endif  // CAIRN_TEST_CRASH_POINTS_MEMBER_POINTS_H_
