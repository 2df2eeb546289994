// A client that watches: it takes what it is sent and holds it against the history.
//
// When its member goes it asks another one to go on where it was, as clients do.
#ifndef CAIRN_TEST_SIM_WATCHER_H_
#define CAIRN_TEST_SIM_WATCHER_H_

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "test/sim/counts.h"
#include "test/sim/history.h"
#include "watch/hub.h"
#include "watch/message.h"

namespace cairn::sim {

struct Watcher {
  // What it wants.
  std::string key;
  std::string range_end;
  bool skips_puts = false;
  bool skips_deletions = false;
  bool wants_previous = false;
  bool progress_notify = false;

  // Where it is connected; incarnation 0: nowhere.
  size_t position = 0;
  uint64_t incarnation = 0;
  watch::StreamId stream;
  bool is_created = false;
  // All that it wants before this was delivered; 0: it begins with whatever comes next.
  Revision next;

  watch::CreateRequest Request() const;
  bool Wants(const History::Change& change) const;
  // Takes a message, moves on, and returns what is wrong with it.
  std::string Take(const watch::Message& message, const History& history, Counts& counts);
  // Whether it has everything through `revision`.
  bool HasAll(const History& history, Revision revision) const;

 private:
  std::string TakeEvents(const watch::Message& message, const History& history, Counts& counts);
  // The first change from `next` on, up to `through`, that it wants; null: none.
  const History::Change* NextWanted(const History& history, Revision through) const;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_WATCHER_H_
