#include "mvcc/row_codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace cairn::mvcc {
namespace {

struct Sample {
  LatestRow row;
  ChainPlace place;
};

// A place `position` rows deep into a chain whose row at position p has revision p + 2.
ChainPlace PlaceAt(uint64_t position) {
  ChainPlace place;
  for (uint64_t p = 1; p <= position; ++p) {
    AdvanceChain(place, {Revision(static_cast<int64_t>(p + 1)), 0},
                 {Revision(static_cast<int64_t>(p + 2)), 0});
  }
  return place;
}

std::vector<Sample> Samples() {
  static const std::string kLong(kRevisionRowHeadBytesMax * 10, 'x');
  std::vector<Sample> samples;
  for (const uint64_t position : {0, 1, 15, 16, 17, 255, 256, 5000}) {
    LatestRow row;
    row.live = true;
    row.has_value = true;
    row.revision = {Revision(static_cast<int64_t>(position + 2)), 3};
    row.create_revision = Revision(2);
    row.version = static_cast<int64_t>(position) + 1;
    row.lease = LeaseId(-5);
    row.revision_row_bytes = 700;
    row.position = position;
    row.value = kLong;
    samples.push_back({row, PlaceAt(position)});
    row.has_value = false;
    row.value = {};
    samples.push_back({row, samples.back().place});
    LatestRow tombstone;
    tombstone.revision = row.revision;
    tombstone.revision_row_bytes = 40;
    tombstone.position = position;
    samples.push_back({tombstone, samples.back().place});
  }
  return samples;
}

std::string Encode(const LatestRow& row, const ChainPlace& place) {
  std::string bytes(LatestRowBytesMax(row.value.size()), '\0');
  bytes.resize(static_cast<size_t>(StoreLatestRow(bytes.data(), row, place) - bytes.data()));
  return bytes;
}

std::string Encode(const RevisionRow& row) {
  std::string bytes(kRevisionRowHeadBytesMax, '\0');
  bytes.resize(static_cast<size_t>(StoreRevisionRowHead(bytes.data(), row) - bytes.data()));
  return bytes.append(row.key_value);
}

TEST(LatestRowCodec, RoundTrips) {
  for (const Sample& sample : Samples()) {
    const std::string bytes = Encode(sample.row, sample.place);
    EXPECT_LE(bytes.size(), LatestRowBytesMax(sample.row.value.size()));
    LatestRow row;
    ASSERT_TRUE(DecodeLatestRow(bytes, row));
    EXPECT_EQ(row.live, sample.row.live);
    EXPECT_EQ(row.has_value, sample.row.has_value);
    EXPECT_EQ(row.revision, sample.row.revision);
    EXPECT_EQ(row.create_revision, sample.row.create_revision);
    EXPECT_EQ(row.version, sample.row.version);
    EXPECT_EQ(row.lease, sample.row.lease);
    EXPECT_EQ(row.revision_row_bytes, sample.row.revision_row_bytes);
    EXPECT_EQ(row.value, sample.row.value);
    ChainPlace place;
    ASSERT_TRUE(DecodeChainPlace(row, place));
    EXPECT_EQ(place.position, sample.place.position);
    for (int k = 0; k < LandmarkCount(place.position); ++k) {
      EXPECT_EQ(place.landmarks[static_cast<size_t>(k)],
                sample.place.landmarks[static_cast<size_t>(k)]);
    }
  }
}

TEST(LatestRowCodec, RefusesEveryTruncation) {
  for (const Sample& sample : Samples()) {
    const std::string bytes = Encode(sample.row, sample.place);
    for (size_t size = 0; size < bytes.size(); ++size) {
      LatestRow row;
      ChainPlace place;
      EXPECT_FALSE(DecodeLatestRow({bytes.data(), size}, row) && DecodeChainPlace(row, place))
          << size << " of " << bytes.size();
    }
  }
}

// A flipped bit gives a clean refusal or another row, and never a read outside the input (which the
// address sanitizer would see: the copy is exactly as long as the row).
TEST(LatestRowCodec, FlippedBitsAreRefusedOrReadAsAnotherRow) {
  for (const Sample& sample : Samples()) {
    const std::string bytes = Encode(sample.row, sample.place);
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      const std::vector<char> flipped = [&] {
        std::vector<char> copy(bytes.begin(), bytes.end());
        copy[bit / 8] = static_cast<char>(copy[bit / 8] ^ (1 << bit % 8));
        return copy;
      }();
      LatestRow row;
      ChainPlace place;
      if (!DecodeLatestRow({flipped.data(), flipped.size()}, row)) continue;
      EXPECT_LE(row.value.size(), flipped.size());
      if (!DecodeChainPlace(row, place)) continue;
      EXPECT_NE(Encode(row, place), bytes);
    }
  }
}

std::vector<RevisionRow> RevisionSamples() {
  return {
      {.kind = ChangeKind::kCreation, .key_value = "creation"},
      {.kind = ChangeKind::kCreation,
       .previous = {Revision(7), 1},
       .previous_bytes = 30,
       .skip = {Revision(3), 0},
       .key_value = "creation after a deletion"},
      {.kind = ChangeKind::kUpdate,
       .previous = {Revision(1'000'000), 127},
       .previous_bytes = 1'500'000,
       .skip = {Revision(300), 128},
       .key_value = "update"},
      {.kind = ChangeKind::kDeletion,
       .previous = {Revision(std::numeric_limits<int64_t>::max()), 0},
       .previous_bytes = 1,
       .skip = {Revision(1), 0},
       .key_value = "deletion"},
  };
}

TEST(RevisionRowCodec, RoundTrips) {
  for (const RevisionRow& sample : RevisionSamples()) {
    const std::string bytes = Encode(sample);
    RevisionRow row;
    ASSERT_TRUE(DecodeRevisionRow(bytes, row));
    EXPECT_EQ(row.kind, sample.kind);
    EXPECT_EQ(row.previous, sample.previous);
    EXPECT_EQ(row.previous_bytes, sample.previous_bytes);
    EXPECT_EQ(row.skip, sample.skip);
    EXPECT_EQ(row.key_value, sample.key_value);
  }
}

// What follows the head is for the key-value's own parser to judge.
TEST(RevisionRowCodec, RefusesEveryTruncationOfTheHead) {
  for (const RevisionRow& sample : RevisionSamples()) {
    const std::string bytes = Encode(sample);
    for (size_t size = 0; size < bytes.size() - sample.key_value.size(); ++size) {
      RevisionRow row;
      EXPECT_FALSE(DecodeRevisionRow({bytes.data(), size}, row));
    }
  }
}

TEST(RevisionRowCodec, FlippedBitsAreRefusedOrReadAsAnotherRow) {
  for (const RevisionRow& sample : RevisionSamples()) {
    const std::string bytes = Encode(sample);
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::vector<char> flipped(bytes.begin(), bytes.end());
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      RevisionRow row;
      if (DecodeRevisionRow({flipped.data(), flipped.size()}, row)) {
        EXPECT_NE(Encode(row), bytes);
      }
    }
  }
}

}  // namespace
}  // namespace cairn::mvcc
