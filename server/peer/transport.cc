#include "server/peer/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/status.h"
#include "server/peer/codec.h"
#include "server/peer/link.h"

namespace cairn::server {

PeerTransport::PeerTransport(PeerTransportOptions options)
    : options_(std::make_shared<const PeerTransportOptions>(std::move(options))) {}

PeerTransport::~PeerTransport() { Stop(); }

std::shared_ptr<PeerTransport::Link> PeerTransport::Find(MemberId id) const {
  base::MutexLock lock(mutex_);
  const auto member = members_.find(id);
  if (member != members_.end()) return member->second;
  const auto remote = std::find_if(remotes_.begin(), remotes_.end(),
                                   [&](const auto& link) { return link->id() == id; });
  return remote == remotes_.end() ? nullptr : *remote;
}

std::shared_ptr<PeerTransport::Link> PeerTransport::NewLink(
    MemberId id, const std::vector<std::string>& peer_urls) {
  return std::make_shared<Link>(options_, id, peer_urls, options_->random_seed + ++links_made_);
}

void PeerTransport::SetMembers(const Members& members) {
  std::vector<std::shared_ptr<Link>> gone;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    std::map<MemberId, std::shared_ptr<Link>> present;
    for (const Member& member : members) {
      if (member.id == options_->identity.self) continue;
      std::shared_ptr<Link>& link = present[member.id];
      const auto known = members_.find(member.id);
      const auto remote = std::find_if(remotes_.begin(), remotes_.end(),
                                       [&](const auto& other) { return other->id() == member.id; });
      if (known != members_.end()) {
        link = std::move(known->second);
        members_.erase(known);
      } else if (remote != remotes_.end()) {
        link = std::move(*remote);
        remotes_.erase(remote);
      } else {
        link = NewLink(member.id, member.peer_urls);
      }
      link->SetAddresses(member.peer_urls);
    }
    for (auto& [id, link] : members_) gone.push_back(std::move(link));
    members_ = std::move(present);
  }
  StopAndTell(gone);
}

void PeerTransport::StopAndTell(const std::vector<std::shared_ptr<Link>>& gone) {
  std::vector<raft::Message> undelivered;
  for (const std::shared_ptr<Link>& link : gone) {
    std::vector<raft::Message> left = link->Stop();
    std::move(left.begin(), left.end(), std::back_inserter(undelivered));
  }
  if (!undelivered.empty()) options_->on_undelivered(std::move(undelivered));
}

void PeerTransport::Greeted(MemberId id, const std::vector<std::string>& peer_urls) {
  if (id == options_->identity.self) return;
  if (const std::shared_ptr<Link> known = Find(id); known != nullptr) return known->PeerIsThere();
  std::shared_ptr<Link> oldest;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    if (remotes_.size() >= kRemotesMax) {
      oldest = std::move(remotes_.front());
      remotes_.erase(remotes_.begin());
    }
    remotes_.push_back(NewLink(id, peer_urls));
  }
  if (oldest != nullptr) StopAndTell({oldest});
}

void PeerTransport::Send(std::vector<raft::Message> messages) {
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
  }
  std::vector<raft::Message> parts;
  parts.reserve(messages.size());
  for (raft::Message& message : messages) {
    SplitInto(std::move(message), options_->batch_bytes_max, parts);
  }
  std::vector<std::shared_ptr<Link>> touched;
  std::vector<raft::Message> undelivered;
  for (raft::Message& message : parts) {
    const auto at = std::find_if(touched.begin(), touched.end(),
                                 [&](const auto& link) { return link->id() == message.to; });
    std::shared_ptr<Link> link = at == touched.end() ? Find(message.to) : *at;
    if (link == nullptr) {
      if (IsWaitedFor(message)) undelivered.push_back(std::move(message));
      continue;
    }
    link->Add(std::move(message));
    if (at == touched.end()) touched.push_back(std::move(link));
  }
  for (const std::shared_ptr<Link>& link : touched) link->Pump();
  if (!undelivered.empty()) options_->on_undelivered(std::move(undelivered));
}

void PeerTransport::Tick() {
  std::vector<std::shared_ptr<Link>> links;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    for (const auto& [id, link] : members_) links.push_back(link);
    links.insert(links.end(), remotes_.begin(), remotes_.end());
  }
  for (const std::shared_ptr<Link>& link : links) link->Tick();
}

void PeerTransport::Call(MemberId to, std::string_view method, std::string request,
                         std::chrono::milliseconds timeout, CallDone done) {
  const std::shared_ptr<Link> link = Find(to);
  if (link == nullptr) {
    std::move(done)(base::Error(absl::StatusCode::kUnavailable, "member {:x} is not known", to));
    return;
  }
  link->Call(fmt::format("/cairn.peer.Peer/{}", method), std::move(request), timeout,
             std::move(done));
}

std::vector<PeerLinkStatus> PeerTransport::Links() const {
  std::vector<PeerLinkStatus> statuses;
  base::MutexLock lock(mutex_);
  for (const auto& [id, link] : members_) statuses.push_back(link->status());
  return statuses;
}

std::optional<int64_t> PeerTransport::ConnectedMs(MemberId id) const {
  const std::shared_ptr<Link> link = Find(id);
  if (link == nullptr) return std::nullopt;
  const auto since = link->status().connected_since;
  if (!since.has_value()) return std::nullopt;
  return std::chrono::duration_cast<std::chrono::milliseconds>(options_->now() - *since).count();
}

std::optional<std::string> PeerTransport::ServerVersion(MemberId id) const {
  const std::shared_ptr<Link> link = Find(id);
  if (link == nullptr) return std::nullopt;
  PeerLinkStatus status = link->status();
  if (!status.connected_since.has_value()) return std::nullopt;
  return std::move(status.server_version);
}

void PeerTransport::Stop() {
  std::vector<std::shared_ptr<Link>> links;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    for (auto& [id, link] : members_) links.push_back(std::move(link));
    for (std::shared_ptr<Link>& link : remotes_) links.push_back(std::move(link));
    members_.clear();
    remotes_.clear();
  }
  for (const std::shared_ptr<Link>& link : links) link->Stop();
}

}  // namespace cairn::server
