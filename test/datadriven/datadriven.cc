#include "test/datadriven/datadriven.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

namespace cairn::datadriven {
namespace {

bool rewrite_wanted = false;

constexpr std::string_view kSeparator = "----";

struct Block {
  std::vector<std::string> comment;  // Comments and blank lines before the command, kept as is.
  std::vector<std::string> head;     // Command and input, kept as is.
  Command command;
  std::string expected;
};

void ParseWords(const std::string& line, Command& command) {
  std::istringstream words(line);
  words >> command.name;
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      command.arguments.push_back(word);
    } else {
      command.options.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
  }
}

// The blocks of the file; `tail` gets the comments after the last one.
std::vector<Block> Parse(std::istream& in, const std::string& path,
                         std::vector<std::string>& tail) {
  std::vector<Block> blocks;
  std::vector<std::string> comment;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line.front() == '#') {
      comment.push_back(line);
      continue;
    }
    Block block;
    block.comment = std::exchange(comment, {});
    block.command.place = fmt::format("{}:{}", path, number);
    ParseWords(line, block.command);
    block.head.push_back(line);
    while (std::getline(in, line) && ++number > 0 && line != kSeparator) {
      block.head.push_back(line);
      block.command.input += line + "\n";
    }
    while (std::getline(in, line) && ++number > 0 && !line.empty()) block.expected += line + "\n";
    blocks.push_back(std::move(block));
    if (in) comment.push_back("");
  }
  tail = std::move(comment);
  return blocks;
}

std::string SourcePath(const std::string& path) {
  const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  return workspace == nullptr ? path : fmt::format("{}/{}", workspace, path);
}

void Write(const std::string& path, const std::vector<Block>& blocks,
           const std::vector<std::string>& tail) {
  std::ofstream out(path);
  const auto write_lines = [&](const std::vector<std::string>& lines) {
    for (const std::string& line : lines) out << line << "\n";
  };
  for (const Block& block : blocks) {
    write_lines(block.comment);
    write_lines(block.head);
    out << kSeparator << "\n" << block.expected;
  }
  // A blank line at the very end says nothing.
  if (tail.size() > 1) write_lines(tail);
}

}  // namespace

std::string_view Command::Argument(size_t position) const {
  return position < arguments.size() ? std::string_view(arguments[position]) : std::string_view();
}

uint64_t Command::Number(size_t position, uint64_t fallback) const {
  const std::string_view text = Argument(position);
  if (text.empty()) return fallback;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  EXPECT_TRUE(error == std::errc() && end == text.data() + text.size())
      << place << ": not a number: " << text;
  return value;
}

std::optional<std::string_view> Command::Option(std::string_view key) const {
  for (const auto& [option, value] : options) {
    if (option == key) return value;
  }
  return std::nullopt;
}

void SetRewrite(bool rewrite) { rewrite_wanted = rewrite; }

void RunTranscript(const std::string& path, const Handler& handler) {
  const std::string file = rewrite_wanted ? SourcePath(path) : path;
  std::ifstream in(file);
  ASSERT_TRUE(in.is_open()) << "cannot read " << file;
  std::vector<std::string> tail;
  std::vector<Block> blocks = Parse(in, path, tail);
  ASSERT_FALSE(blocks.empty()) << path << " holds no command";
  for (Block& block : blocks) {
    std::string answer = handler(block.command);
    if (!answer.empty() && answer.back() != '\n') answer += '\n';
    ASSERT_EQ(answer.find("\n\n"), std::string::npos) << block.command.place << ": a blank line";
    if (rewrite_wanted) {
      block.expected = answer;
    } else {
      EXPECT_EQ(answer, block.expected) << block.command.place << ": " << block.head.front();
    }
  }
  if (rewrite_wanted) Write(file, blocks, tail);
}

}  // namespace cairn::datadriven
