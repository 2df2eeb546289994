// What a log must hold, kept the dumb way: for tests that compare after a crash.
//
// A model is one version of the whole content; a test keeps the last acknowledged one and every one
// that was written since. What comes back must be one of them. Test only.
#ifndef CAIRN_WAL_LOG_MODEL_H_
#define CAIRN_WAL_LOG_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "base/status.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::wal {

struct LogModel {
  std::map<uint64_t, raft::Entry> entries;
  raft::HardState hard_state;
  std::string configuration;
  uint64_t marker = 0;
  uint64_t snapshot = 0;

  void Apply(const Append& append) {
    if (append.snapshot_installed) {
      entries.clear();
      snapshot = append.snapshot_installed->id.index.value();
      configuration = append.snapshot_installed->configuration;
    }
    for (const raft::Entry& entry : append.entries) {
      entries.erase(entries.lower_bound(entry.index.value()), entries.end());
      entries[entry.index.value()] = entry;
    }
    if (append.hard_state) hard_state = *append.hard_state;
    if (append.configuration) configuration = *append.configuration;
    if (append.marker) marker = append.marker->id.index.value();
    hard_state.commit = std::max(hard_state.commit, append.commit);
  }
  uint64_t last() const { return entries.empty() ? snapshot : entries.rbegin()->first; }
  uint64_t last_term() const {
    return entries.empty() ? hard_state.term.value() : entries.rbegin()->second.term.value();
  }
};

// How what was recovered, and what `wal` reads, differ from the model; empty when they do not.
inline std::string Difference(const LogModel& model, const Recovered& recovered, const Wal& wal) {
  if (recovered.hard_state != model.hard_state) return "hard state";
  if (recovered.last.index.value() != model.last()) {
    return "last " + std::to_string(recovered.last.index.value()) + " instead of " +
           std::to_string(model.last());
  }
  if (recovered.configuration.value_or("") != model.configuration) return "configuration";
  if (recovered.marker.value_or(Marker()).id.index.value() != model.marker) return "marker";
  // Whoever restarts in the middle of an installation asks for one of the two.
  const bool is_marked = model.marker >= model.snapshot;
  if (!is_marked && (!recovered.snapshot_installed.has_value() ||
                     recovered.snapshot_installed->id.index.value() != model.snapshot)) {
    return "the record of the snapshot";
  }
  const uint64_t before = recovered.before_first.index.value();
  if (before > std::max(model.marker, model.snapshot)) return "begins too late";
  if (before == model.last()) return {};
  auto read = wal.ReadEntries(Index(before + 1), Index(model.last() + 1),
                              std::numeric_limits<size_t>::max());
  if (!read.ok()) return std::string(base::Message(read.status()));
  if (read->size() != model.last() - before) return "entries are missing";
  for (const raft::Entry& entry : *read) {
    const auto expected = model.entries.find(entry.index.value());
    if (expected == model.entries.end() || expected->second.term != entry.term ||
        *expected->second.data != *entry.data) {
      return "entry " + std::to_string(entry.index.value());
    }
  }
  return {};
}

}  // namespace cairn::wal

#endif  // CAIRN_WAL_LOG_MODEL_H_
