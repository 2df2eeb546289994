#include "server/membership.h"

#include <openssl/sha.h>

#include <algorithm>
#include <memory>

#include "api/internal.pb.h"
#include "base/check.h"
#include "base/coding.h"
#include "base/status.h"

namespace cairn::server {

namespace {

uint64_t FirstBytesOfSha1(std::string_view bytes) {
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return base::LoadBig64(reinterpret_cast<const char*>(digest));
}

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

internal::Member ToMessage(const Member& member) {
  internal::Member message;
  message.set_id(member.id.value());
  message.set_name(member.name);
  for (const std::string& url : member.peer_urls) message.add_peer_urls(url);
  for (const std::string& url : member.client_urls) message.add_client_urls(url);
  message.set_is_learner(member.is_learner);
  return message;
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

// Voters and learners of a configuration that is not joint follow from the members.
raft::Configuration SimpleConfiguration(const Members& members) {
  raft::Configuration configuration;
  for (const Member& member : members) {
    (member.is_learner ? configuration.learners : configuration.voters).push_back(member.id);
  }
  return configuration;
}

}  // namespace

MemberId DeriveMemberId(std::vector<std::string> peer_urls, std::string_view cluster_token) {
  std::sort(peer_urls.begin(), peer_urls.end());
  std::string bytes;
  for (const std::string& url : peer_urls) bytes += url;
  bytes += cluster_token;
  return MemberId(FirstBytesOfSha1(bytes));
}

ClusterId DeriveClusterId(std::vector<MemberId> members) {
  std::sort(members.begin(), members.end());
  std::string bytes;
  for (const MemberId id : members) base::AppendBig64(bytes, id.value());
  return ClusterId(FirstBytesOfSha1(bytes));
}

Members InitialMembers(const std::vector<InitialMember>& initial_cluster, std::string_view token) {
  Members members;
  for (const InitialMember& initial : initial_cluster) {
    Member member;
    member.id = DeriveMemberId(initial.peer_urls, token);
    member.peer_urls = initial.peer_urls;
    members.push_back(std::move(member));
  }
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return members;
}

std::vector<raft::Entry> BootstrapEntries(const Members& members) {
  std::vector<raft::Entry> entries;
  for (const Member& member : members) {
    internal::ConfigurationChange change;
    internal::ConfigurationChange::Step* step = change.add_steps();
    step->set_kind(member.is_learner ? internal::ConfigurationChange::ADD_LEARNER
                                     : internal::ConfigurationChange::ADD_VOTER);
    *step->mutable_member() = ToMessage(member);
    entries.push_back({.term = Term(1),
                       .index = Index(entries.size() + 1),
                       .kind = raft::EntryKind::kConfiguration,
                       .data = std::make_shared<const std::string>(Serialize(change))});
  }
  return entries;
}

absl::StatusOr<Membership> ApplyChange(Membership before, std::string_view data) {
  internal::ConfigurationChange change;
  CAIRN_RETURN_IF_ERROR(Parse(data, "a configuration entry", change));
  if (change.steps_size() != 1 || change.leave_joint()) {
    return base::Error(absl::StatusCode::kUnimplemented,
                       "a configuration entry of {} steps; this version applies single ones",
                       change.steps_size());
  }
  const internal::ConfigurationChange::Step& step = change.steps(0);
  if (step.kind() != internal::ConfigurationChange::ADD_VOTER &&
      step.kind() != internal::ConfigurationChange::ADD_LEARNER) {
    return base::Error(absl::StatusCode::kUnimplemented,
                       "a configuration entry of kind {}, which this version does not know",
                       static_cast<int>(step.kind()));
  }
  CAIRN_ASSIGN_OR_RETURN(Member member, FromMessage(step.member()));
  member.is_learner = step.kind() == internal::ConfigurationChange::ADD_LEARNER;
  const auto at = std::lower_bound(before.members.begin(), before.members.end(), member,
                                   [](const Member& a, const Member& b) { return a.id < b.id; });
  if (at != before.members.end() && at->id == member.id) {
    return base::Error(absl::StatusCode::kDataLoss, "member {:x} is added twice", member.id);
  }
  before.members.insert(at, std::move(member));
  before.configuration = SimpleConfiguration(before.members);
  return before;
}

std::string EncodeMember(const Member& member) { return Serialize(ToMessage(member)); }

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
