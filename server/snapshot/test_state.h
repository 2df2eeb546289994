// A member's states in RocksDB with an applier and a history, for the tests of snapshots.
//
// Test only.
#ifndef CAIRN_SERVER_SNAPSHOT_TEST_STATE_H_
#define CAIRN_SERVER_SNAPSHOT_TEST_STATE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "server/applier.h"
#include "server/command.h"
#include "server/membership.h"
#include "server/rocks_states.h"
#include "wal/posix_fs.h"

namespace cairn::server {

inline const Members kMembers = InitialMembers({{"n1", {"http://localhost:2380"}},
                                                {"n2", {"http://localhost:2381"}},
                                                {"n3", {"http://localhost:2382"}}},
                                               "etcd-cluster");
inline const ClusterId kCluster{0xc1};

inline void CheckOk(const absl::Status& status) { CAIRN_CHECK(status.ok(), status.ToString()); }

inline raft::Entry CommandEntry(uint64_t index, CommandKind kind, const std::string& body) {
  return {Term(2), Index(index), raft::EntryKind::kCommand,
          std::make_shared<const std::string>(EncodeCommand(
              {.kind = kind, .proposer = MemberId(9), .nonce = 1, .sequence = index}, body))};
}

// The members, and then puts.
inline std::vector<raft::Entry> History(uint64_t first, uint64_t last) {
  std::vector<raft::Entry> entries;
  for (uint64_t index = first; index <= last; ++index) {
    if (index <= kMembers.size()) {
      entries.push_back(BootstrapEntries(kMembers)[index - 1]);
      continue;
    }
    etcdserverpb::PutRequest request;
    request.set_key("key " + std::to_string(index));
    request.set_value(std::string(3000, static_cast<char>('a' + index % 26)));
    entries.push_back(CommandEntry(index, CommandKind::kPut, request.SerializeAsString()));
  }
  return entries;
}

// A member's states in RocksDB, and its applier.
class State {
 public:
  State(const std::string& directory, MemberId id, uint64_t last)
      : directory_(directory), states_(wal::PosixFs(), Make(directory), 1, int64_t{16} << 20) {
    CheckOk(PrepareStatePointer(wal::PosixFs(), directory, 1));
    CheckOk(SwitchStatePointer(wal::PosixFs(), directory));
    auto backend = states_.Open(states_.current_path());
    CheckOk(backend.status());
    auto store = mvcc::Store::Open(*std::move(backend), {.identity = {kCluster, id}});
    CheckOk(store.status());
    store_ = *std::move(store);
    auto applier = Applier::Open(*store_, {.id = id, .nonce = 1});
    CheckOk(applier.status());
    applier_ = *std::move(applier);
    CheckOk(applier_->Apply(History(1, last)).status());
  }

  RocksStates& states() { return states_; }
  mvcc::Store& store() { return *store_; }
  Applier& applier() { return *applier_; }
  uint32_t Hash() const { return store_->HashKv(mvcc::kCurrent)->hash; }
  std::vector<std::string> Names() const { return *wal::PosixFs().ListDirectory(directory_); }

 private:
  static std::string Make(const std::string& directory) {
    std::filesystem::create_directories(directory);
    return directory;
  }

  const std::string directory_;
  RocksStates states_;
  std::unique_ptr<mvcc::Store> store_;
  std::unique_ptr<Applier> applier_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_TEST_STATE_H_
