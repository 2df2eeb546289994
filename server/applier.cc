#include "server/applier.h"

#include <algorithm>

#include "api/internal.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "mvcc/revision_limits.h"
#include "mvcc/schema.h"
#include "server/member_response.h"
#include "server/membership_rows.h"

namespace cairn::server {

namespace {

// A batch that holds so much takes no further entry: one command may hold some hundred MiB
// (mvcc::WriteTxn::kBytesMax), and no second one is to stand beside it. Well above what usual
// entries come to.
constexpr size_t kBatchBytesMax = size_t{16} << 20;

absl::StatusOr<Membership> LoadMembership(const mvcc::Store& store) {
  Membership membership;
  absl::Status decoded;
  CAIRN_RETURN_IF_ERROR(
      store.ScanMeta(mvcc::kMemberPrefix, [&](std::string_view, std::string_view value) {
        absl::StatusOr<Member> member = DecodeMember(value);
        if (!member.ok()) {
          decoded = member.status();
          return false;
        }
        membership.members.push_back(*std::move(member));
        return true;
      }));
  CAIRN_RETURN_IF_ERROR(decoded);
  std::string bytes;
  CAIRN_ASSIGN_OR_RETURN(const bool has_configuration, store.GetMeta(kConfigurationKey, bytes));
  if (has_configuration) {
    CAIRN_ASSIGN_OR_RETURN(membership.configuration, DecodeConfiguration(bytes));
  }
  CAIRN_RETURN_IF_ERROR(
      store.ScanMeta(kRemovedMemberPrefix, [&](std::string_view key, std::string_view value) {
        const absl::StatusOr<RemovedMember> removed = DecodeRemoved(key, value);
        if (!removed.ok()) {
          decoded = removed.status();
          return false;
        }
        membership.removed.emplace(removed->id, removed->index);
        return true;
      }));
  CAIRN_RETURN_IF_ERROR(decoded);
  return membership;
}

}  // namespace

Applier::Applier(mvcc::Store& store, Proposer proposer, Loaded loaded)
    : store_(store),
      proposer_(proposer),
      leases_(std::move(loaded.leases)),
      kv_([this](LeaseId id) { return leases_.IsAlive(id); }),
      cluster_(std::move(loaded.cluster)),
      membership_(std::move(loaded.membership)) {}

absl::StatusOr<std::unique_ptr<Applier>> Applier::Open(mvcc::Store& store, Proposer proposer) {
  CAIRN_ASSIGN_OR_RETURN(Loaded loaded, Load(store));
  return std::unique_ptr<Applier>(new Applier(store, proposer, std::move(loaded)));
}

absl::StatusOr<Applier::Loaded> Applier::Load(const mvcc::Store& store) {
  CAIRN_ASSIGN_OR_RETURN(Membership membership, LoadMembership(store));
  CAIRN_ASSIGN_OR_RETURN(LeaseApplier leases, LeaseApplier::Open(store));
  CAIRN_ASSIGN_OR_RETURN(ClusterApplier cluster, ClusterApplier::Open(store));
  return Loaded{std::move(membership), std::move(leases), std::move(cluster)};
}

Applier::Result Applier::Replace(std::unique_ptr<mvcc::Store> fresh, Loaded loaded) {
  Result result;
  result.leases = loaded.leases.table().All();
  for (const lease::LeaseUpdate& before : leases_.table().All()) {
    if (!loaded.leases.Exists(before.id)) result.leases.push_back({before.id, std::nullopt});
  }
  store_.Replace(std::move(fresh));
  leases_ = std::move(loaded.leases);
  membership_ = std::move(loaded.membership);
  cluster_ = std::move(loaded.cluster);
  result.members_changed = true;
  result.cluster = std::make_shared<const ClusterState>(cluster_.state());
  result.self_removed = membership_.removed.contains(proposer_.id);
  if (sink_ != nullptr) sink_->OnReplaced(store_.published().revision);
  return result;
}

absl::StatusOr<Applier::Result> Applier::Apply(std::span<const raft::Entry> entries) {
  CAIRN_CHECK(!entries.empty());
  CAIRN_CHECK_EQ(entries.front().index, store_.applied().index + 1);
  Result result;
  mvcc::Batch batch = store_.BeginBatch();
  if (sink_ != nullptr && sink_->WantsPrevious()) batch.KeepPrevious();
  while (result.entries < entries.size() && batch.held_bytes() < kBatchBytesMax) {
    const raft::Entry& entry = entries[result.entries++];
    if (absl::Status status = ApplyEntry(entry, batch, result); !status.ok()) {
      return base::Annotate(status, fmt::format("applying the entry at index {} of term {}",
                                                entry.index, entry.term));
    }
  }
  const raft::Entry& last = entries[result.entries - 1];
  result.leases = leases_.Finish(batch);
  result.cluster = cluster_.TakeChange();
  const Revision before = store_.published().revision;
  CAIRN_RETURN_IF_ERROR(batch.Commit({last.index, last.term}));
  const Revision after = store_.published().revision;
  if (sink_ != nullptr && !batch.changes().empty()) {
    sink_->OnCommitted(batch.changes(), after);
  } else if (sink_ != nullptr && after != before) {
    sink_->OnRaised(after);
  }
  return result;
}

absl::StatusOr<bool> Applier::ApplyRemoval(const mvcc::RemovalStep& step) {
  mvcc::Batch batch = store_.BeginBatch();
  CAIRN_ASSIGN_OR_RETURN(const bool is_current, batch.ApplyRemoval(step));
  if (!is_current) return false;
  CAIRN_RETURN_IF_ERROR(batch.Commit(store_.applied()));
  return true;
}

absl::Status Applier::ApplyEntry(const raft::Entry& entry, mvcc::Batch& batch, Result& result) {
  switch (entry.kind) {
    case raft::EntryKind::kEmpty:
      return absl::OkStatus();
    case raft::EntryKind::kCommand:
      return ApplyCommand(entry, batch, result);
    case raft::EntryKind::kConfiguration:
      return ApplyConfiguration(entry, batch, result);
  }
  return base::Error(absl::StatusCode::kUnimplemented,
                     "an entry of kind {}, which this binary does not know",
                     static_cast<int>(entry.kind));
}

absl::Status Applier::ApplyCommand(const raft::Entry& entry, mvcc::Batch& batch, Result& result) {
  CAIRN_ASSIGN_OR_RETURN(const DecodedCommand command, DecodeCommand(*entry.data));
  const bool is_own =
      command.header.proposer == proposer_.id && command.header.nonce == proposer_.nonce;
  CAIRN_ASSIGN_OR_RETURN(Node::Outcome outcome,
                         ApplyBody(command, {entry.term, entry.index}, is_own, batch, result));
  if (is_own) result.outcomes.emplace_back(command.header.sequence, std::move(outcome));
  return absl::OkStatus();
}

absl::StatusOr<Node::Outcome> Applier::ApplyBody(const DecodedCommand& command, raft::EntryId id,
                                                 bool is_own, mvcc::Batch& batch, Result& result) {
  const CommandKind kind = command.header.kind;
  if (kind == CommandKind::kPublishMember) return ApplyPublished(command.body, batch, result);
  if (kind == CommandKind::kRaiseRevision) return ApplyRaise(command.body, batch);
  if (ClusterApplier::Handles(kind)) {
    return cluster_.Apply(kind, command.body, membership_.members, batch);
  }
  if (absl::Status refusal = cluster_.Refuses(kind, command.body); !refusal.ok()) {
    return Node::Outcome{.status = std::move(refusal), .response = {}, .revision = {}};
  }
  if (LeaseApplier::Handles(kind)) return leases_.Apply(kind, command.body, id, batch);
  const size_t first_change = batch.changes().size();
  CAIRN_ASSIGN_OR_RETURN(
      Node::Outcome outcome,
      kv_.Apply(kind, command.body, is_own ? Answer::kBuild : Answer::kDiscard, batch));
  CAIRN_RETURN_IF_ERROR(leases_.Observe(batch.changes().subspan(first_change), batch));
  return outcome;
}

absl::Status Applier::ApplyConfiguration(const raft::Entry& entry, mvcc::Batch& batch,
                                         Result& result) {
  CAIRN_ASSIGN_OR_RETURN(const MembershipChange change, DecodeChange(*entry.data));
  const ChangeEffect effect = ApplyChange(change, entry.index, membership_);
  for (const MemberId id : effect.changed) {
    batch.PutMeta(MemberRowKey(id), EncodeMember(*FindMember(membership_.members, id)));
  }
  for (const MemberId id : effect.removed) {
    batch.DeleteMeta(MemberRowKey(id));
    batch.PutMeta(RemovedMemberRowKey(id), EncodeRemovedIndex(entry.index));
    cluster_.OnRemoved(id, batch);
    result.self_removed = result.self_removed || id == proposer_.id;
  }
  for (const MemberId id : effect.forgotten) batch.DeleteMeta(RemovedMemberRowKey(id));
  if (effect.refusal.ok()) {
    batch.PutMeta(kConfigurationKey, EncodeConfiguration(membership_.configuration));
    result.members_changed = true;
  }
  // Also what was refused ends the wait for it: the next change may come.
  result.configuration = {membership_.configuration, entry.index};
  const ChangeProposer& by = change.proposer;
  if (by.sequence != 0 && by.id == proposer_.id && by.nonce == proposer_.nonce) {
    Node::Outcome outcome{.status = effect.refusal};
    if (effect.refusal.ok()) outcome.response = ChangeResponse(change, membership_.members);
    result.changes.emplace_back(by.sequence, std::move(outcome));
  }
  return absl::OkStatus();
}

absl::StatusOr<Node::Outcome> Applier::ApplyRaise(std::string_view body, mvcc::Batch& batch) {
  internal::RevisionRaise raise;
  // A sum beyond the limit is no revision that anybody has asked for either.
  if (!raise.ParseFromArray(body.data(), static_cast<int>(body.size())) || raise.by() <= 0 ||
      raise.by() > mvcc::kLoggedRaiseRevisionMax.value() - batch.current().revision.value()) {
    return base::Error(absl::StatusCode::kDataLoss, "a raise of the revision does not decode");
  }
  batch.RaiseRevision(raise.by());
  return Node::Outcome{.revision = batch.current().revision};
}

absl::StatusOr<Node::Outcome> Applier::ApplyPublished(std::string_view body, mvcc::Batch& batch,
                                                      Result& result) {
  CAIRN_ASSIGN_OR_RETURN(PublishedAttributes attributes, DecodePublished(body));
  Node::Outcome outcome;
  outcome.revision = batch.current().revision;
  const auto member =
      std::find_if(membership_.members.begin(), membership_.members.end(),
                   [&](const Member& candidate) { return candidate.id == attributes.id; });
  // A member that was removed meanwhile has nothing to publish.
  if (member == membership_.members.end()) return outcome;
  member->name = std::move(attributes.name);
  member->client_urls = std::move(attributes.client_urls);
  batch.PutMeta(MemberRowKey(member->id), EncodeMember(*member));
  result.members_changed = true;
  return outcome;
}

}  // namespace cairn::server
