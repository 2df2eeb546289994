#include "mvcc/schema.h"

#include <algorithm>
#include <array>

#include "mvcc/revision_limits.h"

namespace cairn::mvcc {
namespace {

constexpr std::array kServerPrefixes = {
    kAlarmPrefix,  kConfigurationPrefix, kLeaseKeyPrefix, kLeasePrefix,
    kMemberPrefix, kRolePrefix,          kUserPrefix,     kVersionPrefix,
};

bool TakeSigned(std::string_view& from, int64_t& value) {
  uint64_t bits = 0;
  if (!base::TakeBig64(from, bits)) return false;
  value = static_cast<int64_t>(bits);
  return true;
}

// Far above what anybody reaches, far below where a sum would wrap.
constexpr uint64_t kAppliedMax = uint64_t{1} << 62;
constexpr int64_t kSizeBytesMax = int64_t{1} << 62;

bool IsPossible(const StateRow& row) {
  const Published& published = row.published;
  return row.applied.index <= Index(kAppliedMax) && row.applied.term <= Term(kAppliedMax) &&
         published.revision >= kFirstRevision && published.revision <= kRevisionMax &&
         published.watermark >= kNeverCompacted && published.watermark <= published.revision &&
         row.removal_cursor.main >= Revision(0) && row.removal_cursor.sub >= 0 &&
         row.removal_cursor.main <= std::max(published.watermark, Revision(0)) &&
         row.logical_size_bytes >= 0 && row.logical_size_bytes <= kSizeBytesMax;
}

}  // namespace

bool IsServerMetaKey(std::string_view key) {
  for (const std::string_view prefix : kServerPrefixes) {
    if (key.starts_with(prefix)) return true;
  }
  return false;
}

bool ParseRevisionKey(std::string_view key, RowRevision& row) {
  if (key.size() != kRevisionKeyBytes) return false;
  row.main = Revision(static_cast<int64_t>(base::LoadBig64(key.data())));
  row.sub = static_cast<int64_t>(base::LoadBig64(key.data() + 8));
  return true;
}

std::string EncodeFormatRow(const FormatRow& row) {
  std::string bytes;
  base::AppendBig32(bytes, row.version);
  base::AppendBig64(bytes, row.cluster.value());
  base::AppendBig64(bytes, row.member.value());
  return bytes;
}

bool DecodeFormatRow(std::string_view bytes, FormatRow& row) {
  if (!base::TakeBig32(bytes, row.version)) return false;
  if (row.version != kFormatVersion) return true;
  uint64_t cluster = 0;
  uint64_t member = 0;
  if (!base::TakeBig64(bytes, cluster) || !base::TakeBig64(bytes, member)) return false;
  row.cluster = ClusterId(cluster);
  row.member = MemberId(member);
  return bytes.empty();
}

std::string EncodeStateRow(const StateRow& row) {
  std::string bytes;
  base::AppendBig64(bytes, row.applied.index.value());
  base::AppendBig64(bytes, row.applied.term.value());
  base::AppendBig64(bytes, static_cast<uint64_t>(row.published.revision.value()));
  base::AppendBig64(bytes, static_cast<uint64_t>(row.published.watermark.value()));
  base::AppendBig64(bytes, static_cast<uint64_t>(row.removal_cursor.main.value()));
  base::AppendBig64(bytes, static_cast<uint64_t>(row.removal_cursor.sub));
  base::AppendBig64(bytes, static_cast<uint64_t>(row.logical_size_bytes));
  return bytes;
}

bool DecodeStateRow(std::string_view bytes, StateRow& row) {
  uint64_t index = 0;
  uint64_t term = 0;
  int64_t revision = 0;
  int64_t watermark = 0;
  int64_t cursor_main = 0;
  if (!base::TakeBig64(bytes, index) || !base::TakeBig64(bytes, term) ||
      !TakeSigned(bytes, revision) || !TakeSigned(bytes, watermark) ||
      !TakeSigned(bytes, cursor_main) || !TakeSigned(bytes, row.removal_cursor.sub) ||
      !TakeSigned(bytes, row.logical_size_bytes)) {
    return false;
  }
  row.applied = {Index(index), Term(term)};
  row.published = {Revision(revision), Revision(watermark)};
  row.removal_cursor.main = Revision(cursor_main);
  return bytes.empty() && IsPossible(row);
}

}  // namespace cairn::mvcc
