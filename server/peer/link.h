// The outgoing stream to one peer (transport.h).
//
// Shared by the transport and the callbacks of its streams. Any thread.
#ifndef CAIRN_SERVER_PEER_LINK_H_
#define CAIRN_SERVER_PEER_LINK_H_

#include <absl/base/thread_annotations.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/peer.pb.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/random.h"
#include "raft/messages.h"
#include "server/peer/transport.h"
#include "server/rpc/client.h"

namespace cairn::server {

// What clients of this member wait for: if it has certainly not left, that is told.
bool IsWaitedFor(const raft::Message& message);

class PeerTransport::Link final : public std::enable_shared_from_this<PeerTransport::Link> {
 public:
  // `options` is copied: callbacks may come after the transport has gone.
  Link(std::shared_ptr<const PeerTransportOptions> options, MemberId id,
       std::vector<std::string> peer_urls, uint64_t random_seed);

  MemberId id() const { return id_; }
  // Goes to other addresses, at once if they differ from the present ones.
  void SetAddresses(const std::vector<std::string>& peer_urls);
  // Takes a message; it leaves with the next Pump.
  void Add(raft::Message message);
  // Writes what waits, unless a write is under way.
  void Pump();
  void Tick();
  // The peer has just shown that it is there: no need to wait any longer before trying again.
  void PeerIsThere();
  void Call(std::string_view path, std::string request, std::chrono::milliseconds timeout,
            Peers::CallDone done);
  PeerLinkStatus status() const;
  // Ends the stream, for good, and tells nobody. Returns what clients wait for among what has
  // certainly not left.
  std::vector<raft::Message> Stop();

 private:
  class Events;
  using Time = std::chrono::steady_clock::time_point;

  struct Probe {
    uint64_t number = 0;
    Time sent;
  };

  // What a stream told. `generation` is the stream's: what one of before says counts no more.
  void OnMessage(uint64_t generation, std::string_view message);
  void OnWritten(uint64_t generation);
  void OnEnd(uint64_t generation, const absl::Status& status);

  void Open(Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets go of the stream and all that was meant for it. The next comes after a pause.
  // Returns what clients wait for among what was dropped.
  std::vector<raft::Message> Close(Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnGreeting(const peer::Greeting& greeting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The next request: the greeting, then a probe, then messages. False when there is nothing.
  bool TakeNext(peer::PeerRequest& request, std::vector<raft::Message>& messages)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const PeerTransportOptions> options_;
  const MemberId id_;

  mutable base::Mutex mutex_;
  std::vector<std::string> authorities_ ABSL_GUARDED_BY(mutex_);
  size_t next_authority_ ABSL_GUARDED_BY(mutex_) = 0;
  base::Random random_ ABSL_GUARDED_BY(mutex_);

  std::shared_ptr<rpc::ClientConnection> connection_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<rpc::ClientStream> stream_ ABSL_GUARDED_BY(mutex_);  // Null: none.
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  Time opened_ ABSL_GUARDED_BY(mutex_);
  Time retry_at_ ABSL_GUARDED_BY(mutex_);
  std::chrono::milliseconds pause_ ABSL_GUARDED_BY(mutex_);
  bool greeting_is_due_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::deque<raft::Message> queue_ ABSL_GUARDED_BY(mutex_);
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_messages_ ABSL_GUARDED_BY(mutex_) = 0;
  bool overflowed_ ABSL_GUARDED_BY(mutex_) = false;  // Since the last Tick.

  std::optional<Time> connected_since_ ABSL_GUARDED_BY(mutex_);
  std::string server_version_ ABSL_GUARDED_BY(mutex_);
  bool probe_is_due_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Probe> probe_ ABSL_GUARDED_BY(mutex_);  // Without an answer yet.
  uint64_t probes_ ABSL_GUARDED_BY(mutex_) = 0;
  Time last_probe_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::chrono::microseconds> round_trip_ ABSL_GUARDED_BY(mutex_);
  std::string last_refusal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_LINK_H_
