// Who wants to hear of every change, right after it was published.
//
// Called on the apply thread, in order; must not block.
#ifndef CAIRN_SERVER_CHANGE_SINK_H_
#define CAIRN_SERVER_CHANGE_SINK_H_

#include <span>

#include "base/ids.h"
#include "mvcc/write_txn.h"

namespace cairn::server {

class ChangeSink {
 public:
  virtual ~ChangeSink() = default;

  // Whether changes should carry what they replaced (mvcc::Batch::KeepPrevious).
  virtual bool WantsPrevious() const { return false; }
  // `changes` are all since the last call, never none, through `revision`; the views are valid
  // during the call.
  virtual void OnCommitted(std::span<const mvcc::Change> changes, Revision revision) = 0;
  // Nothing has changed since the last call, but the revision was raised to `revision`.
  virtual void OnRaised(Revision revision) = 0;
  // The state was replaced by one at `revision`; what changed up to there stands in its history.
  virtual void OnReplaced(Revision revision) = 0;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_CHANGE_SINK_H_
