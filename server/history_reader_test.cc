// How far one step of history goes.
#include "server/history_reader.h"

#include <gtest/gtest.h>

#include <future>
#include <string>

#include "api/rpc.pb.h"
#include "server/fake_node.h"

namespace cairn::server {
namespace {

// Deletions are small, what they replaced is not: a step must end by what it holds.
TEST(HistoryReader, WhatEventsReplacedCountsForTheBound) {
  constexpr int kKeys = 100;
  constexpr size_t kValueBytes = size_t{128} << 10;
  FakeNode node;
  const std::string value(kValueBytes, 'v');
  for (int i = 0; i < kKeys; ++i) {
    etcdserverpb::PutRequest put;
    put.set_key("key" + std::to_string(i));
    put.set_value(value);
    ASSERT_TRUE(node.Apply(CommandKind::kPut, put.SerializeAsString()).status.ok());
  }
  const Revision first = node.store().published().revision + 1;
  for (int i = 0; i < kKeys; ++i) {
    etcdserverpb::DeleteRangeRequest deletion;
    deletion.set_key("key" + std::to_string(i));
    ASSERT_TRUE(node.Apply(CommandKind::kDeleteRange, deletion.SerializeAsString()).status.ok());
  }
  const Revision last = node.store().published().revision;

  std::promise<HistoryStep> done;
  HistoryReader reader(node.store(), [&](HistoryStep step) { done.set_value(std::move(step)); });
  // Every deletion once, with what it replaced, however many steps it takes.
  int rows_seen = 0;
  int steps = 0;
  for (Revision next = first; next <= last; ++steps) {
    done = std::promise<HistoryStep>();
    reader.Begin({.first = next, .last = last, .wants_previous = true});
    const HistoryStep step = done.get_future().get();
    ASSERT_TRUE(step.status.ok()) << step.status;
    size_t bytes = 0;
    for (const watch::HistoryRow& row : step.Rows()) {
      EXPECT_EQ(row.event.revision.main, first + rows_seen);
      EXPECT_LE(row.event.revision.main, step.through);
      ASSERT_TRUE(row.previous.has_value());
      bytes += row.previous->size();
      ++rows_seen;
    }
    EXPECT_LE(bytes, HistoryJob::kStepBytesMax + 2 * kValueBytes);
    ASSERT_GE(step.through, next);
    next = step.through + 1;
  }
  EXPECT_EQ(rows_seen, kKeys);
  EXPECT_GT(steps, 10);
}

}  // namespace
}  // namespace cairn::server
