// Every change that any member ever made, by revision: what all of them must agree on.
#ifndef CAIRN_TEST_SIM_HISTORY_H_
#define CAIRN_TEST_SIM_HISTORY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "mvcc/write_txn.h"

namespace cairn::sim {

class History {
 public:
  struct Change {
    mvcc::ChangeKind kind = mvcc::ChangeKind::kCreation;
    RowRevision revision;
    std::string key;
    std::string key_value;

    bool is_deletion() const { return kind == mvcc::ChangeKind::kDeletion; }
    friend bool operator==(const Change&, const Change&) = default;
  };

  // The changes of a batch, whole revisions in order. Returns what is wrong: revisions skip, or
  // another member made other changes.
  std::string Saw(std::span<const mvcc::Change> changes);

  Revision last() const { return Revision(1 + static_cast<int64_t>(revisions_.size())); }
  // REQUIRES: 2 <= revision <= last().
  std::span<const Change> At(Revision revision) const {
    return revisions_[static_cast<size_t>(revision.value() - 2)];
  }
  // The last change of `key` at or below `revision`; null if there is none.
  const Change* Find(std::string_view key, Revision revision) const;

 private:
  // From revision 2 on.
  std::vector<std::vector<Change>> revisions_;
};

}  // namespace cairn::sim

#endif  // CAIRN_TEST_SIM_HISTORY_H_
