// Finds what a key was at a revision: its latest row, or the chain behind it.
//
// Reads a backend, through the overlay of an open batch if one is given (then apply thread only).
// It knows no watermark: whoever asks takes a revision first and, where a row was missing, decides
// whether a compaction explains it.
#ifndef CAIRN_MVCC_ROW_READER_H_
#define CAIRN_MVCC_ROW_READER_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "mvcc/backend.h"
#include "mvcc/overlay.h"
#include "mvcc/row_codec.h"
#include "mvcc/types.h"

namespace cairn::mvcc {

// Present rows of `keys` in a range, in key order, tombstones included.
class KeysWalk {
 public:
  // `overlay` may be null; it must not change while the walk lives.
  KeysWalk(const Backend& backend, Overlay* overlay, const KeyRange& range,
           CacheUse cache_use = CacheUse::kFill);

  // False at the end and after an error.
  bool Valid() const { return is_valid_; }
  absl::Status status() const { return below_ == nullptr ? absl::OkStatus() : below_->status(); }
  void Next();
  // Require Valid(); good until the next Next.
  std::string_view key() const { return key_; }
  std::string_view row() const { return row_; }

 private:
  bool OverlayValid() const;
  void SettleOnPresentRow();

  Overlay* const overlay_;
  const KeyRange range_;
  std::unique_ptr<RowIterator> below_;  // Null for an empty range.
  size_t overlay_position_ = 0;
  bool is_valid_ = false;
  bool from_overlay_ = false;
  std::string_view key_;
  std::string_view row_;
};

// Long walks ask `is_stopping` whenever they have looked at so many rows: a tenth of a millisecond
// of work, and few enough looks that their cost does not show.
inline constexpr int kRowsBetweenLooks = 256;
// CANCELLED: the walk was told to stop.
absl::Status StoppedError();

class RowReader {
 public:
  enum class Outcome : uint8_t {
    kFound,
    kAbsent,
    kMissing,  // A row that others point to is not there.
  };
  struct Scanned {
    Outcome outcome = Outcome::kFound;  // Or kMissing, where it stopped.
    int64_t count = 0;
    bool is_cut = false;
  };

  explicit RowReader(const Backend& backend, Overlay* overlay = nullptr)
      : backend_(backend), overlay_(overlay) {}

  // `at` is a revision, not kCurrent. Calls `found` iff it returns kFound.
  absl::StatusOr<Outcome> Get(std::string_view key, Revision at, Values values,
                              KeyValueVisitor found) const;

  // As Store::Scan.
  absl::StatusOr<Scanned> Scan(const KeyRange& range, Revision at, Values values, bool count_rest,
                               KeyValueVisitor visit, int64_t effort_max = kAnyEffort,
                               CacheUse cache_use = CacheUse::kFill,
                               IsStopping is_stopping = kNeverStops) const;

  // False when there is no such row.
  absl::StatusOr<bool> GetRevision(RowRevision row,
                                   absl::FunctionRef<void(std::string_view)> found) const;

  // The version at `at` of the key whose latest row is given.
  absl::StatusOr<Outcome> Resolve(std::string_view key, const LatestRow& latest, Revision at,
                                  Values values, KeyValueVisitor found) const;

 private:
  absl::StatusOr<Outcome> Follow(RowRevision from, Revision at, KeyValueVisitor found) const;
  absl::StatusOr<Outcome> Visit(RowRevision row, Values values, KeyValueVisitor found) const;

  const Backend& backend_;
  Overlay* const overlay_;
};

// DATA_LOSS: names the row.
absl::Status UnreadableLatestRow(std::string_view key);
absl::Status UnreadableRevisionRow(RowRevision row);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_ROW_READER_H_
