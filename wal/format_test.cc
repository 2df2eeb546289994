#include "wal/format.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace cairn::wal {
namespace {

constexpr BatchPlace kPlace{.sequence = 42, .offset = 512, .salt = 0x1122334455667788};

// The batch that FORMAT.md shows: term 2 with a vote, and one put.
std::string ExampleBatch(BatchHeader& header) {
  BatchEncoder encoder(1);
  encoder.Begin();
  encoder.Add({.type = RecordType::kHardState, .term = Term(2), .vote = MemberId(0x3e)});
  encoder.Add({.type = RecordType::kEntry,
               .id = {.term = Term(2), .index = Index(7)},
               .previous_term = Term(1),
               .kind = raft::EntryKind::kCommand,
               .data = "stone"});
  header = {.number = 9, .durable_through = 0, .commit = Index(6), .previous_checksum = 0xabcd};
  return std::string(encoder.Finish(header, kPlace));
}

// All that the decoder makes of a batch, or nothing.
std::optional<std::string> Decode(std::string_view bytes) {
  const auto header = DecodeBatchHeader(bytes, kPlace);
  if (!header || header->body_bytes > bytes.size() - kBatchHeaderBytes ||
      header->size_bytes() != bytes.size() ||
      CheckBody(bytes, *header, kPlace) != BodyState::kValid) {
    return std::nullopt;
  }
  std::string scratch;
  std::string_view body = BodyOf(bytes, *header, scratch);
  std::string text = fmt::format("{} {} {}", header->number, header->commit, header->mask != 0);
  Record record;
  do {
    if (!TakeRecord(body, record)) return std::nullopt;
    text += fmt::format(" | {} {}/{} {} {} {} {}", static_cast<int>(record.type), record.id.index,
                        record.id.term, record.previous_term, record.term, record.vote,
                        record.data.size());
  } while (record.type != RecordType::kEnd);
  return text;
}

TEST(FormatTest, SegmentNamesRoundTrip) {
  EXPECT_EQ(SegmentName(0x2a), "000000000000002a.wal");
  EXPECT_EQ(SegmentSequence("000000000000002a.wal"), 0x2au);
  EXPECT_TRUE(IsUnfinishedSegmentName(UnfinishedSegmentName(3)));
  for (const char* name : {"", "2a.wal", "000000000000002A.wal", "000000000000002a.wal.new",
                           "000000000000002a.wal.broken.1", "00000000000000-1.wal"}) {
    EXPECT_FALSE(SegmentSequence(name)) << name;
  }
}

TEST(FormatTest, SegmentHeadersRoundTripAndNoFlippedBitPasses) {
  const SegmentHeader header{.identity = {.cluster = ClusterId(1), .member = MemberId(2)},
                             .sequence = 3,
                             .salt = 4,
                             .before_first = {.term = Term(5), .index = Index(6)},
                             .first_batch_number = 7,
                             .size_bytes = 8192,
                             .previous_checksum = 9};
  std::string bytes = EncodeSegmentHeader(header);
  ASSERT_EQ(bytes.size(), kSegmentHeaderBytes);
  SegmentHeader decoded;
  ASSERT_EQ(DecodeSegmentHeader(bytes, decoded), HeaderState::kValid);
  EXPECT_EQ(decoded, header);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(DecodeSegmentHeader(bytes, decoded), HeaderState::kBad) << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  }
  EXPECT_EQ(DecodeSegmentHeader(std::string(512, '\0'), decoded), HeaderState::kZero);
}

TEST(FormatTest, NoTruncationAndNoFlippedBitOfABatchPasses) {
  BatchHeader header;
  std::string bytes = ExampleBatch(header);
  ASSERT_EQ(Decode(bytes), "9 6 false | 2 0/0 0 2 62 0 | 1 7/2 1 0 0 5 | 255 0/0 0 0 0 0");
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Decode(std::string_view(bytes).substr(0, size))) << size;
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(Decode(bytes)) << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  }
}

// A batch is good only where it was written.
TEST(FormatTest, ABatchElsewhereIsNone) {
  BatchHeader header;
  const std::string bytes = ExampleBatch(header);
  for (const BatchPlace place : {BatchPlace{43, 512, kPlace.salt},
                                 BatchPlace{42, 1024, kPlace.salt}, BatchPlace{42, 512, 1}}) {
    EXPECT_FALSE(DecodeBatchHeader(bytes, place));
  }
}

TEST(FormatTest, NoWrittenSectorIsAllZero) {
  for (const size_t size : {447, 448, 449, 511, 512, 5000, 100000}) {
    BatchEncoder encoder(size);
    encoder.Begin();
    encoder.Add({.type = RecordType::kConfiguration, .data = std::string(size, '\0')});
    BatchHeader header;
    std::string bytes(encoder.Finish(header, kPlace));
    for (size_t at = 0; at < bytes.size(); at += kSectorBytes) {
      EXPECT_FALSE(IsAllZero(std::string_view(bytes).substr(at, kSectorBytes)))
          << size << ' ' << at;
    }
    EXPECT_TRUE(Decode(bytes)) << size;
    // A missing sector is seen as missing, not as damage.
    if (bytes.size() > kSectorBytes) {
      bytes.replace(kSectorBytes, kSectorBytes, kSectorBytes, '\0');
      EXPECT_EQ(CheckBody(bytes, header, kPlace), BodyState::kMissing);
    }
  }
}

TEST(FormatTest, EveryTruncationOfARecordIsRefused) {
  BatchHeader header;
  const std::string bytes = ExampleBatch(header);
  const std::string_view body =
      std::string_view(bytes).substr(kBatchHeaderBytes, header.body_bytes);
  for (size_t size = 0; size < body.size(); ++size) {
    std::string_view rest = body.substr(0, size);
    Record record;
    while (TakeRecord(rest, record)) EXPECT_NE(record.type, RecordType::kEnd) << size;
  }
}

TEST(FormatTest, ASyncModeIsOneOfThoseThatThereAre) {
  for (uint8_t mode = 0; mode < 5; ++mode) {
    BatchEncoder encoder(1);
    encoder.Begin();
    encoder.Add({.type = RecordType::kSyncMode, .sync_mode = static_cast<SyncMode>(mode)});
    BatchHeader header;
    const std::string bytes(encoder.Finish(header, kPlace));
    std::string_view body = std::string_view(bytes).substr(kBatchHeaderBytes, header.body_bytes);
    Record record;
    EXPECT_EQ(TakeRecord(body, record), mode <= 2) << int{mode};
    if (mode <= 2) {
      EXPECT_EQ(record.sync_mode, static_cast<SyncMode>(mode));
    }
  }
}

// The worked example of FORMAT.md is what the code writes.
TEST(FormatTest, TheDocumentShowsTheseBytes) {
  BatchHeader header;
  const std::string bytes = ExampleBatch(header);
  std::string dump;
  for (size_t at = 0; at < kBatchHeaderBytes + header.body_bytes; at += 16) {
    dump += fmt::format("{:04x} ", at);
    for (size_t i = at; i < std::min<size_t>(at + 16, kBatchHeaderBytes + header.body_bytes); ++i) {
      dump += fmt::format(" {:02x}", static_cast<uint8_t>(bytes[i]));
    }
    dump += '\n';
  }
  std::ifstream file("wal/FORMAT.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find(dump), std::string::npos) << "FORMAT.md should show:\n" << dump;
}

}  // namespace
}  // namespace cairn::wal
