#include "raft/invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "raft/conf_change.h"

namespace cairn::raft {
namespace {

// Collects the first thing that is wrong.
class Findings {
 public:
  template <typename... Args>
  Findings& Expect(bool holds, fmt::format_string<Args...> violation, Args&&... args) {
    if (!holds && first_.empty()) first_ = fmt::format(violation, std::forward<Args>(args)...);
    return *this;
  }
  std::string Take() { return std::move(first_); }

 private:
  std::string first_;
};

std::string CheckPeer(const CoreStatus& status, const PeerStatus& peer) {
  return Findings()
      .Expect(peer.match < peer.next, "peer {}: match {} not below next {}", peer.id, peer.match,
              peer.next)
      .Expect(peer.match <= status.last.index, "peer {}: match {} beyond the log's end {}", peer.id,
              peer.match, status.last.index)
      .Expect(peer.next <= status.last.index + 1, "peer {}: next {} beyond the log's end {}",
              peer.id, peer.next, status.last.index)
      .Expect(peer.state == ProgressState::kReplicate || peer.inflight_bytes == 0,
              "peer {}: a window outside of replication", peer.id)
      .Take();
}

}  // namespace

std::string CheckMember(const CoreStatus& status) {
  Findings findings;
  findings
      .Expect(status.applied <= status.applying, "applied {} above applying {}", status.applied,
              status.applying)
      .Expect(status.applying <= status.commit, "applying {} above commit {}", status.applying,
              status.commit)
      .Expect(status.applying <= status.durable, "applying {} above durable {}", status.applying,
              status.durable)
      .Expect(status.commit <= status.last.index, "commit {} above last {}", status.commit,
              status.last.index)
      .Expect(status.durable <= status.last.index, "durable {} above last {}", status.durable,
              status.last.index)
      .Expect(status.before_tail <= status.commit, "uncommitted entries up to {} left memory",
              status.before_tail)
      .Expect(status.before_tail <= status.durable, "entries up to {} left memory unwritten",
              status.before_tail)
      .Expect(status.last.term <= status.term, "entry of term {} above the current term {}",
              status.last.term, status.term)
      .Expect(
          status.configuration.voters.empty() || ValidateConfiguration(status.configuration).ok(),
          "ill-formed configuration");
  if (status.role == RoleKind::kLeader) {
    findings.Expect(status.vote == status.id, "a leader that voted for {}", status.vote)
        .Expect(status.leader == status.id, "a leader that follows {}", status.leader);
  }
  if (status.role == RoleKind::kCandidate) {
    findings.Expect(status.vote == status.id, "a candidate that voted for {}", status.vote);
  }
  std::string first = findings.Take();
  for (const PeerStatus& peer : status.peers) {
    if (first.empty()) first = CheckPeer(status, peer);
  }
  return first;
}

std::string CheckStep(const CoreStatus& before, const CoreStatus& after) {
  Findings findings;
  findings.Expect(before.term <= after.term, "term fell from {} to {}", before.term, after.term)
      .Expect(before.commit <= after.commit, "commit fell from {} to {}", before.commit,
              after.commit)
      .Expect(before.applying <= after.applying, "applying fell from {} to {}", before.applying,
              after.applying)
      .Expect(before.applied <= after.applied, "applied fell from {} to {}", before.applied,
              after.applied);
  if (before.term == after.term) {
    findings
        .Expect(before.vote == MemberId(0) || before.vote == after.vote,
                "vote changed from {} to {} in term {}", before.vote, after.vote, after.term)
        .Expect(after.role != RoleKind::kLeader || before.role != RoleKind::kLeader ||
                    before.last <= after.last,
                "a leader's log shrank from {} to {}", before.last.index, after.last.index)
        .Expect(before.role != RoleKind::kLeader || after.role == RoleKind::kLeader ||
                    after.leader == MemberId(0),
                "a leader of term {} follows another in it", after.term);
  }
  return findings.Take();
}

std::string CheckReady(const Ready& ready, Index previous_committed_limit) {
  Findings findings;
  findings
      .Expect(ready.committed.first == previous_committed_limit,
              "committed range starts at {} and not at {}", ready.committed.first,
              previous_committed_limit)
      .Expect(ready.committed.first <= ready.committed.limit, "committed range is reversed")
      .Expect(ready.committed.limit <= ready.commit + 1, "handed out {} above commit {}",
              ready.committed.limit, ready.commit);
  for (size_t i = 1; i < ready.entries.size(); ++i) {
    findings.Expect(ready.entries[i].index == ready.entries[i - 1].index + 1,
                    "a gap in the entries at {}", ready.entries[i].index);
  }
  for (const Message& message : ready.messages_now) {
    if (!ready.hard_state.has_value()) break;
    const auto* vote = std::get_if<VoteReply>(&message.body);
    // A pre-vote promises nothing: it may leave, and a vote in the same term come after it.
    const bool is_vote = vote != nullptr && vote->is_granted && !vote->is_pre_vote;
    findings
        .Expect(!is_vote || message.term < ready.hard_state->term,
                "a vote leaves before it is durable")
        .Expect(message.term <= ready.hard_state->term,
                "a message of a term that is not handed out");
  }
  return findings.Take();
}

std::string GroupChecker::SawMember(const CoreStatus& status) {
  if (status.role == RoleKind::kLeader) {
    const auto [leader, is_new] = leaders_.try_emplace(status.term, status.id);
    if (leader->second != status.id) {
      return fmt::format("two leaders in term {}: {} and {}", status.term, leader->second,
                         status.id);
    }
    if (status.term > committed_.term && status.last.index < committed_.index) {
      return fmt::format("the leader of term {} ends at {}, but {} was committed by term {}",
                         status.term, status.last.index, committed_.index, committed_.term);
    }
  }
  if (status.commit > committed_.index) committed_ = {status.term, status.commit};
  return {};
}

std::string GroupChecker::SawCommitted(MemberId member, EntryId entry) {
  const Term known = committed_terms_.try_emplace(entry.index, entry.term).first->second;
  if (known == entry.term) return {};
  return fmt::format("member {} commits at {} an entry of term {}, another one of term {}", member,
                     entry.index, entry.term, known);
}

EntryId GroupChecker::last_committed() const {
  if (committed_terms_.empty()) return {};
  const auto& [index, term] = *committed_terms_.rbegin();
  return {.term = term, .index = index};
}

std::string GroupChecker::SawApplied(MemberId member, const Entry& entry) {
  const auto [first, is_new] = applied_.try_emplace(entry.index, entry);
  const Entry& known = first->second;
  const bool is_same = known.term == entry.term && known.kind == entry.kind &&
                       known.data_bytes() == entry.data_bytes() &&
                       (known.data == entry.data || known.data == nullptr ||
                        entry.data == nullptr || *known.data == *entry.data);
  if (is_same) return {};
  return fmt::format("member {} applied at {} an entry of term {}, another applied one of term {}",
                     member, entry.index, entry.term, known.term);
}

}  // namespace cairn::raft
