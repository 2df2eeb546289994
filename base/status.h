// Status helpers: propagate an error, take a value, build a message with {fmt}.
//
// The packaged Abseil has a string_view of its own that does not convert from the standard one, so
// messages are made here, once.
#ifndef CAIRN_BASE_STATUS_H_
#define CAIRN_BASE_STATUS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace cairn::base {

// A status with `code` and a message of plain text.
inline absl::Status MakeStatus(absl::StatusCode code, std::string_view message) {
  return absl::Status(code, {message.data(), message.size()});
}

// A status with `code` and a formatted message.
template <typename... Args>
absl::Status Error(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(code, fmt::format(format, std::forward<Args>(args)...));
}

// The message as standard text, valid as long as `status`.
inline std::string_view Message(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// `status` with `context: ` before its message; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return MakeStatus(status.code(), fmt::format("{}: {}", context, Message(status)));
}

}  // namespace cairn::base

// Returns from the enclosing function with the error, if `expression` is one.
#define CAIRN_RETURN_IF_ERROR(expression)                       \
  do {                                                          \
    if (auto cairn_status = (expression); !cairn_status.ok()) { \
      return cairn_status;                                      \
    }                                                           \
  } while (false)

#define CAIRN_STATUS_CONCAT_INNER_(a, b) a##b
#define CAIRN_STATUS_CONCAT_(a, b) CAIRN_STATUS_CONCAT_INNER_(a, b)
#define CAIRN_ASSIGN_OR_RETURN_(result, target, expression) \
  auto result = (expression);                               \
  if (!result.ok()) return std::move(result).status();      \
  target = *std::move(result)

// Evaluates a StatusOr: returns its error, or moves its value into `target` (may declare it).
#define CAIRN_ASSIGN_OR_RETURN(target, expression) \
  CAIRN_ASSIGN_OR_RETURN_(CAIRN_STATUS_CONCAT_(cairn_status_or_, __LINE__), target, expression)

#endif  // CAIRN_BASE_STATUS_H_
