// One member of a simulated cluster: the real bootstrap, log, node core and applier, without a
// thread, over disks in memory that forget what was not synced.
//
// Owned by a Cluster, which decides when anything happens: nothing here does work by itself. What
// the node core hands out waits in queues until the cluster lets it be done: writes of the log,
// ranges to apply, reads of the log. Test only.
#ifndef CAIRN_TEST_SIM_MEMBER_H_
#define CAIRN_TEST_SIM_MEMBER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/ids.h"
#include "mvcc/mem_backend.h"
#include "mvcc/store.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "raft/types.h"
#include "server/bootstrap.h"
#include "server/config.h"
#include "server/node_core.h"
#include "wal/fault_fs.h"

namespace cairn::sim {

// What a member tells the cluster about, as it happens.
struct Observer {
  std::function<void(raft::Message)> send;
  // After the batch that holds the entry was published.
  std::function<void(const raft::Entry& entry)> applied;
  std::function<void(server::WaiterId id)> read_ready;
  std::function<void(server::WaiterId id)> gave_up;  // A read or proposal that was refused.
  std::function<void(const raft::TraceEvent& event)> traced;
  // How far the state of a member survives any crash.
  std::function<Index(MemberId id)> flushed;
};

class Member {
 public:
  // `config` names this member first. Starts it.
  Member(server::Config config, server::NodeCoreOptions options, Observer observer, uint64_t seed);

  MemberId id() const { return id_; }
  bool is_up() const { return node_ != nullptr; }
  server::NodeCore& node() { return *node_; }
  mvcc::Store& store() { return *foundation_.store; }
  // What survives any crash.
  Index flushed() const { return flushed_; }

  // Takes what the node core wants done.
  void Drain();
  // Writes up to `count` Appends to the log, syncs once, reports it.
  void WriteLog(size_t count);
  // Applies up to `count` entries as one batch.
  void Apply(size_t count);
  void AnswerLogRead(bool fails);
  // Makes the state durable, marks the log, removes segments that nobody below `needed` reads.
  void FlushAndTrim(Index needed);

  // The process dies, or the machine with it. Of the writes that wait, `written` reached the file
  // unsynced; of the batches of state not flushed, a prefix chosen by `seed` survives.
  void Crash(uint64_t seed, size_t written, bool is_power_cut);
  void Restart(uint64_t seed);

  size_t pending_writes() const { return writes_.size(); }
  bool is_idle() const { return writes_.empty() && ranges_.empty() && log_reads_.empty(); }

 private:
  void Write(const server::LogWrite& write);
  std::vector<raft::Entry> NextEntries(size_t count);

  const server::Config config_;
  server::NodeCoreOptions options_;
  const Observer observer_;
  MemberId id_;
  Index flushed_;

  wal::FaultFs fs_;
  mvcc::MemDisk disk_;

  server::Bootstrapped foundation_;
  std::unique_ptr<server::NodeCore> node_;
  std::deque<server::LogWrite> writes_;
  std::deque<server::ApplyRange> ranges_;
  std::deque<raft::LogRead> log_reads_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_MEMBER_H_
