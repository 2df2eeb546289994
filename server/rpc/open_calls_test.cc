// The book of open calls, looked at while calls come and go.
#include "server/rpc/open_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class TestCall : public OpenCall {
 public:
  explicit TestCall(std::string peer) : peer_(std::move(peer)) {}
  OpenCallView View() const override { return {.path = "/test.S/Call", .peer = peer_}; }

 private:
  const std::string peer_;
};

class TestStream : public TestCall, public std::enable_shared_from_this<TestStream> {
 public:
  using TestCall::TestCall;
  std::shared_ptr<OpenCall> Share() override { return shared_from_this(); }
  void EndIfWaiting() override { ++ended; }

  int ended = 0;
};

std::map<std::string, int> Seen(const OpenCalls& calls) {
  std::map<std::string, int> seen;
  calls.Look([&](const OpenCallView& view) { ++seen[view.peer]; });
  return seen;
}

TEST(OpenCallsTest, ShowsWhatIsOpen) {
  OpenCalls calls;
  EXPECT_THAT(Seen(calls), IsEmpty());
  TestCall a("a");
  TestCall b("b");
  calls.Add(a);
  calls.Add(b);
  EXPECT_THAT(Seen(calls), ElementsAre(Pair("a", 1), Pair("b", 1)));
  calls.Remove(a);
  EXPECT_THAT(Seen(calls), ElementsAre(Pair("b", 1)));
  calls.Remove(b);
  EXPECT_THAT(Seen(calls), IsEmpty());
}

TEST(OpenCallsTest, CountsWhatHasBegun) {
  OpenCalls calls;
  EXPECT_EQ(calls.begun(), 0U);
  std::vector<std::unique_ptr<TestCall>> many;
  for (int i = 0; i < 100; ++i) {
    many.push_back(std::make_unique<TestCall>("a"));
    calls.Add(*many.back());
  }
  EXPECT_EQ(calls.begun(), 100U);
  for (const std::unique_ptr<TestCall>& call : many) calls.Remove(*call);
  EXPECT_EQ(calls.begun(), 100U);
}

TEST(OpenCallsTest, EndsStreamsOnly) {
  OpenCalls calls;
  TestCall unary("u");
  const auto stream = std::make_shared<TestStream>("s");
  calls.Add(unary);
  calls.Add(*stream);
  calls.EndWaiting();
  EXPECT_EQ(stream->ended, 1);
  EXPECT_EQ(stream.use_count(), 1);
  calls.Remove(unary);
  calls.Remove(*stream);
}

// A look may itself remove and add, and look: nothing is locked while it visits.
TEST(OpenCallsTest, CallsComeAndGoWithinALook) {
  OpenCalls calls;
  std::vector<std::unique_ptr<TestCall>> all;
  for (int i = 0; i < 5000; ++i) {
    all.push_back(std::make_unique<TestCall>(std::to_string(i)));
    calls.Add(*all.back());
  }
  TestCall late("late");
  int visited = 0;
  calls.Look([&](const OpenCallView&) {
    if (++visited == 1) {
      for (int i = 0; i < 5000; i += 2) calls.Remove(*all[i]);
      calls.Add(late);
      EXPECT_EQ(Seen(calls).size(), 2501u);
    }
  });
  EXPECT_GE(visited, 2500);
  EXPECT_LE(visited, 5001);
  for (int i = 1; i < 5000; i += 2) calls.Remove(*all[i]);
  calls.Remove(late);
}

TEST(OpenCallsTest, WhatStaysIsSeenOnceWhileOthersComeAndGo) {
  constexpr int kStaying = 2000;
  constexpr int kLooks = 50;
  OpenCalls calls;
  std::vector<std::unique_ptr<TestCall>> staying;
  for (int i = 0; i < kStaying; ++i) {
    staying.push_back(std::make_unique<TestCall>("staying"));
    calls.Add(*staying.back());
  }
  std::atomic<bool> is_done = false;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      while (!is_done) {
        std::vector<std::unique_ptr<TestCall>> passing;
        for (int n = 0; n < 100; ++n) {
          passing.push_back(std::make_unique<TestCall>("passing"));
          calls.Add(*passing.back());
        }
        for (const auto& call : passing) calls.Remove(*call);
      }
    });
  }
  std::vector<std::thread> lookers;
  for (int i = 0; i < 2; ++i) {
    lookers.emplace_back([&] {
      for (int look = 0; look < kLooks; ++look) EXPECT_EQ(Seen(calls)["staying"], kStaying);
    });
  }
  for (std::thread& looker : lookers) looker.join();
  is_done = true;
  for (std::thread& caller : callers) caller.join();
  for (const auto& call : staying) calls.Remove(*call);
}

}  // namespace
}  // namespace cairn::rpc
