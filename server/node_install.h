// snapshot_install.h's host on a running member: each step on the thread that owns what it touches.
//
// Owned by the server; outlived by the runner. Its caller is the thread that installs.
#ifndef CAIRN_SERVER_NODE_INSTALL_H_
#define CAIRN_SERVER_NODE_INSTALL_H_

#include <memory>

#include "server/node_runner.h"
#include "server/snapshot_install.h"

namespace cairn::server {

class NodeInstall final : public InstallHost {
 public:
  explicit NodeInstall(NodeRunner& runner) : runner_(runner) {}

  absl::Status SyncTerm(Term term) override;
  absl::StatusOr<bool> BeginInstall(raft::EntryId id) override;
  void AbandonInstall() override;
  absl::Status DrainApply() override;
  absl::Status RecordInstalled(wal::SnapshotInstalled record) override;
  absl::Status FinishInstall(std::unique_ptr<mvcc::Store> fresh, Applier::Loaded loaded) override;
  void FailInstall(const absl::Status& error) override;

 private:
  // Waits until what the node thread was told before has become submissions and ranges.
  absl::Status Settle() {
    return runner_.RunOnNode([](NodeCore&) {});
  }

  NodeRunner& runner_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_NODE_INSTALL_H_
