#include "server/log_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EndsWith;
using testing::MatchesRegex;

constexpr milliseconds kLong = seconds(60);

// A pipe: whoever does not read it blocks whoever writes.
class LogOutputTest : public testing::Test {
 protected:
  LogOutputTest() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reader_ = ends[0];
    writer_ = ends[1];
  }
  // The writing end stays open: the thread may still have it.
  ~LogOutputTest() override { close(reader_); }

  // With empty lines.
  void FillPipe() {
    fcntl(writer_, F_SETFL, O_NONBLOCK);
    while (write(writer_, "\n", 1) == 1) {
    }
    fcntl(writer_, F_SETFL, 0);
  }

  // Reads up to and with the line that ends with `last`.
  std::string ReadThrough(const std::string& last) {
    std::string text;
    char buffer[4096];
    while (!text.ends_with(last + "\n")) {
      const ssize_t size = read(reader_, buffer, sizeof(buffer));
      if (size <= 0) break;
      text.append(buffer, static_cast<size_t>(size));
    }
    return text;
  }

  int reader_ = -1;
  int writer_ = -1;
};

TEST_F(LogOutputTest, WritesWholeLinesInOrder) {
  LogOutput output(writer_);
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    output.Add(fmt::format("line {}", i));
    expected += fmt::format("line {}\n", i);
  }
  EXPECT_EQ(ReadThrough("line 999"), expected);
  EXPECT_TRUE(output.Flush(kLong));
}

TEST_F(LogOutputTest, NobodyWaitsForAReaderAndWhatIsLostIsCounted) {
  constexpr size_t kBytesMax = 10'000;
  constexpr int kLines = 100'000;
  LogOutput output(writer_, kBytesMax);
  FillPipe();
  // Far more than the queue holds, while nobody reads. Would hang if it waited.
  for (int i = 0; i < kLines; ++i) output.Add(fmt::format("line {:07}", i));
  EXPECT_FALSE(output.Flush(milliseconds(5)));
  output.FlushInAbort(milliseconds(5));

  std::string text;
  std::thread reading([&] { text = ReadThrough("the end"); });
  EXPECT_TRUE(output.Flush(kLong));
  output.Add("the end");
  reading.join();
  // Whole lines, and in the place of what is missing how many those were.
  std::istringstream lines(text);
  int next = 0;
  int losses = 0;
  for (std::string line; std::getline(lines, line) && line != "the end";) {
    if (line.empty()) continue;  // FillPipe's.
    if (line == fmt::format("line {:07}", next)) {
      ++next;
      continue;
    }
    ASSERT_THAT(line, EndsWith(" lines of the log were dropped: whoever reads it was too slow"));
    next += std::stoi(line);
    ++losses;
  }
  EXPECT_EQ(next, kLines);
  EXPECT_GE(losses, 1);
}

TEST_F(LogOutputTest, TakesWhatGlogLogsInItsForm) {
  google::InitGoogleLogging("test");
  auto output = std::make_unique<LogOutput>(writer_);
  output->TakeGlog();
  LOG(INFO) << "first";
  LOG(ERROR) << "second";
  const std::string text = ReadThrough("second");
  EXPECT_THAT(text, MatchesRegex("I[0-9: .]+ log_output_test\\.cc:[0-9]+\\] first\n"
                                 "E[0-9: .]+ log_output_test\\.cc:[0-9]+\\] second\n"));
  output.reset();
  FLAGS_logtostderr = true;
}

TEST_F(LogOutputTest, GoesWithoutWaitingAndWritesTheRest) {
  auto output = std::make_unique<LogOutput>(writer_);
  const std::string line(100'000, 'x');  // More than a pipe holds.
  output->Add(line);
  output.reset();
  EXPECT_EQ(ReadThrough("x").size(), line.size() + 1);
}

TEST_F(LogOutputTest, AFileThatCannotBeWrittenHoldsNobodyUp) {
  LogOutput output(-1);
  output.Add("lost");
  EXPECT_TRUE(output.Flush(kLong));
}

}  // namespace
}  // namespace cairn::server
