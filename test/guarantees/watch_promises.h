// The promises of a watch, one function each, over what a client recorded.
//
// Pure: a history and a record in, violations out as text. A record is what one watcher was told
// across all its connections: it resumes after the last revision that it saw.
#ifndef CAIRN_TEST_GUARANTEES_WATCH_PROMISES_H_
#define CAIRN_TEST_GUARANTEES_WATCH_PROMISES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cairn::test {

struct WatchedEvent {
  int64_t revision = 0;
  std::string key;
  bool is_deletion = false;
  std::string value;
  std::optional<std::string> previous;
  // 0 for a deletion.
  int64_t create_revision = 0;
  int64_t version = 0;

  friend bool operator==(const WatchedEvent&, const WatchedEvent&) = default;
};

// Everything that happened, by revision, in the order of changes. `previous` is always set where
// there was a value.
using WatchedHistory = std::map<int64_t, std::vector<WatchedEvent>>;

struct WatchRecord {
  struct Response {
    // The header's.
    int64_t revision = 0;
    // None: a promise that everything through `revision` was told.
    std::vector<WatchedEvent> events;
    // The first of a connection: it asked for `start`.
    std::optional<int64_t> start;
    // The last: a compaction to here ended the watcher.
    std::optional<int64_t> overtaken_by;
  };

  std::string name;
  std::string first;
  // Empty: the one key `first`; else up to but without it.
  std::string limit;
  bool skips_puts = false;
  bool skips_deletions = false;
  bool wants_previous = false;
  // A large response may come in pieces, which `responses` has as one.
  bool takes_fragments = false;
  // The highest revision that anything was compacted to: what an event above it replaced is there.
  int64_t compacted = 0;
  std::vector<Response> responses;

  bool Wants(const WatchedEvent& event) const;
};

using Violations = std::vector<std::string>;

// Revisions never fall, from response to response and within one.
Violations CheckOrdered(const WatchRecord& record);
// No event comes twice, not across connections either.
Violations CheckUnique(const WatchRecord& record);
// All events of a revision that are wanted come in one response, in their order.
Violations CheckAtomic(const WatchRecord& record, const WatchedHistory& history);
// From its first start to its last event nothing that is wanted is missing.
Violations CheckComplete(const WatchRecord& record, const WatchedHistory& history);
// A connection that asked for a start is told nothing from before it, and is ended by a compaction
// only if that reaches beyond what it has yet to be told.
Violations CheckResumable(const WatchRecord& record);
// What is promised by a response without events was told before, and no event through it comes
// later.
Violations CheckBookmarkable(const WatchRecord& record, const WatchedHistory& history);
// Nothing comes that was not asked for, and each event is what happened, with what it replaced if
// and only if that was asked for.
Violations CheckFilterTrue(const WatchRecord& record, const WatchedHistory& history);

Violations CheckAll(const WatchRecord& record, const WatchedHistory& history);

}  // namespace cairn::test

#endif  // CAIRN_TEST_GUARANTEES_WATCH_PROMISES_H_
