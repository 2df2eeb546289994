// The state in memory, for the simulator and for models: it forgets like a disk.
//
// Rows live in ordered maps under one mutex. A crash keeps what Flush made durable and a prefix of
// the batches written since. It enforces what RocksDB only assumes: a row of `revisions` is put
// once and removed once, by SingleDelete; the other families never see SingleDelete (checked,
// aborts).
#ifndef CAIRN_MVCC_MEM_BACKEND_H_
#define CAIRN_MVCC_MEM_BACKEND_H_

#include <cstddef>
#include <memory>

#include "mvcc/backend.h"

namespace cairn::mvcc {

// The disk: it outlives the backends that are opened on it one after the other.
class MemDisk {
 public:
  MemDisk();
  ~MemDisk();
  MemDisk(const MemDisk&) = delete;
  MemDisk& operator=(const MemDisk&) = delete;

  // A backend on this disk, holding what is durable. It must not outlive the disk, and the backend
  // opened before it must be gone. Destroying a backend flushes nothing: it is a crash that keeps
  // no batch, unless Crash said otherwise before.
  std::unique_ptr<Backend> Open();

  // Batches written since the last flush.
  size_t unflushed_batches() const;
  // Makes the first `kept` of them durable and forgets the rest; kept <= unflushed_batches(). The
  // open backend must be destroyed next, without further use.
  void Crash(size_t kept);

 private:
  friend class MemBackend;
  friend class MemIterator;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_MEM_BACKEND_H_
