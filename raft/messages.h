// What members say to each other: each message a struct, all of them in one variant.
//
// Plain values without behaviour. The shell encodes them at its border (`api/peer.proto`) and must
// keep, drop, delay, repeat or reorder them whole: every rule of the core survives that. `from` and
// `to` are checked by the shell against the connection they came from.
#ifndef CAIRN_RAFT_MESSAGES_H_
#define CAIRN_RAFT_MESSAGES_H_

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"

namespace cairn::raft {

// What a client of the core asks to be appended. `data` is null only for an empty entry.
struct Proposal {
  EntryKind kind = EntryKind::kCommand;
  Payload data;
  // The rest is the shell's own, which the core only carries. By what number the member that
  // proposes it knows it; 0: it does not ask.
  uint64_t id = 0;
  // Until when it is worth sending. Stays with this member: whoever gets the proposal decides anew.
  uint64_t expires_at_tick = 0;
};

// Asks for a vote (thesis 3.4), or whether one could be had (pre-vote, thesis 9.6).
struct VoteRequest {
  bool is_pre_vote = false;
  // The term to be won. A pre-vote asks for the sender's term + 1 without moving to it; a real
  // candidate has moved, so this equals Message::term.
  Term campaign_term;
  EntryId last;  // The candidate's last entry (election restriction, thesis 3.6.1).
  // The leader asked for this election, so a voter that still hears from it must not refuse.
  bool is_transfer = false;
  // The last entry that the sender knows committed; {0, 0} for none. Whoever holds that very entry
  // may take it for committed too. Configurations take effect when applied, so
  // without this a voter could need, for ever, the vote of one that the change has removed and
  // whose log is longer.
  EntryId committed;
};

struct VoteReply {
  bool is_pre_vote = false;
  Term campaign_term;  // As asked, so that an answer to an earlier campaign is told apart.
  bool is_granted = false;
  EntryId committed;  // As in VoteRequest.
};

// Entries right after `previous`; none when only the commit index moves or the leader probes.
struct AppendRequest {
  EntryId previous;
  Index commit;  // The leader's, perhaps past the entries of this message.
  std::vector<Entry> entries;
};

// The sender's log is durable and equal to the leader's through `match`.
struct AppendAccepted {
  Index match;
};

// The sender's log does not hold `previous`. `hint` is the last entry of the sender that can still
// agree: its term is not above previous.term and its index not above previous.index (fast
// back-off, thesis 3.5 end). hint.term 0 means unknown: the entry is committed, so they do agree.
struct AppendRejected {
  EntryId previous;
  EntryId hint;
};

// Keeps followers from campaigning, carries the commit index, and confirms leadership: each
// broadcast has its own round, and rounds only rise within a term.
struct Heartbeat {
  Index commit;  // Never above what the receiver is known to match.
  uint64_t round = 0;
};

struct HeartbeatReply {
  uint64_t round = 0;
};

// The answer to a message of a former leader or candidate: nothing but Message::term matters.
struct StaleTerm {};

// Proposals of a follower for the leader. Only a refusal is answered: else the proposer sees them
// committed, or not.
struct ForwardedProposals {
  std::vector<Proposal> proposals;
  // Differs between two starts of the sender: ids mean nothing to the next one.
  uint32_t start_nonce = 0;
};

// Forwarded proposals that were certainly not appended, because the leader has more than enough
// that is not committed. From shell to shell: the core has no part in it.
struct RefusedProposals {
  uint32_t start_nonce = 0;  // As it came with them.
  std::vector<uint64_t> ids;
};

// A follower asks for a read index (thesis 6.4). `context` comes back unchanged.
struct ReadIndexRequest {
  uint64_t context = 0;
};

struct ReadIndexReply {
  uint64_t context = 0;
  Index index;
};

// The leader tells a member that has everything to campaign at once (thesis 3.10).
struct TimeoutNow {};

using MessageBody =
    std::variant<VoteRequest, VoteReply, AppendRequest, AppendAccepted, AppendRejected, Heartbeat,
                 HeartbeatReply, StaleTerm, ForwardedProposals, ReadIndexRequest, ReadIndexReply,
                 TimeoutNow, RefusedProposals>;

struct Message {
  MemberId from;
  MemberId to;
  Term term;  // The sender's current term, always.
  MessageBody body;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_MESSAGES_H_
