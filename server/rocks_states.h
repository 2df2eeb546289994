// States in RocksDB, one directory each, under one memory budget.
//
// Threads as state_home.h says; what it opens is on its own from then on.
#ifndef CAIRN_SERVER_ROCKS_STATES_H_
#define CAIRN_SERVER_ROCKS_STATES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "mvcc/rocks_backend.h"
#include "server/state_home.h"

namespace cairn::server {

class RocksStates final : public StateHome {
 public:
  RocksStates(wal::Fs& fs, std::string directory, uint64_t current, int64_t memory_limit_bytes)
      : StateHome(fs, std::move(directory), current),
        memory_(mvcc::MakeRocksMemory(memory_limit_bytes)) {}

  // Entries are applied only once the log has them durable, so a state can never be flushed ahead
  // of the log and the flush has nothing to wait for.
  absl::StatusOr<std::unique_ptr<mvcc::Backend>> Open(const std::string& path) override {
    return mvcc::OpenRocksBackend({.directory = path, .memory = memory_});
  }
  absl::Status Remove(const std::string& path) override { return mvcc::RemoveRocksState(path); }

 private:
  const std::shared_ptr<mvcc::RocksMemory> memory_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_ROCKS_STATES_H_
