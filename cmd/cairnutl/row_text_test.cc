#include "cmd/cairnutl/row_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/auth.pb.h"
#include "base/coding.h"
#include "cmd/cairnutl/test_directory.h"
#include "mvcc/mem_backend.h"
#include "mvcc/schema.h"
#include "server/cluster_state.h"
#include "server/installed_at.h"

namespace cairn::cairnutl {
namespace {

using mvcc::Family;

struct Row {
  Family family;
  std::string key;
  std::string value;
};

std::string EntryRow(uint64_t term, uint64_t index) {
  std::string row;
  base::AppendBig64(row, term);
  base::AppendBig64(row, index);
  return row;
}

// Every kind of row, most of them as the server writes them.
std::vector<Row> Rows() {
  mvcc::MemDisk disk;
  auto store = mvcc::Store::Open(disk.Open(), {.identity = {kTestCluster, TestSelf()}});
  auto applier = server::Applier::Open(**store, {.id = TestSelf(), .nonce = 1});
  EXPECT_TRUE((*applier)->Apply(TestEntries()).ok());
  EXPECT_TRUE((*applier)->Apply(std::vector{PutEntryAt(11, 3, "a", "again")}).ok());
  EXPECT_TRUE((*store)->Flush().ok());
  applier->reset();
  store->reset();
  std::vector<Row> rows;
  const auto backend = disk.Open();
  for (const Family family : {Family::kKeys, Family::kRevisions, Family::kMeta}) {
    const auto walk = backend->NewIterator(family, {}, mvcc::CacheUse::kFill);
    for (walk->Seek({}); walk->Valid(); walk->Next()) {
      rows.push_back({family, std::string(walk->key()), std::string(walk->value())});
    }
  }
  const auto add = [&rows](std::string_view key, std::string value) {
    rows.push_back({Family::kMeta, std::string(key), std::move(value)});
  };
  const server::Alarm alarm{server::AlarmKind::kNoSpace, MemberId(0x3e), true};
  add(server::AlarmRowKey(alarm.kind, alarm.member), server::EncodeAlarmRow(alarm));
  add(server::RemovedMemberRowKey(MemberId(5)), server::EncodeRemovedIndex(Index(77)));
  add(server::kInstalledKey, EntryRow(3, 9));
  internal::ClusterVersion version;
  version.set_version("3.7.0");
  add(server::kClusterVersionKey, version.SerializeAsString());
  internal::Downgrade downgrade;
  downgrade.set_target_version("3.6.0");
  add(server::kDowngradeKey, downgrade.SerializeAsString());
  authpb::User user;
  user.set_name("root");
  user.set_password("$2a$secret");
  add(fmt::format("{}root", mvcc::kUserPrefix), user.SerializeAsString());
  authpb::Role role;
  role.set_name("reader");
  add(fmt::format("{}reader", mvcc::kRolePrefix), role.SerializeAsString());
  add(fmt::format("{}x", mvcc::kFencePrefix), "fence");
  add("z/of a later version", "?");
  return rows;
}

TEST(RowTextTest, KnowsEveryRowByName) {
  std::set<std::string> seen;
  for (const Row& row : Rows()) {
    const RowText text = DescribeRow(row.family, row.key, row.value);
    EXPECT_FALSE(text.is_unreadable) << text.text;
    EXPECT_TRUE(text.json.is_object()) << text.name;
    seen.insert(text.name);
  }
  EXPECT_EQ(seen, std::set<std::string>(RowNames().begin(), RowNames().end()));
}

TEST(RowTextTest, SaysWhatTheServersRowsSay) {
  std::vector<std::string> lines;
  for (const Row& row : Rows()) {
    const RowText text = DescribeRow(row.family, row.key, row.value);
    lines.push_back(text.name + ": " + text.text);
  }
  for (const std::string expected :
       {"alarm: NOSPACE of member 3e, raised by itself", "removed-member: member 5, by entry 77",
        "installed: arrived as a snapshot through 9 of term 3",
        "cluster-version: \"v/cluster\" version: \"3.7.0\"",
        "user: \"u/root\" name: \"root\" password: \"hidden\"",
        "role: \"r/reader\" name: \"reader\"", "unknown: \"z/of a later version\" = \"?\"",
        "update: 6/0 \"a\" version 2, value \"again\", previous 4/0, skip 4/0"}) {
    EXPECT_NE(std::find(lines.begin(), lines.end(), expected), lines.end()) << expected;
  }
}

// Whatever the bytes, there is a line and there is JSON that can be read.
TEST(RowTextTest, DescribesAnyBytes) {
  std::mt19937_64 random(12);
  for (const Row& row : Rows()) {
    std::string value = row.value;
    value.resize(std::min<size_t>(value.size(), 200));
    for (size_t round = 0; round < 300; ++round) {
      std::string harmed = value;
      std::string key = row.key;
      if (round < value.size()) {
        harmed.resize(round);
      } else if (!harmed.empty()) {
        harmed[random() % harmed.size()] ^= static_cast<char>(1 << (random() % 8));
      }
      if (round % 5 == 0) key.resize(random() % (key.size() + 1));
      const RowText text = DescribeRow(row.family, key, harmed);
      EXPECT_EQ(text.text.find('\n'), std::string::npos) << text.text;
      EXPECT_FALSE(text.name.empty());
      EXPECT_FALSE(Json::parse(JsonLine(text.json), nullptr, false).is_discarded());
    }
  }
}

}  // namespace
}  // namespace cairn::cairnutl
