// Reads history for lagging watchers, one bounded step at a time, on a thread of its own.
//
// Apart from the watch thread, so that a cold disk delays nobody but those who need it.
#ifndef CAIRN_SERVER_HISTORY_READER_H_
#define CAIRN_SERVER_HISTORY_READER_H_

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "mvcc/store.h"
#include "watch/hub.h"

namespace cairn::server {

// What a step found. Owns the bytes of its rows.
class HistoryStep {
 public:
  // OK, or the store's error; IsCompacted tells the one that is no fault.
  absl::Status status;
  Revision through;

  std::vector<watch::HistoryRow> Rows() const;

 private:
  friend class HistoryJob;
  struct Item {
    mvcc::Event event;  // Without views.
    size_t key_offset = 0;
    size_t key_bytes = 0;
    size_t key_value_end = 0;
    size_t end = 0;  // Of the previous value, if there is one.
    bool has_previous = false;
  };
  std::string bytes_;
  std::vector<Item> items_;
};

// A step to be read: what the hub asked for, copied. Reads on whatever thread it is on.
class HistoryJob {
 public:
  // A step ends with the revision that reaches this, what its events replaced included. More than
  // the 256 KiB of rows that the store reads at a time, so that ordinary steps end there.
  static constexpr size_t kStepBytesMax = size_t{1} << 20;

  explicit HistoryJob(const watch::HistoryRequest& request);

  HistoryStep Read(const mvcc::Store& store) const;

 private:
  struct Range {
    bool is_single_key = false;
    std::string first;
    std::optional<std::string> limit;

    bool Contains(std::string_view key) const {
      if (is_single_key) return key == first;
      return key >= first && (!limit.has_value() || key < *limit);
    }
  };

  Revision first_;
  Revision last_;
  bool wants_previous_ = false;
  std::vector<Range> ranges_;
};

class HistoryReader {
 public:
  // `done` gets each result on the reader's thread, and must not block.
  HistoryReader(const mvcc::Store& store, std::function<void(HistoryStep)> done);
  // Stops.
  ~HistoryReader();

  // Begins a step; the one before has been answered. The request's ranges are copied.
  void Begin(const watch::HistoryRequest& request);
  void Stop();

 private:
  void Run();

  const mvcc::Store& store_;
  const std::function<void(HistoryStep)> done_;

  base::Mutex mutex_;
  base::ConditionVariable wake_;
  std::optional<HistoryJob> job_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_HISTORY_READER_H_
