#include "wal/format.h"

#include <fmt/format.h>

#include <cstring>

#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"

namespace cairn::wal {

namespace {

constexpr std::string_view kSuffix = ".wal";
constexpr std::string_view kUnfinishedSuffix = ".wal.new";
constexpr size_t kSequenceDigits = 16;

constexpr std::string_view kSegmentMagic = "CAIRNWAL";
constexpr size_t kSegmentCrcAt = kSegmentHeaderBytes - 4;

// "CBAT" in a dump. The numbers are offsets in the batch header.
constexpr uint32_t kBatchMagic = 0x54414243;
constexpr size_t kHeaderCrcAt = 4;
constexpr size_t kNumberAt = 8;
constexpr size_t kBodyBytesAt = 16;
constexpr size_t kDurableThroughAt = 24;
constexpr size_t kCommitAt = 32;
constexpr size_t kPreviousAt = 40;
constexpr size_t kBodyCrcAt = 44;
constexpr size_t kMaskAt = 48;
constexpr size_t kSaltAt = 56;

uint32_t Seed(const BatchPlace& place) {
  char bytes[24];
  base::StoreLittle64(bytes, place.sequence);
  base::StoreLittle64(bytes + 8, place.offset);
  base::StoreLittle64(bytes + 16, place.salt);
  return base::Crc32c({bytes, sizeof bytes});
}

uint32_t HeaderChecksum(const char* header, uint32_t seed) {
  return base::ExtendCrc32c(seed, {header + kNumberAt, kBatchHeaderBytes - kNumberAt});
}

bool HasSequenceAndSuffix(std::string_view name, std::string_view suffix, uint64_t& sequence) {
  if (name.size() != kSequenceDigits + suffix.size() || !name.ends_with(suffix)) return false;
  sequence = 0;
  for (const char c : name.substr(0, kSequenceDigits)) {
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit && !(c >= 'a' && c <= 'f')) return false;
    sequence = sequence * 16 + static_cast<uint64_t>(is_digit ? c - '0' : c - 'a' + 10);
  }
  return true;
}

// XORs whole and partial words with the mask, little endian, from the start of `bytes`.
void ApplyMask(char* bytes, size_t size_bytes, uint64_t mask) {
  size_t at = 0;
  for (; at + 8 <= size_bytes; at += 8) {
    base::StoreLittle64(bytes + at, base::LoadLittle64(bytes + at) ^ mask);
  }
  for (; at < size_bytes; ++at) {
    bytes[at] = static_cast<char>(bytes[at] ^ static_cast<char>(mask >> (at % 8 * 8)));
  }
}

bool TakeId(std::string_view& from, raft::EntryId& id) {
  uint64_t index = 0;
  uint64_t term = 0;
  if (!base::TakeVarint(from, index) || !base::TakeVarint(from, term)) return false;
  id = {.term = Term(term), .index = Index(index)};
  return true;
}

bool TakeEntry(std::string_view payload, Record& record) {
  if (payload.empty()) return false;
  const auto kind = static_cast<uint8_t>(payload.front());
  payload.remove_prefix(1);
  uint64_t term_step = 0;
  if (!TakeId(payload, record.id) || !base::TakeVarint(payload, term_step)) return false;
  if (kind < static_cast<uint8_t>(raft::EntryKind::kEmpty) ||
      kind > static_cast<uint8_t>(raft::EntryKind::kConfiguration)) {
    return false;
  }
  if (record.id.index == Index() || term_step > record.id.term.value()) return false;
  record.kind = static_cast<raft::EntryKind>(kind);
  record.previous_term = record.id.term - term_step;
  record.data = payload;
  return true;
}

bool TakeHardState(std::string_view payload, Record& record) {
  uint64_t term = 0;
  uint64_t vote = 0;
  if (!base::TakeVarint(payload, term) || !base::TakeLittle64(payload, vote)) return false;
  record.term = Term(term);
  record.vote = MemberId(vote);
  return payload.empty();
}

bool TakeSyncMode(std::string_view payload, Record& record) {
  if (payload.size() != 1) return false;
  const auto mode = static_cast<uint8_t>(payload.front());
  record.sync_mode = static_cast<SyncMode>(mode);
  return mode <= static_cast<uint8_t>(SyncMode::kInterval);
}

char* StoreId(char* to, const raft::EntryId& id) {
  return base::StoreVarint(base::StoreVarint(to, id.index.value()), id.term.value());
}

}  // namespace

std::string SegmentName(uint64_t sequence) { return fmt::format("{:016x}{}", sequence, kSuffix); }

std::string UnfinishedSegmentName(uint64_t sequence) {
  return fmt::format("{:016x}{}", sequence, kUnfinishedSuffix);
}

std::optional<uint64_t> SegmentSequence(std::string_view name) {
  uint64_t sequence = 0;
  if (!HasSequenceAndSuffix(name, kSuffix, sequence)) return std::nullopt;
  return sequence;
}

bool IsUnfinishedSegmentName(std::string_view name) {
  uint64_t sequence = 0;
  return HasSequenceAndSuffix(name, kUnfinishedSuffix, sequence);
}

bool IsAllZero(std::string_view bytes) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 32; left -= 32, at += 32) {
    const uint64_t any = base::LoadLittle64(at) | base::LoadLittle64(at + 8) |
                         base::LoadLittle64(at + 16) | base::LoadLittle64(at + 24);
    if (any != 0) return false;
  }
  for (; left > 0; --left, ++at) {
    if (*at != 0) return false;
  }
  return true;
}

std::string EncodeSegmentHeader(const SegmentHeader& header) {
  std::string bytes(kSegmentMagic);
  base::AppendLittle32(bytes, kFormatVersion);
  base::AppendLittle32(bytes, header.previous_checksum);
  base::AppendLittle64(bytes, header.identity.cluster.value());
  base::AppendLittle64(bytes, header.identity.member.value());
  base::AppendLittle64(bytes, header.sequence);
  base::AppendLittle64(bytes, header.salt);
  base::AppendLittle64(bytes, header.before_first.index.value());
  base::AppendLittle64(bytes, header.before_first.term.value());
  base::AppendLittle64(bytes, header.first_batch_number);
  base::AppendLittle64(bytes, header.size_bytes);
  bytes.resize(kSegmentCrcAt, '\0');
  base::AppendLittle32(bytes, base::Crc32c(bytes));
  return bytes;
}

HeaderState DecodeSegmentHeader(std::string_view bytes, SegmentHeader& header) {
  if (bytes.size() < kSegmentHeaderBytes) return HeaderState::kBad;
  bytes = bytes.substr(0, kSegmentHeaderBytes);
  if (IsAllZero(bytes)) return HeaderState::kZero;
  if (!bytes.starts_with(kSegmentMagic)) return HeaderState::kBad;
  const uint32_t crc = base::LoadLittle32(bytes.data() + kSegmentCrcAt);
  if (crc != base::Crc32c(bytes.substr(0, kSegmentCrcAt))) return HeaderState::kBad;
  const char* at = bytes.data() + kSegmentMagic.size();
  if (base::LoadLittle32(at) != kFormatVersion) return HeaderState::kNewer;
  header.previous_checksum = base::LoadLittle32(at + 4);
  header.identity.cluster = ClusterId(base::LoadLittle64(at + 8));
  header.identity.member = MemberId(base::LoadLittle64(at + 16));
  header.sequence = base::LoadLittle64(at + 24);
  header.salt = base::LoadLittle64(at + 32);
  header.before_first.index = Index(base::LoadLittle64(at + 40));
  header.before_first.term = Term(base::LoadLittle64(at + 48));
  header.first_batch_number = base::LoadLittle64(at + 56);
  header.size_bytes = base::LoadLittle64(at + 64);
  return HeaderState::kValid;
}

std::optional<uint64_t> ClaimedSalt(std::string_view bytes) {
  if (bytes.size() < kBatchHeaderBytes || base::LoadLittle32(bytes.data()) != kBatchMagic) {
    return std::nullopt;
  }
  return base::LoadLittle64(bytes.data() + kSaltAt);
}

std::optional<BatchHeader> DecodeBatchHeader(std::string_view bytes, const BatchPlace& place) {
  const std::optional<uint64_t> salt = ClaimedSalt(bytes);
  if (!salt || *salt != place.salt) return std::nullopt;
  const char* at = bytes.data();
  const uint32_t checksum = base::LoadLittle32(at + kHeaderCrcAt);
  if (checksum != HeaderChecksum(at, Seed(place))) return std::nullopt;
  return BatchHeader{.number = base::LoadLittle64(at + kNumberAt),
                     .body_bytes = base::LoadLittle64(at + kBodyBytesAt),
                     .durable_through = base::LoadLittle64(at + kDurableThroughAt),
                     .commit = Index(base::LoadLittle64(at + kCommitAt)),
                     .previous_checksum = base::LoadLittle32(at + kPreviousAt),
                     .body_checksum = base::LoadLittle32(at + kBodyCrcAt),
                     .mask = base::LoadLittle64(at + kMaskAt),
                     .salt = *salt,
                     .checksum = checksum};
}

BodyState CheckBody(std::string_view batch, const BatchHeader& header, const BatchPlace& place) {
  CAIRN_CHECK_EQ(batch.size(), header.size_bytes());
  const std::string_view body = batch.substr(kBatchHeaderBytes, header.body_bytes);
  if (base::ExtendCrc32c(Seed(place), body) == header.body_checksum &&
      IsAllZero(batch.substr(kBatchHeaderBytes + header.body_bytes))) {
    return BodyState::kValid;
  }
  for (size_t at = 0; at < batch.size(); at += kSectorBytes) {
    if (IsAllZero(batch.substr(at, kSectorBytes))) return BodyState::kMissing;
  }
  return BodyState::kBad;
}

std::string_view BodyOf(std::string_view batch, const BatchHeader& header, std::string& scratch) {
  const std::string_view body = batch.substr(kBatchHeaderBytes, header.body_bytes);
  if (header.mask == 0) return body;
  scratch.assign(body);
  ApplyMask(scratch.data(), scratch.size(), header.mask);
  return scratch;
}

bool TakeRecord(std::string_view& body, Record& record) {
  if (body.empty()) return false;
  record = Record{.type = static_cast<RecordType>(static_cast<uint8_t>(body.front()))};
  body.remove_prefix(1);
  if (record.type == RecordType::kEnd) return body.empty();
  uint64_t size_bytes = 0;
  std::string_view payload;
  if (!base::TakeVarint(body, size_bytes) || !base::TakeBytes(body, size_bytes, payload)) {
    return false;
  }
  switch (record.type) {
    case RecordType::kEntry:
      return TakeEntry(payload, record);
    case RecordType::kHardState:
      return TakeHardState(payload, record);
    case RecordType::kConfiguration:
      record.data = payload;
      return true;
    case RecordType::kMarker:
      return TakeId(payload, record.id) && payload.empty();
    case RecordType::kSnapshotInstalled:
      if (!TakeId(payload, record.id)) return false;
      record.data = payload;
      return true;
    case RecordType::kSyncMode:
      return TakeSyncMode(payload, record);
    case RecordType::kEnd:
      break;
  }
  return false;
}

void BatchEncoder::Begin() { buffer_.assign(kBatchHeaderBytes, '\0'); }

void BatchEncoder::Add(const Record& record) {
  // What stands before the data, built aside because its length comes first.
  char head[1 + 3 * base::kVarintBytesMax];
  char* end = head;
  switch (record.type) {
    case RecordType::kEntry:
      CAIRN_CHECK_GE(record.id.term, record.previous_term);
      *end++ = static_cast<char>(record.kind);
      end = StoreId(end, record.id);
      end = base::StoreVarint(end, record.id.term - record.previous_term);
      break;
    case RecordType::kHardState:
      end = base::StoreVarint(end, record.term.value());
      base::StoreLittle64(end, record.vote.value());
      end += sizeof(uint64_t);
      break;
    case RecordType::kMarker:
    case RecordType::kSnapshotInstalled:
      end = StoreId(end, record.id);
      break;
    case RecordType::kSyncMode:
      *end++ = static_cast<char>(record.sync_mode);
      break;
    case RecordType::kConfiguration:
      break;
    case RecordType::kEnd:
      CAIRN_CHECK(false, "Finish ends a batch");
  }
  const auto head_bytes = static_cast<size_t>(end - head);
  buffer_.push_back(static_cast<char>(record.type));
  base::AppendVarint(buffer_, head_bytes + record.data.size());
  buffer_.append(head, head_bytes);
  buffer_.append(record.data);
}

std::string_view BatchEncoder::Finish(BatchHeader& header, const BatchPlace& place) {
  buffer_.push_back(static_cast<char>(RecordType::kEnd));
  header.body_bytes = buffer_.size() - kBatchHeaderBytes;
  header.salt = place.salt;
  header.mask = 0;
  buffer_.resize(header.size_bytes(), '\0');
  while (HasZeroSector()) {
    // Taking the old mask off and putting the new one on is one XOR.
    const uint64_t mask = NextMask();
    ApplyMask(buffer_.data() + kBatchHeaderBytes, header.body_bytes, header.mask ^ mask);
    header.mask = mask;
  }
  const uint32_t seed = Seed(place);
  header.body_checksum = base::ExtendCrc32c(
      seed, std::string_view(buffer_).substr(kBatchHeaderBytes, header.body_bytes));
  char* at = buffer_.data();
  base::StoreLittle32(at, kBatchMagic);
  base::StoreLittle64(at + kNumberAt, header.number);
  base::StoreLittle64(at + kBodyBytesAt, header.body_bytes);
  base::StoreLittle64(at + kDurableThroughAt, header.durable_through);
  base::StoreLittle64(at + kCommitAt, header.commit.value());
  base::StoreLittle32(at + kPreviousAt, header.previous_checksum);
  base::StoreLittle32(at + kBodyCrcAt, header.body_checksum);
  base::StoreLittle64(at + kMaskAt, header.mask);
  base::StoreLittle64(at + kSaltAt, header.salt);
  header.checksum = HeaderChecksum(at, seed);
  base::StoreLittle32(at + kHeaderCrcAt, header.checksum);
  return buffer_;
}

// The first sector holds the header's magic; only later ones can be all zero.
bool BatchEncoder::HasZeroSector() const {
  for (size_t at = kSectorBytes; at < buffer_.size(); at += kSectorBytes) {
    if (IsAllZero(std::string_view(buffer_).substr(at, kSectorBytes))) return true;
  }
  return false;
}

// SplitMix64: any state gives a good next value, and zero (no mask) is skipped.
uint64_t BatchEncoder::NextMask() {
  uint64_t mask = 0;
  while (mask == 0) {
    mask_state_ += 0x9e3779b97f4a7c15;
    mask = mask_state_;
    mask = (mask ^ (mask >> 30)) * 0xbf58476d1ce4e5b9;
    mask = (mask ^ (mask >> 27)) * 0x94d049bb133111eb;
    mask ^= mask >> 31;
  }
  return mask;
}

size_t EncodedBytesMax(const Append& append) {
  // A type, a length, a kind and three numbers.
  constexpr size_t kRecordBytesMax = 2 + 4 * base::kVarintBytesMax;
  size_t bytes = 3 * kRecordBytesMax;  // Hard state, marker, sync mode.
  for (const raft::Entry& entry : append.entries) bytes += kRecordBytesMax + entry.data_bytes();
  if (append.configuration) bytes += kRecordBytesMax + append.configuration->size();
  if (append.snapshot_installed) {
    bytes += kRecordBytesMax + append.snapshot_installed->configuration.size();
  }
  return bytes;
}

}  // namespace cairn::wal
