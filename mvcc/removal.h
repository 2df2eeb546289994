// One paced step of the removal that follows a compaction.
//
// Found beside the applier by walking `revisions` from a persistent cursor, committed by the
// applier in an ordinary batch together with the cursor's move, so that a crash between any two
// steps loses and repeats nothing. Values only: no thread's in particular.
#ifndef CAIRN_MVCC_REMOVAL_H_
#define CAIRN_MVCC_REMOVAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"

namespace cairn::mvcc {

struct RemovalStep {
  // A deletion that nobody can read any more: its row in `keys` goes too, if it is still the last
  // word on that key when the step is committed.
  struct Tombstone {
    std::string key;
    RowRevision row;
  };

  // Rows in [from, to) were walked.
  RowRevision from;
  RowRevision to;
  // Rows of `revisions` that go, each named once over all steps.
  std::vector<RowRevision> rows;
  std::vector<Tombstone> tombstones;
  // What `rows` take, in keys and values.
  int64_t size_bytes = 0;

  // Nothing to do now: all compactions are finished, or a hash asks removal to rest.
  bool empty() const { return from == to; }
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_REMOVAL_H_
