#include "mvcc/key_value.h"

#include <cstring>

#include "base/coding.h"

namespace cairn::mvcc {
namespace {

// Tags of mvccpb.KeyValue: field number << 3 | wire type (0 varint, 2 bytes).
constexpr char kKeyTag = 1 << 3 | 2;
constexpr char kCreateRevisionTag = 2 << 3;
constexpr char kModRevisionTag = 3 << 3;
constexpr char kVersionTag = 4 << 3;
constexpr char kValueTag = 5 << 3 | 2;
constexpr char kLeaseTag = 6 << 3;

size_t BytesFieldBytes(std::string_view bytes) {
  if (bytes.empty()) return 0;
  return 1 + static_cast<size_t>(base::VarintBytes(bytes.size())) + bytes.size();
}

// Negative numbers take ten bytes, as Protobuf's int64 does.
size_t VarintFieldBytes(int64_t value) {
  if (value == 0) return 0;
  return 1 + static_cast<size_t>(base::VarintBytes(static_cast<uint64_t>(value)));
}

char* StoreBytesField(char* to, char tag, std::string_view bytes) {
  if (bytes.empty()) return to;
  *to++ = tag;
  to = base::StoreVarint(to, bytes.size());
  std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}

char* StoreVarintField(char* to, char tag, int64_t value) {
  if (value == 0) return to;
  *to++ = tag;
  return base::StoreVarint(to, static_cast<uint64_t>(value));
}

// Take a field if it stands at the front; false when it stands there but cannot be read.
bool TakeBytesField(std::string_view& from, char tag, std::string_view& bytes) {
  bytes = {};
  if (from.empty() || from[0] != tag) return true;
  from.remove_prefix(1);
  uint64_t size_bytes = 0;
  return base::TakeVarint(from, size_bytes) && base::TakeBytes(from, size_bytes, bytes);
}

bool TakeVarintField(std::string_view& from, char tag, int64_t& value) {
  value = 0;
  if (from.empty() || from[0] != tag) return true;
  from.remove_prefix(1);
  uint64_t bits = 0;
  if (!base::TakeVarint(from, bits)) return false;
  value = static_cast<int64_t>(bits);
  return true;
}

}  // namespace

size_t EncodedKeyValueBytes(const KeyValueView& kv) {
  return BytesFieldBytes(kv.key) + VarintFieldBytes(kv.create_revision.value()) +
         VarintFieldBytes(kv.mod_revision.value()) + VarintFieldBytes(kv.version) +
         BytesFieldBytes(kv.value) + VarintFieldBytes(kv.lease.value());
}

size_t EncodedKeyOffset(size_t key_bytes) {
  return 1 + static_cast<size_t>(base::VarintBytes(key_bytes));
}

char* StoreKeyValue(char* to, const KeyValueView& kv) {
  to = StoreBytesField(to, kKeyTag, kv.key);
  to = StoreVarintField(to, kCreateRevisionTag, kv.create_revision.value());
  to = StoreVarintField(to, kModRevisionTag, kv.mod_revision.value());
  to = StoreVarintField(to, kVersionTag, kv.version);
  to = StoreBytesField(to, kValueTag, kv.value);
  return StoreVarintField(to, kLeaseTag, kv.lease.value());
}

void AppendKeyValue(std::string& to, const KeyValueView& kv) {
  const size_t offset = to.size();
  to.resize(offset + EncodedKeyValueBytes(kv));
  StoreKeyValue(to.data() + offset, kv);
}

bool ParseKeyValue(std::string_view bytes, KeyValueView& kv) {
  std::string_view rest = bytes;
  int64_t create_revision = 0;
  int64_t mod_revision = 0;
  int64_t lease = 0;
  if (!TakeBytesField(rest, kKeyTag, kv.key) ||
      !TakeVarintField(rest, kCreateRevisionTag, create_revision) ||
      !TakeVarintField(rest, kModRevisionTag, mod_revision) ||
      !TakeVarintField(rest, kVersionTag, kv.version) ||
      !TakeBytesField(rest, kValueTag, kv.value) || !TakeVarintField(rest, kLeaseTag, lease) ||
      !rest.empty()) {
    return false;
  }
  kv.create_revision = Revision(create_revision);
  kv.mod_revision = Revision(mod_revision);
  kv.lease = LeaseId(lease);
  // Anything longer than the shortest encoding (a padded varint, an explicit zero) is not ours.
  return EncodedKeyValueBytes(kv) == bytes.size();
}

}  // namespace cairn::mvcc
