// Every promise, kept and broken: a checker that finds nothing proves nothing.
#include "test/guarantees/watch_promises.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::test {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

const WatchedEvent kA2 = {.revision = 2, .key = "a", .value = "1"};
const WatchedEvent kA3 = {.revision = 3, .key = "a", .value = "2", .previous = "1"};
const WatchedEvent kB3 = {.revision = 3, .key = "b", .value = "2"};
const WatchedEvent kA4 = {.revision = 4, .key = "a", .is_deletion = true, .previous = "2"};
const WatchedHistory kHistory = {{2, {kA2}}, {3, {kA3, kB3}}, {4, {kA4}}};

WatchedEvent Plain(WatchedEvent event) {
  event.previous.reset();
  return event;
}

WatchRecord Record(std::vector<WatchRecord::Response> responses) {
  return {.name = "w", .first = "a", .limit = "c", .responses = std::move(responses)};
}

TEST(WatchPromises, AFaithfulRecordHasNoViolation) {
  const WatchRecord record = Record({{.start = 2},
                                     {.revision = 2, .events = {kA2}},
                                     {.revision = 2},
                                     {.start = 3},
                                     {.revision = 4, .events = {Plain(kA3), kB3, Plain(kA4)}},
                                     {.revision = 9}});
  EXPECT_THAT(CheckAll(record, kHistory), IsEmpty());
}

TEST(WatchPromises, EachBrokenPromiseIsFound) {
  EXPECT_THAT(CheckOrdered(Record({{.events = {Plain(kA4)}}, {.events = {kA2}}})), Not(IsEmpty()));
  EXPECT_THAT(CheckUnique(Record({{.events = {kA2}}, {.start = 2}, {.events = {kA2}}})),
              Not(IsEmpty()));
  EXPECT_THAT(CheckAtomic(Record({{.events = {Plain(kA3)}}, {.events = {kB3}}}), kHistory),
              Not(IsEmpty()));
  EXPECT_THAT(
      CheckComplete(Record({{.start = 2}, {.events = {kA2}}, {.events = {Plain(kA4)}}}), kHistory),
      Not(IsEmpty()));
  EXPECT_THAT(CheckResumable(Record({{.start = 3}, {.events = {kA2}}})), Not(IsEmpty()));
  EXPECT_THAT(CheckBookmarkable(Record({{.start = 2}, {.revision = 3}}), kHistory), Not(IsEmpty()));
  EXPECT_THAT(
      CheckBookmarkable(
          Record({{.start = 2}, {.events = {kA2}}, {.revision = 2}, {.events = {kA2}}}), kHistory),
      Not(IsEmpty()));
  WatchedEvent other = kA2;
  other.key = "x";
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {other}}}), kHistory), Not(IsEmpty()));
  other = kA2;
  other.value = "never";
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {other}}}), kHistory), Not(IsEmpty()));
  EXPECT_THAT(CheckFilterTrue(Record({{.events = {kA3}}}), kHistory), Not(IsEmpty()));
}

// --- Planted faults ---
//
// A faithful record of a random watcher over a random history, with one fault planted wherever it
// fits. Each must be found by the function that is named after the promise it breaks.

using Response = WatchRecord::Response;

class Planted : public testing::Test {
 protected:
  // Whole revisions of a few keys; each key at most once in each.
  static WatchedHistory RandomHistory(std::mt19937_64& random) {
    WatchedHistory history;
    std::map<std::string, WatchedEvent> state;
    for (int64_t revision = 2; revision < 60; ++revision) {
      std::set<std::string> keys;
      for (uint64_t i = 1 + random() % 3; i > 0; --i) {
        keys.insert(std::string(1, static_cast<char>('a' + random() % 5)));
      }
      for (const std::string& key : keys) {
        WatchedEvent event = {.revision = revision, .key = key};
        const auto found = state.find(key);
        event.is_deletion = found != state.end() && random() % 4 == 0;
        if (found != state.end()) event.previous = found->second.value;
        if (event.is_deletion) {
          state.erase(found);
        } else {
          event.value = std::to_string(revision) + key;
          event.create_revision = found == state.end() ? revision : found->second.create_revision;
          event.version = found == state.end() ? 1 : found->second.version + 1;
          state[key] = event;
        }
        history[revision].push_back(event);
      }
    }
    return history;
  }

  // Told in responses of a few revisions, with promises and resumptions between them.
  static WatchRecord Faithful(const WatchedHistory& history, std::mt19937_64& random) {
    WatchRecord record = {.name = "w", .first = "a", .limit = random() % 2 == 0 ? "d" : "z"};
    record.skips_deletions = random() % 4 == 0;
    record.wants_previous = random() % 2 == 0;
    int64_t next = 2 + static_cast<int64_t>(random() % 10);
    record.responses.push_back({.start = next});
    while (next < 58) {
      const int64_t end = std::min<int64_t>(58, next + 1 + static_cast<int64_t>(random() % 4));
      Response response = {.revision = end - 1};
      for (; next < end; ++next) {
        for (WatchedEvent event : history.at(next)) {
          if (!record.Wants(event)) continue;
          if (!record.wants_previous) event.previous.reset();
          response.events.push_back(std::move(event));
        }
      }
      if (!response.events.empty()) record.responses.push_back(response);
      if (random() % 3 == 0) record.responses.push_back({.revision = end - 1});
      if (random() % 4 == 0) record.responses.push_back({.start = next});
    }
    record.responses.push_back({.revision = 57});
    return record;
  }

  // What can be wrong with the response at `place`; false if it does not fit there.
  using Fault = std::function<bool(WatchRecord&, size_t place)>;
  using Check = std::function<Violations(const WatchRecord&, const WatchedHistory&)>;

  static void Expect(const char* name, const Fault& fault, const Check& check) {
    int planted = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      std::mt19937_64 random(seed);
      const WatchedHistory history = RandomHistory(random);
      const WatchRecord faithful = Faithful(history, random);
      ASSERT_THAT(CheckAll(faithful, history), IsEmpty()) << "seed " << seed;
      for (size_t place = 0; place < faithful.responses.size(); ++place) {
        WatchRecord record = faithful;
        if (!fault(record, place)) continue;
        ++planted;
        EXPECT_THAT(check(record, history), Not(IsEmpty()))
            << name << " at response " << place << ", seed " << seed;
        EXPECT_THAT(CheckAll(record, history), Not(IsEmpty())) << name;
      }
    }
    EXPECT_GE(planted, 20) << name;
  }
  static Check Plainly(Violations (*check)(const WatchRecord&)) {
    return [check](const WatchRecord& record, const WatchedHistory&) { return check(record); };
  }
  // The next response with events after `place`, if that has events itself.
  static Response* NextWithEvents(WatchRecord& record, size_t place) {
    if (record.responses[place].events.empty()) return nullptr;
    for (size_t i = place + 1; i < record.responses.size(); ++i) {
      if (!record.responses[i].events.empty()) return &record.responses[i];
    }
    return nullptr;
  }
};

TEST_F(Planted, ResponsesOutOfOrder) {
  Expect(
      "two responses swapped",
      [](WatchRecord& record, size_t place) {
        Response* const next = NextWithEvents(record, place);
        if (next != nullptr) std::swap(record.responses[place].events, next->events);
        return next != nullptr;
      },
      Plainly(CheckOrdered));
  Expect(
      "a response turned round",
      [](WatchRecord& record, size_t place) {
        auto& events = record.responses[place].events;
        if (events.empty() || events.front().revision == events.back().revision) return false;
        std::reverse(events.begin(), events.end());
        return true;
      },
      Plainly(CheckOrdered));
}

TEST_F(Planted, TheSameTwice) {
  Expect(
      "an event twice",
      [](WatchRecord& record, size_t place) {
        auto& events = record.responses[place].events;
        if (!events.empty()) events.push_back(events.back());
        return !events.empty();
      },
      Plainly(CheckUnique));
  Expect(
      "a response again after a resumption",
      [](WatchRecord& record, size_t place) {
        const Response response = record.responses[place];
        if (response.events.empty()) return false;
        const auto at = record.responses.begin() + static_cast<ptrdiff_t>(place) + 1;
        record.responses.insert(at, {{.start = response.events.front().revision}, response});
        return true;
      },
      Plainly(CheckUnique));
}

TEST_F(Planted, TornRevisions) {
  Expect(
      "a revision in two responses",
      [](WatchRecord& record, size_t place) {
        auto& events = record.responses[place].events;
        for (size_t i = 1; i < events.size(); ++i) {
          if (events[i].revision != events[i - 1].revision) continue;
          Response rest = {.revision = record.responses[place].revision};
          rest.events.assign(events.begin() + static_cast<ptrdiff_t>(i), events.end());
          events.resize(i);
          record.responses.insert(record.responses.begin() + static_cast<ptrdiff_t>(place) + 1,
                                  rest);
          return true;
        }
        return false;
      },
      CheckAtomic);
  const auto with_neighbours = [](bool drop) {
    return [drop](WatchRecord& record, size_t place) {
      auto& events = record.responses[place].events;
      for (size_t i = 1; i < events.size(); ++i) {
        if (events[i].revision != events[i - 1].revision) continue;
        std::swap(events[i], events[i - 1]);
        if (drop) events.erase(events.begin() + static_cast<ptrdiff_t>(i));
        return true;
      }
      return false;
    };
  };
  Expect("events of a revision swapped", with_neighbours(false), CheckAtomic);
  Expect("half a revision", with_neighbours(true), CheckAtomic);
}

TEST_F(Planted, Gaps) {
  Expect(
      "a response lost",
      [](WatchRecord& record, size_t place) {
        if (NextWithEvents(record, place) == nullptr) return false;
        record.responses.erase(record.responses.begin() + static_cast<ptrdiff_t>(place));
        return true;
      },
      CheckComplete);
  Expect(
      "a revision lost",
      [](WatchRecord& record, size_t place) {
        if (NextWithEvents(record, place) == nullptr) return false;
        auto& events = record.responses[place].events;
        const int64_t revision = events.back().revision;
        std::erase_if(events,
                      [&](const WatchedEvent& event) { return event.revision == revision; });
        return true;
      },
      CheckComplete);
  // Nothing follows that would show the gap but the promise.
  Expect(
      "the last events lost",
      [](WatchRecord& record, size_t place) {
        if (record.responses[place].events.empty() || NextWithEvents(record, place) != nullptr) {
          return false;
        }
        record.responses.erase(record.responses.begin() + static_cast<ptrdiff_t>(place));
        return true;
      },
      CheckBookmarkable);
}

TEST_F(Planted, WrongResumptions) {
  Expect(
      "events from before the start",
      [](WatchRecord& record, size_t place) {
        if (record.responses[place].events.empty()) return false;
        const int64_t start = record.responses[place].events.back().revision + 1;
        record.responses.insert(record.responses.begin() + static_cast<ptrdiff_t>(place),
                                {.start = start});
        return true;
      },
      Plainly(CheckResumable));
  Expect(
      "overtaken by a compaction that is behind",
      [](WatchRecord& record, size_t place) {
        if (record.responses[place].events.empty()) return false;
        const int64_t next = record.responses[place].events.back().revision + 1;
        record.responses.resize(place + 1);
        record.responses.push_back({.overtaken_by = next});
        return true;
      },
      Plainly(CheckResumable));
}

TEST_F(Planted, WrongPromises) {
  Expect(
      "a promise before what it covers",
      [](WatchRecord& record, size_t place) {
        const Response& response = record.responses[place];
        if (response.events.empty()) return false;
        record.responses.insert(record.responses.begin() + static_cast<ptrdiff_t>(place),
                                {.revision = response.events.front().revision});
        return true;
      },
      CheckBookmarkable);
}

TEST_F(Planted, WhatWasNotAskedForOrDidNotHappen) {
  const auto with_event = [](const std::function<bool(WatchRecord&, WatchedEvent&)>& change) {
    return [change](WatchRecord& record, size_t place) {
      auto& events = record.responses[place].events;
      return !events.empty() && change(record, events.front());
    };
  };
  const auto change = [&](const std::function<void(WatchedEvent&)>& of) {
    return with_event([of](WatchRecord&, WatchedEvent& event) {
      of(event);
      return true;
    });
  };
  Expect("a key outside the range", change([](WatchedEvent& event) { event.key = "zz"; }),
         CheckFilterTrue);
  Expect("another value", change([](WatchedEvent& event) { event.value += "!"; }), CheckFilterTrue);
  Expect("another version", change([](WatchedEvent& event) { ++event.version; }), CheckFilterTrue);
  Expect("another creation", change([](WatchedEvent& event) { --event.create_revision; }),
         CheckFilterTrue);
  Expect("another revision", change([](WatchedEvent& event) { event.revision += 100; }),
         CheckFilterTrue);
  Expect("a put that was a deletion, or the other way round",
         change([](WatchedEvent& event) { event.is_deletion = !event.is_deletion; }),
         CheckFilterTrue);
  Expect("what is filtered", with_event([](WatchRecord& record, WatchedEvent& event) {
           (event.is_deletion ? record.skips_deletions : record.skips_puts) = true;
           return true;
         }),
         CheckFilterTrue);
  Expect("a previous value unasked", with_event([](WatchRecord& record, WatchedEvent& event) {
           event.previous = "x";
           return !record.wants_previous;
         }),
         CheckFilterTrue);
  Expect("a wrong previous value", with_event([](WatchRecord& record, WatchedEvent& event) {
           event.previous = "x";
           return record.wants_previous;
         }),
         CheckFilterTrue);
  Expect("no previous value", with_event([](WatchRecord&, WatchedEvent& event) {
           return std::exchange(event.previous, std::nullopt).has_value();
         }),
         CheckFilterTrue);
}

}  // namespace
}  // namespace cairn::test
