#include "server/response_buffer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::server {
namespace {

using std::chrono::milliseconds;

constexpr ResponseHeader kHeader{.cluster_id = ClusterId(1), .revision = Revision(7)};

std::string HeaderBytes() {
  std::string bytes;
  AppendHeaderField(bytes, kHeader);
  return bytes;
}

TEST(ResponseBuffer, KeepsWhatIsWrittenWhateverTheSizes) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    ResponseBudget budget;
    ResponseBuffer buffer(budget, milliseconds(0));
    std::string expected;
    const int pieces = static_cast<int>(random() % 40);
    for (int i = 0; i < pieces; ++i) {
      const size_t scale = random() % 6 == 0 ? 400'000 : 3000;
      const std::string piece(random() % scale, static_cast<char>('a' + i % 26));
      if (random() % 4 == 0) {
        ASSERT_TRUE(buffer.AppendSlice(rpc::Slice::CopyOf(piece)));
      } else {
        ASSERT_TRUE(buffer.Append(piece));
      }
      expected += piece;
    }
    ASSERT_EQ(buffer.size_bytes(), expected.size());
    if (round % 2 == 0) {
      EXPECT_TRUE(buffer.FinishWithHeader(kHeader).Flatten() == HeaderBytes() + expected);
    } else {
      EXPECT_TRUE(buffer.Finish().Flatten() == expected);
    }
    EXPECT_EQ(buffer.size_bytes(), 0U);
    EXPECT_EQ(budget.used_bytes(), 0);
  }
}

TEST(ResponseBuffer, MakesOneSliceOfASmallAnswer) {
  ResponseBudget budget(0);  // Small answers are not counted.
  ResponseBuffer buffer(budget, milliseconds(0));
  ASSERT_TRUE(buffer.Append(std::string(10'000, 'v')));
  ASSERT_TRUE(buffer.Append("tail"));
  EXPECT_EQ(buffer.FinishWithHeader(kHeader).slices().size(), 1U);
}

TEST(ResponseBuffer, CountsChunksUntilTheLastSliceIsGone) {
  ResponseBudget budget;
  rpc::SliceList answer;
  {
    ResponseBuffer buffer(budget, milliseconds(0));
    ASSERT_TRUE(buffer.Append(std::string(1 << 20, 'v')));
    answer = buffer.Finish();
  }
  EXPECT_GE(budget.used_bytes(), 1 << 20);
  rpc::SliceList copy = answer;
  answer = rpc::SliceList();
  EXPECT_GE(budget.used_bytes(), 1 << 20);
  copy = rpc::SliceList();
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(ResponseBuffer, SharesLargeSlicesAndCopiesSmallOnes) {
  ResponseBudget budget(0);
  ResponseBuffer buffer(budget, milliseconds(0));
  const rpc::Slice small = rpc::Slice::CopyOf(std::string(100, 's'));
  ASSERT_TRUE(buffer.AppendSlice(small));
  EXPECT_FALSE(buffer.AppendSlice(rpc::Slice::CopyOf(std::string(5000, 'l'))));  // Too large.
  EXPECT_TRUE(buffer.is_too_large());
  ResponseBudget room(100'000);
  ResponseBuffer other(room, milliseconds(0));
  const rpc::Slice large = rpc::Slice::CopyOf(std::string(5000, 'l'));
  ASSERT_TRUE(other.AppendSlice(large));
  ASSERT_TRUE(other.AppendSlice(small));
  ASSERT_TRUE(other.AppendSlice(large));
  ASSERT_TRUE(other.Append("end"));
  const rpc::SliceList answer = other.FinishWithHeader(kHeader);
  ASSERT_EQ(answer.slices().size(), 5U);
  EXPECT_EQ(answer.slices()[1].bytes().data(), large.bytes().data());
  EXPECT_EQ(answer.slices()[3].bytes().data(), large.bytes().data());
  EXPECT_TRUE(answer.Flatten() == HeaderBytes() + std::string(5000, 'l') + std::string(100, 's') +
                                      std::string(5000, 'l') + "end");
  EXPECT_EQ(room.used_bytes(), 0);
}

// Half of a budget is the most that one answer may have.
TEST(ResponseBuffer, HugeAnswersLeaveRoomForTheBeginningsOfOthers) {
  ResponseBudget budget(int64_t{40} << 20);
  std::vector<rpc::SliceList> stopped;
  const auto write = [&](size_t size_bytes) {
    ResponseBuffer buffer(budget, milliseconds(0));
    for (size_t written = 0; written < size_bytes; written += 64 << 10) {
      if (!buffer.Append(std::string(64 << 10, 'v'))) return buffer.refusal();
    }
    stopped.push_back(buffer.Finish());
    return absl::OkStatus();
  };
  EXPECT_TRUE(write(18 << 20).ok());
  EXPECT_EQ(write(18 << 20).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(write(21 << 20).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(write(10 << 20).ok());
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(write(900 << 10).ok());
  EXPECT_EQ(write(3 << 20).code(), absl::StatusCode::kUnavailable);
  stopped.clear();
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_EQ(write(21 << 20).code(), absl::StatusCode::kResourceExhausted);
}

TEST(ResponseBudget, WhoFindsItSpentHasItTakenBack) {
  ResponseBudget budget(1000);
  std::optional<ResponseBudget::Charge> charge = budget.Take(1000, milliseconds(0));
  int looks = 0;
  budget.SetReclaim([&] {
    ++looks;
    charge.reset();
  });
  EXPECT_FALSE(budget.Take(1001, milliseconds(0)));  // Could never fit.
  EXPECT_EQ(looks, 0);
  charge = budget.Take(500, milliseconds(0));
  EXPECT_TRUE(charge);
  EXPECT_EQ(looks, 1);
  // Also while one waits.
  EXPECT_TRUE(budget.Take(1000, std::chrono::hours(1)));
  EXPECT_GE(looks, 2);
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(ResponseBudget, RefusesWhatDoesNotFit) {
  ResponseBudget budget(1000);
  std::optional<ResponseBudget::Charge> charge = budget.Take(600, milliseconds(0));
  ASSERT_TRUE(charge);
  EXPECT_FALSE(budget.Take(401, milliseconds(0)));
  EXPECT_TRUE(budget.Take(400, milliseconds(0)));
  EXPECT_FALSE(budget.Take(1001, milliseconds(100'000)));  // Could never fit: no wait.
  EXPECT_FALSE(budget.Take(500, milliseconds(1)));
  charge.reset();
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_EQ(ResponseBudgetSpent(budget).code(), absl::StatusCode::kUnavailable);
}

TEST(ResponseBudget, WaitsForOthersToFinish) {
  ResponseBudget budget(1000);
  std::optional<ResponseBudget::Charge> charge = budget.Take(1000, milliseconds(0));
  std::thread other([&] {
    std::optional<ResponseBudget::Charge> late = budget.Take(1000, std::chrono::hours(1));
    EXPECT_TRUE(late);
  });
  charge.reset();
  other.join();
  EXPECT_EQ(budget.used_bytes(), 0);
}

// Slow readers of huge answers must not hold every thread that reads.
TEST(ResponseBudget, OneWaitsAtATime) {
  ResponseBudget budget(1000);
  std::optional<ResponseBudget::Charge> charge = budget.Take(1000, milliseconds(0));
  std::atomic<int> refused = 0;
  const auto take = [&] {
    if (!budget.Take(1000, std::chrono::hours(1))) ++refused;
  };
  std::thread one(take);
  std::thread two(take);
  // Whichever waits, the other returns.
  while (refused == 0) std::this_thread::yield();
  charge.reset();
  one.join();
  two.join();
  EXPECT_EQ(refused, 1);
}

TEST(ResponseBudget, MayGoBeforeItsCharges) {
  std::optional<ResponseBudget::Charge> charge;
  {
    ResponseBudget budget(10);
    charge = budget.Take(10, milliseconds(0));
  }
  charge.reset();
}

}  // namespace
}  // namespace cairn::server
