#include "server/remedy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "api/errors.h"
#include "base/status.h"

namespace cairn::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

TEST(RemedyTest, DamageAndFailedDisksComeWithWhatToDo) {
  const absl::Status damaged =
      WithRemedy(absl::DataLossError("state: read: Corruption: in /data/1.sst offset 7"));
  EXPECT_TRUE(absl::IsDataLoss(damaged));
  EXPECT_THAT(std::string(base::Message(damaged)),
              AllOf(StartsWith("state: read: Corruption: in /data/1.sst offset 7; "),
                    HasSubstr("replace the member"), HasSubstr("docs/operations.md")));
  const absl::Status failed = WithRemedy(absl::InternalError("1.wal: sync: Input/output error"));
  EXPECT_TRUE(absl::IsInternal(failed));
  EXPECT_THAT(std::string(base::Message(failed)),
              AllOf(StartsWith("1.wal: sync: Input/output error; "),
                    HasSubstr("start the member again"), HasSubstr("docs/operations.md")));
}

TEST(RemedyTest, WhatHasAnotherCauseIsLeftAlone) {
  for (const absl::Status& error :
       {absl::OkStatus(), absl::UnimplementedError("a command of kind 99"),
        absl::ResourceExhaustedError("the disk is full"),
        api::ToStatus(api::Error::kServerStopped)}) {
    EXPECT_EQ(WithRemedy(error), error);
  }
}

}  // namespace
}  // namespace cairn::server
