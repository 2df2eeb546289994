// Messages to the other members: one outgoing stream to each, which heals by itself.
//
// Owned by the server. Send and Tick come from one thread (the node thread, or a test); everything
// else may come from any. Nothing blocks. What cannot be sent is dropped, which raft tolerates, and
// told through `on_unreachable`; forwarded proposals, which nobody sends again, come back through
// `on_undelivered` if they have certainly not left. While one write is under way, what comes
// gathers and leaves as one batch. A stream that fails is opened again after a pause that doubles
// up to a bound and is spread by chance, so that members do not knock in step. Each stream proves
// itself by a probe a second: one that goes unanswered for long is taken for dead, and the answers
// measure the round trip.
//
// Bounds: `queue_bytes_max` a peer, kRemotesMax strangers.
#ifndef CAIRN_SERVER_PEER_TRANSPORT_H_
#define CAIRN_SERVER_PEER_TRANSPORT_H_

#include <absl/base/thread_annotations.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "raft/messages.h"
#include "server/node.h"
#include "server/peer/greeting.h"
#include "server/peers.h"
#include "server/rpc/client.h"

namespace cairn::server {

struct PeerTransportOptions {
  PeerIdentity identity;
  rpc::Connector connect;
  // Messages for `peer` were dropped, or the stream to it ended. Any thread.
  std::function<void(MemberId peer)> on_unreachable;
  // Forwarded proposals and questions for a read index that were dropped before a byte of them was
  // written. Any thread.
  std::function<void(std::vector<raft::Message> messages)> on_undelivered;
  // A peer refuses to talk to this member, and why (its words). Once for each different reason.
  std::function<void(MemberId peer, const absl::Status& why)> on_refused;
  // Differs between members.
  uint64_t random_seed = 0;
  // Waiting for one peer. Twice what the core lets be in flight to it.
  size_t queue_bytes_max = size_t{16} << 20;
  // One batch; a larger message goes alone. As large as the core's appends.
  size_t batch_bytes_max = size_t{1} << 20;
  // The first pause before a stream is opened again, and the longest.
  std::chrono::milliseconds retry_min{50};
  std::chrono::milliseconds retry_max{1000};
  std::chrono::milliseconds probe_interval{1000};
  // A stream whose probe has no answer for so long is dead: a peer that only computes answers long
  // before.
  std::chrono::milliseconds probe_timeout{5000};
  // The monotonic clock; a test brings its own.
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// What is known of the stream to one peer.
struct PeerLinkStatus {
  MemberId id;
  // Since when the peer has been answering without a break; none: it does not.
  std::optional<std::chrono::steady_clock::time_point> connected_since;
  std::optional<std::chrono::microseconds> round_trip;  // Of the last probe.
  std::string server_version;                           // As the peer greeted; empty before.
  size_t queued_bytes = 0;
  uint64_t dropped_messages = 0;
};

class PeerTransport final : public Peers {
 public:
  // Members that are not in the configuration as far as it is applied here, but have greeted us.
  static constexpr size_t kRemotesMax = 16;

  explicit PeerTransport(PeerTransportOptions options);
  // Stops.
  ~PeerTransport() override;

  // Who there is: begins to talk to those that are new, ends with those that are gone, and goes to
  // the new addresses of those that moved. This member itself is left out.
  void SetMembers(const Members& members) override;
  // A member has greeted us. One that is waited for, after its restart perhaps, is spoken to at
  // once. One that is in no configuration applied here gets its answers at `peer_urls`, until
  // SetMembers names it or more than kRemotesMax others have come.
  void Greeted(MemberId id, const std::vector<std::string>& peer_urls);

  // Sends each message to its `to`; to whom there is no link, nothing leaves.
  void Send(std::vector<raft::Message> messages) override;
  // Opens streams that are due, sends probes, ends streams that are dead. To be called about every
  // heartbeat interval.
  void Tick() override;

  // Calls `method` of cairn.peer.Peer on a member, over the connection of its stream. UNAVAILABLE
  // when there is none. `done` runs once, perhaps before this returns.
  void Call(MemberId to, std::string_view method, std::string request,
            std::chrono::milliseconds timeout, CallDone done) override;

  std::vector<PeerLinkStatus> Links() const;
  std::optional<int64_t> ConnectedMs(MemberId id) const override;
  // What a connected peer has greeted with; none: it does not answer. Any thread.
  std::optional<std::string> ServerVersion(MemberId id) const;

  // Ends all streams; nothing is sent or told any more.
  void Stop();

 private:
  class Link;

  std::shared_ptr<Link> Find(MemberId id) const;
  // Ends links whose member has gone, and tells of what they held.
  void StopAndTell(const std::vector<std::shared_ptr<Link>>& gone);
  std::shared_ptr<Link> NewLink(MemberId id, const std::vector<std::string>& peer_urls)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Shared with the links, whose streams may tell of their end after this object has gone.
  const std::shared_ptr<const PeerTransportOptions> options_;
  mutable base::Mutex mutex_;
  std::map<MemberId, std::shared_ptr<Link>> members_ ABSL_GUARDED_BY(mutex_);
  // The oldest first.
  std::vector<std::shared_ptr<Link>> remotes_ ABSL_GUARDED_BY(mutex_);
  uint64_t links_made_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_TRANSPORT_H_
