// How members are written: their rows in the state and the bodies of commands about them.
//
// Pure: no thread, clock, file or socket. Decoding fails with DATA_LOSS for bytes that no version
// wrote. The same value always gives the same bytes.
#ifndef CAIRN_SERVER_MEMBERSHIP_ROWS_H_
#define CAIRN_SERVER_MEMBERSHIP_ROWS_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/internal.pb.h"
#include "base/ids.h"
#include "raft/types.h"
#include "server/node.h"

namespace cairn::server {

// The row of the raft configuration.
inline constexpr std::string_view kConfigurationKey = "c/raft";
// What the keys of removed members begin with.
inline constexpr std::string_view kRemovedMemberPrefix = "c/removed/";

// The keys of a member's row, and of the row that keeps its id from coming back.
std::string MemberRowKey(MemberId id);
std::string RemovedMemberRowKey(MemberId id);

std::string EncodeMember(const Member& member);
absl::StatusOr<Member> DecodeMember(std::string_view bytes);
std::string EncodeConfiguration(const raft::Configuration& configuration);
absl::StatusOr<raft::Configuration> DecodeConfiguration(std::string_view bytes);

// A member that was removed, and the index of the entry that did it.
struct RemovedMember {
  MemberId id;
  Index index;

  friend bool operator==(const RemovedMember&, const RemovedMember&) = default;
};
std::string EncodeRemovedIndex(Index index);
// From the row's key and value.
absl::StatusOr<RemovedMember> DecodeRemoved(std::string_view key, std::string_view value);

// The body of a kPublishMember command, and back.
struct PublishedAttributes {
  MemberId id;
  std::string name;
  std::vector<std::string> client_urls;
};
std::string EncodePublished(const PublishedAttributes& attributes);
absl::StatusOr<PublishedAttributes> DecodePublished(std::string_view bytes);

// A member within another message.
void ToMessage(const Member& member, internal::Member& message);
// DATA_LOSS for id 0.
absl::StatusOr<Member> FromMessage(const internal::Member& message);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBERSHIP_ROWS_H_
