// States in RocksDB, one directory each, under one memory budget.
//
// Threads as state_home.h says; what it opens is on its own from then on.
#ifndef CAIRN_SERVER_ROCKS_STATES_H_
#define CAIRN_SERVER_ROCKS_STATES_H_

#include <glog/logging.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "mvcc/rocks_backend.h"
#include "server/state_home.h"

namespace cairn::server {

class RocksStates final : public StateHome {
 public:
  // `may_flush` waits until the log holds, synced, all that a state was given (RocksOptions'
  // on_flush_begin). Empty: it always does.
  RocksStates(wal::Fs& fs, std::string directory, uint64_t current, int64_t memory_limit_bytes,
              std::function<bool()> may_flush = {})
      : StateHome(fs, std::move(directory), current),
        memory_(mvcc::MakeRocksMemory(memory_limit_bytes)),
        may_flush_(std::move(may_flush)) {}

  absl::StatusOr<std::unique_ptr<mvcc::Backend>> Open(const std::string& path) override {
    return mvcc::OpenRocksBackend(
        {.directory = path, .memory = memory_, .on_flush_begin = may_flush_, .on_warning = Tell});
  }
  absl::Status Remove(const std::string& path) override { return mvcc::RemoveRocksState(path); }

 private:
  // What it warns of is often nothing: two lines for every checkpoint.
  static void Tell(bool is_error, std::string_view line) {
    (is_error ? LOG(ERROR) : LOG(INFO)) << "RocksDB: " << line;
  }

  const std::shared_ptr<mvcc::RocksMemory> memory_;
  const std::function<bool()> may_flush_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_ROCKS_STATES_H_
