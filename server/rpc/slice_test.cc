#include "server/rpc/slice.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace cairn::rpc {
namespace {

TEST(SliceTest, StringIsTakenOverAndSharedByParts) {
  std::string text(1000, 'a');
  text[500] = 'b';
  const char* characters = text.data();
  Slice part;
  {
    const Slice whole = Slice::FromString(std::move(text));
    EXPECT_EQ(whole.bytes().data(), characters);
    EXPECT_EQ(whole.size_bytes(), 1000u);
    part = whole.Part(500, 2);
  }
  EXPECT_EQ(part.bytes(), "ba");
  EXPECT_EQ(part.Part(1, 100).bytes(), "a");
  EXPECT_EQ(part.Part(2, 1).size_bytes(), 0u);
}

TEST(SliceTest, OwnerLivesAsLongAsItsLastSlice) {
  auto owner = std::make_shared<const std::string>("watched");
  const std::weak_ptr<const std::string> alive = owner;
  SliceList first(Slice(owner, *owner));
  SliceList second = first;
  owner.reset();
  first = SliceList();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(second.Flatten(), "watched");
  second = SliceList();
  EXPECT_TRUE(alive.expired());
}

TEST(SliceListTest, IsTheConcatenationOfItsSlices) {
  SliceList list;
  EXPECT_EQ(list.size_bytes(), 0u);
  EXPECT_EQ(list.Flatten(), "");
  for (const char* text : {"one", "", "two", "three"}) list.Append(Slice::CopyOf(text));
  EXPECT_EQ(list.slices().size(), 3u);
  EXPECT_EQ(list.size_bytes(), 11u);
  EXPECT_EQ(list.Flatten(), "onetwothree");
}

}  // namespace
}  // namespace cairn::rpc
