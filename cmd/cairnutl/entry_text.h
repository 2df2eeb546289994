// What an entry of the log says, for people (one line) and for programs (JSON).
//
// Pure: no thread, clock, file or socket. Any bytes are described: what cannot be decoded says so.
#ifndef CAIRN_CMD_CAIRNUTL_ENTRY_TEXT_H_
#define CAIRN_CMD_CAIRNUTL_ENTRY_TEXT_H_

#include <string>
#include <string_view>

#include "cmd/cairnutl/text.h"
#include "raft/types.h"

namespace cairn::cairnutl {

// "empty", "command", "configuration".
std::string EntryKindName(raft::EntryKind kind);

// What it asks, who proposed it: `put "foo" = 3 bytes lease 7, by 8e9e05c52164694d #12`. Bounded.
std::string DescribeEntry(raft::EntryKind kind, std::string_view data);

// Adds the decoded entry to `object`: for a command "command" (its kind by name), "proposer",
// "nonce", "sequence", "user" and "authRevision" if there are any, and "request", the client's
// message as Protobuf's JSON has it (bytes in base64, 64-bit numbers as text); for a configuration
// the same with "change" in place of a request. What cannot be decoded is "unreadable", with the
// reason, and "data_base64".
void PutEntry(Json& object, raft::EntryKind kind, std::string_view data);

// The members of a configuration (raft's, as the log and the state keep it).
std::string DescribeConfiguration(std::string_view data);
void PutConfiguration(Json& object, std::string_view data);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_ENTRY_TEXT_H_
