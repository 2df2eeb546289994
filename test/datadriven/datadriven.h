// Transcripts as tests: commands and what they print, in one file that reads like a story.
//
// A file is a list of blocks, separated by blank lines:
//
//   # A comment.
//   command argument another key=value
//   input line
//   ----
//   expected output
//
// Each block's command line and input go to a handler; its answer must equal the text after ----.
// With --rewrite (under `bazel run`), the file in the source tree is written anew with the answers
// given: read the diff before you believe it. Test-only; one thread.
#ifndef CAIRN_TEST_DATADRIVEN_DATADRIVEN_H_
#define CAIRN_TEST_DATADRIVEN_DATADRIVEN_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::datadriven {

struct Command {
  std::string name;
  std::vector<std::string> arguments;                        // Words without '='.
  std::vector<std::pair<std::string, std::string>> options;  // Words of the form key=value.
  std::string input;  // The lines between the command and ----, if any.
  std::string place;  // "file:line", for messages.

  // The argument at `position`, or an empty text.
  std::string_view Argument(size_t position) const;
  // As a number; `fallback` when it is missing. Fails the test when it is not a number.
  uint64_t Number(size_t position, uint64_t fallback) const;
  std::optional<std::string_view> Option(std::string_view key) const;
};

// Answers one command. Neither blank lines nor ---- may occur in the answer; the final newline is
// optional.
using Handler = std::function<std::string(const Command&)>;

// Runs the transcript at `path`, relative to the workspace, as a part of the running test.
void RunTranscript(const std::string& path, const Handler& handler);

// Whether --rewrite was given; set by main.cc.
void SetRewrite(bool rewrite);

}  // namespace cairn::datadriven

#endif  // CAIRN_TEST_DATADRIVEN_DATADRIVEN_H_
