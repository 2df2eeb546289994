#include "server/join.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/status.h"
#include "server/membership_change.h"

namespace cairn::server {

namespace {

// In the order in which etcd asks.
std::vector<std::string> UrlsOfOthers(const Config& config) {
  std::vector<std::string> urls;
  for (const InitialMember& member : config.initial_cluster) {
    if (member.name == config.name) continue;
    urls.insert(urls.end(), member.peer_urls.begin(), member.peer_urls.end());
  }
  std::sort(urls.begin(), urls.end());
  return urls;
}

std::string Describe(const ExistingCluster& existing) {
  std::string text = fmt::format("{{ClusterID:{:x} Members:[", existing.id);
  for (const Member& member : existing.members) {
    text += fmt::format("{}{{ID:{:x} PeerURLs:[{}] Name:{}}}",
                        &member == existing.members.data() ? "" : " ", member.id,
                        fmt::join(member.peer_urls, " "), member.name);
  }
  return text + "]}";
}

bool HasUrls(const InitialMember& member, const std::vector<std::string>& urls) {
  return std::set<std::string>(member.peer_urls.begin(), member.peer_urls.end()) ==
         std::set<std::string>(urls.begin(), urls.end());
}

// Only a member that has been running has told the cluster its name.
absl::Status CheckNeverStarted(const Member& member) {
  if (member.name.empty()) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "member {0:x} has already been bootstrapped: the cluster knows it as \"{1}\", but its data "
      "is "
      "not here. If the directory is elsewhere, give it with --data-dir. If the data is lost, the "
      "member cannot go on, for it does not know what it has acknowledged: run `etcdctl member "
      "remove {0:x}` and `etcdctl member add {1}`, then start it with "
      "--initial-cluster-state=existing",
      member.id, member.name);
}

}  // namespace

absl::StatusOr<ExistingCluster> FindCluster(const Config& config, const AskMembers& ask) {
  std::string problems;
  for (const std::string& url : UrlsOfOthers(config)) {
    absl::StatusOr<ExistingCluster> existing = ask(url);
    if (existing.ok() && !existing->members.empty()) return existing;
    problems += fmt::format(
        "; {}: {}", url, existing.ok() ? "knows no members yet" : base::Message(existing.status()));
  }
  return base::Error(absl::StatusCode::kUnavailable,
                     "cannot fetch cluster info from peer urls: could not retrieve cluster "
                     "information from the given URLs (--initial-cluster-state=existing joins the "
                     "cluster of the other members that --initial-cluster names){}",
                     problems);
}

absl::StatusOr<MemberId> FindOwnId(const Config& config, const ExistingCluster& existing) {
  const auto mismatch = [&](std::string_view why) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "error validating peerURLs {}: {}",
                       Describe(existing), why);
  };
  if (existing.members.size() != config.initial_cluster.size()) {
    return mismatch(fmt::format(
        "member count is unequal: --initial-cluster names {}; add this member with `etcdctl member "
        "add` first, and give the --initial-cluster that it prints",
        config.initial_cluster.size()));
  }
  const Member* own = nullptr;
  for (const Member& member : existing.members) {
    const auto match = std::find_if(
        config.initial_cluster.begin(), config.initial_cluster.end(),
        [&](const InitialMember& initial) { return HasUrls(initial, member.peer_urls); });
    if (match == config.initial_cluster.end()) {
      return mismatch(fmt::format("PeerURLs: no match found for existing member ({:x}, [{}])",
                                  member.id, fmt::join(member.peer_urls, " ")));
    }
    if (match->name == config.name) own = &member;
  }
  // As many as there are, and each of them matched: this one too, unless two had the same URLs.
  if (own == nullptr) return mismatch(fmt::format("PeerURLs: none of them is {}", config.name));
  CAIRN_RETURN_IF_ERROR(CheckNeverStarted(*own));
  return own->id;
}

absl::Status CheckNotBootstrapped(const Config& config, MemberId self, const AskMembers& ask) {
  const absl::StatusOr<ExistingCluster> existing = FindCluster(config, ask);
  if (!existing.ok()) return absl::OkStatus();
  const Member* const own = FindMember(existing->members, self);
  return own == nullptr ? absl::OkStatus() : CheckNeverStarted(*own);
}

}  // namespace cairn::server
