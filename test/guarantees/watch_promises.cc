#include "test/guarantees/watch_promises.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace cairn::test {
namespace {

std::vector<WatchedEvent> WantedAt(const WatchRecord& record, const WatchedHistory& history,
                                   int64_t revision) {
  std::vector<WatchedEvent> wanted;
  const auto found = history.find(revision);
  if (found == history.end()) return wanted;
  std::copy_if(found->second.begin(), found->second.end(), std::back_inserter(wanted),
               [&](const WatchedEvent& event) { return record.Wants(event); });
  return wanted;
}

std::string Name(const WatchRecord& record, const WatchedEvent& event) {
  return fmt::format("{}: {} {} at {}", record.name, event.is_deletion ? "deletion" : "put",
                     event.key, event.revision);
}

}  // namespace

bool WatchRecord::Wants(const WatchedEvent& event) const {
  if (event.is_deletion ? skips_deletions : skips_puts) return false;
  return limit.empty() ? event.key == first : event.key >= first && event.key < limit;
}

Violations CheckOrdered(const WatchRecord& record) {
  Violations violations;
  int64_t last = 0;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& event : response.events) {
      if (event.revision < last) {
        violations.push_back(fmt::format("{} after {}", Name(record, event), last));
      }
      last = std::max(last, event.revision);
    }
  }
  return violations;
}

Violations CheckUnique(const WatchRecord& record) {
  Violations violations;
  std::set<std::pair<int64_t, std::string>> seen;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& event : response.events) {
      // Transactions of the workload change a key once.
      if (!seen.emplace(event.revision, event.key).second) {
        violations.push_back(Name(record, event) + " came twice");
      }
    }
  }
  return violations;
}

Violations CheckAtomic(const WatchRecord& record, const WatchedHistory& history) {
  Violations violations;
  for (const WatchRecord::Response& response : record.responses) {
    std::map<int64_t, std::vector<std::string>> keys;
    for (const WatchedEvent& event : response.events) keys[event.revision].push_back(event.key);
    for (const auto& [revision, told] : keys) {
      std::vector<std::string> wanted;
      for (const WatchedEvent& event : WantedAt(record, history, revision)) {
        wanted.push_back(event.key);
      }
      if (told != wanted) {
        violations.push_back(fmt::format("{}: revision {} came as [{}], not [{}]", record.name,
                                         revision, fmt::join(told, " "), fmt::join(wanted, " ")));
      }
    }
  }
  return violations;
}

Violations CheckComplete(const WatchRecord& record, const WatchedHistory& history) {
  Violations violations;
  std::set<int64_t> told;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& event : response.events) told.insert(event.revision);
  }
  if (record.responses.empty() || !record.responses.front().start.has_value() || told.empty()) {
    return violations;
  }
  for (auto it = history.lower_bound(*record.responses.front().start);
       it != history.end() && it->first <= *told.rbegin(); ++it) {
    if (!told.contains(it->first) && !WantedAt(record, history, it->first).empty()) {
      violations.push_back(fmt::format("{}: revision {} is missing", record.name, it->first));
    }
  }
  return violations;
}

Violations CheckResumable(const WatchRecord& record) {
  Violations violations;
  int64_t start = 0;
  int64_t next = 0;
  for (const WatchRecord::Response& response : record.responses) {
    if (response.start.has_value()) start = next = *response.start;
    for (const WatchedEvent& event : response.events) {
      if (event.revision < start) {
        violations.push_back(fmt::format("{} though the start was {}", Name(record, event), start));
      }
      next = std::max(next, event.revision + 1);
    }
    if (response.overtaken_by.has_value() && *response.overtaken_by <= next) {
      violations.push_back(fmt::format("{}: overtaken by the compaction {} at {}", record.name,
                                       *response.overtaken_by, next));
    }
  }
  return violations;
}

Violations CheckBookmarkable(const WatchRecord& record, const WatchedHistory& history) {
  Violations violations;
  if (record.responses.empty()) return violations;
  int64_t promised = 0;
  int64_t told = record.responses.front().start.value_or(1) - 1;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& event : response.events) {
      if (event.revision <= promised) {
        violations.push_back(fmt::format("{} after the promise {}", Name(record, event), promised));
      }
      told = std::max(told, event.revision);
    }
    if (!response.events.empty() || response.start.has_value() ||
        response.overtaken_by.has_value()) {
      continue;
    }
    for (auto it = history.upper_bound(told); it != history.end() && it->first <= response.revision;
         ++it) {
      if (!WantedAt(record, history, it->first).empty()) {
        violations.push_back(fmt::format("{}: {} was promised before revision {} was told",
                                         record.name, response.revision, it->first));
      }
    }
    promised = std::max(promised, response.revision);
  }
  return violations;
}

Violations CheckFilterTrue(const WatchRecord& record, const WatchedHistory& history) {
  Violations violations;
  for (const WatchRecord::Response& response : record.responses) {
    for (const WatchedEvent& event : response.events) {
      if (!record.Wants(event)) {
        violations.push_back(Name(record, event) + " was not asked for");
        continue;
      }
      const std::vector<WatchedEvent> wanted = WantedAt(record, history, event.revision);
      const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const WatchedEvent& truth) {
        return truth.key == event.key && truth.is_deletion == event.is_deletion &&
               truth.value == event.value && truth.create_revision == event.create_revision &&
               truth.version == event.version;
      });
      if (same == wanted.end()) {
        violations.push_back(Name(record, event) + " did not happen");
      } else if (!record.wants_previous && event.previous.has_value()) {
        violations.push_back(Name(record, event) + " brings a previous value unasked");
      } else if (record.wants_previous && !event.previous.has_value() &&
                 same->previous.has_value() && event.revision > record.compacted) {
        // Up to there it may have been compacted.
        violations.push_back(Name(record, event) + " brings no previous value");
      } else if (event.previous.has_value() && event.previous != same->previous) {
        violations.push_back(Name(record, event) + " brings a wrong previous value");
      }
    }
  }
  return violations;
}

Violations CheckAll(const WatchRecord& record, const WatchedHistory& history) {
  Violations all;
  for (Violations& some : std::vector<Violations>{
           CheckOrdered(record), CheckUnique(record), CheckAtomic(record, history),
           CheckComplete(record, history), CheckResumable(record),
           CheckBookmarkable(record, history), CheckFilterTrue(record, history)}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace cairn::test
