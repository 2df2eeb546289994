// What an operator asks of the log: how much there is and for whom, how it was written, how long
// the start took. Plain numbers of one moment, ready for whoever collects them.
//
// Histograms are cumulative, counters only rise until the process ends.
#ifndef CAIRN_SERVER_LOG_STATS_H_
#define CAIRN_SERVER_LOG_STATS_H_

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "wal/pins.h"
#include "wal/types.h"

namespace cairn::server {

struct LogStats {
  wal::LogFigures log;
  wal::LogThreadFigures thread;
  // Who needs what of it. Of a member that leads, each follower's lag is among the pins.
  wal::Retention retention;
  Index applied;

  // The start: the log read and checked, then what the state lacked of it applied.
  uint64_t open_us = 0;
  uint64_t open_bytes = 0;
  uint64_t replayed_entries = 0;
  std::optional<uint64_t> replay_us;  // None: under way.
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_LOG_STATS_H_
