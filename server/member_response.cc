#include "server/member_response.h"

#include "api/rpc.pb.h"
#include "base/check.h"

namespace cairn::server {

namespace {

void Show(const Member& member, etcdserverpb::Member& shown) {
  shown.set_id(member.id.value());
  shown.set_name(member.name);
  for (const std::string& url : member.peer_urls) shown.add_peerurls(url);
  for (const std::string& url : member.client_urls) shown.add_clienturls(url);
  shown.set_islearner(member.is_learner);
}

template <typename Response>
std::string WithMembers(Response response, const Members& members) {
  for (const Member& member : members) Show(member, *response.add_members());
  return response.SerializeAsString();
}

}  // namespace

std::string ListResponse(const Members& members) {
  return WithMembers(etcdserverpb::MemberListResponse(), members);
}

std::string ChangeResponse(const MembershipChange& change, const Members& members) {
  const ChangeStep* const step = change.steps.size() == 1 ? change.steps.data() : nullptr;
  const bool is_addition = step != nullptr && (step->kind == ChangeKind::kAddVoter ||
                                               step->kind == ChangeKind::kAddLearner);
  // The responses to all others are alike.
  if (!is_addition) return WithMembers(etcdserverpb::MemberRemoveResponse(), members);
  etcdserverpb::MemberAddResponse response;
  const Member* const added = FindMember(members, step->member.id);
  CAIRN_CHECK(added != nullptr);
  Show(*added, *response.mutable_member());
  return WithMembers(std::move(response), members);
}

}  // namespace cairn::server
