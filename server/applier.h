// Applies committed entries to the state: one entry after the other, many entries in one batch.
//
// Apply thread only (or a simulator). Deterministic: what an entry does depends on the state and
// its bytes alone, so all members reach the same state. Every kind of entry, also an empty or a
// refused one, advances the applied index, which moves in the same atomic batch as what it
// describes. An error is final: a member that cannot apply a committed entry must stop.
#ifndef CAIRN_SERVER_APPLIER_H_
#define CAIRN_SERVER_APPLIER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "lease/types.h"
#include "mvcc/removal.h"
#include "mvcc/store.h"
#include "raft/types.h"
#include "server/change_sink.h"
#include "server/cluster_apply.h"
#include "server/cluster_state.h"
#include "server/command.h"
#include "server/kv_apply.h"
#include "server/lease_apply.h"
#include "server/membership_change.h"
#include "server/node.h"

namespace cairn::server {

class Applier {
 public:
  // Whose proposals have waiters here: entries with this proposer and start-up nonce.
  struct Proposer {
    MemberId id;
    uint64_t nonce = 0;
  };

  struct Result {
    // The first so many of the entries make up the batch; at least one.
    size_t entries = 0;
    // Outcomes of this process' own proposals, by sequence, in the order of the log.
    std::vector<std::pair<uint64_t, Node::Outcome>> outcomes;
    // The same of this process' own changes of the membership, made or refused.
    std::vector<std::pair<uint64_t, Node::Outcome>> changes;
    // The configuration in force after the batch and the index of the last configuration entry, if
    // there was one.
    std::optional<std::pair<raft::Configuration, Index>> configuration;
    // The members changed: ask membership() again.
    bool members_changed = false;
    // The proposer is a member no more.
    bool self_removed = false;
    // The leases that changed, as they are after the batch.
    std::vector<lease::LeaseUpdate> leases;
    // What is true of the cluster after the batch, if that has changed; null if not.
    std::shared_ptr<const ClusterState> cluster;
  };

  // Reads members, configuration and leases from `store`, which must outlive this object.
  // `proposer` is this member. DATA_LOSS when their rows do not decode.
  static absl::StatusOr<std::unique_ptr<Applier>> Open(mvcc::Store& store, Proposer proposer);

  // What lives in memory beside a state: read once, when the state is opened.
  struct Loaded {
    Membership membership;
    LeaseApplier leases;
    ClusterApplier cluster;
  };
  // DATA_LOSS when rows do not decode. Any thread.
  static absl::StatusOr<Loaded> Load(const mvcc::Store& store);
  // Puts `fresh`, from which `loaded` was read, in the place of the state (mvcc::Store::Replace).
  // Tells of every lease there is or was, of the members, and the sink; not of the configuration,
  // which the core gets with the snapshot.
  Result Replace(std::unique_ptr<mvcc::Store> fresh, Loaded loaded);

  // Has `sink`, which must outlive this object, told of every change from the next Apply on.
  void SetChangeSink(ChangeSink* sink) { sink_ = sink; }

  // What the answers of applied commands hold until they are sent.
  ResponseBudget& response_budget() { return kv_.budget(); }

  // Applies `entries`, which follow the last applied one, in one batch: all of them, or the first
  // of them where all would hold much (Result::entries). `entries` must not be empty.
  absl::StatusOr<Result> Apply(std::span<const raft::Entry> entries);

  // Commits one step of background removal. False when the step was stale: find it again.
  absl::StatusOr<bool> ApplyRemoval(const mvcc::RemovalStep& step);

  // As of the last Apply.
  const Membership& membership() const { return membership_; }
  const lease::LeaseTable& leases() const { return leases_.table(); }
  const ClusterState& cluster() const { return cluster_.state(); }

 private:
  Applier(mvcc::Store& store, Proposer proposer, Loaded loaded);

  absl::Status ApplyEntry(const raft::Entry& entry, mvcc::Batch& batch, Result& result);
  absl::Status ApplyCommand(const raft::Entry& entry, mvcc::Batch& batch, Result& result);
  // The command's own effect, and that of its puts and deletions on leases.
  absl::StatusOr<Node::Outcome> ApplyBody(const DecodedCommand& command, raft::EntryId id,
                                          bool is_own, mvcc::Batch& batch, Result& result);
  absl::Status ApplyConfiguration(const raft::Entry& entry, mvcc::Batch& batch, Result& result);
  absl::StatusOr<Node::Outcome> ApplyRaise(std::string_view body, mvcc::Batch& batch);
  absl::StatusOr<Node::Outcome> ApplyPublished(std::string_view body, mvcc::Batch& batch,
                                               Result& result);

  mvcc::Store& store_;
  ChangeSink* sink_ = nullptr;
  const Proposer proposer_;
  LeaseApplier leases_;
  KvApplier kv_;
  ClusterApplier cluster_;
  Membership membership_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_APPLIER_H_
