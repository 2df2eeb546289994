#include "server/membership.h"

#include <openssl/sha.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/coding.h"
#include "server/membership_change.h"

namespace cairn::server {

namespace {

uint64_t FirstBytesOfSha1(std::string_view bytes) {
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return base::LoadBig64(reinterpret_cast<const char*>(digest));
}

}  // namespace

MemberId DeriveMemberId(std::vector<std::string> peer_urls, std::string_view cluster_token) {
  std::sort(peer_urls.begin(), peer_urls.end());
  std::string bytes;
  for (const std::string& url : peer_urls) bytes += url;
  bytes += cluster_token;
  return MemberId(FirstBytesOfSha1(bytes));
}

MemberId DeriveAddedMemberId(std::vector<std::string> peer_urls, int64_t unix_seconds) {
  return DeriveMemberId(std::move(peer_urls), std::to_string(unix_seconds));
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
    MembershipChange change;
    change.steps = {{member.is_learner ? ChangeKind::kAddLearner : ChangeKind::kAddVoter, member}};
    entries.push_back({.term = Term(1),
                       .index = Index(entries.size() + 1),
                       .kind = raft::EntryKind::kConfiguration,
                       .data = std::make_shared<const std::string>(EncodeChange(change))});
  }
  return entries;
}

}  // namespace cairn::server
