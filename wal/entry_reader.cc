#include "wal/entry_reader.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "wal/format.h"

namespace cairn::wal {

namespace {

// One system call brings the batches of a stretch, as a rule.
constexpr uint64_t kReadBytes = 2 * kAnchorBytes;

// Walks the batches of a segment from an offset on, through a window.
class BatchWalker {
 public:
  BatchWalker(const SegmentFile& segment, uint64_t offset) : segment_(segment), offset_(offset) {}

  // The body of the next batch, valid until the next call.
  absl::StatusOr<std::string_view> Next() {
    CAIRN_RETURN_IF_ERROR(Fill(kBatchHeaderBytes));
    const BatchPlace place{.sequence = segment_.sequence, .offset = offset_, .salt = segment_.salt};
    const auto header = DecodeBatchHeader(Window(), place);
    if (!header || header->body_bytes > segment_.used_bytes - offset_) return Damaged();
    CAIRN_RETURN_IF_ERROR(Fill(header->size_bytes()));
    const std::string_view batch = Window().substr(0, header->size_bytes());
    if (CheckBody(batch, *header, place) != BodyState::kValid) return Damaged();
    offset_ += batch.size();
    return BodyOf(batch, *header, scratch_);
  }

  absl::Status Damaged() const {
    return base::Error(absl::StatusCode::kDataLoss,
                       "{} at offset {}: the disk gave back other bytes than were written",
                       SegmentName(segment_.sequence), offset_);
  }

 private:
  std::string_view Window() const {
    return std::string_view(window_).substr(offset_ - window_offset_);
  }

  // Makes the window hold `bytes` from offset_ on.
  absl::Status Fill(uint64_t bytes) {
    if (offset_ + bytes > segment_.used_bytes) return Damaged();
    if (offset_ >= window_offset_ && offset_ + bytes <= window_offset_ + window_.size()) {
      return absl::OkStatus();
    }
    window_offset_ = offset_;
    const uint64_t size = std::min(std::max(bytes, kReadBytes), segment_.used_bytes - offset_);
    return ReadExactly(*segment_.file, offset_, size, window_);
  }

  const SegmentFile& segment_;
  uint64_t offset_;
  uint64_t window_offset_ = 0;
  std::string window_;
  std::string scratch_;
};

}  // namespace

absl::StatusOr<bool> ReadStretch(const StretchRequest& request, std::vector<raft::Entry>& entries,
                                 size_t& bytes) {
  BatchWalker walker(request.segment, request.from.offset);
  uint32_t skip = request.from.skip;
  for (Index expected = request.from.first; expected < request.limit;) {
    CAIRN_ASSIGN_OR_RETURN(std::string_view body, walker.Next());
    Record record;
    do {
      if (!TakeRecord(body, record)) return walker.Damaged();
      if (record.type != RecordType::kEntry) continue;
      if (skip > 0) {
        --skip;
        continue;
      }
      if (expected >= request.limit) return false;
      if (record.id.index != expected) return walker.Damaged();
      ++expected;
      if (record.id.index < request.first) continue;
      if (!entries.empty() && bytes + record.data.size() > request.max_bytes) return true;
      bytes += record.data.size();
      entries.push_back({.term = record.id.term, .index = record.id.index, .kind = record.kind});
      if (!record.data.empty()) {
        entries.back().data = std::make_shared<const std::string>(record.data);
      }
    } while (record.type != RecordType::kEnd);
  }
  return false;
}

}  // namespace cairn::wal
