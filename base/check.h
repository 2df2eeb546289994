// Always-on checks for our own mistakes.
//
// A failed check prints the expression, both values and the place, then aborts: a coordination
// service that has caught itself being wrong must stop rather than continue. Checks stay on in
// optimised builds. What a caller or the world did wrong is an absl::Status, never a check.
#ifndef CAIRN_BASE_CHECK_H_
#define CAIRN_BASE_CHECK_H_

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace cairn::base {

// Prints one line to standard error and aborts. Never returns.
[[noreturn]] void CheckFailed(const char* file, int line, std::string_view what);

namespace internal {

template <typename T>
std::string CheckValue(const T& value) {
  if constexpr (fmt::is_formattable<T>::value) {
    return fmt::format("{}", value);
  } else {
    return "?";
  }
}

template <typename A, typename B>
[[noreturn]] void CheckOpFailed(const char* file, int line, const char* expression, const A& a,
                                const B& b) {
  CheckFailed(file, line, fmt::format("{} ({} vs. {})", expression, CheckValue(a), CheckValue(b)));
}

}  // namespace internal
}  // namespace cairn::base

// Aborts unless `condition` holds. A second argument, if any, is a text that is computed only on
// failure.
#define CAIRN_CHECK(condition, ...)                                            \
  do {                                                                         \
    if (!(condition)) [[unlikely]] {                                           \
      ::cairn::base::CheckFailed(__FILE__, __LINE__,                           \
                                 ::std::string(#condition) __VA_OPT__(+": " +) \
                                     __VA_OPT__(::std::string(__VA_ARGS__)));  \
    }                                                                          \
  } while (false)

#define CAIRN_CHECK_OP_(op, a, b)                                                                  \
  do {                                                                                             \
    const auto& cairn_check_a = (a);                                                               \
    const auto& cairn_check_b = (b);                                                               \
    if (!(cairn_check_a op cairn_check_b)) [[unlikely]] {                                          \
      ::cairn::base::internal::CheckOpFailed(__FILE__, __LINE__, #a " " #op " " #b, cairn_check_a, \
                                             cairn_check_b);                                       \
    }                                                                                              \
  } while (false)

// Abort unless the comparison holds; the values are printed.
#define CAIRN_CHECK_EQ(a, b) CAIRN_CHECK_OP_(==, a, b)
#define CAIRN_CHECK_NE(a, b) CAIRN_CHECK_OP_(!=, a, b)
#define CAIRN_CHECK_LT(a, b) CAIRN_CHECK_OP_(<, a, b)
#define CAIRN_CHECK_LE(a, b) CAIRN_CHECK_OP_(<=, a, b)
#define CAIRN_CHECK_GT(a, b) CAIRN_CHECK_OP_(>, a, b)
#define CAIRN_CHECK_GE(a, b) CAIRN_CHECK_OP_(>=, a, b)

#endif  // CAIRN_BASE_CHECK_H_
