#include "server/membership_rows.h"

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/status.h"
#include "mvcc/schema.h"

namespace cairn::server {

namespace {

static_assert(kConfigurationKey.starts_with(mvcc::kConfigurationPrefix));
static_assert(kRemovedMemberPrefix.starts_with(mvcc::kConfigurationPrefix));

// Bytes that are stored or hashed must be the same everywhere: fields in order, no maps.
template <typename Message>
std::string Serialize(const Message& message) {
  std::string bytes;
  CAIRN_CHECK(message.SerializeToString(&bytes));
  return bytes;
}

template <typename Message>
absl::Status Parse(std::string_view bytes, std::string_view what, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kDataLoss, "{} does not parse", what);
}

std::string KeyOf(std::string_view prefix, MemberId id) {
  std::string key(prefix);
  base::AppendBig64(key, id.value());
  return key;
}

}  // namespace

std::string MemberRowKey(MemberId id) { return KeyOf(mvcc::kMemberPrefix, id); }
std::string RemovedMemberRowKey(MemberId id) { return KeyOf(kRemovedMemberPrefix, id); }

void ToMessage(const Member& member, internal::Member& message) {
  message.set_id(member.id.value());
  message.set_name(member.name);
  for (const std::string& url : member.peer_urls) message.add_peer_urls(url);
  for (const std::string& url : member.client_urls) message.add_client_urls(url);
  message.set_is_learner(member.is_learner);
}

absl::StatusOr<Member> FromMessage(const internal::Member& message) {
  if (message.id() == 0) {
    return base::Error(absl::StatusCode::kDataLoss, "a member with id 0");
  }
  Member member;
  member.id = MemberId(message.id());
  member.name = message.name();
  member.peer_urls.assign(message.peer_urls().begin(), message.peer_urls().end());
  member.client_urls.assign(message.client_urls().begin(), message.client_urls().end());
  member.is_learner = message.is_learner();
  return member;
}

std::string EncodeMember(const Member& member) {
  internal::Member message;
  ToMessage(member, message);
  return Serialize(message);
}

absl::StatusOr<Member> DecodeMember(std::string_view bytes) {
  internal::Member message;
  CAIRN_RETURN_IF_ERROR(Parse(bytes, "a member row", message));
  return FromMessage(message);
}

std::string EncodeConfiguration(const raft::Configuration& configuration) {
  internal::Configuration message;
  for (const MemberId id : configuration.voters) message.add_voters(id.value());
  for (const MemberId id : configuration.outgoing) message.add_outgoing(id.value());
  for (const MemberId id : configuration.learners) message.add_learners(id.value());
  for (const MemberId id : configuration.learners_next) message.add_learners_next(id.value());
  return Serialize(message);
}

absl::StatusOr<raft::Configuration> DecodeConfiguration(std::string_view bytes) {
  internal::Configuration message;
  CAIRN_RETURN_IF_ERROR(Parse(bytes, "the configuration row", message));
  raft::Configuration configuration;
  for (const uint64_t id : message.voters()) configuration.voters.emplace_back(id);
  for (const uint64_t id : message.outgoing()) configuration.outgoing.emplace_back(id);
  for (const uint64_t id : message.learners()) configuration.learners.emplace_back(id);
  for (const uint64_t id : message.learners_next()) configuration.learners_next.emplace_back(id);
  return configuration;
}

std::string EncodeRemovedIndex(Index index) {
  std::string bytes;
  base::AppendBig64(bytes, index.value());
  return bytes;
}

absl::StatusOr<RemovedMember> DecodeRemoved(std::string_view key, std::string_view value) {
  uint64_t id = 0;
  uint64_t index = 0;
  const bool is_ours = key.starts_with(kRemovedMemberPrefix);
  if (is_ours) key.remove_prefix(kRemovedMemberPrefix.size());
  if (!is_ours || !base::TakeBig64(key, id) || !base::TakeBig64(value, index) || !key.empty() ||
      !value.empty() || id == 0) {
    return base::Error(absl::StatusCode::kDataLoss, "the row of a removed member does not parse");
  }
  return RemovedMember{MemberId(id), Index(index)};
}

std::string EncodePublished(const PublishedAttributes& attributes) {
  internal::PublishMember message;
  message.set_member_id(attributes.id.value());
  message.set_name(attributes.name);
  for (const std::string& url : attributes.client_urls) message.add_client_urls(url);
  return Serialize(message);
}

absl::StatusOr<PublishedAttributes> DecodePublished(std::string_view bytes) {
  internal::PublishMember message;
  CAIRN_RETURN_IF_ERROR(Parse(bytes, "a member's published attributes", message));
  PublishedAttributes attributes;
  attributes.id = MemberId(message.member_id());
  attributes.name = message.name();
  attributes.client_urls.assign(message.client_urls().begin(), message.client_urls().end());
  return attributes;
}

}  // namespace cairn::server
