#include "cmd/cairnutl/hashkv_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "base/status.h"
#include "cmd/cairnutl/report.h"
#include "cmd/cairnutl/state_command.h"

namespace cairn::cairnutl {

int HashKv(const HashKvOptions& options, const Tool& tool) {
  const absl::StatusOr<OpenedState> state = OpenedState::Open(options.state, tool);
  if (!state.ok()) return tool.Fail(state.status());
  const absl::StatusOr<mvcc::HashKvResult> hash = state->store().HashKv(Revision(options.revision));
  if (!hash.ok()) return tool.Fail(hash.status());
  Facts facts;
  facts.Add("hash", hash->hash);
  facts.Add("hash revision", hash->hash_revision.value());
  facts.Add("compact revision", hash->compact_revision.value());
  tool.out(Render(facts.ToReport(), tool.format, Simple::kValues, /*is_one=*/true));
  return kExitOk;
}

void AddHashKvCommand(CLI::App& app, Tool& tool) {
  const auto options = std::make_shared<HashKvOptions>();
  CLI::App& command = *app.add_subcommand("hashkv", "Print the hash of a state's history");
  AddStateOptions(command, options->state);
  command.add_option("--rev", options->revision, "the revision; the current one if left out");
  command.callback([options, &tool] { tool.exit_code = HashKv(*options, tool); });
}

}  // namespace cairn::cairnutl
