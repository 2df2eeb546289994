// cairnutl: looks into the files of a member that does not run, and changes none of them; makes the
// files of a new one from a snapshot.
//
// Each group of commands is a file beside this one; here is only the command line that they share.
// Exit codes: tool.h.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

#include "api/version.h"
#include "cmd/cairnutl/diff_command.h"
#include "cmd/cairnutl/hashkv_command.h"
#include "cmd/cairnutl/raft_state_command.h"
#include "cmd/cairnutl/snapshot_command.h"
#include "cmd/cairnutl/state_command.h"
#include "cmd/cairnutl/tool.h"
#include "cmd/cairnutl/wal_command.h"

int main(int argc, char** argv) {
  using cairn::cairnutl::Format;
  using cairn::cairnutl::kExitError;
  using cairn::cairnutl::kExitOk;
  using cairn::cairnutl::kExitUsage;
  using cairn::cairnutl::Tool;
  // `bazel run` starts in its own folder and tells where the user was.
  if (const char* const where = std::getenv("BUILD_WORKING_DIRECTORY"); where != nullptr) {
    std::error_code error;
    std::filesystem::current_path(where, error);
  }
  Tool tool;
  tool.out = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); };
  tool.note = [](std::string_view line) {
    // In the order in which things were said, where both go to one terminal.
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", line);
  };

  CLI::App app("Looks into the files of a Cairn member that does not run, restores snapshots",
               "cairnutl");
  // What follows a command may also be an option of the whole.
  app.fallthrough();
  app.require_subcommand(1);
  const std::map<std::string, Format> formats = {{"simple", Format::kSimple},
                                                 {"json", Format::kJson},
                                                 {"table", Format::kTable},
                                                 {"fields", Format::kFields}};
  app.add_option("-w,--write-out", tool.format, "simple, json, table or fields")
      ->transform(CLI::CheckedTransformer(formats, CLI::ignore_case).description(""))
      ->option_text("FORMAT");
  app.add_flag("--even-if-running", tool.even_if_running,
               "look also at the files of a running member, as they are at this moment");
  app.set_version_flag("--version", fmt::format("cairnutl {}", cairn::api::kCairnVersion));

  AddWalCommand(app, tool);
  AddStateCommand(app, tool);
  AddRaftStateCommand(app, tool);
  AddHashKvCommand(app, tool);
  AddSnapshotCommand(app, tool);
  AddSnapshotDiffCommand(app, tool);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  // A full disk or a reader that went away is not a result.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fmt::print(stderr, "Error: cannot write the output\n");
    return kExitError;
  }
  return tool.exit_code;
}
