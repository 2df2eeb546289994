#include "test/bench/log_filler.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/command.h"
#include "wal/fault_fs.h"
#include "wal/wal.h"

namespace cairn::bench {
namespace {

constexpr char kDirectory[] = "/data/wal";
constexpr wal::Identity kIdentity{.cluster = ClusterId(7), .member = MemberId(8)};

Options Puts(uint64_t total) {
  Options options;
  options.total = total;
  options.key_space = 1000;
  options.key_size_bytes = 16;
  options.value_size_bytes = 30;
  return options;
}

class FillLogTest : public testing::Test {
 protected:
  void SetUp() override {
    auto created = wal::Wal::Create(fs_, kDirectory, {}, kIdentity);
    ASSERT_TRUE(created.ok()) << created.status();
    wal::Append first;
    first.hard_state = raft::HardState{.term = Term(3), .vote = MemberId(8), .commit = {}};
    first.entries.push_back({.term = Term(3), .index = Index(1)});
    ASSERT_TRUE(created->wal->Write({&first, 1}).ok());
    ASSERT_TRUE(created->wal->Sync().ok());
  }

  wal::FaultFs fs_;
};

TEST_F(FillLogTest, AppendsCommittedPutsBehindWhatIsThere) {
  const auto fill = FillLog(fs_, kDirectory, Puts(250));
  ASSERT_TRUE(fill.ok()) << fill.status();
  EXPECT_EQ(fill->entries, 250u);
  EXPECT_GT(fill->bytes, 250u * 46);

  const auto opened = wal::Wal::Open(fs_, kDirectory, {}, kIdentity);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->recovered.last, (raft::EntryId{Term(3), Index(251)}));
  EXPECT_EQ(opened->recovered.hard_state.commit, Index(251));
  const auto entries = opened->wal->ReadEntries(Index(251), Index(252), 1);
  ASSERT_TRUE(entries.ok()) << entries.status();
  const auto command = server::DecodeCommand(*entries->front().data);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->header.kind, server::CommandKind::kPut);
  etcdserverpb::PutRequest put;
  ASSERT_TRUE(put.ParseFromString(std::string(command->body)));
  EXPECT_EQ(put.key().substr(0, 3), "249");
  EXPECT_EQ(put.value().size(), 30u);
}

TEST_F(FillLogTest, FillsWithPutsAlone) {
  EXPECT_EQ(FillLog(fs_, kDirectory, Puts(0)).status().code(), absl::StatusCode::kInvalidArgument);
  Options gets = Puts(1);
  gets.operation = Operation::kGet;
  EXPECT_EQ(FillLog(fs_, kDirectory, gets).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FillLogTest, NotBesideItsMember) {
  const auto lock = fs_.LockFile(std::string(kDirectory) + "/lock");
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(FillLog(fs_, kDirectory, Puts(1)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cairn::bench
