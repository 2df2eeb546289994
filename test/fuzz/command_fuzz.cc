// An entry's payload, taken apart: it must end in a command or in an error that stops the member.
#include "base/check.h"
#include "server/command.h"
#include "test/fuzz/fuzz.h"

namespace cairn::test {

using server::CommandKind;
using server::DecodedCommand;

void Fuzz(std::string_view input) {
  const absl::StatusOr<DecodedCommand> command = server::DecodeCommand(input);
  if (!command.ok()) {
    CAIRN_CHECK(absl::IsDataLoss(command.status()) || absl::IsUnimplemented(command.status()));
    return;
  }
  // What was understood says the same when it is written again.
  const std::string again = server::EncodeCommand(command->header, command->body);
  const absl::StatusOr<DecodedCommand> second = server::DecodeCommand(again);
  CAIRN_CHECK(second.ok());
  CAIRN_CHECK(second->body == command->body);
  CAIRN_CHECK(second->header.user == command->header.user);
  CAIRN_CHECK_EQ(second->header.sequence, command->header.sequence);
  CAIRN_CHECK_EQ(second->header.nonce, command->header.nonce);
  CAIRN_CHECK_EQ(second->header.auth_revision, command->header.auth_revision);
  CAIRN_CHECK_EQ(second->header.proposer, command->header.proposer);
  CAIRN_CHECK(second->header.kind == command->header.kind);
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const CommandKind kind : {CommandKind::kPut, CommandKind::kDeleteRange, CommandKind::kTxn,
                                 CommandKind::kCompact, CommandKind::kPublishMember}) {
    seeds.push_back(server::EncodeCommand({.kind = kind,
                                           .proposer = MemberId(0x8e9e05c52164694d),
                                           .nonce = 77,
                                           .sequence = 300,
                                           .auth_revision = 2,
                                           .user = "root"},
                                          "\x0a\x01k\x12\x01v"));
  }
  return seeds;
}

}  // namespace cairn::test
