// The offline tool: a command line to one command, its exit code to the caller.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "api/version.h"
#include "cmd/cairnutl/snapshot_command.h"
#include "cmd/cairnutl/tool.h"

int main(int argc, char** argv) {
  using cairn::cairnutl::Format;
  cairn::cairnutl::Tool tool;
  tool.out = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); };
  tool.note = [](std::string_view line) { fmt::print(stderr, "{}\n", line); };
  CLI::App app("Looks into the files of Cairn, and restores them.");
  app.set_version_flag("--version", std::string(cairn::api::kCairnVersion));
  app.require_subcommand(1);
  app.fallthrough();
  const std::map<std::string, Format> formats = {{"simple", Format::kSimple},
                                                 {"json", Format::kJson},
                                                 {"table", Format::kTable},
                                                 {"fields", Format::kFields}};
  app.add_option("-w,--write-out", tool.format, "simple, json, table or fields")
      ->transform(CLI::CheckedTransformer(formats));
  cairn::cairnutl::AddSnapshotCommand(app, tool);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? cairn::cairnutl::kExitOk : cairn::cairnutl::kExitUsage;
  }
  return tool.exit_code;
}
