// What a book makes of responses, and that it finds what no server may do.
#include "test/differential/watch_book.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "test/differential/watch_plan.h"

namespace cairn::test {
namespace {

using etcdserverpb::WatchResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WatchBookTest : public testing::Test {
 protected:
  void Add(const std::string& text, int64_t revision = 9) {
    WatchResponse response;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
    response.mutable_header()->set_cluster_id(77);
    response.mutable_header()->set_member_id(77);
    response.mutable_header()->set_raft_term(3);
    response.mutable_header()->set_revision(revision);
    book_.Add(response);
  }
  void AddEvents(int64_t id, const std::vector<int64_t>& revisions, const std::string& rest = "") {
    std::string text = "watch_id: " + std::to_string(id) + rest;
    for (const int64_t revision : revisions) {
      text += " events { kv { key: 'a' mod_revision: " + std::to_string(revision) + " } }";
    }
    Add(text);
  }

  WatchBook book_;
};

TEST_F(WatchBookTest, AFaithfulStream) {
  Add("watch_id: 0 created: true");
  Add("watch_id: -1 created: true canceled: true cancel_reason: 'no'");
  AddEvents(0, {2, 2, 3});
  AddEvents(0, {4}, " fragment: true");
  AddEvents(0, {4}, " fragment: true");
  AddEvents(0, {4});
  Add("watch_id: 0");
  Add("watch_id: -1");
  AddEvents(0, {10});
  Add("watch_id: 0 canceled: true");
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("below its events")));
  ASSERT_EQ(book_.replies().size(), 3u);
  EXPECT_EQ(book_.replies()[0].header().cluster_id(), 1u);
  ASSERT_EQ(book_.watchers().size(), 1u);
  const ToldWatcher& told = book_.watchers()[0];
  EXPECT_EQ(told.events.size(), 7u);
  EXPECT_EQ(told.responses.size(), 3u);
  EXPECT_EQ(told.responses[1].parts, 3);
  EXPECT_EQ(told.promised, 9);
  EXPECT_EQ(told.notifications, 1);
  EXPECT_FALSE(told.is_live);
  EXPECT_THAT(book_.progress(), ElementsAre(9));
}

TEST_F(WatchBookTest, ACompactionEndsAWatcherAndItsIdMayBeCancelledOnce) {
  Add("watch_id: 5 created: true");
  Add("watch_id: 5 canceled: true compact_revision: 7", 0);
  Add("watch_id: 5 canceled: true");
  EXPECT_THAT(book_.violations(), IsEmpty());
  EXPECT_EQ(book_.watchers()[0].compacted, 7);
  EXPECT_EQ(book_.replies().size(), 1u);
  Add("watch_id: 5 canceled: true");
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("the end of no watcher")));
  // Where it is free at once, the next one with this id is one like any other.
  Add("watch_id: 6 created: true");
  Add("watch_id: 6 canceled: true compact_revision: 7", 0);
  Add("watch_id: 6 created: true");
  Add("watch_id: 6 canceled: true");
  EXPECT_EQ(book_.replies().size(), 4u);
}

TEST_F(WatchBookTest, EventsOfMinusOneMayComeBeforeItsCreation) {
  AddEvents(-1, {2});
  Add("watch_id: -1 created: true");
  EXPECT_THAT(book_.violations(), IsEmpty());
  EXPECT_EQ(book_.watchers()[0].events.size(), 1u);
}

TEST_F(WatchBookTest, WhatNoServerMayDoIsFound) {
  AddEvents(3, {2});
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("events of no watcher")));
  book_.Forget();
  Add("watch_id: 0 created: true");
  AddEvents(0, {3});
  AddEvents(0, {3});
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("twice, split or out of order")));
  book_.Forget();
  AddEvents(0, {5, 4});
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("twice, split or out of order")));
  book_.Forget();
  Add("watch_id: 0", 7);
  AddEvents(0, {7});
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("after its revision was promised")));
  book_.Forget();
  AddEvents(0, {8}, " fragment: true");
  Add("watch_id: 0");
  EXPECT_THAT(book_.violations(), ElementsAre(HasSubstr("between two fragments")));
  book_.Forget();
  Add("watch_id: 0 canceled: true compact_revision: 7");
  EXPECT_THAT(book_.violations(), testing::Contains(HasSubstr("more than the revision")));
}

// Every class of request that the run promises comes up, and what is wanted is told apart.
TEST(WatchPlan, ReachesEveryKindOfRequest) {
  Knowledge knowledge;
  knowledge.revision = 1000;
  knowledge.compacted = 400;
  WatchPlan plan(1, &knowledge);
  std::map<std::string, int> seen;
  for (int i = 0; i < 5000; ++i) {
    const auto request = plan.Create({4, 5});
    const int64_t start = request.start_revision();
    const std::string& end = request.range_end();
    ++seen[start < 0         ? "negative start"
           : start == 0      ? "from now on"
           : start < 400     ? "compacted start"
           : start <= 1000   ? "past start"
           : start < 100'000 ? "future start"
                             : "huge start"];
    ++seen[end.empty()                   ? "single"
           : end == std::string(1, '\0') ? "from key"
           : end == request.key()        ? "empty"
           : end < request.key()         ? "inverted"
                                         : "range"];
    const int64_t id = request.watch_id();
    ++seen[id == 0 ? "any id" : id == -1 ? "id -1" : id < 0 ? "negative id" : "explicit id"];
    if (id == 4 || id == 5) ++seen["duplicate id"];
    if (request.key().empty()) ++seen["empty key"];
    if (request.filters_size() > 1) ++seen["filters"];
    if (request.prev_kv()) ++seen["prev_kv"];
    if (request.fragment()) ++seen["fragment"];
    if (request.progress_notify()) ++seen["progress_notify"];
  }
  for (const char* kind :
       {"negative start", "from now on", "compacted start", "past start",  "future start",
        "huge start",     "single",      "from key",        "empty",       "inverted",
        "range",          "any id",      "id -1",           "negative id", "explicit id",
        "duplicate id",   "empty key",   "filters",         "prev_kv",     "fragment",
        "progress_notify"}) {
    EXPECT_GT(seen[kind], 10) << kind;
  }
}

TEST(WatchPlan, IsWanted) {
  mvccpb::Event put;
  put.mutable_kv()->set_key("b");
  mvccpb::Event deletion = put;
  deletion.set_type(mvccpb::Event::DELETE);
  etcdserverpb::WatchCreateRequest request;
  EXPECT_FALSE(IsWanted(request, put));  // the key "\0"
  request.set_range_end(std::string(1, '\0'));
  EXPECT_TRUE(IsWanted(request, put));
  request.set_key("b");
  request.set_range_end("b");
  EXPECT_FALSE(IsWanted(request, put));
  request.set_range_end("");
  EXPECT_TRUE(IsWanted(request, put));
  request.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
  EXPECT_TRUE(IsWanted(request, put));
  EXPECT_FALSE(IsWanted(request, deletion));
  request.add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
  EXPECT_FALSE(IsWanted(request, put));
}

}  // namespace
}  // namespace cairn::test
