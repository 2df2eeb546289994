// raft::Message to the bytes of api/peer.proto, and back.
//
// Pure; any thread. Numbers that no version of ours writes (an entry kind, a message body) are
// refused rather than guessed, so that a newer peer's words are never half understood.
#ifndef CAIRN_SERVER_PEER_CODEC_H_
#define CAIRN_SERVER_PEER_CODEC_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/peer.pb.h"
#include "base/ids.h"
#include "raft/messages.h"

namespace cairn::server {

// About what `message` takes when it is encoded, in bytes: what queues count.
size_t EncodedBytes(const raft::Message& message);

// Writes `message`, whose sender and addressee the stream knows, into `encoded`.
void Encode(const raft::Message& message, peer::Message& encoded);

// Whether a term or an index of a peer is one that there can be (raft::kTermOrIndexMax):
// INVALID_ARGUMENT if not.
absl::Status CheckTermOrIndex(uint64_t number);

// The message that `from` sent to `to`. INVALID_ARGUMENT for one that no member writes. Takes the
// payloads out of `encoded`.
absl::StatusOr<raft::Message> Decode(peer::Message&& encoded, MemberId from, MemberId to);

// Cuts forwarded proposals of more than `bytes_max` into several messages, so that no message is
// larger than one entry or `bytes_max`; others stay as they are. Appends `message` to `messages`.
void SplitInto(raft::Message message, size_t bytes_max, std::vector<raft::Message>& messages);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PEER_CODEC_H_
