// Durations as Go writes them: "10m", "1h30m", "100ms". Pure; any thread.
#ifndef CAIRN_SERVER_DURATION_H_
#define CAIRN_SERVER_DURATION_H_

#include <chrono>
#include <optional>
#include <string_view>

namespace cairn::server {

// A sequence of decimal numbers with units; nothing for any other text, and for more than half of
// what 64 bits of nanoseconds hold (146 years).
std::optional<std::chrono::nanoseconds> ParseDuration(std::string_view text);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_DURATION_H_
