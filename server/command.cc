#include "server/command.h"

#include "base/coding.h"
#include "base/status.h"

namespace cairn::server {

namespace {

constexpr uint16_t kLastKind = static_cast<uint16_t>(CommandKind::kRaiseRevision);

}  // namespace

std::string EncodeCommand(const CommandHeader& header, std::string_view body) {
  std::string payload;
  payload.reserve(3 + 4 * 8 + base::kVarintBytesMax + header.user.size() + body.size());
  payload.push_back(static_cast<char>(kCommandFormatVersion));
  const auto kind = static_cast<uint16_t>(header.kind);
  payload.push_back(static_cast<char>(kind & 0xff));
  payload.push_back(static_cast<char>(kind >> 8));
  base::AppendLittle64(payload, header.proposer.value());
  base::AppendLittle64(payload, header.nonce);
  base::AppendLittle64(payload, header.sequence);
  base::AppendLittle64(payload, header.auth_revision);
  base::AppendVarint(payload, header.user.size());
  payload.append(header.user);
  payload.append(body);
  return payload;
}

absl::StatusOr<DecodedCommand> DecodeCommand(std::string_view payload) {
  if (payload.size() < 3) {
    return base::Error(absl::StatusCode::kDataLoss, "a command of {} bytes is too short",
                       payload.size());
  }
  const auto version = static_cast<uint8_t>(payload[0]);
  if (version == 0) {
    return base::Error(absl::StatusCode::kDataLoss, "a command of format version 0");
  }
  if (version > kCommandFormatVersion) {
    return base::Error(absl::StatusCode::kUnimplemented,
                       "a command of format version {}; this binary understands {} and older",
                       version, kCommandFormatVersion);
  }
  const auto kind = static_cast<uint16_t>(static_cast<uint8_t>(payload[1]) |
                                          (static_cast<uint8_t>(payload[2]) << 8));
  if (kind == 0) return base::Error(absl::StatusCode::kDataLoss, "a command of kind 0");
  if (kind > kLastKind) {
    return base::Error(absl::StatusCode::kUnimplemented,
                       "a command of kind {}, which this binary does not know", kind);
  }
  payload.remove_prefix(3);
  DecodedCommand command;
  command.header.kind = static_cast<CommandKind>(kind);
  uint64_t proposer = 0;
  uint64_t user_bytes = 0;
  if (!base::TakeLittle64(payload, proposer) ||
      !base::TakeLittle64(payload, command.header.nonce) ||
      !base::TakeLittle64(payload, command.header.sequence) ||
      !base::TakeLittle64(payload, command.header.auth_revision) ||
      !base::TakeVarint(payload, user_bytes) ||
      !base::TakeBytes(payload, user_bytes, command.header.user)) {
    return base::Error(absl::StatusCode::kDataLoss, "a command header is cut short");
  }
  command.header.proposer = MemberId(proposer);
  command.body = payload;
  return command;
}

}  // namespace cairn::server
