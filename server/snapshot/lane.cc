#include "server/snapshot/lane.h"

#include <string>
#include <utility>

#include "server/url.h"

namespace cairn::server {

SnapshotLane::SnapshotLane(SnapshotLaneOptions options, wal::Fs& fs, StateHome& states,
                           mvcc::Store& store, LogPins& pins)
    : checkpoints_({}, fs, states, store, pins),
      sender_(SenderOptions(options), fs, checkpoints_),
      receiver_({options.identity, options.is_removed}, fs, states, store) {}

SnapshotLane::~SnapshotLane() { Stop(); }

SnapshotSenderOptions SnapshotLane::SenderOptions(const SnapshotLaneOptions& options) {
  SnapshotSenderOptions sending;
  sending.identity = options.identity;
  sending.connect = options.connect;
  sending.bytes_per_second = options.send_bytes_per_second;
  // The sender's threads begin after Start and end before the runner does.
  sending.addresses_of = [this](MemberId id) {
    std::vector<std::string> addresses;
    const std::shared_ptr<const Members> members = runner()->members();
    for (const Member& member : *members) {
      if (member.id != id) continue;
      for (const std::string& text : member.peer_urls) {
        if (const absl::StatusOr<Url> url = ParseUrl(text); url.ok()) {
          addresses.push_back(url->authority());
        }
      }
    }
    return addresses;
  };
  sending.leads_in = [this](Term term) {
    const NodeStatus status = runner()->status();
    return status.term == term && status.leader == runner()->member_id();
  };
  sending.on_status = [this](MemberId peer, Index index, bool is_installed) {
    runner()->SnapshotStatus(peer, index, is_installed);
  };
  return sending;
}

void SnapshotLane::Start(NodeRunner& runner) {
  install_ = std::make_unique<NodeInstall>(runner);
  std::vector<raft::SnapshotWanted> early;
  {
    base::MutexLock lock(mutex_);
    runner_ = &runner;
    early.swap(early_);
  }
  for (const raft::SnapshotWanted& wanted : early) sender_.Send(wanted);
  receiver_.Start(*install_);
}

void SnapshotLane::Stop() {
  sender_.Stop();
  receiver_.Stop();
}

void SnapshotLane::Send(const raft::SnapshotWanted& wanted) {
  {
    base::MutexLock lock(mutex_);
    if (runner_ == nullptr) {
      early_.push_back(wanted);
      return;
    }
  }
  sender_.Send(wanted);
}

}  // namespace cairn::server
