#include "server/disk_room.h"

#include <gtest/gtest.h>
#include <sys/statvfs.h>

namespace cairn::server {
namespace {

TEST(DiskRoomTest, IsNotMoreThanTheDiskHas) {
  const std::optional<uint64_t> free_bytes = FreeDiskBytes(testing::TempDir());
  ASSERT_TRUE(free_bytes.has_value());
  struct statvfs info = {};
  ASSERT_EQ(statvfs(testing::TempDir().c_str(), &info), 0);
  EXPECT_GT(*free_bytes, 0U);
  EXPECT_LE(*free_bytes, uint64_t{info.f_blocks} * info.f_frsize);
  EXPECT_TRUE(HasDiskRoom(testing::TempDir(), 1));
  EXPECT_FALSE(HasDiskRoom(testing::TempDir(), uint64_t{1} << 62));
}

TEST(DiskRoomTest, OfWhatIsNotThereNothingIsKnown) {
  EXPECT_FALSE(FreeDiskBytes(testing::TempDir() + "/not/there").has_value());
  EXPECT_TRUE(HasDiskRoom(testing::TempDir() + "/not/there", ~uint64_t{0}));
}

}  // namespace
}  // namespace cairn::server
