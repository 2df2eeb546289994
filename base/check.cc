#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace cairn::base {

void CheckFailed(const char* file, int line, std::string_view what) {
  std::fprintf(stderr, "check failed at %s:%d: %.*s\n", file, line, static_cast<int>(what.size()),
               what.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace cairn::base
