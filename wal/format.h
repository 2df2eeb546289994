// The grammar of bytes: segment names and headers, batches, records (FORMAT.md explains each
// field).
//
// Pure: bytes in, values out. Knows neither files nor what an entry means, keeps nothing.
// Everything decoded is checked, every length against what is there.
#ifndef CAIRN_WAL_FORMAT_H_
#define CAIRN_WAL_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "raft/types.h"
#include "wal/fs.h"
#include "wal/types.h"

namespace cairn::wal {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr size_t kSegmentHeaderBytes = kSectorBytes;
inline constexpr size_t kBatchHeaderBytes = 64;

// "000000000000002a.wal"; a segment in the making has a name that a scan does not take for one.
std::string SegmentName(uint64_t sequence);
std::string UnfinishedSegmentName(uint64_t sequence);
// The sequence in a segment's name, nothing for any other name.
std::optional<uint64_t> SegmentSequence(std::string_view name);
bool IsUnfinishedSegmentName(std::string_view name);

constexpr uint64_t RoundUpToSector(uint64_t bytes) {
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}
bool IsAllZero(std::string_view bytes);

struct SegmentHeader {
  Identity identity;
  uint64_t sequence = 0;
  // Random, new for each segment: no value that a client stores can look like a batch of it.
  uint64_t salt = 0;
  // The last entry of the log when the segment was begun.
  raft::EntryId before_first;
  uint64_t first_batch_number = 0;
  // Of the file: a shortened one is noticed.
  uint64_t size_bytes = 0;
  // Of the previous segment's last batch; 0 in the first segment of a log.
  uint32_t previous_checksum = 0;

  friend bool operator==(const SegmentHeader&, const SegmentHeader&) = default;
};

// Exactly kSegmentHeaderBytes.
std::string EncodeSegmentHeader(const SegmentHeader& header);

enum class HeaderState : uint8_t {
  kValid,
  kZero,   // Never reached the disk, or a spare.
  kNewer,  // Intact, but of a format version that this program does not know.
  kBad,
};
HeaderState DecodeSegmentHeader(std::string_view bytes, SegmentHeader& header);

struct BatchHeader {
  uint64_t number = 0;
  uint64_t body_bytes = 0;
  // Everything of this segment before this offset was synced when the batch was written.
  uint64_t durable_through = 0;
  Index commit;
  uint32_t previous_checksum = 0;
  uint32_t body_checksum = 0;
  uint64_t mask = 0;
  uint64_t salt = 0;
  // Of the header, and through it of all that came before: what the next batch chains to.
  uint32_t checksum = 0;

  // On disk, padding included.
  uint64_t size_bytes() const { return RoundUpToSector(kBatchHeaderBytes + body_bytes); }
};

// Where a batch lies; seeds its checksums.
struct BatchPlace {
  uint64_t sequence = 0;
  uint64_t offset = 0;
  uint64_t salt = 0;
};

// The header at the front of `bytes`, if it is one that was written at this place.
std::optional<BatchHeader> DecodeBatchHeader(std::string_view bytes, const BatchPlace& place);
// The salt that a header at the front of `bytes` claims; for a segment whose own header is missing.
std::optional<uint64_t> ClaimedSalt(std::string_view bytes);

enum class BodyState : uint8_t {
  kValid,
  kMissing,  // Fails its checks, and a sector of it is all zero: it never reached the disk.
  kBad,      // Fails its checks, and no sector is missing.
};
// Judges the rest of a batch; `batch` is its header.size_bytes() bytes, header included.
BodyState CheckBody(std::string_view batch, const BatchHeader& header, const BatchPlace& place);

// The records of a checked batch, unmasked into `scratch` if it was masked.
std::string_view BodyOf(std::string_view batch, const BatchHeader& header, std::string& scratch);

// The numbers stand on disk: never change one.
enum class RecordType : uint8_t {
  kEntry = 1,
  kHardState = 2,
  kConfiguration = 3,
  kMarker = 4,
  kSnapshotInstalled = 5,
  kSyncMode = 6,
  kEnd = 0xff,
};

// One decoded record; which fields count depends on the type. Views into the body.
struct Record {
  RecordType type = RecordType::kEnd;
  raft::EntryId id;        // Entry, marker, snapshot-installed.
  Term previous_term;      // Entry: the term of the entry before it.
  raft::EntryKind kind{};  // Entry.
  std::string_view data;   // Entry's data; configuration (also of snapshot-installed).
  Term term;               // Hard state.
  MemberId vote;           // Hard state.
  SyncMode sync_mode{};    // Sync mode.
};

// Takes the next record off `body`. False when it is malformed or of an unknown type. After a
// record of type kEnd nothing is left.
bool TakeRecord(std::string_view& body, Record& record);

// Encodes one batch. Reused from batch to batch: keeps its buffer.
class BatchEncoder {
 public:
  // `mask_seed` feeds the masks (a batch that needs none is not masked).
  explicit BatchEncoder(uint64_t mask_seed) : mask_state_(mask_seed) {}

  void Begin();
  // Any type but kEnd, which Finish adds.
  void Add(const Record& record);

  // What the batch will take on disk if nothing is added.
  uint64_t size_bytes() const { return RoundUpToSector(buffer_.size() + 1); }

  // Completes the batch: fills in the header's lengths, checksums and mask. `header` carries
  // number, durable_through, commit and previous_checksum, and receives the rest. The bytes live
  // until Begin.
  std::string_view Finish(BatchHeader& header, const BatchPlace& place);

 private:
  bool HasZeroSector() const;
  uint64_t NextMask();

  std::string buffer_;
  uint64_t mask_state_;
};

// Upper bound of what an Append adds to a batch, for the bounds of a batch.
size_t EncodedBytesMax(const Append& append);

}  // namespace cairn::wal

#endif  // CAIRN_WAL_FORMAT_H_
