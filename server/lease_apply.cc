#include "server/lease_apply.h"

#include <limits>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "lease/lease_codec.h"
#include "mvcc/schema.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

using api::Error;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseRevokeRequest;

std::string LeaseRowKey(LeaseId id) {
  std::string key(mvcc::kLeasePrefix);
  lease::AppendLeaseId(key, id);
  return key;
}

std::string LeaseKeyRowKey(LeaseId id, std::string_view key) {
  std::string row = LeaseKeysPrefix(id);
  row.append(key);
  return row;
}

absl::Status Malformed(CommandKind kind) {
  return base::Error(absl::StatusCode::kDataLoss, "a command of kind {} holds no such request",
                     static_cast<int>(kind));
}

template <typename Message>
bool Parse(std::string_view body, Message& message) {
  return message.ParseFromArray(body.data(), static_cast<int>(body.size()));
}

Node::Outcome Refusal(Error error) { return {api::ToStatus(error), {}, Revision()}; }

Node::Outcome DoneAt(Revision revision) {
  Node::Outcome outcome;
  outcome.revision = revision;
  return outcome;
}

}  // namespace

std::string LeaseKeysPrefix(LeaseId id) {
  std::string prefix(mvcc::kLeaseKeyPrefix);
  lease::AppendLeaseId(prefix, id);
  return prefix;
}

absl::Status ScanLeases(const mvcc::Store& store, LeaseId first,
                        absl::FunctionRef<bool(LeaseId, const lease::LeaseFacts&)> visit) {
  bool is_readable = true;
  CAIRN_RETURN_IF_ERROR(store.ScanMeta(
      mvcc::kLeasePrefix, LeaseRowKey(first), [&](std::string_view key, std::string_view value) {
        LeaseId id;
        lease::LeaseFacts facts;
        key.remove_prefix(mvcc::kLeasePrefix.size());
        is_readable =
            lease::TakeLeaseId(key, id) && key.empty() && lease::DecodeLeaseRow(value, facts);
        return is_readable && visit(id, facts);
      }));
  if (is_readable) return absl::OkStatus();
  return store.Damaged(
      base::MakeStatus(absl::StatusCode::kDataLoss, "state: a row of a lease is unreadable"));
}

absl::StatusOr<LeaseApplier> LeaseApplier::Open(const mvcc::Store& store) {
  LeaseApplier applier;
  constexpr LeaseId kFirst(std::numeric_limits<int64_t>::min());
  CAIRN_RETURN_IF_ERROR(ScanLeases(store, kFirst, [&](LeaseId id, const lease::LeaseFacts& facts) {
    CAIRN_CHECK(applier.table_.Restore(id, facts), "a lease has two rows");
    return true;
  }));
  return applier;
}

bool LeaseApplier::Handles(CommandKind kind) {
  return kind == CommandKind::kLeaseGrant || kind == CommandKind::kLeaseRevoke ||
         kind == CommandKind::kLeaseExpire || kind == CommandKind::kLeaseCheckpoint ||
         kind == CommandKind::kLeaseClear;
}

absl::StatusOr<Node::Outcome> LeaseApplier::Apply(CommandKind kind, std::string_view body,
                                                  raft::EntryId id, mvcc::Batch& batch) {
  switch (kind) {
    case CommandKind::kLeaseGrant:
      return Grant(body, id.index, batch);
    case CommandKind::kLeaseRevoke:
      return Revoke(body, batch);
    case CommandKind::kLeaseExpire:
    case CommandKind::kLeaseCheckpoint:
    case CommandKind::kLeaseClear:
      return ApplyBatch(kind, body, id.term, batch);
    default:
      break;
  }
  CAIRN_CHECK(Handles(kind));
  return Malformed(kind);
}

absl::StatusOr<Node::Outcome> LeaseApplier::Grant(std::string_view body, Index index,
                                                  mvcc::Batch& batch) {
  LeaseGrantRequest request;
  if (!Parse(body, request) || request.id() == 0 || request.ttl() <= 0) {
    return Malformed(CommandKind::kLeaseGrant);
  }
  if (!table_.Grant(LeaseId(request.id()), index, request.ttl())) {
    return Refusal(Error::kLeaseExists);
  }
  Node::Outcome outcome = DoneAt(batch.current().revision);
  wire::AppendNumberField(outcome.response, LeaseGrantResponse::kIDFieldNumber,
                          static_cast<uint64_t>(request.id()));
  wire::AppendNumberField(outcome.response, LeaseGrantResponse::kTTLFieldNumber,
                          static_cast<uint64_t>(request.ttl()));
  return outcome;
}

absl::StatusOr<Node::Outcome> LeaseApplier::Revoke(std::string_view body, mvcc::Batch& batch) {
  LeaseRevokeRequest request;
  if (!Parse(body, request)) return Malformed(CommandKind::kLeaseRevoke);
  const LeaseId id(request.id());
  if (!Exists(id)) return Refusal(Error::kLeaseNotFound);
  int64_t room_bytes = mvcc::WriteTxn::kBytesMax;
  CAIRN_RETURN_IF_ERROR(End(id, room_bytes, batch));
  return DoneAt(batch.current().revision);
}

absl::StatusOr<Node::Outcome> LeaseApplier::ApplyBatch(CommandKind kind, std::string_view body,
                                                       Term term, mvcc::Batch& batch) {
  cairn::internal::LeaseBatch request;
  if (!Parse(body, request)) return Malformed(kind);
  // Another leader may have renewed these leases since.
  if (Term(request.term()) != term) return DoneAt(batch.current().revision);
  int64_t room_bytes = mvcc::WriteTxn::kBytesMax;
  for (const cairn::internal::LeaseBatch::Lease& item : request.leases()) {
    const lease::LeaseName name = {LeaseId(item.id()), Index(item.granted_index())};
    if (kind == CommandKind::kLeaseCheckpoint) {
      table_.Checkpoint(name, item.remaining_ms());
    } else if (kind == CommandKind::kLeaseClear) {
      table_.Clear(name);
    } else if (table_.Holds(name)) {
      CAIRN_RETURN_IF_ERROR(End(name.id, room_bytes, batch));
    }
  }
  return DoneAt(batch.current().revision);
}

absl::Status LeaseApplier::End(LeaseId id, int64_t& room_bytes, mvcc::Batch& batch) {
  const int64_t key_count = table_.Find(id)->key_count;
  std::vector<std::string> keys;
  bool is_full = false;
  if (key_count > 0) {
    const std::string prefix = LeaseKeysPrefix(id);
    // The count tells when to stop: the next step would walk over what ended leases left behind.
    CAIRN_RETURN_IF_ERROR(batch.ScanMeta(prefix, [&](std::string_view row, std::string_view) {
      const std::string_view key = row.substr(prefix.size());
      const int64_t bytes = mvcc::WriteTxn::ChangeBytes(key.size(), 0, /*moves_lease=*/true);
      // One always fits, where nothing else was deleted.
      is_full = bytes > room_bytes && room_bytes < mvcc::WriteTxn::kBytesMax;
      if (is_full) return false;
      room_bytes -= bytes;
      keys.emplace_back(key);
      return static_cast<int64_t>(keys.size()) < key_count;
    }));
    const size_t first = batch.changes().size();
    mvcc::WriteTxn txn = batch.BeginTxn();
    for (const std::string& key : keys) CAIRN_RETURN_IF_ERROR(txn.Delete(key).status());
    txn.Commit();
    CAIRN_RETURN_IF_ERROR(Observe(batch.changes().subspan(first), batch));
  }
  const int64_t left = table_.Find(id)->key_count;
  const int64_t expected = is_full ? key_count - static_cast<int64_t>(keys.size()) : 0;
  if (left != expected) {
    return base::Error(absl::StatusCode::kDataLoss,
                       "state: lease {:x} counts {} keys that are not there", id.value(),
                       left - expected);
  }
  if (left == 0) {
    table_.Remove(id);
  } else {
    // Also when it is ending already and there was no room for any of its keys: whoever leads
    // proposes its next piece when it hears of this one.
    table_.BeginEnd(id);
  }
  return absl::OkStatus();
}

absl::Status LeaseApplier::Observe(std::span<const mvcc::Change> changes, mvcc::Batch& batch) {
  for (const mvcc::Change& change : changes) {
    const LeaseId before = change.previous_lease;
    const LeaseId after = change.lease;
    if (before == after) continue;
    for (const LeaseId id : {before, after}) {
      if (id == LeaseId(0) || Exists(id)) continue;
      return base::Error(absl::StatusCode::kDataLoss,
                         "state: a key is attached to lease {:x}, which is not there", id.value());
    }
    if (before != LeaseId(0)) {
      table_.Detach(before);
      batch.DeleteMeta(LeaseKeyRowKey(before, change.key));
    }
    if (after != LeaseId(0)) {
      table_.Attach(after);
      batch.PutMeta(LeaseKeyRowKey(after, change.key), {});
    }
  }
  return absl::OkStatus();
}

std::vector<lease::LeaseUpdate> LeaseApplier::Finish(mvcc::Batch& batch) {
  std::vector<lease::LeaseUpdate> updates = table_.TakeUpdates();
  for (const lease::LeaseUpdate& update : updates) {
    if (update.facts.has_value()) {
      batch.PutMeta(LeaseRowKey(update.id), lease::EncodeLeaseRow(*update.facts));
    } else {
      batch.DeleteMeta(LeaseRowKey(update.id));
    }
  }
  return updates;
}

}  // namespace cairn::server
