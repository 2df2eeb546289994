#include "mvcc/schema.h"

#include <gtest/gtest.h>

namespace cairn::mvcc {
namespace {

TEST(Schema, RevisionKeysSortAsTimeDoes) {
  const RowRevision rows[] = {{Revision(0), 0},
                              {Revision(1), 0},
                              {Revision(1), 1},
                              {Revision(2), 0},
                              {Revision(255), 256},
                              {Revision(256), 0},
                              {Revision(1) + (int64_t{1} << 40), 5}};
  for (size_t i = 1; i < std::size(rows); ++i) {
    EXPECT_LT(RevisionKey(rows[i - 1]).view(), RevisionKey(rows[i]).view());
  }
  for (const RowRevision row : rows) {
    RowRevision parsed;
    ASSERT_TRUE(ParseRevisionKey(RevisionKey(row).view(), parsed));
    EXPECT_EQ(parsed, row);
  }
  RowRevision parsed;
  EXPECT_FALSE(ParseRevisionKey("short", parsed));
}

TEST(Schema, StateRowRoundTripsAndRefusesEveryOtherSize) {
  StateRow row;
  row.applied = {Index(9), Term(3)};
  row.published = {Revision(100), Revision(60)};
  row.removal_cursor = {Revision(50), 2};
  row.logical_size_bytes = 12345;
  const std::string bytes = EncodeStateRow(row);
  StateRow decoded;
  ASSERT_TRUE(DecodeStateRow(bytes, decoded));
  EXPECT_EQ(decoded, row);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeStateRow({bytes.data(), size}, decoded));
  }
  EXPECT_FALSE(DecodeStateRow(bytes + "x", decoded));
}

TEST(Schema, AStateRowOfImpossibleNumbersIsNone) {
  const StateRow good = {.applied = {Index(9), Term(3)},
                         .published = {Revision(100), Revision(60)},
                         .removal_cursor = {Revision(60), 0},
                         .logical_size_bytes = 5};
  StateRow decoded;
  ASSERT_TRUE(DecodeStateRow(EncodeStateRow(good), decoded));
  ASSERT_TRUE(DecodeStateRow(EncodeStateRow({}), decoded)) << "the empty state";
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  const auto harmed = [&](const auto& harm) {
    StateRow row = good;
    harm(row);
    return DecodeStateRow(EncodeStateRow(row), decoded);
  };
  EXPECT_FALSE(harmed([](StateRow& row) { row.applied.index = Index(~uint64_t{0}); }));
  EXPECT_FALSE(harmed([](StateRow& row) { row.applied.term = Term(~uint64_t{1}); }));
  for (const int64_t revision : {kMin, int64_t{-1}, int64_t{0}, kMax}) {
    EXPECT_FALSE(harmed([&](StateRow& row) { row.published.revision = Revision(revision); }));
  }
  for (const int64_t watermark : {kMin, int64_t{-2}, int64_t{59}, int64_t{101}, kMax}) {
    EXPECT_FALSE(harmed([&](StateRow& row) { row.published.watermark = Revision(watermark); }));
  }
  for (const int64_t main : {kMin, int64_t{-1}, int64_t{61}, kMax}) {
    EXPECT_FALSE(harmed([&](StateRow& row) { row.removal_cursor.main = Revision(main); }));
  }
  EXPECT_FALSE(harmed([](StateRow& row) { row.removal_cursor.sub = -1; }));
  for (const int64_t size : {kMin, int64_t{-1}, kMax}) {
    EXPECT_FALSE(harmed([&](StateRow& row) { row.logical_size_bytes = size; }));
  }
}

TEST(Schema, FormatRowRoundTripsAndReadsTheVersionOfAnyOther) {
  const FormatRow row = {.version = kFormatVersion, .cluster = ClusterId(1), .member = MemberId(2)};
  const std::string bytes = EncodeFormatRow(row);
  FormatRow decoded;
  ASSERT_TRUE(DecodeFormatRow(bytes, decoded));
  EXPECT_EQ(decoded, row);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeFormatRow({bytes.data(), size}, decoded));
  }
  EXPECT_FALSE(DecodeFormatRow(bytes + "x", decoded));
  ASSERT_TRUE(DecodeFormatRow({"\0\0\0\x07 anything", 13}, decoded));
  EXPECT_EQ(decoded.version, 7u);
}

TEST(Schema, ServerKeysAreTold) {
  EXPECT_TRUE(IsServerMetaKey("l/1"));
  EXPECT_TRUE(IsServerMetaKey(kMemberPrefix));
  EXPECT_FALSE(IsServerMetaKey(kStateKey));
  EXPECT_FALSE(IsServerMetaKey(kFencePrefix));
  EXPECT_FALSE(IsServerMetaKey(""));
}

}  // namespace
}  // namespace cairn::mvcc
