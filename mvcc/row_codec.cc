#include "mvcc/row_codec.h"

#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/coding.h"

namespace cairn::mvcc {
namespace {

// The first byte of a row of `keys`.
constexpr uint8_t kTombstone = 0;
constexpr uint8_t kLiveInline = 1;
constexpr uint8_t kLiveElsewhere = 2;

// Added to the kind, the first byte of a row of `revisions`, when the row has a previous one.
constexpr uint8_t kHasPrevious = 0x80;

constexpr uint64_t kSignedMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

char* StoreRow(char* to, RowRevision row) {
  to = base::StoreVarint(to, static_cast<uint64_t>(row.main.value()));
  return base::StoreVarint(to, static_cast<uint64_t>(row.sub));
}

// A number that is never negative.
bool TakeCount(std::string_view& from, int64_t& value) {
  uint64_t bits = 0;
  if (!base::TakeVarint(from, bits) || bits > kSignedMax) return false;
  value = static_cast<int64_t>(bits);
  return true;
}

bool TakeRow(std::string_view& from, RowRevision& row) {
  int64_t main = 0;
  if (!TakeCount(from, main) || !TakeCount(from, row.sub)) return false;
  row.main = Revision(main);
  return main > 0;
}

bool TakeLife(std::string_view& from, LatestRow& row) {
  int64_t create_revision = 0;
  uint64_t lease = 0;
  if (!TakeCount(from, create_revision) || !TakeCount(from, row.version) ||
      !base::TakeVarint(from, lease)) {
    return false;
  }
  row.create_revision = Revision(create_revision);
  row.lease = LeaseId(static_cast<int64_t>(lease));
  return create_revision > 0 && row.version > 0;
}

}  // namespace

size_t LatestRowBytesMax(size_t value_bytes) {
  // Kind; revision, create revision, version, lease, row size, position, value size; landmarks.
  return 1 + (8 + 2 * kLandmarksMax) * static_cast<size_t>(base::kVarintBytesMax) + value_bytes;
}

char* StoreLatestRow(char* to, const LatestRow& row, const ChainPlace& place) {
  CAIRN_CHECK_EQ(row.position, place.position);
  *to++ = static_cast<char>(!row.live ? kTombstone : row.has_value ? kLiveInline : kLiveElsewhere);
  to = StoreRow(to, row.revision);
  to = base::StoreVarint(to, row.revision_row_bytes);
  to = base::StoreVarint(to, row.position);
  if (row.live) {
    to = base::StoreVarint(to, static_cast<uint64_t>(row.create_revision.value()));
    to = base::StoreVarint(to, static_cast<uint64_t>(row.version));
    to = base::StoreVarint(to, static_cast<uint64_t>(row.lease.value()));
  }
  if (row.has_value) {
    to = base::StoreVarint(to, row.value.size());
    if (!row.value.empty()) std::memcpy(to, row.value.data(), row.value.size());
    to += row.value.size();
  }
  const auto count = static_cast<size_t>(LandmarkCount(place.position));
  for (size_t k = 0; k < count; ++k) to = StoreRow(to, place.landmarks[k]);
  return to;
}

bool DecodeLatestRow(std::string_view bytes, LatestRow& row) {
  if (bytes.empty()) return false;
  const auto kind = static_cast<uint8_t>(bytes[0]);
  bytes.remove_prefix(1);
  if (kind > kLiveElsewhere) return false;
  row = LatestRow();
  row.live = kind != kTombstone;
  row.has_value = kind == kLiveInline;
  if (!TakeRow(bytes, row.revision) || !base::TakeVarint(bytes, row.revision_row_bytes) ||
      !base::TakeVarint(bytes, row.position)) {
    return false;
  }
  if (row.live && !TakeLife(bytes, row)) return false;
  if (row.has_value) {
    uint64_t size_bytes = 0;
    if (!base::TakeVarint(bytes, size_bytes) || !base::TakeBytes(bytes, size_bytes, row.value)) {
      return false;
    }
  }
  row.landmarks = bytes;
  // Two varints each, at least one byte long.
  return LandmarkCount(row.position) <= kLandmarksMax &&
         bytes.size() >= 2 * static_cast<size_t>(LandmarkCount(row.position));
}

bool DecodeChainPlace(const LatestRow& row, ChainPlace& place) {
  place.position = row.position;
  std::string_view rest = row.landmarks;
  const auto count = static_cast<size_t>(LandmarkCount(row.position));
  for (size_t k = 0; k < count; ++k) {
    if (!TakeRow(rest, place.landmarks[k])) return false;
  }
  return rest.empty();
}

char* StoreRevisionRowHead(char* to, const RevisionRow& row) {
  const bool has_previous = row.previous != kNoRow;
  *to++ = static_cast<char>(static_cast<uint8_t>(row.kind) | (has_previous ? kHasPrevious : 0));
  if (!has_previous) return to;
  to = StoreRow(to, row.previous);
  to = base::StoreVarint(to, row.previous_bytes);
  return StoreRow(to, row.skip);
}

bool DecodeRevisionRow(std::string_view bytes, RevisionRow& row) {
  if (bytes.empty()) return false;
  const auto first = static_cast<uint8_t>(bytes[0]);
  bytes.remove_prefix(1);
  const uint8_t kind = first & static_cast<uint8_t>(~kHasPrevious);
  if (kind < static_cast<uint8_t>(ChangeKind::kCreation) ||
      kind > static_cast<uint8_t>(ChangeKind::kDeletion)) {
    return false;
  }
  row = RevisionRow();
  row.kind = static_cast<ChangeKind>(kind);
  if ((first & kHasPrevious) != 0) {
    if (!TakeRow(bytes, row.previous) || !base::TakeVarint(bytes, row.previous_bytes) ||
        !TakeRow(bytes, row.skip)) {
      return false;
    }
  } else if (row.kind != ChangeKind::kCreation) {
    return false;
  }
  row.key_value = bytes;
  return true;
}

}  // namespace cairn::mvcc
