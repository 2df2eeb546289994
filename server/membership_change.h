// What a configuration entry does to the cluster: who votes, who listens, who can never come back.
//
// Pure: no thread, clock, file or socket. The rows live in the state and move with the entry that
// changes them: the applier calls ApplyChange and stores what comes out. Every member must come to
// the same verdict, so nothing but the entry and the membership before it counts: what depends on
// the proposer's flags travels in the entry. Whether a change is wise is judged before it is
// proposed (membership_rules.h); here it is only judged whether it is possible.
#ifndef CAIRN_SERVER_MEMBERSHIP_CHANGE_H_
#define CAIRN_SERVER_MEMBERSHIP_CHANGE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "server/node.h"

namespace cairn::server {

// The numbers are those of internal.proto's ConfigurationChange.Kind.
enum class ChangeKind : uint8_t {
  kAddVoter = 1,
  kAddLearner = 2,
  kPromoteLearner = 3,
  kRemove = 4,
  kUpdatePeerUrls = 5,
};

// One change of one member. Promotion and removal look at the id only, an update at id and peer
// URLs.
struct ChangeStep {
  ChangeKind kind = ChangeKind::kAddVoter;
  Member member;

  friend bool operator==(const ChangeStep&, const ChangeStep&) = default;
};

// Who waits for a change, as in a command's header. All 0: nobody.
struct ChangeProposer {
  MemberId id;
  uint64_t nonce = 0;
  uint64_t sequence = 0;

  friend bool operator==(const ChangeProposer&, const ChangeProposer&) = default;
};

// The content of a configuration entry: one step, several that take effect together, or the end of
// the joint phase that several led into.
struct MembershipChange {
  std::vector<ChangeStep> steps;
  bool leave_joint = false;
  ChangeProposer proposer;
  // The most learners that there may be once one is added. None: not limited.
  std::optional<uint32_t> learners_max;

  friend bool operator==(const MembershipChange&, const MembershipChange&) = default;
};

std::string EncodeChange(const MembershipChange& change);
// DATA_LOSS for bytes that no version wrote, UNIMPLEMENTED for a kind of change or a field that
// this version does not know: the member stops on either.
absl::StatusOr<MembershipChange> DecodeChange(std::string_view data);

// What the cluster looks like after an entry.
struct Membership {
  // Everyone in the configuration, of either half, sorted by id.
  Members members;
  raft::Configuration configuration;
  // Who was removed, and the index of the entry that did it.
  std::map<MemberId, Index> removed;
};

// So many removed members are remembered: a member that is replaced every hour fills this in eleven
// years, and it takes a few megabytes. Beyond it the one that was removed first is forgotten; its
// id cannot be derived again, because the second of its addition is part of it.
inline constexpr size_t kRemovedMembersMax = 100'000;

// What an entry did.
struct ChangeEffect {
  // Why nothing has changed: the error for whoever waits, as etcd has it. OK: the change is in
  // force.
  absl::Status refusal;
  // Whose rows are new or different, whose are gone for ever, and whose removal is forgotten.
  std::vector<MemberId> changed;
  std::vector<MemberId> removed;
  std::vector<MemberId> forgotten;
};

// Changes `membership` as the entry at `index` says: all of its steps or, if one of them cannot be,
// none. Several steps that change more than one vote lead into a joint phase, which only a change
// with leave_joint ends; whoever leaves in it stays a member until then.
ChangeEffect ApplyChange(const MembershipChange& change, Index index, Membership& membership);

// The member with `id`; null if there is none.
const Member* FindMember(const Members& members, MemberId id);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_CHANGE_H_
