// Every crash point of the log: a scripted life of one log on a disk in memory, and at each of its
// steps every outcome that a crash may have there.
//
// From each outcome the real recovery starts (Wal::Open), and must hold these promises:
//   - it starts; no crash is refused,
//   - what it has is one of the versions since the last acknowledged one: no acknowledged record is
//     missing, none changed, no gap, term and vote as they were, no segment gone that is needed,
//   - all of that is durable from then on: a power cut right after it loses nothing and finds
//     nothing left to cut,
//   - what was cut off is kept, durably, in a `.broken` file,
//   - what is written next is there after the next power cut.
// And some of them crash again at each step of their recovery.
#ifndef CAIRN_TEST_CRASH_POINTS_LOG_POINTS_H_
#define CAIRN_TEST_CRASH_POINTS_LOG_POINTS_H_

#include <span>
#include <string_view>

#include "test/crash_points/report.h"

namespace cairn::crash_points {

// Plays the script; stops at the first violation, which is in `report`.
void EnumerateLog(const Bounds& bounds, Report& report);

// The steps that it must have met.
std::span<const std::string_view> LogSteps();

}  // namespace cairn::crash_points

#endif  // CAIRN_TEST_CRASH_POINTS_LOG_POINTS_H_
