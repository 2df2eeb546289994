// Reads a whole state and finds what cannot be: rows that do not decode, books that do not agree.
//
// For a state that nobody writes, as a saved snapshot's. Beside what RocksDB checks by itself (each
// block's checksum), every row is decoded and held against its counterpart. Any one thread.
#ifndef CAIRN_MVCC_STATE_CHECK_H_
#define CAIRN_MVCC_STATE_CHECK_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <cstdint>

#include "mvcc/backend.h"

namespace cairn::mvcc {

struct StateCounts {
  int64_t live_keys = 0;
  // Deleted keys that history still tells of.
  int64_t tombstones = 0;
  int64_t history_rows = 0;
  int64_t meta_rows = 0;
  int64_t logical_size_bytes = 0;
};

// DATA_LOSS names the row, or both numbers. CANCELLED soon after `is_stopping`, asked on this
// thread every some hundred rows, says so.
absl::StatusOr<StateCounts> CheckState(const Backend& backend,
                                       absl::FunctionRef<bool()> is_stopping);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_STATE_CHECK_H_
