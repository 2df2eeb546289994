// The replicated command: what a kCommand entry's payload holds.
//
// A command is a header and a body. The header says who proposed it, so that a waiter is completed
// by its own entry only: the proposer's member id, a nonce drawn at its start-up and a sequence
// (an entry that was proposed before a crash must never complete a waiter of the new process). It
// also carries the user on whose behalf it runs, and that user's auth revision, for authorisation
// at apply. The body of a request kind is the client's request as it came over the wire.
//
// Layout, little endian: format version (1 byte), kind (2 bytes), proposer (8), nonce (8),
// sequence (8), auth revision (8), user name length (varint) and bytes, body.
//
// Pure: no thread, clock, file or socket.
#ifndef CAIRN_SERVER_COMMAND_H_
#define CAIRN_SERVER_COMMAND_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace cairn::server {

// What a command does. The numbers stand on disk: never change or reuse one. A kind that this
// binary does not know stops the member before it is applied.
enum class CommandKind : uint16_t {
  kPut = 1,            // etcdserverpb.PutRequest
  kDeleteRange = 2,    // etcdserverpb.DeleteRangeRequest
  kTxn = 3,            // etcdserverpb.TxnRequest
  kCompact = 4,        // etcdserverpb.CompactionRequest
  kPublishMember = 5,  // cairn.internal.PublishMember: a member's name and client URLs
  // Leases. A grant's id and time to live are those that the lease gets.
  kLeaseGrant = 6,       // etcdserverpb.LeaseGrantRequest
  kLeaseRevoke = 7,      // etcdserverpb.LeaseRevokeRequest
  kLeaseExpire = 8,      // cairn.internal.LeaseBatch
  kLeaseCheckpoint = 9,  // cairn.internal.LeaseBatch
  kLeaseClear = 10,      // cairn.internal.LeaseBatch
  // Of the cluster as a whole (cluster_apply.h).
  kAlarm = 11,           // etcdserverpb.AlarmRequest: one to raise or to clear
  kSpaceAlarm = 12,      // cairn.internal.SpaceAlarm: a member's space is used up, or there again
  kClusterVersion = 13,  // cairn.internal.ClusterVersion
  kDowngrade = 14,       // cairn.internal.Downgrade
  kRaiseRevision = 15,   // cairn.internal.RevisionRaise (sync_mode.h)
};

// The newest format that this binary writes and understands. A higher one must be understood to be
// applied, so it stops the member.
inline constexpr uint8_t kCommandFormatVersion = 1;

struct CommandHeader {
  CommandKind kind = CommandKind::kPut;
  MemberId proposer;
  uint64_t nonce = 0;
  uint64_t sequence = 0;
  uint64_t auth_revision = 0;
  std::string_view user;
};

// The payload of an entry: `header` and a copy of `body`.
std::string EncodeCommand(const CommandHeader& header, std::string_view body);

struct DecodedCommand {
  CommandHeader header;   // `user` points into the payload.
  std::string_view body;  // Points into the payload.
};

// Takes a payload apart. DATA_LOSS for bytes that no version wrote; UNIMPLEMENTED for a format
// version or a kind that is newer than this binary. The caller stops the member on either.
absl::StatusOr<DecodedCommand> DecodeCommand(std::string_view payload);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_COMMAND_H_
