// The state in memory, for the simulator and for models: it forgets like a disk.
//
// Rows live in ordered maps under one mutex. A crash keeps what Flush made durable and a prefix of
// the batches written since. It enforces what RocksDB only assumes: a row of `revisions` is put
// once and removed once, by SingleDelete; the other families never see SingleDelete (checked,
// aborts).
#ifndef CAIRN_MVCC_MEM_BACKEND_H_
#define CAIRN_MVCC_MEM_BACKEND_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "mvcc/backend.h"

namespace cairn::mvcc {

// The disk: it outlives the backends that are opened on it. It holds states by path, one of which
// (the path "") needs no making; a backend's Checkpoint makes others.
class MemDisk {
 public:
  MemDisk();
  ~MemDisk();
  MemDisk(const MemDisk&) = delete;
  MemDisk& operator=(const MemDisk&) = delete;

  // A backend on the state at `path`, empty if there is none yet, holding what is durable. It must
  // not outlive the disk, and the backend opened on that state before it must be gone. Destroying a
  // backend flushes nothing: it is a crash that keeps no batch, unless Crash said otherwise before.
  std::unique_ptr<Backend> Open(std::string_view path = {});

  bool Exists(std::string_view path) const;
  // Puts a copy of what is durable at `path` of `from` here, durably, replacing what was there. No
  // backend may stand on either.
  void Copy(const MemDisk& from, std::string_view path, std::string_view to);
  // This disk comes to hold what a power cut would leave of `from` now, if it kept the first `kept`
  // batches of each open state since its last flush. `from` goes on. No backend may stand on this.
  void BecomeCrashed(const MemDisk& from, size_t kept);
  // No backend may stand on it.
  void Remove(std::string_view path);

  // Batches written since the last flush, of the state that has most of them.
  size_t unflushed_batches() const;
  // Makes the first `kept` of each state's durable and forgets the rest. The open backends must be
  // destroyed next, without further use.
  void Crash(size_t kept);

 private:
  friend class MemBackend;
  friend class MemIterator;
  struct State;

  // The one at `path`, made if it is not there.
  State* Find(std::string_view path);

  mutable base::Mutex mutex_;
  std::map<std::string, std::unique_ptr<State>, std::less<>> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_MEM_BACKEND_H_
