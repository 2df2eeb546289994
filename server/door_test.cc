#include "server/door.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace cairn::server {
namespace {

TEST(Door, LeadsToTheObjectWhileItIsOpen) {
  Door<int> door;
  int visits = 0;
  door.Visit([&](int&) { ++visits; });
  EXPECT_EQ(visits, 0);
  int object = 7;
  door.Open(&object);
  door.Visit([&](int& seen) {
    EXPECT_EQ(&seen, &object);
    door.Visit([&](int&) { ++visits; });
  });
  EXPECT_EQ(visits, 1);
  door.Close();
  door.Visit([&](int&) { ++visits; });
  EXPECT_EQ(visits, 1);
}

TEST(Door, ClosingWaitsForAVisit) {
  int object = 0;
  Door<int> door(&object);
  std::promise<void> entered;
  std::promise<void> leave;
  std::atomic<bool> has_left = false;
  std::thread visitor([&] {
    door.Visit([&](int&) {
      entered.set_value();
      leave.get_future().wait();
      has_left = true;
    });
  });
  entered.get_future().wait();
  std::thread closer([&] {
    door.Close();
    EXPECT_TRUE(has_left);
  });
  leave.set_value();
  closer.join();
  visitor.join();
}

}  // namespace
}  // namespace cairn::server
