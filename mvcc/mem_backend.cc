#include "mvcc/mem_backend.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"

namespace cairn::mvcc {
namespace {

enum class Operation : uint8_t { kPut, kDelete, kSingleDelete };

struct Entry {
  Operation operation;
  Family family;
  std::string key;
  std::string value;
};

using Rows = std::map<std::string, std::string, std::less<>>;
using Families = std::array<Rows, kFamilies>;

void ApplyEntry(Families& families, const Entry& entry) {
  Rows& rows = families[static_cast<size_t>(entry.family)];
  const bool history = entry.family == Family::kRevisions;
  switch (entry.operation) {
    case Operation::kPut: {
      const auto [row, is_new] = rows.insert_or_assign(entry.key, entry.value);
      CAIRN_CHECK(is_new || !history, "a row of `revisions` is put once");
      break;
    }
    case Operation::kDelete:
      CAIRN_CHECK(!history, "rows of `revisions` go by SingleDelete");
      rows.erase(entry.key);
      break;
    case Operation::kSingleDelete:
      CAIRN_CHECK(history, "SingleDelete is for `revisions`");
      CAIRN_CHECK_EQ(rows.erase(entry.key), 1u);
      break;
  }
}

class MemBatch final : public RowBatch {
 public:
  void Put(Family family, std::string_view key, std::string_view value) override {
    entries_.push_back({Operation::kPut, family, std::string(key), std::string(value)});
  }
  void Delete(Family family, std::string_view key) override {
    entries_.push_back({Operation::kDelete, family, std::string(key), {}});
  }
  void SingleDelete(Family family, std::string_view key) override {
    entries_.push_back({Operation::kSingleDelete, family, std::string(key), {}});
  }
  void Reserve(size_t rows, size_t /*bytes*/) override { entries_.reserve(rows); }
  void Clear() override { entries_.clear(); }

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace

struct MemDisk::State {
  mutable base::Mutex mutex;
  // What readers see, what a crash leaves at least, and the batches between the two.
  Families visible ABSL_GUARDED_BY(mutex);
  Families durable ABSL_GUARDED_BY(mutex);
  std::vector<std::vector<Entry>> unflushed ABSL_GUARDED_BY(mutex);
  bool is_open ABSL_GUARDED_BY(mutex) = false;
  bool has_crashed ABSL_GUARDED_BY(mutex) = false;

  const Rows& rows(Family family) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return visible[static_cast<size_t>(family)];
  }
};

// Sees each row as it is when the iterator steps on it: harsher than RocksDB's, which stands still.
class MemIterator final : public RowIterator {
 public:
  MemIterator(const MemDisk::State* disk, Family family, std::string_view limit);

  void Seek(std::string_view key) override;
  void Next() override;
  bool Valid() const override { return valid_; }
  absl::Status status() const override { return absl::OkStatus(); }
  std::string_view key() const override { return key_; }
  std::string_view value() const override { return value_; }

 private:
  void Take(Rows::const_iterator row, const Rows& rows);

  const MemDisk::State* const disk_;
  const Family family_;
  const std::string limit_;
  bool valid_ = false;
  std::string key_;
  std::string value_;
};

class MemBackend final : public Backend {
 public:
  MemBackend(MemDisk& all, MemDisk::State* disk) : all_(all), disk_(disk) {}
  ~MemBackend() override;

  absl::StatusOr<bool> Get(Family family, std::string_view key,
                           absl::FunctionRef<void(std::string_view)> found) const override;
  std::unique_ptr<RowIterator> NewIterator(Family family, std::string_view limit,
                                           CacheUse) const override {
    return std::make_unique<MemIterator>(disk_, family, limit);
  }
  std::unique_ptr<RowBatch> NewBatch() const override { return std::make_unique<MemBatch>(); }
  absl::Status Write(RowBatch& batch) override;
  absl::Status Flush() override;
  absl::Status Checkpoint(const std::string& path) override;
  int64_t PhysicalSizeBytes() const override;
  int64_t BufferedBytes() const override { return 0; }  // No disk that could be full.

 private:
  MemDisk& all_;
  MemDisk::State* const disk_;
};

MemIterator::MemIterator(const MemDisk::State* disk, Family family, std::string_view limit)
    : disk_(disk), family_(family), limit_(limit) {}

void MemIterator::Take(Rows::const_iterator row, const Rows& rows) {
  valid_ = row != rows.end() && (limit_.empty() || row->first < limit_);
  if (!valid_) return;
  key_ = row->first;
  value_ = row->second;
}

void MemIterator::Seek(std::string_view key) {
  base::MutexLock lock(disk_->mutex);
  const Rows& rows = disk_->rows(family_);
  Take(rows.lower_bound(key), rows);
}

void MemIterator::Next() {
  CAIRN_CHECK(valid_);
  base::MutexLock lock(disk_->mutex);
  const Rows& rows = disk_->rows(family_);
  Take(rows.upper_bound(key_), rows);
}

MemBackend::~MemBackend() {
  base::MutexLock lock(disk_->mutex);
  disk_->visible = disk_->durable;
  disk_->unflushed.clear();
  disk_->is_open = false;
  disk_->has_crashed = false;
}

absl::StatusOr<bool> MemBackend::Get(Family family, std::string_view key,
                                     absl::FunctionRef<void(std::string_view)> found) const {
  std::string value;
  {
    base::MutexLock lock(disk_->mutex);
    const Rows& rows = disk_->rows(family);
    const auto row = rows.find(key);
    if (row == rows.end()) return false;
    value = row->second;
  }
  found(value);
  return true;
}

absl::Status MemBackend::Write(RowBatch& batch) {
  const std::vector<Entry>& entries = static_cast<MemBatch&>(batch).entries();
  base::MutexLock lock(disk_->mutex);
  CAIRN_CHECK(!disk_->has_crashed);
  for (const Entry& entry : entries) ApplyEntry(disk_->visible, entry);
  disk_->unflushed.push_back(entries);
  return absl::OkStatus();
}

absl::Status MemBackend::Flush() {
  base::MutexLock lock(disk_->mutex);
  CAIRN_CHECK(!disk_->has_crashed);
  for (const std::vector<Entry>& entries : disk_->unflushed) {
    for (const Entry& entry : entries) ApplyEntry(disk_->durable, entry);
  }
  disk_->unflushed.clear();
  return absl::OkStatus();
}

absl::Status MemBackend::Checkpoint(const std::string& path) {
  if (all_.Exists(path)) {
    return base::Error(absl::StatusCode::kAlreadyExists, "state: there is something at {}", path);
  }
  CAIRN_RETURN_IF_ERROR(Flush());
  Families copy;
  {
    base::MutexLock lock(disk_->mutex);
    copy = disk_->durable;
  }
  MemDisk::State* const made = all_.Find(path);
  base::MutexLock lock(made->mutex);
  made->durable = made->visible = std::move(copy);
  return absl::OkStatus();
}

int64_t MemBackend::PhysicalSizeBytes() const {
  base::MutexLock lock(disk_->mutex);
  size_t total = 1;
  for (const Rows& rows : disk_->visible) {
    for (const auto& [key, value] : rows) total += key.size() + value.size();
  }
  return static_cast<int64_t>(total);
}

MemDisk::MemDisk() { Find({}); }
MemDisk::~MemDisk() = default;

MemDisk::State* MemDisk::Find(std::string_view path) {
  base::MutexLock lock(mutex_);
  const auto found = states_.find(path);
  if (found != states_.end()) return found->second.get();
  return states_.emplace(std::string(path), std::make_unique<State>()).first->second.get();
}

std::unique_ptr<Backend> MemDisk::Open(std::string_view path) {
  State* const state = Find(path);
  base::MutexLock lock(state->mutex);
  CAIRN_CHECK(!state->is_open);
  state->is_open = true;
  return std::make_unique<MemBackend>(*this, state);
}

bool MemDisk::Exists(std::string_view path) const {
  base::MutexLock lock(mutex_);
  return states_.contains(path);
}

void MemDisk::Copy(const MemDisk& from, std::string_view path, std::string_view to) {
  Families rows;
  {
    base::MutexLock disk_lock(from.mutex_);
    const auto found = from.states_.find(path);
    CAIRN_CHECK(found != from.states_.end());
    base::MutexLock lock(found->second->mutex);
    rows = found->second->durable;
  }
  State* const state = Find(to);
  base::MutexLock lock(state->mutex);
  CAIRN_CHECK(!state->is_open);
  state->visible = state->durable = std::move(rows);
}

void MemDisk::BecomeCrashed(const MemDisk& from, size_t kept) {
  std::map<std::string, std::unique_ptr<State>, std::less<>> states;
  {
    base::MutexLock disk_lock(from.mutex_);
    for (const auto& [path, state] : from.states_) {
      auto left = std::make_unique<State>();
      base::MutexLock lock(state->mutex);
      base::MutexLock left_lock(left->mutex);
      left->durable = state->durable;
      for (size_t i = 0; i < std::min(kept, state->unflushed.size()); ++i) {
        for (const Entry& entry : state->unflushed[i]) ApplyEntry(left->durable, entry);
      }
      left->visible = left->durable;
      states.emplace(path, std::move(left));
    }
  }
  base::MutexLock lock(mutex_);
  states_ = std::move(states);
}

void MemDisk::Remove(std::string_view path) {
  base::MutexLock lock(mutex_);
  states_.erase(std::string(path));
}

size_t MemDisk::unflushed_batches() const {
  base::MutexLock disk_lock(mutex_);
  size_t most = 0;
  for (const auto& [path, state] : states_) {
    base::MutexLock lock(state->mutex);
    most = std::max(most, state->unflushed.size());
  }
  return most;
}

void MemDisk::Crash(size_t kept) {
  base::MutexLock disk_lock(mutex_);
  for (const auto& [path, state] : states_) {
    base::MutexLock lock(state->mutex);
    if (!state->is_open) continue;
    state->unflushed.resize(std::min(kept, state->unflushed.size()));
    for (const std::vector<Entry>& entries : state->unflushed) {
      for (const Entry& entry : entries) ApplyEntry(state->durable, entry);
    }
    state->unflushed.clear();
    state->has_crashed = true;
  }
}

}  // namespace cairn::mvcc
