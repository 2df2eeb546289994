// Changes of the members as a client asks for them: judged by the rules, proposed, waited for.
//
// Any thread; never blocks. Made once, outlives every change under way. `done` runs exactly once;
// its response is member_response.h's.
#ifndef CAIRN_SERVER_MEMBER_CHANGER_H_
#define CAIRN_SERVER_MEMBER_CHANGER_H_

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "server/membership_change.h"
#include "server/node.h"

namespace cairn::server {

struct MemberChangerOptions {
  // --strict-reconfig-check, --max-learners.
  bool strict_reconfig_check = true;
  uint32_t learners_max = 1;
};

class MemberChanger {
 public:
  using Done = Node::ProposeDone;

  // `node` outlives this object.
  MemberChanger(Node& node, MemberChangerOptions options) : node_(node), options_(options) {}

  // Adds a member that will listen at `peer_urls`, as they came from the client. INVALID_ARGUMENT
  // "given member URLs are invalid", or what CheckAddition or the entry say.
  void Add(const std::vector<std::string>& peer_urls, bool is_learner, Done done);
  // What CheckRemoval or the entry say.
  void Remove(MemberId id, Done done);
  // Takes any text for a URL, as etcd does.
  void UpdatePeerUrls(MemberId id, std::vector<std::string> peer_urls, Done done);
  // Makes a learner a voter, if this member leads: only the leader knows how far a learner is.
  // FAILED_PRECONDITION "not leader" otherwise, or what the rules or the entry say.
  void Promote(MemberId id, Done done);

 private:
  // What `check` says of the members as they are applied here, if it is to be asked.
  template <typename Check>
  absl::Status Judge(const Check& check) const;
  void Propose(ChangeKind kind, Member member, Done done);

  Node& node_;
  const MemberChangerOptions options_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_MEMBER_CHANGER_H_
