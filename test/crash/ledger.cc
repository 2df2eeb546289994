#include "test/crash/ledger.h"

#include <algorithm>

#include "base/check.h"
#include "base/status.h"

namespace cairn::test {
namespace {

using mvccpb::KeyValue;

template <typename... Args>
absl::Status Violation(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInternal, format, std::forward<Args>(args)...);
}

std::string Short(const std::string& value) {
  constexpr size_t kShown = 40;
  if (value.size() <= kShown) return value;
  return fmt::format("{}... ({} bytes)", value.substr(0, kShown), value.size());
}

std::string Describe(const KeyValue* row) {
  if (row == nullptr) return "no such key";
  return fmt::format("value {} mod_revision {} create_revision {} version {}", Short(row->value()),
                     row->mod_revision(), row->create_revision(), row->version());
}

std::map<std::string, const KeyValue*> ByKey(const std::vector<KeyValue>& rows) {
  std::map<std::string, const KeyValue*> by_key;
  for (const KeyValue& row : rows) by_key[row.key()] = &row;
  return by_key;
}

const KeyValue* Find(const std::map<std::string, const KeyValue*>& rows, const std::string& key) {
  const auto found = rows.find(key);
  return found == rows.end() ? nullptr : found->second;
}

}  // namespace

Ledger::State Ledger::After(const State& before, const std::optional<std::string>& value,
                            int64_t revision) {
  if (!value) return {.value = std::nullopt, .mod_revision = revision};
  return {.value = value,
          .mod_revision = revision,
          .create_revision = before.value ? before.create_revision : revision,
          .version = before.value ? before.version + 1 : 1};
}

Ledger::State Ledger::LatestOf(const std::string& key) const {
  const auto found = keys_.find(key);
  if (found == keys_.end() || found->second.history.empty()) return {};
  return found->second.history.rbegin()->second;
}

bool Ledger::ChangesAnything(const Write& write) const {
  return std::any_of(write.effects.begin(), write.effects.end(), [&](const auto& effect) {
    return effect.second.has_value() || LatestOf(effect.first).value.has_value();
  });
}

absl::Status Ledger::Issue(int64_t revision) {
  if (!revisions_.insert(revision).second) {
    return Violation("revision {} was issued twice", revision);
  }
  revision_ = std::max(revision_, revision);
  return absl::OkStatus();
}

void Ledger::Apply(const Write& write, int64_t revision) {
  for (const auto& [key, value] : write.effects) {
    const State before = LatestOf(key);
    if (!value && !before.value) continue;
    Key& entry = keys_[key];
    entry.writer = write.writer;
    entry.history[revision] = After(before, value, revision);
  }
}

absl::Status Ledger::Acknowledge(const Write& write, int64_t revision, int64_t floor) {
  ++acknowledged_;
  if (!ChangesAnything(write)) return absl::OkStatus();
  if (revision <= floor) {
    return Violation("writer {} got revision {} after revision {} had been seen", write.writer,
                     revision, floor);
  }
  CAIRN_RETURN_IF_ERROR(Issue(revision));
  Apply(write, revision);
  return absl::OkStatus();
}

void Ledger::LeaveOpen(const Write& write) {
  ++open_;
  CAIRN_CHECK(!open_writes_.contains(write.writer));
  open_writes_[write.writer] = write;
}

absl::Status Ledger::AcknowledgeCount(const std::string& value, int64_t version, int64_t revision,
                                      int64_t floor) {
  ++acknowledged_;
  if (revision <= floor) {
    return Violation("the counter got revision {} after revision {} had been seen", revision,
                     floor);
  }
  CAIRN_RETURN_IF_ERROR(Issue(revision));
  counts_[revision] = {version, value};
  return absl::OkStatus();
}

void Ledger::LeaveCountOpen(const std::string& value) {
  ++open_;
  open_counts_.insert(value);
}

void Ledger::AcknowledgeCompaction(int64_t revision) {
  compacted_ = std::max(compacted_, revision);
  perhaps_compacted_ = std::max(perhaps_compacted_, revision);
}

void Ledger::LeaveCompactionOpen(int64_t revision) {
  perhaps_compacted_ = std::max(perhaps_compacted_, revision);
}

absl::Status Ledger::CheckRow(const std::string& key, const State& expected, const KeyValue* row,
                              int64_t revision) {
  if (!expected.value) {
    if (row == nullptr) return absl::OkStatus();
    return Violation("at revision {}: {} must not exist, found {}", revision, key, Describe(row));
  }
  if (row != nullptr && row->value() == *expected.value &&
      row->mod_revision() == expected.mod_revision &&
      row->create_revision() == expected.create_revision && row->version() == expected.version) {
    return absl::OkStatus();
  }
  return Violation(
      "at revision {}: {} must have value {} mod_revision {} create_revision {} version {}, found "
      "{}",
      revision, key, Short(*expected.value), expected.mod_revision, expected.create_revision,
      expected.version, Describe(row));
}

// All of it or nothing: judged by the first effect that can be seen, demanded of the others by the
// check of all keys afterwards.
absl::Status Ledger::ResolveOpen(const Write& write, int64_t revision,
                                 const std::map<std::string, const KeyValue*>& rows) {
  if (!ChangesAnything(write)) return absl::OkStatus();
  for (const auto& [key, value] : write.effects) {
    const KeyValue* row = Find(rows, key);
    if (!value) continue;
    if (row == nullptr || row->value() != *value) return absl::OkStatus();  // not applied
    ++open_applied_;
    CAIRN_RETURN_IF_ERROR(Issue(row->mod_revision()));
    Apply(write, row->mod_revision());
    return absl::OkStatus();
  }
  // Only deletions: a key that existed tells.
  for (const auto& [key, value] : write.effects) {
    const State before = LatestOf(key);
    if (!before.value) continue;
    if (Find(rows, key) != nullptr) return absl::OkStatus();  // not applied
    ++open_applied_;
    // Its revision cannot be seen: between the keys' last rows and now.
    for (const auto& effect : write.effects) {
      keys_[effect.first].unknown.emplace_back(LatestOf(effect.first).mod_revision, revision);
    }
    Apply(write, revision);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Ledger::RecoverCounter(const KeyValue* row) {
  if (row != nullptr && !counts_.contains(row->mod_revision())) {
    if (!open_counts_.contains(row->value())) {
      return Violation("the counter has a value that was never written: {}", Describe(row));
    }
    ++open_applied_;
    CAIRN_RETURN_IF_ERROR(Issue(row->mod_revision()));
    counts_[row->mod_revision()] = {row->version(), row->value()};
  }
  const int64_t last = counts_.empty() ? 0 : counts_.rbegin()->first;
  if (last != (row == nullptr ? 0 : row->mod_revision())) {
    return Violation("the counter was written at revision {}, found {}", last, Describe(row));
  }
  if (row != nullptr && counts_.rbegin()->second != std::pair(row->version(), row->value())) {
    return Violation("the counter was written as version {} value {}, found {}",
                     counts_.rbegin()->second.first, counts_.rbegin()->second.second,
                     Describe(row));
  }
  // Versions rise by one per write; a gap is an open write that a later one covered.
  int64_t gaps = 0;
  int64_t version = 0;
  for (const auto& [revision, count] : counts_) {
    if (count.first <= version) {
      return Violation("the counter had version {} at revision {} after version {}", count.first,
                       revision, version);
    }
    gaps += count.first - version - 1;
    version = count.first;
  }
  if (gaps > static_cast<int64_t>(open_counts_.size())) {
    return Violation("the counter has version {} after {} known and {} open writes", version,
                     counts_.size(), open_counts_.size());
  }
  return absl::OkStatus();
}

absl::Status Ledger::Recover(int64_t revision, const std::vector<KeyValue>& rows) {
  if (revision < revision_) {
    return Violation("the store is at revision {} after {} was acknowledged", revision, revision_);
  }
  const std::map<std::string, const KeyValue*> by_key = ByKey(rows);
  for (const auto& [writer, write] : open_writes_) {
    CAIRN_RETURN_IF_ERROR(ResolveOpen(write, revision, by_key));
  }
  open_writes_.clear();
  CAIRN_RETURN_IF_ERROR(RecoverCounter(Find(by_key, kCounterKey)));
  revision_ = std::max(revision_, revision);
  for (const auto& [key, entry] : keys_) {
    CAIRN_RETURN_IF_ERROR(CheckRow(key, LatestOf(key), Find(by_key, key), revision));
  }
  for (const KeyValue& row : rows) {
    if (row.key() != kCounterKey && !keys_.contains(row.key())) {
      return Violation("a key that was never acknowledged or is half of an open write: {} {}",
                       row.key(), Describe(&row));
    }
  }
  return absl::OkStatus();
}

absl::Status Ledger::CheckAt(int64_t revision, const std::vector<KeyValue>& rows) const {
  const std::map<std::string, const KeyValue*> by_key = ByKey(rows);
  for (const auto& [key, entry] : keys_) {
    const bool is_unknown = std::any_of(
        entry.unknown.begin(), entry.unknown.end(),
        [&](const auto& span) { return span.first < revision && revision < span.second; });
    if (is_unknown) continue;
    const auto later = entry.history.upper_bound(revision);
    const State expected = later == entry.history.begin() ? State{} : std::prev(later)->second;
    CAIRN_RETURN_IF_ERROR(CheckRow(key, expected, Find(by_key, key), revision));
  }
  const auto count = counts_.find(revision);
  const KeyValue* counter = Find(by_key, kCounterKey);
  if (count != counts_.end() &&
      (counter == nullptr || counter->mod_revision() != revision ||
       std::pair(counter->version(), counter->value()) != count->second)) {
    return Violation("at revision {}: the counter must have version {} value {}, found {}",
                     revision, count->second.first, count->second.second, Describe(counter));
  }
  for (const KeyValue& row : rows) {
    if (row.key() != kCounterKey && !keys_.contains(row.key())) {
      return Violation("at revision {}: a key that nobody wrote: {}", revision, row.key());
    }
  }
  return absl::OkStatus();
}

}  // namespace cairn::test
