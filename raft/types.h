// The vocabulary of consensus: entries, hard state, configurations.
//
// Plain values without behaviour, shared by the core (raft), the log (wal) and the server. Nothing
// here knows how it is stored or sent.
#ifndef CAIRN_RAFT_TYPES_H_
#define CAIRN_RAFT_TYPES_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"

namespace cairn::raft {

// No term and no index that comes from outside is above this. A cluster with a million entries a
// second gets there in 146,000 years; what is computed from such numbers stays far from where they
// wrap around.
inline constexpr uint64_t kTermOrIndexMax = uint64_t{1} << 62;

// What an entry asks of the state machine. The numbers stand on disk: never change one.
enum class EntryKind : uint8_t {
  kEmpty = 1,          // The entry a new leader appends to commit its predecessors' (thesis 6.4).
  kCommand = 2,        // An opaque command of the state machine.
  kConfiguration = 3,  // A change of the configuration, opaque here too.
};

// The bytes of an entry: written once, shared by the log, the peers and the applier.
using Payload = std::shared_ptr<const std::string>;

struct Entry {
  Term term;
  Index index;
  EntryKind kind = EntryKind::kEmpty;
  Payload data;  // Null for an empty entry.

  size_t data_bytes() const { return data == nullptr ? 0 : data->size(); }
};

// What names an entry in all logs (log matching, thesis 3.5).
struct EntryId {
  Term term;
  Index index;

  friend constexpr auto operator<=>(const EntryId&, const EntryId&) = default;
};

// What a member must have on disk before it acts on it (thesis figure 3.1). `commit` may lag: it is
// a hint that spares a restart from waiting for the leader.
struct HardState {
  Term term;
  MemberId vote;  // 0: none in this term.
  Index commit;

  friend bool operator==(const HardState&, const HardState&) = default;
};

// Who votes and who listens. Each list is sorted and free of duplicates; `outgoing` is empty unless
// the configuration is joint (thesis 4.3), and then holds the voters of the old half.
struct Configuration {
  std::vector<MemberId> voters;
  std::vector<MemberId> outgoing;
  std::vector<MemberId> learners;
  // Members that are voters of the old half and become learners when the joint phase ends.
  std::vector<MemberId> learners_next;

  friend bool operator==(const Configuration&, const Configuration&) = default;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_TYPES_H_
