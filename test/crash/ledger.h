// The books of a crash test: what was asked, what was acknowledged, and what a server that was
// killed and started again may therefore hold.
//
// Every key but the counter belongs to one writer, and a writer has one write under way at a time.
// So after a crash each writer's keys have one of two states: without its open write or with all of
// it. The counter is shared: it is only written by a transaction that compares its revision, so
// its versions rise by one. Pure; one thread. Every violation is an INTERNAL status that says what
// was expected.
#ifndef CAIRN_TEST_CRASH_LEDGER_H_
#define CAIRN_TEST_CRASH_LEDGER_H_

#include <absl/status/status.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/kv.pb.h"

namespace cairn::test {

inline constexpr char kCounterKey[] = "counter";

// One atomic change of a writer's keys. Values are unique over the whole run.
struct Write {
  int writer = 0;
  // Key and its new value; no value: deleted. A key stands here once.
  std::vector<std::pair<std::string, std::optional<std::string>>> effects;
};

class Ledger {
 public:
  // A write was answered with success at `revision`, the header's. `floor` is the highest revision
  // that any answer had shown before the write was sent: a later write has a higher revision.
  absl::Status Acknowledge(const Write& write, int64_t revision, int64_t floor);
  // A write was sent and not answered, or answered with an error that leaves it open.
  void LeaveOpen(const Write& write);

  // The counter was written: at `revision`, with this version, as the same transaction read it.
  absl::Status AcknowledgeCount(const std::string& value, int64_t version, int64_t revision,
                                int64_t floor);
  void LeaveCountOpen(const std::string& value);

  void AcknowledgeCompaction(int64_t revision);
  void LeaveCompactionOpen(int64_t revision);

  // What a restarted server holds: all its keys at its current `revision`. Decides which open
  // writes were applied.
  absl::Status Recover(int64_t revision, const std::vector<mvccpb::KeyValue>& rows);
  // What a server says it held at an old revision.
  absl::Status CheckAt(int64_t revision, const std::vector<mvccpb::KeyValue>& rows) const;

  // The highest revision that is known to be issued.
  int64_t revision() const { return revision_; }
  // Reads below it must be refused as compacted.
  int64_t compacted() const { return compacted_; }
  // Reads from it on must be answered.
  int64_t perhaps_compacted() const { return perhaps_compacted_; }
  int64_t acknowledged() const { return acknowledged_; }
  int64_t open() const { return open_; }
  // Of the open writes, how many were found applied.
  int64_t open_applied() const { return open_applied_; }
  // Revisions that were issued, for picking one to read at.
  const std::set<int64_t>& revisions() const { return revisions_; }

 private:
  struct State {
    std::optional<std::string> value;  // none: deleted
    int64_t mod_revision = 0;
    int64_t create_revision = 0;
    int64_t version = 0;
  };
  struct Key {
    int writer = 0;
    std::map<int64_t, State> history;  // by revision
    // Deleted at an unknown revision in (first, last]: reads there prove nothing.
    std::vector<std::pair<int64_t, int64_t>> unknown;
  };

  static State After(const State& before, const std::optional<std::string>& value,
                     int64_t revision);
  State LatestOf(const std::string& key) const;
  bool ChangesAnything(const Write& write) const;
  absl::Status Issue(int64_t revision);
  void Apply(const Write& write, int64_t revision);
  absl::Status ResolveOpen(const Write& write, int64_t revision,
                           const std::map<std::string, const mvccpb::KeyValue*>& rows);
  absl::Status RecoverCounter(const mvccpb::KeyValue* row);
  static absl::Status CheckRow(const std::string& key, const State& expected,
                               const mvccpb::KeyValue* row, int64_t revision);

  std::map<std::string, Key> keys_;
  std::map<int, Write> open_writes_;                           // by writer
  std::map<int64_t, std::pair<int64_t, std::string>> counts_;  // revision: version, value
  std::set<std::string> open_counts_;
  std::set<int64_t> revisions_;
  int64_t revision_ = 1;
  int64_t compacted_ = 0;
  int64_t perhaps_compacted_ = 0;
  int64_t acknowledged_ = 0;
  int64_t open_ = 0;
  int64_t open_applied_ = 0;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_CRASH_LEDGER_H_
