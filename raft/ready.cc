#include "raft/ready.h"

#include <fmt/format.h>

#include "base/check.h"

namespace cairn::raft {
namespace {

std::string_view VoteName(uint64_t detail) { return detail == 1 ? "pre-vote" : "vote"; }

}  // namespace

std::string_view RoleName(RoleKind role) {
  switch (role) {
    case RoleKind::kFollower:
      return "follower";
    case RoleKind::kPreCandidate:
      return "pre-candidate";
    case RoleKind::kCandidate:
      return "candidate";
    case RoleKind::kLeader:
      return "leader";
  }
  CAIRN_CHECK(false, "no such role");
}

std::string Describe(const TraceEvent& event) {
  const Term term = event.term;
  switch (event.kind) {
    case TraceKind::kCampaign:
      return fmt::format("campaigns at term {} ({})", term,
                         event.detail == 3 ? "asked to by the leader" : VoteName(event.detail));
    case TraceKind::kCampaignBlocked:
      return fmt::format("does not campaign before it has applied entry {}", event.index);
    case TraceKind::kBecameFollower:
      if (event.member == MemberId(0)) return fmt::format("follows nobody yet at term {}", term);
      return fmt::format("follows {:x} at term {}", event.member.value(), term);
    case TraceKind::kBecameLeader:
      return fmt::format("leads at term {} from entry {}", term, event.index);
    case TraceKind::kVoteGranted:
      return fmt::format("grants {:x} a {} at term {}", event.member.value(),
                         VoteName(event.detail), term);
    case TraceKind::kVoteRefused:
      return fmt::format("refuses {:x} a {} at term {}", event.member.value(),
                         VoteName(event.detail), term);
    case TraceKind::kVoteIgnored:
      return fmt::format("ignores the campaign of {:x}: hears from a leader at term {}",
                         event.member.value(), term);
    case TraceKind::kQuorumLost:
      return fmt::format("steps down at term {}: no quorum answers", term);
    case TraceKind::kAppendRejected:
      return fmt::format("rejects an append of {:x}: its log does not hold entry {}",
                         event.member.value(), event.index);
    case TraceKind::kLogTruncated:
      return fmt::format("drops its entries from {} on, term {} supersedes them", event.index,
                         term);
    case TraceKind::kPeerProbing:
      return fmt::format("probes {:x} at entry {}", event.member.value(), event.index);
    case TraceKind::kPeerReplicating:
      return fmt::format("replicates to {:x}, which matches through {}", event.member.value(),
                         event.index);
    case TraceKind::kPeerNeedsSnapshot:
      return fmt::format("must send {:x} a snapshot: it needs entry {}, which is gone",
                         event.member.value(), event.index);
    case TraceKind::kSnapshotFailed:
      return fmt::format("failed to send {:x} a snapshot", event.member.value());
    case TraceKind::kConfiguration:
      return fmt::format("takes the configuration of entry {} into force", event.index);
    case TraceKind::kTransferStarted:
      return fmt::format("hands over to {:x}", event.member.value());
    case TraceKind::kTransferAborted:
      return fmt::format("gives up handing over to {:x}", event.member.value());
    case TraceKind::kSnapshotInstalled:
      return fmt::format("continues from a snapshot at {}", event.index);
    case TraceKind::kLogStalled:
      return fmt::format("steps down at term {}: its log makes no progress; {:x} may follow", term,
                         event.member.value());
  }
  CAIRN_CHECK(false, "no such trace event");
}

}  // namespace cairn::raft
