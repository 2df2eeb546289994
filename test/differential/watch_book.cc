#include "test/differential/watch_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cairn::test {
namespace {

using etcdserverpb::WatchResponse;

constexpr int64_t kNoWatch = -1;

// Ids and term are each server's own; that they are there is part of the answer.
void NormaliseHeader(etcdserverpb::ResponseHeader& header) {
  if (header.cluster_id() != 0) header.set_cluster_id(1);
  if (header.member_id() != 0) header.set_member_id(1);
  if (header.raft_term() != 0) header.set_raft_term(1);
}

}  // namespace

void WatchBook::Complain(const WatchResponse& response, std::string_view what) {
  WatchResponse shown = response;
  while (shown.events_size() > 3) shown.mutable_events()->RemoveLast();
  violations_.push_back(fmt::format("{}: {:.600}", what, shown.ShortDebugString()));
}

ToldWatcher* WatchBook::Live(int64_t id) {
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : &watchers_[found->second];
}

void WatchBook::Add(const WatchResponse& response) {
  const etcdserverpb::ResponseHeader& header = response.header();
  if (header.cluster_id() == 0 || header.member_id() == 0 || header.raft_term() == 0) {
    Complain(response, "a header without ids or term");
  }
  if (fragment_of_.has_value() &&
      (response.watch_id() != *fragment_of_ || response.events().empty())) {
    Complain(response, "between two fragments");
  }
  if (response.created() || response.canceled()) {
    if (!response.events().empty()) Complain(response, "a reply with events");
    AddReply(response);
  } else if (!response.events().empty()) {
    AddEvents(response);
  } else {
    AddPromise(response);
  }
}

void WatchBook::AddReply(WatchResponse response) {
  const int64_t id = response.watch_id();
  if (response.canceled() && !response.created()) {
    if (response.compact_revision() == 0 && compacted_ids_.erase(id) > 0) return;
    ToldWatcher* const watcher = Live(id);
    if (watcher == nullptr) return Complain(response, "the end of no watcher");
    watcher->is_live = false;
    live_.erase(id);
    if (response.compact_revision() != 0) {
      watcher->compacted = response.compact_revision();
      compacted_ids_.insert(id);
      if (response.header().revision() != 0 || !response.cancel_reason().empty()) {
        Complain(response, "more than the revision of the compaction");
      }
      // When it comes depends on time; the watcher bears it.
      return;
    }
  }
  if (response.created() && !response.canceled()) {
    if (!live_.emplace(id, watchers_.size()).second) Complain(response, "an id in use");
    compacted_ids_.erase(id);
    watchers_.push_back({.id = id, .created_at = response.header().revision()});
  }
  NormaliseHeader(*response.mutable_header());
  const bool may_have_events = response.created() && !response.canceled();
  replies_.push_back(std::move(response));
  if (!may_have_events || id != kNoWatch) return;
  for (const WatchResponse& early : std::exchange(early_, {})) AddEvents(early);
}

void WatchBook::AddEvents(const WatchResponse& response) {
  const int64_t id = response.watch_id();
  ToldWatcher* const watcher = Live(id);
  if (watcher == nullptr) {
    if (id == kNoWatch) {
      early_.push_back(response);
    } else {
      Complain(response, "events of no watcher");
    }
    return;
  }
  const bool continues = std::exchange(fragment_of_, std::nullopt).has_value();
  if (response.fragment()) fragment_of_ = id;
  const int64_t header_revision = response.header().revision();
  // Fragments may split a revision, responses may not.
  int64_t floor = continues ? watcher->told - 1 : watcher->told;
  for (const mvccpb::Event& event : response.events()) {
    const int64_t revision = event.kv().mod_revision();
    if (revision <= floor) Complain(response, "a revision twice, split or out of order");
    if (revision <= watcher->promised) Complain(response, "after its revision was promised");
    floor = std::max(floor, revision - 1);
    watcher->told = std::max(watcher->told, revision);
    watcher->events.push_back(event);
  }
  if (header_revision < watcher->told) Complain(response, "a header below its events");
  if (continues) {
    ToldResponse& last = watcher->responses.back();
    ++last.parts;
    if (last.header_revision != header_revision) Complain(response, "fragments with two headers");
    last.last_revision = watcher->told;
  } else {
    watcher->responses.push_back(
        {.header_revision = header_revision, .last_revision = watcher->told});
  }
}

void WatchBook::AddPromise(const WatchResponse& response) {
  const int64_t revision = response.header().revision();
  if (response.watch_id() == kNoWatch) {
    progress_.push_back(revision);
    for (const auto& [id, place] : live_) {
      watchers_[place].promised = std::max(watchers_[place].promised, revision);
    }
    return;
  }
  ToldWatcher* const watcher = Live(response.watch_id());
  if (watcher == nullptr) return Complain(response, "a promise to no watcher");
  if (revision < watcher->told) Complain(response, "a promise below what was told");
  watcher->promised = std::max(watcher->promised, revision);
  ++watcher->notifications;
}

void WatchBook::Forget() {
  for (ToldWatcher& watcher : watchers_) {
    watcher.events.clear();
    watcher.responses.clear();
  }
  progress_.clear();
  violations_.clear();
}

}  // namespace cairn::test
