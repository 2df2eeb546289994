#include "cmd/cairnutl/layered_backend.h"

#include <utility>
#include <vector>

#include "base/status.h"

namespace cairn::cairnutl {

using mvcc::CacheUse;
using mvcc::Family;
using mvcc::RowBatch;
using mvcc::RowIterator;

class LayeredBackend::Batch final : public RowBatch {
 public:
  struct Change {
    Family family;
    std::string key;
    std::optional<std::string> value;
  };

  void Put(Family family, std::string_view key, std::string_view value) override {
    changes_.push_back({family, std::string(key), std::string(value)});
  }
  void Delete(Family family, std::string_view key) override {
    changes_.push_back({family, std::string(key), std::nullopt});
  }
  void SingleDelete(Family family, std::string_view key) override { Delete(family, key); }
  void Reserve(size_t rows, size_t /*bytes*/) override { changes_.reserve(rows); }
  void Clear() override { changes_.clear(); }

  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

// Two walks side by side; a row above hides one with its key below.
class LayeredBackend::Iterator final : public RowIterator {
 public:
  Iterator(const Rows& rows, std::unique_ptr<RowIterator> below, std::string_view limit)
      : rows_(rows), limit_(limit), below_(std::move(below)), at_(rows.end()) {}

  void Seek(std::string_view key) override {
    below_->Seek(key);
    at_ = rows_.lower_bound(key);
    Settle();
  }
  void Next() override {
    if (is_above_) {
      SkipHidden();
      ++at_;
    } else {
      below_->Next();
    }
    Settle();
  }
  bool Valid() const override { return is_above_ || below_->Valid(); }
  absl::Status status() const override { return below_->status(); }
  std::string_view key() const override { return is_above_ ? at_->first : below_->key(); }
  std::string_view value() const override { return is_above_ ? *at_->second : below_->value(); }

 private:
  bool IsInRange() const { return at_ != rows_.end() && (limit_.empty() || at_->first < limit_); }
  // The row below that the one above hides, if there is one.
  void SkipHidden() {
    if (below_->Valid() && below_->key() == at_->first) below_->Next();
  }

  void Settle() {
    is_above_ = false;
    // After an error below nothing more is told.
    while (IsInRange() && (below_->Valid() || below_->status().ok())) {
      if (below_->Valid() && below_->key() < at_->first) return;
      if (at_->second.has_value()) {
        is_above_ = true;
        return;
      }
      SkipHidden();
      ++at_;
    }
  }

  const Rows& rows_;
  const std::string limit_;
  const std::unique_ptr<RowIterator> below_;
  Rows::const_iterator at_;
  bool is_above_ = false;
};

absl::StatusOr<bool> LayeredBackend::Get(Family family, std::string_view key,
                                         absl::FunctionRef<void(std::string_view)> found) const {
  const Rows& above = rows(family);
  const auto row = above.find(key);
  if (row == above.end()) return below_->Get(family, key, found);
  if (!row->second.has_value()) return false;
  found(*row->second);
  return true;
}

std::unique_ptr<RowIterator> LayeredBackend::NewIterator(Family family, std::string_view limit,
                                                         CacheUse cache_use) const {
  return std::make_unique<Iterator>(rows(family), below_->NewIterator(family, limit, cache_use),
                                    limit);
}

std::unique_ptr<RowBatch> LayeredBackend::NewBatch() const { return std::make_unique<Batch>(); }

absl::Status LayeredBackend::Write(RowBatch& batch) {
  for (const Batch::Change& change : static_cast<Batch&>(batch).changes()) {
    rows_[static_cast<size_t>(change.family)].insert_or_assign(change.key, change.value);
  }
  return absl::OkStatus();
}

absl::Status LayeredBackend::Flush() {
  return base::MakeStatus(absl::StatusCode::kFailedPrecondition, "state: opened for reading only");
}

absl::Status LayeredBackend::Checkpoint(const std::string&) { return Flush(); }

}  // namespace cairn::cairnutl
