#include "test/differential/watch_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace cairn::test {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Generous: what is owed comes within milliseconds, or within etcd's rounds of 100 ms.
constexpr milliseconds kDeadline{30'000};
// After it a progress request is repeated: one that comes too early is not answered.
constexpr milliseconds kAskAgain{60};
constexpr size_t kPairsMax = 4;
constexpr size_t kWatchersMax = 40;
// Out of the way of ids that are picked by servers and by the plan.
constexpr int64_t kSentinelId = int64_t{1} << 40;
constexpr char kCompactedText[] = "etcdserver: mvcc: required revision has been compacted";

std::string Show(const mvccpb::Event& event) {
  return fmt::format("{:.300}", event.ShortDebugString());
}

}  // namespace

WatchSession::WatchSession(uint64_t seed, const Knowledge* knowledge,
                           std::function<void(const std::string&)> report, bool trace)
    : knowledge_(knowledge), report_(std::move(report)), trace_(trace), plan_(seed, knowledge) {}

void WatchSession::Connect(const std::string& reference, const std::string& under_test,
                           const ReferenceRules& rules) {
  rules_ = rules;
  clients_[kReference] = std::make_unique<Client>(reference);
  clients_[kUnderTest] = std::make_unique<Client>(under_test);
  historian_ = std::make_unique<Pair>();
  for (const Side side : kSides) {
    historian_->sides[side] = std::make_unique<WatchStream>(*clients_[side]);
  }
  WatchCreateRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  request.set_prev_kv(true);
  request.set_start_revision(history_.empty() ? 1 : history_.back().kv().mod_revision() + 1);
  CreateOn(*historian_, std::move(request));
}

void WatchSession::Disconnect() {
  pairs_.clear();
  historian_.reset();
  clients_ = {};
}

// --- Requests ---

void WatchSession::Report(const Pair& pair, const std::string& text) {
  report_(fmt::format("watch stream {}: {}", pair.number, text));
}

bool WatchSession::WaitBoth(Pair& pair, std::string_view what,
                            absl::FunctionRef<bool(const WatchBook&)> is_there) {
  for (const Side side : kSides) {
    if (pair.has_failed) return false;
    if (pair.sides[side]->WaitFor(is_there, kDeadline)) continue;
    pair.has_failed = true;
    Report(pair, fmt::format("the {} never gave {}",
                             side == kReference ? "reference" : "server under test", what));
  }
  return !pair.has_failed;
}

WatchSession::Pair& WatchSession::Open() {
  Pair& pair = pairs_.emplace_back();
  pair.number = ++counts_.streams;
  for (const Side side : kSides) {
    pair.sides[side] = std::make_unique<WatchStream>(*clients_[side]);
  }
  // Without any watcher: nothing is answered.
  WatchRequest request;
  if (random().Chance(50)) Send(pair, request);
  request.mutable_progress_request();
  if (random().Chance(50)) Send(pair, request);
  request.mutable_cancel_request()->set_watch_id(0);
  if (random().Chance(50)) Send(pair, request);
  WatchCreateRequest sentinel;
  sentinel.set_key(kSentinelKey);
  sentinel.set_watch_id(kSentinelId);
  CreateOn(pair, std::move(sentinel));
  return pair;
}

WatchSession::Pair* WatchSession::PickPair() {
  if (pairs_.empty()) return &Open();
  Pair& pair = *std::next(pairs_.begin(), random().Below(static_cast<int64_t>(pairs_.size())));
  return pair.is_half_closed || pair.has_failed ? nullptr : &pair;
}

std::vector<int64_t> WatchSession::LiveIds(const Pair& pair) const {
  std::vector<int64_t> ids;
  for (const Planned& planned : pair.watchers) {
    if (planned.is_live && planned.id != kSentinelId) ids.push_back(planned.id);
  }
  return ids;
}

void WatchSession::Send(Pair& pair, const WatchRequest& request) {
  if (trace_)
    fmt::print("stream {} at {}: {}\n", pair.number, knowledge_->revision,
               request.ShortDebugString());
  for (const Side side : kSides) {
    if (side == kReference && !rules_.refuses_negative_start && request.has_create_request() &&
        request.create_request().start_revision() < 0) {
      // Refused as well, for another reason.
      WatchRequest inverted;
      inverted.mutable_create_request()->set_key("b");
      inverted.mutable_create_request()->set_range_end("a");
      pair.sides[side]->Send(inverted);
      continue;
    }
    pair.sides[side]->Send(request);
  }
}

void WatchSession::Ask(Pair& pair, const WatchRequest& request, size_t replies) {
  if (pair.has_failed) return;
  Send(pair, request);
  const size_t expected = pair.replies + replies;
  const std::string what = fmt::format("an answer to {}", request.ShortDebugString());
  if (!WaitBoth(pair, what,
                [&](const WatchBook& book) { return book.replies().size() >= expected; })) {
    return;
  }
  for (; pair.replies < expected; ++pair.replies) CompareReply(pair, request, pair.replies);
}

void WatchSession::CompareReply(Pair& pair, const WatchRequest& request, size_t number) {
  std::array<WatchResponse, 2> replies;
  for (const Side side : kSides) {
    pair.sides[side]->Look([&](const WatchBook& book) { replies[side] = book.replies()[number]; });
  }
  if (!rules_.refuses_negative_start && request.create_request().start_revision() < 0) {
    replies[kReference].set_cancel_reason(kCompactedText);
  }
  if (replies[kReference].SerializeAsString() != replies[kUnderTest].SerializeAsString()) {
    Report(pair, fmt::format("request {}\n  reference:  {}\n  under test: {}",
                             request.ShortDebugString(), replies[kReference].ShortDebugString(),
                             replies[kUnderTest].ShortDebugString()));
  }
  if (trace_) fmt::print("  -> {}\n", replies[kReference].ShortDebugString());
  Learn(pair, request, replies[kReference]);
}

void WatchSession::Learn(Pair& pair, const WatchRequest& request, const WatchResponse& reply) {
  if (reply.created() && reply.canceled()) {
    ++counts_.refused;
  } else if (reply.created()) {
    ++counts_.watchers;
    Planned planned = {.request = request.create_request(), .id = reply.watch_id()};
    const int64_t start = planned.request.start_revision();
    planned.start = start == 0 ? reply.header().revision() + 1 : start;
    planned.is_overtaken = start != 0 && start < knowledge_->compacted;
    planned.may_lag = start != 0 && start <= knowledge_->revision;
    pair.watchers.push_back(std::move(planned));
  } else {
    ++counts_.cancelled;
    for (Planned& planned : pair.watchers) {
      if (planned.id == reply.watch_id()) planned.is_live = false;
    }
  }
}

void WatchSession::CreateOn(Pair& pair, WatchCreateRequest request) {
  WatchRequest message;
  *message.mutable_create_request() = std::move(request);
  Ask(pair, message, 1);
  BuryOvertaken(pair);
}

void WatchSession::Flush(Pair& pair) {
  WatchCreateRequest refused;
  refused.set_key("flush");
  refused.set_range_end("empty");
  CreateOn(pair, std::move(refused));
  --counts_.refused;
}

bool WatchSession::MayBeHalfRemoved(int64_t revision) const {
  if (!rules_.keeps_deletion_at_compaction) return true;
  std::set<std::string> keys;
  return std::any_of(history_.begin(), history_.end(), [&](const mvccpb::Event& event) {
    return event.kv().mod_revision() == revision && !keys.insert(event.kv().key()).second;
  });
}

void WatchSession::Create() {
  Pair* const pair = PickPair();
  if (pair == nullptr) return;
  for (int64_t i = random().Between(1, 4); i > 0; --i) {
    const std::vector<int64_t> ids = LiveIds(*pair);
    if (ids.size() >= kWatchersMax) return;
    WatchCreateRequest request = plan_.Create(ids);
    const int64_t start = request.start_revision();
    if (start == knowledge_->compacted && MayBeHalfRemoved(start)) {
      request.set_start_revision(start + 1);
    }
    CreateOn(*pair, std::move(request));
  }
}

void WatchSession::CreateForLarge(const std::string& key) {
  Pair& pair = Open();
  for (const bool fragment : {false, true}) {
    for (const bool prev_kv : {false, true}) {
      WatchCreateRequest request;
      request.set_key(key);
      request.set_range_end(PrefixEnd(key));
      request.set_fragment(fragment);
      request.set_prev_kv(prev_kv);
      CreateOn(pair, std::move(request));
    }
  }
}

int64_t WatchSession::CompactionLimit() const {
  int64_t limit = std::numeric_limits<int64_t>::max();
  for (const Pair& pair : pairs_) {
    for (const Planned& planned : pair.watchers) {
      if (planned.is_live && planned.may_lag) limit = std::min(limit, planned.start);
    }
  }
  return limit;
}

// --- What is owed ---

bool WatchSession::WaitForRevision(int64_t revision) {
  return WaitBoth(*historian_, fmt::format("revision {}", revision),
                  [&](const WatchBook& book) { return book.watchers().front().told >= revision; });
}

void WatchSession::Settle() { SettleAll(/*is_quiet=*/false); }

void WatchSession::SettleAll(bool is_quiet) {
  ++counts_.settled;
  if (!is_quiet) {
    if (!WaitForRevision(knowledge_->revision)) return;
    historian_->sides[kReference]->Look([&](const WatchBook& book) {
      const std::vector<mvccpb::Event>& events = book.watchers().front().events;
      history_.insert(history_.end(), events.begin(), events.end());
    });
    SettlePair(*historian_, is_quiet);
  }
  for (Pair& pair : pairs_) SettlePair(pair, is_quiet);
  pairs_.remove_if([](const Pair& pair) { return pair.has_failed; });
}

WatchSession::Events WatchSession::Owed(Planned& planned) const {
  Events owed;
  for (size_t& i = planned.history_index; i < history_.size(); ++i) {
    const mvccpb::Event& event = history_[i];
    if (event.kv().mod_revision() < planned.start) continue;
    if (planned.is_live && IsWanted(planned.request, event)) {
      owed.push_back(&event);
    }
  }
  return owed;
}

void WatchSession::SettlePair(Pair& pair, bool is_quiet) {
  if (pair.has_failed) return;
  std::vector<Events> owed;
  for (Planned& planned : pair.watchers) owed.push_back(Owed(planned));
  std::string missing;
  const auto has_come = [&](const WatchBook& book) {
    for (size_t i = 0; i < owed.size(); ++i) {
      const Planned& planned = pair.watchers[i];
      const ToldWatcher& told = book.watchers()[i];
      if (told.events.size() >= owed[i].size()) continue;
      missing =
          fmt::format("all that is owed at revision {} to watcher {} {{ {}}}: {} of {} events",
                      knowledge_->revision, planned.id, planned.request.ShortDebugString(),
                      told.events.size(), owed[i].size());
      return false;
    }
    return true;
  };
  for (const Side side : kSides) {
    if (pair.sides[side]->WaitFor(has_come, kDeadline)) continue;
    Report(pair, fmt::format("the {} never gave {}",
                             side == kReference ? "reference" : "server under test", missing));
    pair.has_failed = true;
    return;
  }
  Compare(pair, is_quiet, owed);
  if (&pair == historian_.get()) {
    pair.watchers.front().may_lag = false;
    return;
  }
  if (pair.is_half_closed) return;
  const bool may_lag =
      std::any_of(pair.watchers.begin(), pair.watchers.end(),
                  [](const Planned& planned) { return planned.is_live && planned.may_lag; });
  if (may_lag && !IsWithheld(pair)) Prove(pair);
}

void WatchSession::Compare(Pair& pair, bool is_quiet, const std::vector<Events>& owed) {
  for (size_t i = 0; i < owed.size(); ++i) {
    std::array<ToldWatcher, 2> told;
    for (const Side side : kSides) {
      pair.sides[side]->Look([&](const WatchBook& book) { told[side] = book.watchers()[i]; });
    }
    CompareWatcher(pair, pair.watchers[i], is_quiet, owed[i], told);
  }
  for (const Side side : kSides) {
    pair.sides[side]->Look([&](const WatchBook& book) {
      const char* const who = side == kReference ? "reference" : "under test";
      for (const std::string& violation : book.violations()) {
        Report(pair, fmt::format("{}: {}", who, violation));
      }
      for (const int64_t revision : book.progress()) {
        if (revision == pair.proved_at || !Withholds(side)) continue;
        Report(pair,
               fmt::format("{}: progress {} of a stream that may not tell any", who, revision));
      }
      if (book.replies().size() != pair.replies) {
        Report(pair, fmt::format("{}: a reply too many: {}", who,
                                 book.replies().back().ShortDebugString()));
        pair.has_failed = true;
      }
    });
    pair.sides[side]->Forget();
  }
}

void WatchSession::CompareWatcher(const Pair& pair, const Planned& planned, bool is_quiet,
                                  const Events& owed, const std::array<ToldWatcher, 2>& told) {
  const auto report = [&](const std::string& text) {
    Report(pair, fmt::format("watcher {} {{ {}}} at revision {}: {}", planned.id,
                             planned.request.ShortDebugString(), knowledge_->revision, text));
  };
  counts_.events += static_cast<int64_t>(owed.size());
  const size_t events = std::max(told[kReference].events.size(), told[kUnderTest].events.size());
  for (size_t i = 0; i < events; ++i) {
    std::array<std::string, 2> shown = {"nothing", "nothing"};
    std::array<std::string, 2> bytes;
    for (const Side side : kSides) {
      if (i >= told[side].events.size()) continue;
      mvccpb::Event event = told[side].events[i];
      shown[side] = Show(event);
      bytes[side] = event.SerializeAsString();
      if (!planned.request.prev_kv() && event.has_prev_kv()) report("a previous value unasked");
      event.clear_prev_kv();
      const bool has_happened = i < owed.size() && event.type() == owed[i]->type() &&
                                event.kv().SerializeAsString() == owed[i]->kv().SerializeAsString();
      if (!has_happened) shown[side] += " (not what happened)";
    }
    if (bytes[kReference] == bytes[kUnderTest] && i < owed.size()) continue;
    report(fmt::format("event {} of {}\n  reference:  {}\n  under test: {}", i + 1, owed.size(),
                       shown[kReference], shown[kUnderTest]));
    break;
  }
  if (told[kReference].compacted != told[kUnderTest].compacted) {
    report(fmt::format("ended by the compaction {}, under test {}", told[kReference].compacted,
                       told[kUnderTest].compacted));
  }
  std::array<int64_t, 2> parts = {};
  for (const Side side : kSides) {
    const char* const who = side == kReference ? "reference" : "under test";
    if (planned.request.start_revision() > knowledge_->revision && told[side].promised != 0 &&
        Withholds(side)) {
      report(fmt::format("{}: a promise before its start", who));
    }
    for (const ToldResponse& response : told[side].responses) {
      parts[side] += response.parts;
      if (response.parts > 1 && side == kReference) ++counts_.fragmented;
      // A watcher in the present hears each revision under its own header, one that catches up
      // under that of the store, if that stands still.
      if (planned.may_lag ? is_quiet && response.header_revision != knowledge_->revision
                          : response.header_revision != response.last_revision) {
        report(fmt::format("{}: events through {} under revision {}", who, response.last_revision,
                           response.header_revision));
      }
    }
  }
  // One revision that is large enough for several parts.
  const bool is_alone =
      owed.size() > 1 && owed.front()->kv().mod_revision() == owed.back()->kv().mod_revision();
  if (is_alone && parts[kReference] != parts[kUnderTest]) {
    report(fmt::format("{} parts, under test {}", parts[kReference], parts[kUnderTest]));
  }
}

void WatchSession::BuryOvertaken(Pair& pair) {
  if (pair.has_failed || pair.watchers.empty()) return;
  Planned& planned = pair.watchers.back();
  if (!planned.is_live || !planned.is_overtaken) return;
  const size_t last = pair.watchers.size() - 1;
  if (!WaitBoth(pair, "word of a compaction that overtook a watcher",
                [&](const WatchBook& book) { return book.watchers()[last].compacted != 0; })) {
    return;
  }
  planned.is_live = false;
  ++counts_.compacted;
  WatchRequest request;
  request.mutable_cancel_request()->set_watch_id(planned.id);
  Send(pair, request);
  Flush(pair);
}

bool WatchSession::IsWithheld(const Pair& pair) const {
  return std::any_of(pair.watchers.begin(), pair.watchers.end(), [&](const Planned& planned) {
    return planned.is_live && planned.request.start_revision() > knowledge_->revision;
  });
}

void WatchSession::Prove(Pair& pair) {
  const int64_t revision = knowledge_->revision;
  WatchRequest request;
  request.mutable_progress_request();
  for (const Side side : kSides) {
    const auto deadline = steady_clock::now() + kDeadline;
    const auto is_answered = [](const WatchBook& book) { return !book.progress().empty(); };
    do {
      pair.sides[side]->Send(request);
      if (steady_clock::now() < deadline) continue;
      Report(pair, fmt::format("the {} answers no progress request at revision {}",
                               side == kReference ? "reference" : "server under test", revision));
      pair.has_failed = true;
      return;
    } while (!pair.sides[side]->WaitFor(is_answered, kAskAgain));
  }
  ++counts_.progress;
  pair.proved_at = revision;
  Flush(pair);
  for (Planned& planned : pair.watchers) planned.may_lag = false;
}

// --- What needs quiet ---

void WatchSession::Act() {
  const int64_t choice = random().Below(100);
  if (pairs_.size() < kPairsMax && choice < 8) {
    Open();
    return;
  }
  Pair* const pair = PickPair();
  if (choice < 14 && !pairs_.empty()) {
    pairs_.erase(std::next(pairs_.begin(), random().Below(static_cast<int64_t>(pairs_.size()))));
  } else if (choice < 19) {
    AwaitNotifications();
  } else if (pair == nullptr) {
    return;
  } else if (choice < 22) {
    for (const Side side : kSides) pair->sides[side]->HalfClose();
    pair->is_half_closed = true;
  } else if (choice < 50) {
    Create();
    SettleAll(/*is_quiet=*/true);
  } else if (choice < 80) {
    Cancel(*pair);
  } else {
    AskProgress(*pair);
  }
}

void WatchSession::Cancel(Pair& pair) {
  for (int64_t i = random().Between(1, 4); i > 0; --i) {
    const std::vector<int64_t> ids = LiveIds(pair);
    WatchRequest request;
    const int64_t id = plan_.CancelId(ids);
    request.mutable_cancel_request()->set_watch_id(id);
    Ask(pair, request, static_cast<size_t>(std::count(ids.begin(), ids.end(), id)));
    // Again: it is unknown now.
    if (random().Chance(30)) Ask(pair, request, 0);
  }
  Flush(pair);
}

void WatchSession::AskProgress(Pair& pair) {
  if (!IsWithheld(pair)) return Prove(pair);
  WatchRequest request;
  request.mutable_progress_request();
  for (int64_t i = random().Between(1, 3); i > 0; --i) Send(pair, request);
  // That nothing came is seen when the next write has come.
  ++counts_.silences;
  Flush(pair);
}

void WatchSession::AwaitNotifications() {
  for (Pair& pair : pairs_) {
    const auto is_owed = [&](const Planned& planned) {
      return planned.is_live && planned.request.progress_notify() &&
             planned.request.start_revision() <= knowledge_->revision;
    };
    const auto have_come = [&](const WatchBook& book) {
      for (size_t i = 0; i < pair.watchers.size(); ++i) {
        const ToldWatcher& told = book.watchers()[i];
        if (is_owed(pair.watchers[i]) &&
            (told.notifications == 0 || told.promised < knowledge_->revision)) {
          return false;
        }
      }
      return true;
    };
    if (!WaitBoth(pair, "the notifications that are due", have_come)) continue;
    counts_.notifications += std::count_if(pair.watchers.begin(), pair.watchers.end(), is_owed);
  }
}

}  // namespace cairn::test
