// gtest's main with one flag more: --rewrite (see datadriven.h).
#include <gtest/gtest.h>

#include <string_view>

#include "test/datadriven/datadriven.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--rewrite") cairn::datadriven::SetRewrite(true);
  }
  return RUN_ALL_TESTS();
}
