// What all commands of cairnutl share: the format asked for, where they print, how they end.
//
// One thread. A command prints results through `out` and everything else (notes, errors) through
// `note`, and returns its exit code; it never ends the process, so that tests can call it.
#ifndef CAIRN_CMD_CAIRNUTL_TOOL_H_
#define CAIRN_CMD_CAIRNUTL_TOOL_H_

#include <absl/status/status.h>
#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/status.h"

namespace cairn::cairnutl {

// As etcdutl's --write-out.
enum class Format : uint8_t { kSimple, kJson, kTable, kFields };

// Exit codes. A comparison that finds differences exits with kExitDifferent.
inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitDifferent = 1;
inline constexpr int kExitUsage = 2;
// A log whose end a start would cut. Only `wal verify` tells.
inline constexpr int kExitTorn = 3;
// Something does not check out.
inline constexpr int kExitDamaged = 4;

struct Tool {
  Format format = Format::kSimple;
  // Look also at the files of a member that runs.
  bool even_if_running = false;
  std::function<void(std::string_view)> out;
  // One line, without its end.
  std::function<void(std::string_view)> note;
  int exit_code = kExitOk;

  // Tells of an error; the exit code for it.
  int Fail(const absl::Status& status) const {
    note(fmt::format("Error: {}", base::Message(status)));
    return absl::IsDataLoss(status) ? kExitDamaged : kExitError;
  }
};

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_TOOL_H_
