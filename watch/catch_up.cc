// The hub's way from history to the present: lagging watchers, steps, and the meeting.
//
// Lagging watchers near each other share a step: one bounded read of history, its events encoded
// once. Those with the same next revision are a cohort, which a step moves on as a whole: it costs
// its rows and the watchers that want one of them, however many lag. A step that reaches the cursor
// is begun with its watchers joined, so that what happens meanwhile waits for them as parcels:
// nothing is lost in between and nothing comes twice. They are joined as cohorts; who gets a parcel
// leaves his. At the meeting, once, all are touched.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "watch/hub.h"

namespace cairn::watch {
namespace {

// More ranges than this are not worth testing row by row: the hub's own index does it better.
constexpr size_t kStepRangesMax = 16;

}  // namespace

// --- Cohorts ---

void Hub::AddToCohort(Watcher& watcher) {
  std::unique_ptr<Cohort>& cohort = lagging_[watcher.next];
  if (cohort == nullptr) {
    cohort = std::make_unique<Cohort>();
    cohort->next = watcher.next;
  }
  cohort->members.PushBack(&watcher);
  ++cohort->size;
  ++watcher.group->in_cohorts;
  cohort->wanting_previous += watcher.group->variant.wants_previous;
  watcher.cohort = cohort.get();
}

void Hub::LeaveCohort(Watcher& watcher) {
  Cohort& cohort = *std::exchange(watcher.cohort, nullptr);
  watcher.next = cohort.next;
  cohort.members.Remove(&watcher);
  --watcher.group->in_cohorts;
  cohort.wanting_previous -= watcher.group->variant.wants_previous;
  if (--cohort.size == 0 && !cohort.is_in_step) lagging_.erase(watcher.next);
}

void Hub::PlaceCohort(std::unique_ptr<Cohort> cohort) {
  cohort->is_in_step = false;
  if (cohort->size == 0) return;
  std::unique_ptr<Cohort>& place = lagging_[cohort->next];
  if (place == nullptr) {
    place = std::move(cohort);
    return;
  }
  // The smaller moves.
  if (place->size < cohort->size) std::swap(place, cohort);
  for (Watcher* watcher = cohort->members.front(); watcher != nullptr;
       watcher = WatcherList<&Watcher::by_revision>::Next(watcher)) {
    watcher->cohort = place.get();
  }
  place->members.Append(cohort->members);
  place->size += cohort->size;
  place->wanting_previous += cohort->wanting_previous;
}

void Hub::AddLagging(Watcher& watcher) {
  CAIRN_CHECK(watcher.next <= cursor_ && watcher.history == nullptr && !watcher.is_joined);
  Stream& stream = *watcher.stream;
  // Its start, wherever it lay, is behind the cursor.
  ClearFuture(watcher);
  if (watcher.state != Watcher::State::kLagging) {
    watcher.state = Watcher::State::kLagging;
    ++stream.lagging_count;
    ++lagging_watchers_;
  }
  AddToCohort(watcher);
  stream.lagging.PushBack(&watcher);
  if (!stream.is_blocked && !stream.is_in_rotation) {
    stream.is_in_rotation = true;
    rotation_.push_back(stream.id);
  }
}

void Hub::RemoveLagging(Watcher& watcher) {
  if (watcher.cohort != nullptr) {
    LeaveCohort(watcher);
  } else {
    CAIRN_CHECK(watcher.is_in_step);
    watcher.is_in_step = false;
    step_joined_.Remove(&watcher);
  }
  watcher.stream->lagging.Remove(&watcher);
}

void Hub::CancelCompacted(Revision watermark) {
  while (!lagging_.empty() && lagging_.begin()->first < watermark) {
    Watcher& watcher = *lagging_.begin()->second->members.front();
    Stream& stream = *watcher.stream;
    const WatchId id = watcher.id;
    Remove(watcher);
    Say(stream, {.id = id, .canceled = true, .compact_revision = watermark});
  }
}

// --- Steps ---

std::optional<HistoryRequest> Hub::NextHistory(Revision watermark) {
  CancelCompacted(watermark);
  if (step_ != 0) return std::nullopt;
  while (!rotation_.empty()) {
    Stream* const stream = Find(rotation_.front());
    rotation_.pop_front();
    if (stream == nullptr) continue;
    if (stream->is_blocked || stream->lagging.empty()) {
      stream->is_in_rotation = false;
      continue;
    }
    // To the back, stream and watcher: everyone has a turn.
    rotation_.push_back(stream->id);
    Watcher& watcher = *stream->lagging.front();
    stream->lagging.Remove(&watcher);
    stream->lagging.PushBack(&watcher);
    return BeginStep(watcher.cohort->next);
  }
  return std::nullopt;
}

HistoryRequest Hub::BeginStep(Revision first) {
  step_ = ++last_step_ == 0 ? ++last_step_ : last_step_;
  ++steps_;
  step_first_ = first;
  step_last_ = std::min(cursor_, first + (options_.step_revisions - 1));
  is_step_joined_ = step_last_ == cursor_;
  HistoryRequest request = {.first = step_first_, .last = step_last_};
  size_t watchers = 0;
  const auto begin = lagging_.lower_bound(step_first_);
  const auto end = lagging_.upper_bound(step_last_);
  for (auto at = begin; at != end; ++at) {
    at->second->is_in_step = true;
    watchers += at->second->size;
    request.wants_previous |= at->second->wanting_previous > 0;
    step_cohorts_.push_back(std::move(at->second));
  }
  lagging_.erase(begin, end);
  are_step_groups_known_ = watchers <= options_.step_watchers_asked;
  if (are_step_groups_known_) request.ranges = MarkStepGroups();
  return request;
}

template <typename Visit>
void Hub::ForStepCohorts(const Visit& visit) {
  for (const std::unique_ptr<Cohort>& cohort : step_cohorts_) {
    for (Watcher* watcher = cohort->members.front(); watcher != nullptr;) {
      // It may leave.
      visit(*std::exchange(watcher, WatcherList<&Watcher::by_revision>::Next(watcher)));
    }
  }
}

std::vector<WatchedRange> Hub::MarkStepGroups() {
  std::vector<WatchedRange> ranges;
  ForStepCohorts([&](const Watcher& watcher) {
    Group& group = *watcher.group;
    if (std::exchange(group.step, step_) == step_) return;
    group.is_in_step = true;
    if (ranges.size() <= kStepRangesMax) ranges.push_back({group.is_single_key, group.interval()});
  });
  if (ranges.size() > kStepRangesMax) ranges.clear();
  return ranges;
}

bool Hub::IsInStep(const Watcher& watcher) const {
  return watcher.is_in_step || (watcher.cohort != nullptr && watcher.cohort->is_in_step);
}

bool Hub::IsInStep(Group& group) {
  if (group.step == step_) return group.is_in_step;
  group.step = step_;
  group.is_in_step = !are_step_groups_known_ && group.in_cohorts > 0 &&
                     std::any_of(group.members.begin(), group.members.end(),
                                 [&](const Watcher* watcher) { return IsInStep(*watcher); });
  return group.is_in_step;
}

bool Hub::HasJoined(Group& group) {
  return group.joined > 0 || (is_step_joined_ && IsInStep(group));
}

void Hub::JoinFromStep(Group& group) {
  if (group.in_cohorts == 0) return;
  for (Watcher* const watcher : group.members) {
    if (watcher->cohort == nullptr || !watcher->cohort->is_in_step) continue;
    group.step = step_;
    group.is_in_step = true;
    LeaveCohort(*watcher);
    watcher->is_in_step = true;
    step_joined_.PushBack(watcher);
    Join(*watcher);
  }
}

void Hub::TouchHistory(std::span<const HistoryRow> rows, EventBatch& batch) {
  for (const HistoryRow& row : rows) {
    bool wants_plain = false;
    bool wants_previous = false;
    const bool is_deletion = row.event.kind == mvcc::ChangeKind::kDeletion;
    index_.Match(row.event.key, [&](Group& group) {
      if (is_deletion ? group.variant.skips_deletions : group.variant.skips_puts) return;
      if (!IsInStep(group)) return;
      (group.variant.wants_previous ? wants_previous : wants_plain) = true;
      Touch(group, batch.size());
    });
    if (wants_plain || wants_previous) {
      batch.Add(row.event, wants_plain, wants_previous, row.previous);
    }
  }
}

void Hub::OnHistory(std::span<const HistoryRow> rows, Revision through) {
  if (step_ == 0) return;
  CAIRN_CHECK(through >= step_first_ && through <= step_last_);
  auto batch = std::make_shared<EventBatch>();
  TouchHistory(rows, *batch);
  size_t of_step = 0;
  size_t of_groups = 0;
  for (const std::unique_ptr<Cohort>& cohort : step_cohorts_) of_step += cohort->size;
  for (const Touched& touched : touched_) of_groups += touched.group->members.size();
  Retained* retained = nullptr;
  const auto give = [&](Watcher& watcher) { GiveHistory(watcher, batch, retained, through); };
  // Either way finds the same: a few that lag of many, or a few who match of many that lag.
  if (of_step <= of_groups) {
    ForStepCohorts(give);
    for (Watcher* watcher = step_joined_.front(); watcher != nullptr;) {
      give(*std::exchange(watcher, WatcherList<&Watcher::by_revision>::Next(watcher)));
    }
  } else {
    for (const Touched& touched : touched_) {
      for (Watcher* const watcher : touched.group->members) give(*watcher);
    }
  }
  for (const Touched& touched : touched_) touched.group->touched = 0;
  touched_.clear();
  EndStep(through);
  DropRetained();
}

void Hub::GiveHistory(Watcher& watcher, const std::shared_ptr<const EventBatch>& batch,
                      Retained*& retained, Revision through) {
  if (!IsInStep(watcher) || watcher.group->touched == 0) return;
  Touched& touched = touched_[watcher.group->touched - 1];
  // It has been given what there is, and goes on with its cohort.
  const Revision next = watcher.cohort == nullptr ? watcher.next : watcher.cohort->next;
  if (next > batch->revision(touched.runs.back().end - 1)) return;
  if (watcher.stream->is_blocked) return LeaveStep(watcher);
  // One parcel for all of the group, wherever in it they begin.
  if (touched.history == nullptr) {
    if (retained == nullptr) retained = &Retain(*batch);
    touched.history = MakeParcel(batch, *retained, *watcher.group, touched.runs, through);
  }
  FinishStep(watcher, touched.history, through);
}

void Hub::FinishStep(Watcher& watcher, Parcel* parcel, Revision through) {
  const bool is_joined = watcher.cohort == nullptr ? watcher.is_joined : is_step_joined_;
  const bool has_met = is_joined && through == step_last_;
  RemoveLagging(watcher);
  if (has_met) {
    if (!watcher.is_joined) Join(watcher);
    watcher.state = Watcher::State::kSynced;
    --watcher.stream->lagging_count;
    --lagging_watchers_;
  } else if (watcher.is_joined) {
    Leave(watcher);
  }
  if (parcel != nullptr) {
    ++parcel->waiting;
    watcher.history = parcel;
    MarkDirty(watcher);
    return;
  }
  watcher.next = through + 1;
  if (!has_met) {
    AddLagging(watcher);
  } else if (watcher.pending != nullptr) {
    MarkDirty(watcher);
  }
}

void Hub::LeaveStep(Watcher& watcher) {
  RemoveLagging(watcher);
  if (watcher.is_joined) Leave(watcher);
  AddLagging(watcher);
}

void Hub::FinishCohort(std::unique_ptr<Cohort> cohort, Revision through) {
  if (cohort->next <= through) {
    while (is_step_joined_ && through == step_last_ && !cohort->members.empty()) {
      FinishStep(*cohort->members.front(), nullptr, through);
    }
    cohort->next = through + 1;
  }
  PlaceCohort(std::move(cohort));
}

void Hub::OnHistoryFailed() {
  if (step_ != 0) EndStep(step_first_ - 1);
}

void Hub::EndStep(Revision through) {
  while (!step_joined_.empty()) {
    Watcher& watcher = *step_joined_.front();
    if (watcher.next <= through) {
      FinishStep(watcher, nullptr, through);
    } else {
      LeaveStep(watcher);
    }
  }
  for (std::unique_ptr<Cohort>& cohort : std::exchange(step_cohorts_, {})) {
    FinishCohort(std::move(cohort), through);
  }
  is_step_joined_ = false;
  step_ = 0;
}

}  // namespace cairn::watch
