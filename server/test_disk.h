// The disks of one machine in memory, which lose what was not made durable: what a member without
// sockets stands on, in tests of threads and of crashes and in the simulator.
//
// Test only.
#ifndef CAIRN_SERVER_TEST_DISK_H_
#define CAIRN_SERVER_TEST_DISK_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"
#include "mvcc/backend.h"
#include "mvcc/mem_backend.h"
#include "server/bootstrap.h"
#include "server/state_home.h"
#include "wal/fault_fs.h"

namespace cairn::server {

// The disks of one machine. One member at a time stands on them.
class TestDisk {
 public:
  wal::FaultFs& fs() { return fs_; }
  // As RocksOptions::on_flush_begin. A state that has one is never flushed but on demand: what a
  // crash keeps of it is what was.
  void SetFlushGate(std::function<bool()> may_flush) {
    base::MutexLock lock(gate_mutex_);
    may_flush_ = std::move(may_flush);
    is_gated_ = is_gated_ || may_flush_ != nullptr;
  }
  // The next write of the state fails, and all after it.
  void FailStateWrites() { fail_writes_ = true; }

  // Where the pointer to the state in force lies.
  static constexpr char kStates[] = "/data/state";

  TestDisk() {
    CAIRN_CHECK(fs_.CreateDirectory(kStates).ok());
    CAIRN_CHECK(PrepareStatePointer(fs_, kStates, 1).ok());
    CAIRN_CHECK(SwitchStatePointer(fs_, kStates).ok());
  }

  // What a crash leaves: `files`, and of the state in `rows` so many batches since its last flush.
  TestDisk(wal::FaultDisk files, const mvcc::MemDisk& rows, size_t kept) : fs_(std::move(files)) {
    state_.BecomeCrashed(rows, kept);
  }

  Foundation foundation() {
    const auto open_state = [this]() -> absl::StatusOr<std::unique_ptr<mvcc::Backend>> {
      CAIRN_RETURN_IF_ERROR(ReadStatePointer(fs_, kStates).status());
      return OpenState();
    };
    return {fs_, "/data/wal", {.segment_bytes = 16384}, open_state};
  }

  std::unique_ptr<mvcc::Backend> OpenState() { return OpenState(states()->current_path()); }
  std::unique_ptr<mvcc::Backend> OpenState(std::string_view path) {
    return std::make_unique<Powered>(*this, path);
  }
  // As the pointer on the disk says now. The power is on.
  std::unique_ptr<StateHome> states() {
    const absl::StatusOr<uint64_t> current = ReadStatePointer(fs_, kStates);
    CAIRN_CHECK(current.ok(), current.status().ToString());
    return std::make_unique<States>(*this, *current);
  }
  mvcc::MemDisk& rows() { return state_; }

  // What the machine holds when it comes back, chosen by `seed`: of the log what the file system
  // kept (all of it if only the process died), of the state a prefix of the batches after the last
  // flush. `close` takes apart whatever still stands on the disks.
  template <typename Close>
  void Crash(uint64_t seed, bool is_power_cut, const Close& close) {
    if (open_states_ > 0) {
      state_.Crash(is_gated_ ? 0 : seed % (state_.unflushed_batches() + 1));
    }
    close();
    SetFlushGate(nullptr);
    if (is_power_cut) {
      fs_.Crash(seed);
    } else {
      fs_.Restart();
    }
    fail_writes_ = is_gated_ = false;
  }

 private:
  // Without power nothing becomes durable here either: a flush is an operation of the same machine.
  class Powered final : public mvcc::Backend {
   public:
    Powered(TestDisk& disk, std::string_view path) : disk_(disk), rows_(disk.state_.Open(path)) {
      ++disk_.open_states_;
    }
    ~Powered() override { --disk_.open_states_; }

    absl::StatusOr<bool> Get(mvcc::Family family, std::string_view key,
                             absl::FunctionRef<void(std::string_view)> found) const override {
      return rows_->Get(family, key, found);
    }
    std::unique_ptr<mvcc::RowIterator> NewIterator(mvcc::Family family, std::string_view limit,
                                                   mvcc::CacheUse cache_use) const override {
      return rows_->NewIterator(family, limit, cache_use);
    }
    std::unique_ptr<mvcc::RowBatch> NewBatch() const override { return rows_->NewBatch(); }
    absl::Status Write(mvcc::RowBatch& batch) override {
      base::MutexLock lock(write_mutex_);
      if (disk_.fail_writes_) return base::MakeStatus(absl::StatusCode::kInternal, "state: on cue");
      return rows_->Write(batch);
    }
    absl::Status Flush() override {
      base::MutexLock lock(write_mutex_);
      CAIRN_RETURN_IF_ERROR(disk_.WaitForLog());
      CAIRN_RETURN_IF_ERROR(disk_.fs_.SyncDirectory("/data/rows"));
      return rows_->Flush();
    }
    absl::Status Checkpoint(const std::string& path) override {
      base::MutexLock lock(write_mutex_);
      CAIRN_RETURN_IF_ERROR(disk_.WaitForLog());
      CAIRN_RETURN_IF_ERROR(disk_.fs_.SyncDirectory("/data/rows"));
      return rows_->Checkpoint(path);
    }
    int64_t PhysicalSizeBytes() const override { return rows_->PhysicalSizeBytes(); }
    int64_t BufferedBytes() const override { return rows_->BufferedBytes(); }

   private:
    TestDisk& disk_;
    // What is flushed is fixed before the log is waited for: nothing is written meanwhile.
    base::Mutex write_mutex_;
    const std::unique_ptr<mvcc::Backend> rows_;
  };

  class States final : public StateHome {
   public:
    States(TestDisk& disk, uint64_t current) : StateHome(disk.fs_, kStates, current), disk_(disk) {}
    absl::StatusOr<std::unique_ptr<mvcc::Backend>> Open(const std::string& path) override {
      return disk_.OpenState(path);
    }
    absl::Status Remove(const std::string& path) override {
      disk_.state_.Remove(path);
      return absl::OkStatus();
    }

   private:
    TestDisk& disk_;
  };

  absl::Status WaitForLog() {
    std::function<bool()> may_flush;
    {
      base::MutexLock lock(gate_mutex_);
      may_flush = may_flush_;
    }
    if (may_flush == nullptr || may_flush()) return absl::OkStatus();
    return base::MakeStatus(absl::StatusCode::kInternal, "state: the log has failed");
  }

  base::Mutex gate_mutex_;
  std::function<bool()> may_flush_ ABSL_GUARDED_BY(gate_mutex_);
  std::atomic<bool> is_gated_ = false;
  wal::FaultFs fs_;
  mvcc::MemDisk state_;
  std::atomic<bool> fail_writes_ = false;
  std::atomic<int> open_states_ = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_TEST_DISK_H_
