// A data directory on the real disk as a member leaves it, made without one, and a tool whose
// output a test can read.
//
// Test only.
#ifndef CAIRN_CMD_CAIRNUTL_TEST_DIRECTORY_H_
#define CAIRN_CMD_CAIRNUTL_TEST_DIRECTORY_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "cmd/cairnutl/tool.h"
#include "mvcc/rocks_backend.h"
#include "mvcc/store.h"
#include "server/applier.h"
#include "server/command.h"
#include "server/membership.h"
#include "server/membership_rows.h"
#include "server/state_home.h"
#include "wal/posix_fs.h"
#include "wal/wal.h"

namespace cairn::cairnutl {

// Collects what a command prints.
struct TestTool : Tool {
  TestTool() {
    out = [this](std::string_view text) { printed += text; };
    note = [this](std::string_view line) { notes += fmt::format("{}\n", line); };
  }
  TestTool(const TestTool&) = delete;

  // All since the last call.
  std::string TakePrinted() { return std::exchange(printed, {}); }
  std::string TakeNotes() { return std::exchange(notes, {}); }

  std::string printed;
  std::string notes;
};

inline const server::Members& TestMembers() {
  static const auto* const members = new server::Members(
      server::InitialMembers({{"n1", {"http://localhost:2380"}}}, "etcd-cluster"));
  return *members;
}
inline MemberId TestSelf() { return TestMembers()[0].id; }
inline constexpr ClusterId kTestCluster{0xc1};

inline raft::Entry EntryOf(uint64_t index, uint64_t term, raft::EntryKind kind, std::string data) {
  raft::Entry entry{.term = Term(term), .index = Index(index), .kind = kind};
  if (!data.empty()) entry.data = std::make_shared<const std::string>(std::move(data));
  return entry;
}
inline raft::Entry EmptyEntry(uint64_t index, uint64_t term) {
  return EntryOf(index, term, raft::EntryKind::kEmpty, {});
}
// A command of this member, numbered as its entry.
inline raft::Entry CommandEntry(uint64_t index, uint64_t term, server::CommandKind kind,
                                const google::protobuf::Message& body) {
  return EntryOf(index, term, raft::EntryKind::kCommand,
                 server::EncodeCommand({.kind = kind,
                                        .proposer = TestSelf(),
                                        .nonce = 0xabc,
                                        .sequence = index,
                                        .auth_revision = 0,
                                        .user = {}},
                                       body.SerializeAsString()));
}
inline raft::Entry PutEntryAt(uint64_t index, uint64_t term, std::string_view key,
                              std::string_view value, int64_t lease = 0) {
  etcdserverpb::PutRequest put;
  put.set_key(std::string(key));
  put.set_value(std::string(value));
  put.set_lease(lease);
  return CommandEntry(index, term, server::CommandKind::kPut, put);
}

// What the log of TestDirectory holds: 1 bootstrap, 2 a leader begins, 3 n1 publishes itself, 4
// puts foo, 5 grants lease 7, 6 puts a key on it, 7 a transaction puts a and deletes foo; then term
// 3 supersedes an entry 8 of term 2: 8 a leader begins, 9 puts 5,000 bytes, 10 compacts.
inline std::vector<raft::Entry> TestEntries() {
  std::vector<raft::Entry> entries = server::BootstrapEntries(TestMembers());
  entries.push_back(EmptyEntry(2, 2));
  entries.push_back(
      EntryOf(3, 2, raft::EntryKind::kCommand,
              server::EncodeCommand(
                  {.kind = server::CommandKind::kPublishMember,
                   .proposer = TestSelf(),
                   .nonce = 0xabc,
                   .sequence = 3,
                   .auth_revision = 0,
                   .user = {}},
                  server::EncodePublished({TestSelf(), "n1", {"http://localhost:2379"}}))));
  entries.push_back(PutEntryAt(4, 2, "foo", "bar"));
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(7);
  grant.set_ttl(60);
  entries.push_back(CommandEntry(5, 2, server::CommandKind::kLeaseGrant, grant));
  entries.push_back(PutEntryAt(6, 2, "leased", "x", 7));
  etcdserverpb::TxnRequest txn;
  etcdserverpb::Compare& compare = *txn.add_compare();
  compare.set_key("foo");
  compare.set_target(etcdserverpb::Compare::VALUE);
  compare.set_value("bar");
  txn.add_success()->mutable_request_put()->set_key("a");
  txn.add_success()->mutable_request_delete_range()->set_key("foo");
  txn.add_failure()->mutable_request_range()->set_key("foo");
  entries.push_back(CommandEntry(7, 2, server::CommandKind::kTxn, txn));
  entries.push_back(EmptyEntry(8, 3));
  entries.push_back(PutEntryAt(9, 3, "big", std::string(5000, 'b')));
  etcdserverpb::CompactionRequest compaction;
  compaction.set_revision(3);
  entries.push_back(CommandEntry(10, 3, server::CommandKind::kCompact, compaction));
  return entries;
}

class TestDirectory {
 public:
  // Files by name, relative to the root, with their content.
  using Files = std::map<std::string, std::string>;

  explicit TestDirectory(const std::string& name) {
    const char* const base = std::getenv("TEST_TMPDIR");
    root_ = fmt::format("{}/{}", base != nullptr ? base : "/tmp", name);
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ + "/state");
  }

  const std::string& root() const { return root_; }
  std::string log() const { return root_ + "/wal"; }
  std::string state() const { return root_ + "/state/1"; }

  // TestEntries in a log that knows them committed through `commit`.
  void MakeLog(uint64_t commit) {
    wal::Fs& fs = wal::PosixFs();
    auto opened = wal::Wal::Create(fs, log(), {.segment_bytes = 7680},
                                   {.cluster = kTestCluster, .member = TestSelf()});
    ASSERT_TRUE(opened.ok()) << opened.status();
    wal::Wal& log = *opened->wal;
    const std::vector<raft::Entry> entries = TestEntries();
    wal::Append first;
    first.entries.assign(entries.begin(), entries.begin() + 7);
    first.entries.push_back(PutEntryAt(8, 2, "superseded", "x"));
    first.hard_state = {.term = Term(2), .vote = TestSelf(), .commit = Index(1)};
    first.configuration = server::EncodeConfiguration({.voters = {TestSelf()}});
    ASSERT_TRUE(Write(log, first).ok());
    wal::Append second;
    second.hard_state = {.term = Term(3), .vote = TestSelf(), .commit = Index(7)};
    second.entries.assign(entries.begin() + 7, entries.end());
    second.commit = Index(commit);
    ASSERT_TRUE(Write(log, second).ok());
    wal::Append marker;
    marker.marker = wal::Marker{.id = {.term = Term(2), .index = Index(4)}};
    ASSERT_TRUE(Write(log, marker).ok());
    ASSERT_TRUE(log.WriteDurableThrough().ok());
    ASSERT_TRUE(log.Sync().ok());
  }

  // The state that the first `applied` entries make, flushed.
  void MakeState(size_t applied) {
    wal::Fs& fs = wal::PosixFs();
    ASSERT_TRUE(server::PrepareStatePointer(fs, root_ + "/state", 1).ok());
    ASSERT_TRUE(server::SwitchStatePointer(fs, root_ + "/state").ok());
    auto backend = mvcc::OpenRocksBackend(
        {.directory = state(), .memory_limit_bytes = mvcc::kMemoryLimitBytesMin});
    ASSERT_TRUE(backend.ok()) << backend.status();
    const mvcc::StoreOptions options{.identity = {kTestCluster, TestSelf()}};
    auto store = mvcc::Store::Open(*std::move(backend), options);
    ASSERT_TRUE(store.ok()) << store.status();
    auto applier = server::Applier::Open(**store, {.id = TestSelf(), .nonce = 1});
    ASSERT_TRUE(applier.ok()) << applier.status();
    const std::vector<raft::Entry> entries = TestEntries();
    if (applied > 0) {
      const auto result = (*applier)->Apply({entries.data(), applied});
      ASSERT_TRUE(result.ok()) << result.status();
    }
    ASSERT_TRUE((*store)->Flush().ok());
  }

  // Everything in the directory.
  Files Read() const {
    Files files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
      const std::string name = std::filesystem::relative(entry.path(), root_).string();
      files[name] = entry.is_directory() ? "directory" : ReadFile(entry.path().string());
    }
    return files;
  }
  static std::string ReadFile(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Replaces a file, named relative to the root.
  void Overwrite(const std::string& name, const std::string& content) const {
    std::ofstream(root_ + "/" + name, std::ios::binary | std::ios::trunc) << content;
  }

 private:
  static absl::Status Write(wal::Wal& log, const wal::Append& append) {
    const absl::Status written = log.Write({&append, 1});
    return written.ok() ? log.Sync() : written;
  }

  std::string root_;
};

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_TEST_DIRECTORY_H_
