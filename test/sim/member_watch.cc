// A member's watches: what watch_service.h does on its thread, without streams of bytes.
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "test/sim/member.h"

namespace cairn::sim {

watch::StreamId Member::OpenStream() { return hub_->OpenStream(); }

void Member::CloseStream(watch::StreamId id) { hub_->CloseStream(id); }

void Member::CreateWatch(watch::StreamId id, const watch::CreateRequest& request) {
  if (!is_feed_enabled_) {
    is_feed_enabled_ = true;
    hub_->Skip(feed_->Enable([] {}));
  }
  hub_->Create(id, request, store().published());
  WatchTurn();
}

void Member::CancelWatch(watch::StreamId id, watch::WatchId watch) {
  hub_->Cancel(id, watch, store().published().revision);
  WatchTurn();
}

void Member::RequestProgress(watch::StreamId id) {
  hub_->RequestProgress(id, store().published().revision);
  WatchTurn();
}

bool Member::TakeChanges() {
  if (!is_feed_enabled_ || !feed_->Fetch(changes_)) return false;
  if (changes_.has_gap) {
    hub_->Skip(changes_.through);
    return true;
  }
  const auto find_previous = [&](const mvcc::Event& event, std::string& previous) {
    const absl::StatusOr<bool> found =
        store().ReadPrevious(event.kind, event.revision, event.previous, previous);
    CAIRN_CHECK(found.ok(), found.status().ToString());
    return *found;
  };
  hub_->Notify(changes_.changes.Events(), changes_.through, find_previous);
  return true;
}

void Member::BeginHistory() {
  if (history_.has_value()) return;
  const std::optional<watch::HistoryRequest> request =
      hub_->NextHistory(store().published().watermark);
  if (request.has_value()) history_.emplace(*request);
}

void Member::WatchTurn() {
  has_changed_ = false;
  TakeChanges();
  hub_->Tick(world_.NowMs(position_));
  BeginHistory();
  for (std::vector<watch::StreamId> ready = hub_->TakeReady(); !ready.empty();
       ready = hub_->TakeReady()) {
    for (const watch::StreamId id : ready) {
      while (const std::optional<watch::Message> message = hub_->Take(id)) {
        world_.SawMessage(*this, id, *message);
      }
    }
    BeginHistory();
  }
  if (is_feed_enabled_ && !hub_->has_watchers()) {
    feed_->Disable();
    is_feed_enabled_ = false;
  }
}

absl::Status Member::ReadHistory() {
  const server::HistoryJob job = *std::exchange(history_, std::nullopt);
  const server::HistoryStep step = job.Read(store());
  if (step.status.ok()) {
    hub_->OnHistory(step.Rows(), step.through);
  } else {
    hub_->OnHistoryFailed();
    if (!mvcc::IsCompacted(step.status)) return step.status;
  }
  WatchTurn();
  return absl::OkStatus();
}

}  // namespace cairn::sim
