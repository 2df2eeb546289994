#include "lease/lease_codec.h"

#include <limits>

#include "base/coding.h"

namespace cairn::lease {
namespace {

constexpr uint64_t kSignBit = uint64_t{1} << 63;
constexpr uint64_t kNumberMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

// A number that is never negative.
bool TakeNumber(std::string_view& from, int64_t& number) {
  uint64_t value = 0;
  if (!base::TakeVarint(from, value) || value > kNumberMax) return false;
  number = static_cast<int64_t>(value);
  return true;
}

}  // namespace

void AppendLeaseId(std::string& to, LeaseId id) {
  base::AppendBig64(to, static_cast<uint64_t>(id.value()) ^ kSignBit);
}

bool TakeLeaseId(std::string_view& from, LeaseId& id) {
  uint64_t bits = 0;
  if (!base::TakeBig64(from, bits)) return false;
  id = LeaseId(static_cast<int64_t>(bits ^ kSignBit));
  return true;
}

// Varints: granting index, time to live, keys, and the checkpoint plus one (0: none).
std::string EncodeLeaseRow(const LeaseFacts& facts) {
  std::string bytes;
  base::AppendVarint(bytes, facts.granted.value());
  base::AppendVarint(bytes, static_cast<uint64_t>(facts.ttl_s));
  base::AppendVarint(bytes, static_cast<uint64_t>(facts.key_count));
  base::AppendVarint(
      bytes, facts.checkpoint_ms.has_value() ? static_cast<uint64_t>(*facts.checkpoint_ms) + 1 : 0);
  return bytes;
}

bool DecodeLeaseRow(std::string_view bytes, LeaseFacts& facts) {
  uint64_t granted = 0;
  int64_t checkpoint = 0;
  if (!base::TakeVarint(bytes, granted) || !TakeNumber(bytes, facts.ttl_s) ||
      !TakeNumber(bytes, facts.key_count) || !TakeNumber(bytes, checkpoint)) {
    return false;
  }
  if (facts.ttl_s > kTtlSecondsMax || checkpoint > kTtlSecondsMax * 1000 + 1) return false;
  facts.granted = Index(granted);
  facts.checkpoint_ms.reset();
  if (checkpoint > 0) facts.checkpoint_ms = checkpoint - 1;
  return bytes.empty();
}

}  // namespace cairn::lease
