#include "server/history_reader.h"

#include <algorithm>
#include <utility>

#include "base/coding.h"
#include "base/thread.h"

namespace cairn::server {

std::vector<watch::HistoryRow> HistoryStep::Rows() const {
  std::vector<watch::HistoryRow> rows;
  rows.reserve(items_.size());
  const std::string_view bytes(bytes_);
  size_t begin = 0;
  for (const Item& item : items_) {
    watch::HistoryRow& row = rows.emplace_back(watch::HistoryRow{.event = item.event});
    row.event.key = bytes.substr(item.key_offset, item.key_bytes);
    row.event.key_value = bytes.substr(begin, item.key_value_end - begin);
    if (item.has_previous) {
      row.previous = bytes.substr(item.key_value_end, item.end - item.key_value_end);
    }
    begin = item.end;
  }
  return rows;
}

HistoryJob::HistoryJob(const watch::HistoryRequest& request)
    : first_(request.first), last_(request.last), wants_previous_(request.wants_previous) {
  for (const watch::WatchedRange& range : request.ranges) {
    Range copy = {.is_single_key = range.is_single_key, .first = std::string(range.interval.first)};
    if (range.interval.limit.has_value()) copy.limit = std::string(*range.interval.limit);
    ranges_.push_back(std::move(copy));
  }
}

HistoryStep HistoryJob::Read(const mvcc::Store& store) const {
  HistoryStep step;
  absl::Status failure;
  std::string previous;
  // Where the step is cut, because what its events replaced is large.
  std::optional<Revision> cut_after;
  const auto visit = [&](const mvcc::Event& event) {
    const bool is_wanted =
        ranges_.empty() || std::any_of(ranges_.begin(), ranges_.end(),
                                       [&](const Range& it) { return it.Contains(event.key); });
    if (!is_wanted || !failure.ok() || cut_after.has_value()) return;
    if (step.bytes_.size() >= kStepBytesMax &&
        step.items_.back().event.revision.main != event.revision.main) {
      cut_after = event.revision.main - 1;
      return;
    }
    HistoryStep::Item item = {.event = event};
    item.event.key = item.event.key_value = {};
    // KeyValue begins with the key: a tag of one byte, its length, its bytes.
    item.key_offset =
        step.bytes_.size() + 1 + static_cast<size_t>(base::VarintBytes(event.key.size()));
    item.key_bytes = event.key.size();
    step.bytes_.append(event.key_value);
    item.key_value_end = step.bytes_.size();
    if (wants_previous_) {
      const absl::StatusOr<bool> found =
          store.ReadPrevious(event.kind, event.revision, event.previous, previous);
      if (!found.ok()) {
        failure = found.status();
        return;
      }
      item.has_previous = *found;
      if (*found) step.bytes_.append(previous);
    }
    item.end = step.bytes_.size();
    step.items_.push_back(item);
  };
  const absl::StatusOr<Revision> through =
      store.ReadEvents({.first = first_, .last = last_}, visit);
  step.status = through.ok() ? failure : through.status();
  if (step.status.ok()) step.through = cut_after.value_or(*through);
  return step;
}

HistoryReader::HistoryReader(const mvcc::Store& store, std::function<void(HistoryStep)> done)
    : store_(store), done_(std::move(done)), thread_([this] { Run(); }) {}

HistoryReader::~HistoryReader() { Stop(); }

void HistoryReader::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void HistoryReader::Begin(const watch::HistoryRequest& request) {
  base::MutexLock lock(mutex_);
  job_.emplace(request);
  wake_.Signal();
}

void HistoryReader::Run() {
  base::NameThread("watch-history");
  while (true) {
    std::optional<HistoryJob> job;
    {
      base::MutexLock lock(mutex_);
      while (!job_.has_value() && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
      job = std::exchange(job_, std::nullopt);
    }
    done_(job->Read(store_));
  }
}

}  // namespace cairn::server
