#include "server/command.h"

#include <gtest/gtest.h>

namespace cairn::server {
namespace {

std::string Sample() {
  return EncodeCommand({.kind = CommandKind::kTxn,
                        .proposer = MemberId(0x8e9e05c52164694d),
                        .nonce = 0x0123456789abcdef,
                        .sequence = 42,
                        .auth_revision = 7,
                        .user = "root"},
                       std::string_view("body\0bytes", 10));
}

TEST(CommandTest, RoundTripsEveryField) {
  const std::string payload = Sample();
  const absl::StatusOr<DecodedCommand> command = DecodeCommand(payload);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->header.kind, CommandKind::kTxn);
  EXPECT_EQ(command->header.proposer, MemberId(0x8e9e05c52164694d));
  EXPECT_EQ(command->header.nonce, 0x0123456789abcdefu);
  EXPECT_EQ(command->header.sequence, 42u);
  EXPECT_EQ(command->header.auth_revision, 7u);
  EXPECT_EQ(command->header.user, "root");
  EXPECT_EQ(command->body, std::string_view("body\0bytes", 10));
}

TEST(CommandTest, EveryTruncationOfTheHeaderIsDataLoss) {
  const std::string payload = Sample();
  const size_t header_bytes = payload.size() - 10;
  for (size_t size = 0; size < header_bytes; ++size) {
    EXPECT_EQ(DecodeCommand({payload.data(), size}).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_TRUE(DecodeCommand({payload.data(), header_bytes}).ok());
}

TEST(CommandTest, NewerVersionsAndKindsMustBeUnderstood) {
  std::string payload = Sample();
  payload[0] = static_cast<char>(kCommandFormatVersion + 1);
  EXPECT_EQ(DecodeCommand(payload).status().code(), absl::StatusCode::kUnimplemented);
  payload = Sample();
  payload[2] = 0x7f;
  EXPECT_EQ(DecodeCommand(payload).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(CommandTest, ZeroesAreNotACommand) {
  EXPECT_EQ(DecodeCommand(std::string(64, '\0')).status().code(), absl::StatusCode::kDataLoss);
  std::string payload = Sample();
  payload[1] = payload[2] = 0;
  EXPECT_EQ(DecodeCommand(payload).status().code(), absl::StatusCode::kDataLoss);
}

TEST(CommandTest, AHugeUserLengthIsRefused) {
  std::string payload = Sample();
  payload[35] = static_cast<char>(0x7f);
  EXPECT_EQ(DecodeCommand(payload).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace cairn::server
