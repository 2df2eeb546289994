#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace cairn::base {
namespace {

absl::StatusOr<std::unique_ptr<int>> Make(bool ok) {
  if (!ok) return Error(absl::StatusCode::kDataLoss, "lost {} of {}", 1, 2);
  return std::make_unique<int>(7);
}

absl::Status Take(bool ok, int& value) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<int> made, Make(ok));
  CAIRN_RETURN_IF_ERROR(absl::OkStatus());
  value = *made;
  return absl::OkStatus();
}

TEST(StatusTest, MacrosTakeTheValueOrReturnTheError) {
  int value = 0;
  EXPECT_TRUE(Take(true, value).ok());
  EXPECT_EQ(value, 7);
  const absl::Status error = Take(false, value);
  EXPECT_EQ(error.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Message(error), "lost 1 of 2");
}

TEST(StatusTest, AnnotateKeepsTheCodeAndLeavesOkAlone) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "reading").ok());
  const absl::Status error = Annotate(Error(absl::StatusCode::kNotFound, "gone"), "reading x");
  EXPECT_EQ(error.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(error), "reading x: gone");
}

}  // namespace
}  // namespace cairn::base
