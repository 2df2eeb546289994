// The invariants of the core as executable checks, for tests and simulators.
//
// Absolute checks look at one member at one moment; delta checks compare one member before and
// after an input; group checks compare members with each other. Each returns the first violation
// as a sentence with the numbers, or an empty text. The cheap absolute ones run in production
// inside the core as well, where a violation stops the process.
#ifndef CAIRN_RAFT_INVARIANTS_H_
#define CAIRN_RAFT_INVARIANTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "raft/core.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace cairn::raft {

std::string CheckMember(const CoreStatus& status);

// REQUIRES: no restart in between.
std::string CheckStep(const CoreStatus& before, const CoreStatus& after);

// What a Ready promises in ready.h about itself and after `previous_committed_limit`.
std::string CheckReady(const Ready& ready, Index previous_committed_limit);

// What holds over all members and all time (thesis figure 3.2). One per group.
class GroupChecker {
 public:
  // Election safety: at most one leader in a term. Call after each step of any member.
  std::string SawMember(const CoreStatus& status);

  // Every member that takes an index for committed means the same entry.
  std::string SawCommitted(MemberId member, EntryId entry);

  // State-machine safety: every member applies the same entry at an index.
  std::string SawApplied(MemberId member, const Entry& entry);

  // Leader completeness: a leader's log reaches at least everything that was ever committed in a
  // term before its own. Called from SawMember.
  Index committed() const { return committed_.index; }
  // The last entry that any member took for committed.
  EntryId last_committed() const;

 private:
  std::map<Term, MemberId> leaders_;
  std::map<Index, Entry> applied_;
  std::map<Index, Term> committed_terms_;
  EntryId committed_;  // The highest commit index seen, and the term of the member that saw it.
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_INVARIANTS_H_
