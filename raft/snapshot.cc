// Hand-over of whole states, for members the log no longer reaches (thesis 5).
//
// The core only decides who needs one and whether one is wanted; the bytes travel elsewhere.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "raft/core_impl.h"

namespace cairn::raft {

void Core::Impl::SnapshotStatus(MemberId id, Index index, bool is_installed) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto found = leader->peers.find(id);
  if (found == leader->peers.end() || found->second.state() != ProgressState::kSnapshot) return;
  Progress& peer = found->second;
  if (is_installed) {
    peer.SnapshotEnded(std::min(index, log_.last().index));
    Trace(TraceKind::kPeerProbing, id, peer.next());
  } else {
    peer.SnapshotEnded(Index(0));
    Trace(TraceKind::kSnapshotFailed, id);
    // Counts as a probe that went out, so the next try waits for a sign of life.
    peer.Sent(peer.next() - 1, 0);
  }
  has_appends_to_send_ = true;
}

bool Core::Impl::BeginInstall(EntryId snapshot) {
  CAIRN_CHECK(!is_installing_);
  if (snapshot.term > term_) BecomeFollower(snapshot.term, MemberId(0));
  if (is_leader() || snapshot.index <= log_.commit()) return false;
  if (log_.TermAt(snapshot.index) == snapshot.term) {
    // The log has it all; a snapshot is of committed state, so that much is committed.
    log_.CommitTo(snapshot.index);
    return false;
  }
  if (!std::holds_alternative<Follower>(role_)) BecomeFollower(term_, MemberId(0));
  is_installing_ = true;
  return true;
}

void Core::Impl::FinishInstall(EntryId snapshot, Configuration configuration) {
  CAIRN_CHECK(is_installing_);
  CAIRN_CHECK_GT(snapshot.index, log_.commit());
  is_installing_ = false;
  log_.Reset(snapshot);
  configuration_ = std::move(configuration);
  must_apply_ = snapshot.index;
  is_replaying_ = false;
  configuration_pending_ = snapshot.index;
  Trace(TraceKind::kSnapshotInstalled, MemberId(0), snapshot.index);
  if (leader() != MemberId(0)) Send(leader(), AppendAccepted{.match = snapshot.index});
  CheckCheapInvariants();
}

void Core::Impl::AbandonInstall() {
  CAIRN_CHECK(is_installing_);
  is_installing_ = false;
}

}  // namespace cairn::raft
