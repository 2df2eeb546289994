// An integer that does not mix with another.
//
// StrongInt<Tag, Rep> compares, hashes, prints and steps like its representation, but a term is not
// an index: mixing two tags does not compile. Differences are plain integers of the representation.
// Overflow is the caller's to rule out.
#ifndef CAIRN_BASE_STRONG_INT_H_
#define CAIRN_BASE_STRONG_INT_H_

#include <fmt/format.h>

#include <compare>
#include <cstddef>
#include <functional>
#include <ostream>
#include <type_traits>
#include <utility>

namespace cairn::base {

template <typename Tag, typename Rep>
class StrongInt {
 public:
  using rep = Rep;

  constexpr StrongInt() = default;
  explicit constexpr StrongInt(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  friend constexpr auto operator<=>(StrongInt, StrongInt) = default;

  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }
  constexpr StrongInt& operator+=(Rep delta) {
    value_ += delta;
    return *this;
  }

  friend constexpr StrongInt operator+(StrongInt a, Rep delta) {
    return StrongInt(static_cast<Rep>(a.value_ + delta));
  }
  friend constexpr StrongInt operator-(StrongInt a, Rep delta) {
    return StrongInt(static_cast<Rep>(a.value_ - delta));
  }
  friend constexpr Rep operator-(StrongInt a, StrongInt b) {
    return static_cast<Rep>(a.value_ - b.value_);
  }

  friend std::ostream& operator<<(std::ostream& out, StrongInt a) { return out << a.value_; }

  template <typename H>
  friend H AbslHashValue(H state, StrongInt a) {
    return H::combine(std::move(state), a.value_);
  }

 private:
  Rep value_ = 0;
};

}  // namespace cairn::base

template <typename Tag, typename Rep>
struct std::hash<cairn::base::StrongInt<Tag, Rep>> {
  std::size_t operator()(cairn::base::StrongInt<Tag, Rep> a) const noexcept {
    return std::hash<Rep>()(a.value());
  }
};

template <typename Tag, typename Rep>
struct fmt::formatter<cairn::base::StrongInt<Tag, Rep>> : fmt::formatter<Rep> {
  template <typename Context>
  auto format(cairn::base::StrongInt<Tag, Rep> a, Context& context) const {
    return fmt::formatter<Rep>::format(a.value(), context);
  }
};

#endif  // CAIRN_BASE_STRONG_INT_H_
