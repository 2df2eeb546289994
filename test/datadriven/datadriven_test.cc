#include "test/datadriven/datadriven.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace cairn::datadriven {
namespace {

TEST(Datadriven, HandsWordsAndInputToTheHandler) {
  RunTranscript("test/datadriven/testdata_selftest.txt", [](const Command& command) {
    if (command.name == "nothing") return std::string();
    std::string input = command.input;
    std::replace(input.begin(), input.end(), '\n', '|');
    return fmt::format("arguments: {}\nkey: {}\ninput: {}\n", fmt::join(command.arguments, " "),
                       command.Option("key").value_or("none"), input);
  });
}

TEST(Datadriven, ReadsNumbers) {
  Command command;
  command.arguments = {"7"};
  EXPECT_EQ(command.Number(0, 1), 7u);
  EXPECT_EQ(command.Number(1, 9), 9u);
  EXPECT_EQ(command.Option("key"), std::nullopt);
}

}  // namespace
}  // namespace cairn::datadriven
