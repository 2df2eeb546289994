// What members ask each other about the hash of their states, and how they answer (api/peer.proto).
//
// Coding, and a handler without a state of its own; any thread. The answering side is registered in
// the table of the peer port.
#ifndef CAIRN_SERVER_PEER_HASH_CALLS_H_
#define CAIRN_SERVER_PEER_HASH_CALLS_H_

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "server/corruption_verdict.h"
#include "server/rpc/service_table.h"

namespace cairn::server {

// How far a member is with a hash.
struct HashProgress {
  enum class State {
    kReady,
    kComputing,  // Ask again.
    kBehind,     // It has not applied the revision yet.
  };

  State state = State::kComputing;
  StateHash hash;  // With kReady.
};

// The rpc of cairn.peer.Peer.
inline constexpr std::string_view kHashStateMethod = "HashState";

std::string EncodeHashRequest(ClusterId cluster, Revision revision);
// What the answer says. DATA_LOSS for bytes that no member sends.
absl::StatusOr<HashProgress> DecodeHashResponse(std::string_view bytes);

// Answers with what `hash_at` says, which must not block; OUT_OF_RANGE from it is passed on.
// FAILED_PRECONDITION "cluster ID mismatch" for who belongs to another cluster.
void RegisterHashCalls(ClusterId cluster,
                       std::function<absl::StatusOr<HashProgress>(Revision)> hash_at,
                       rpc::ServiceTable& table);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_HASH_CALLS_H_
