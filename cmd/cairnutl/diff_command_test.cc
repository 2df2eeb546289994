#include "cmd/cairnutl/diff_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cmd/cairnutl/test_directory.h"
#include "mvcc/mem_backend.h"

namespace cairn::cairnutl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A state in memory, made by entries and then looked at.
class MemState {
 public:
  MemState() {
    store_ = Must(mvcc::Store::Open(disk_.Open(), {.identity = {kTestCluster, TestSelf()}}));
    applier_ = Must(server::Applier::Open(*store_, {.id = TestSelf(), .nonce = 1}));
  }

  void Apply(const std::vector<raft::Entry>& entries) {
    ASSERT_TRUE(applier_->Apply(entries).ok());
  }
  // Removes what compaction leaves behind.
  void RemoveAll() {
    for (;;) {
      const auto step = store_->FindRemovalStep(100);
      ASSERT_TRUE(step.ok());
      if (step->empty()) return;
      ASSERT_TRUE(applier_->ApplyRemoval(*step).ok());
    }
  }
  OpenedState Look(const std::string& name) {
    EXPECT_TRUE(store_->Flush().ok());
    applier_.reset();
    store_.reset();
    return Must(OpenedState::Adopt(name, disk_.Open()));
  }

 private:
  template <typename T>
  static T Must(absl::StatusOr<T> value) {
    EXPECT_TRUE(value.ok()) << value.status();
    return *std::move(value);
  }

  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  std::unique_ptr<server::Applier> applier_;
};

DiffResult DiffOf(MemState& a, MemState& b, uint64_t limit = kShownDifferencesMax) {
  const OpenedState left = a.Look("a");
  const OpenedState right = b.Look("b");
  auto result = Diff(left, right, limit);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

const DiffCount& CountOf(const DiffResult& result, const std::string& kind) {
  for (const DiffCount& count : result.counts) {
    if (count.kind == kind) return count;
  }
  ADD_FAILURE() << kind;
  return result.counts.front();
}

TEST(DiffTest, EqualHistoriesAreTheSameWhateverRemovalHasDone) {
  MemState a;
  MemState b;
  a.Apply(TestEntries());
  b.Apply(TestEntries());
  b.RemoveAll();
  const DiffResult result = DiffOf(a, b);
  EXPECT_TRUE(result.is_same());
  EXPECT_THAT(result.lines, IsEmpty());
  EXPECT_EQ(CountOf(result, "keys").compared, 3U);
  EXPECT_EQ(CountOf(result, "leases").compared, 1U);
  EXPECT_EQ(CountOf(result, "members").compared, 1U);
}

TEST(DiffTest, NamesWhatDiffers) {
  const std::vector<raft::Entry> entries = TestEntries();
  const std::vector<raft::Entry> common(entries.begin(), entries.begin() + 6);
  MemState a;
  MemState b;
  a.Apply(common);
  b.Apply(common);
  a.Apply({PutEntryAt(7, 2, "foo", "new")});
  etcdserverpb::LeaseRevokeRequest revoke;
  revoke.set_id(7);
  b.Apply({CommandEntry(7, 2, server::CommandKind::kLeaseRevoke, revoke)});
  const DiffResult result = DiffOf(a, b);
  EXPECT_FALSE(result.is_same());
  EXPECT_THAT(
      result.lines,
      ElementsAre(
          "keys \"foo\": A value \"new\" at 4, created 2, version 2 | B value \"bar\" at 2, "
          "created "
          "2, version 1",
          "keys \"leased\": only in A: value \"x\" at 3, created 3, version 1, lease 7",
          "revisions 4/0: A 4/0 \"foo\" version 2, value \"new\", previous 2/0, skip 2/0 | B 4/0 "
          "\"leased\", previous 3/0, skip 3/0",
          "leases \"l/\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\x07\": only in A: 7 ttl 60 s, granted "
          "by "
          "entry 5, 1 keys",
          "leased keys \"k/\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\x07leased\": only in A: 7 holds "
          "\"leased\""));
  EXPECT_EQ(CountOf(result, "keys").different, 1U);
  EXPECT_EQ(CountOf(result, "keys").only_in_a, 1U);
  EXPECT_EQ(CountOf(result, "revisions").different, 1U);
  EXPECT_EQ(CountOf(result, "leases").only_in_a, 1U);
  EXPECT_EQ(result.json[1]["b"], nullptr);
}

// Large values stand in history alone.
TEST(DiffTest, ComparesValuesWhereverTheyStand) {
  for (const bool is_equal : {true, false}) {
    MemState a;
    MemState b;
    const std::vector<raft::Entry> begin = server::BootstrapEntries(TestMembers());
    a.Apply(begin);
    b.Apply(begin);
    std::string value(10'000, 'v');
    a.Apply({PutEntryAt(2, 2, "k", value)});
    if (!is_equal) value.back() = 'w';
    b.Apply({PutEntryAt(2, 2, "k", value)});
    const DiffResult result = DiffOf(a, b);
    EXPECT_EQ(result.is_same(), is_equal);
    EXPECT_EQ(CountOf(result, "keys").different, is_equal ? 0U : 1U);
    for (const std::string& line : result.lines) EXPECT_LT(line.size(), 500U);
  }
}

TEST(DiffTest, ShowsNoMoreThanTheLimitAndCountsAll) {
  MemState a;
  MemState b;
  const std::vector<raft::Entry> begin = server::BootstrapEntries(TestMembers());
  a.Apply(begin);
  b.Apply(begin);
  std::vector<raft::Entry> puts;
  for (uint64_t i = 0; i < 50; ++i)
    puts.push_back(PutEntryAt(2 + i, 2, fmt::format("k{}", i), "v"));
  b.Apply(puts);
  const DiffResult result = DiffOf(a, b, 3);
  EXPECT_EQ(result.lines.size(), 6U);
  EXPECT_EQ(CountOf(result, "keys").only_in_b, 50U);
  EXPECT_EQ(CountOf(result, "revisions").only_in_b, 50U);
}

TEST(DiffTest, TheCommandComparesDirectories) {
  TestDirectory a("diff_a");
  TestDirectory b("diff_b");
  for (TestDirectory* const directory : {&a, &b}) {
    ASSERT_NO_FATAL_FAILURE(directory->MakeLog(10));
    ASSERT_NO_FATAL_FAILURE(directory->MakeState(directory == &a ? 10 : 6));
  }
  const TestDirectory::Files before = b.Read();
  TestTool tool;
  EXPECT_EQ(SnapshotDiff({.a = a.root(), .b = b.root()}, tool), kExitDifferent);
  EXPECT_THAT(tool.TakePrinted(), HasSubstr("keys \"big\": only in A: value \"bbbb"));
  EXPECT_EQ(SnapshotDiff({.a = a.root(), .b = b.root(), .replay = true}, tool), kExitOk);
  EXPECT_THAT(tool.TakePrinted(), HasSubstr("the same\n"));
  EXPECT_EQ(SnapshotDiff({.a = a.root(), .b = b.root() + "/nowhere"}, tool), kExitUsage);
  EXPECT_EQ(SnapshotDiff({.a = a.root(), .b = a.log() + "/0000000000000001.wal"}, tool),
            kExitUsage);
  EXPECT_THAT(tool.TakeNotes(), HasSubstr("snapshot"));
  tool.format = Format::kJson;
  EXPECT_EQ(SnapshotDiff({.a = a.root(), .b = b.root()}, tool), kExitDifferent);
  const Json json = Json::parse(tool.TakePrinted());
  EXPECT_EQ(json["isSame"], false);
  EXPECT_EQ(json["a"]["revision"], 5);
  EXPECT_EQ(json["b"]["revision"], 3);
  EXPECT_EQ(b.Read(), before);
}

}  // namespace
}  // namespace cairn::cairnutl
