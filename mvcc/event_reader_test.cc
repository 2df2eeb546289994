// History as a watcher reads it: whole revisions, bounded steps, and what each event replaced.
#include "mvcc/event_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store_fixture.h"

namespace cairn::mvcc {
namespace {

using ::testing::ElementsAre;

class EventReaderTest : public StoreTest {
 protected:
  // And removes what that leaves behind.
  void CompactAndRemove(int64_t revision) {
    ASSERT_TRUE(Compact(revision).ok());
    Remove(100);
  }

  // "kind key main/sub (previous value)" each.
  std::vector<std::string> Read(int64_t first, size_t rows_max = 1000) {
    lines_.clear();
    through_ = store_->ReadEvents(
        {.first = Revision(first), .last = store_->published().revision, .rows_max = rows_max},
        [&](const Event& event) {
          constexpr const char* kKinds[] = {"?", "create", "update", "delete"};
          std::string line = fmt::format("{} {} {}/{}", kKinds[static_cast<int>(event.kind)],
                                         event.key, event.revision.main, event.revision.sub);
          std::string bytes;
          const auto found =
              store_->ReadPrevious(event.kind, event.revision, event.previous, bytes);
          EXPECT_TRUE(found.ok()) << found.status();
          KeyValueView previous;
          if (found.ok() && *found) {
            EXPECT_TRUE(ParseKeyValue(bytes, previous));
            line += fmt::format(" ({})", previous.value);
          }
          lines_.push_back(std::move(line));
        });
    return lines_;
  }

  std::vector<std::string> lines_;
  absl::StatusOr<Revision> through_;
};

TEST_F(EventReaderTest, StepsEndBetweenRevisions) {
  Put("a", "1");
  Txn([](WriteTxn& txn) {
    for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(txn.Put(key, "2", LeaseId()).ok());
  });
  Put("a", "3");
  EXPECT_THAT(Read(2, 2),
              ElementsAre("create a 2/0", "update a 3/0 (1)", "create b 3/1", "create c 3/2"));
  EXPECT_EQ(*through_, Revision(3));
  EXPECT_THAT(Read(4, 2), ElementsAre("update a 4/0 (2)"));
  EXPECT_EQ(*through_, Revision(4));
  EXPECT_THAT(Read(5), ElementsAre());
  EXPECT_EQ(*through_, Revision(4));
}

// One revision may delete and put one key; the previous value is that of the revision before.
TEST_F(EventReaderTest, PreviousValuesLookBeyondTheirOwnRevision) {
  Put("a", "1");
  Txn([](WriteTxn& txn) {
    ASSERT_TRUE(txn.Delete("a").ok());
    ASSERT_TRUE(txn.Put("a", "2", LeaseId()).ok());
    ASSERT_TRUE(txn.Delete("a").ok());
  });
  Txn([](WriteTxn& txn) {
    ASSERT_TRUE(txn.Put("b", "1", LeaseId()).ok());
    ASSERT_TRUE(txn.Delete("b").ok());
  });
  EXPECT_THAT(Read(3), ElementsAre("delete a 3/0 (1)", "create a 3/1", "delete a 3/2 (1)",
                                   "create b 4/0", "delete b 4/1"));
}

TEST_F(EventReaderTest, CompactionHidesWhatLiesBelow) {
  Put("a", "1");
  Put("a", "2");
  Put("a", "3");
  CompactAndRemove(3);
  EXPECT_THAT(Read(2), ElementsAre());
  EXPECT_TRUE(IsCompacted(through_.status())) << through_.status();
  // The watermark's own revision is still told, without what it replaced.
  EXPECT_THAT(Read(3), ElementsAre("update a 3/0", "update a 4/0 (2)"));
}

// A deletion at the watermark must still reach who watches from there.
TEST_F(EventReaderTest, ADeletionAtTheWatermarkIsTold) {
  Put("a", "1");
  Txn([](WriteTxn& txn) { ASSERT_TRUE(txn.Delete("a").ok()); });
  CompactAndRemove(3);
  EXPECT_THAT(Read(3), ElementsAre("delete a 3/0"));
}

TEST_F(EventReaderTest, TheFutureIsRefused) {
  const auto through =
      store_->ReadEvents({.first = Revision(1), .last = Revision(2)}, [](const Event&) { FAIL(); });
  EXPECT_TRUE(IsFutureRevision(through.status())) << through.status();
}

}  // namespace
}  // namespace cairn::mvcc
