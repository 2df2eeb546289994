#include "server/peer/hash_calls.h"

#include <memory>
#include <utility>

#include "api/errors.h"
#include "api/peer.pb.h"
#include "base/status.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using peer::HashStateResponse;

constexpr std::string_view kServiceName = "cairn.peer.Peer";

HashStateResponse Encode(const HashProgress& progress) {
  HashStateResponse response;
  switch (progress.state) {
    case HashProgress::State::kReady:
      response.set_state(HashStateResponse::READY);
      response.set_hash(progress.hash.hash);
      response.set_compact_revision(progress.hash.compact_revision.value());
      response.set_revision(progress.hash.revision.value());
      response.set_live_hash(progress.hash.live_hash);
      break;
    case HashProgress::State::kComputing:
      response.set_state(HashStateResponse::COMPUTING);
      break;
    case HashProgress::State::kBehind:
      response.set_state(HashStateResponse::BEHIND);
      break;
  }
  return response;
}

}  // namespace

std::string EncodeHashRequest(ClusterId cluster, Revision revision) {
  peer::HashStateRequest request;
  request.set_cluster_id(cluster.value());
  request.set_revision(revision.value());
  return request.SerializeAsString();
}

absl::StatusOr<HashProgress> DecodeHashResponse(std::string_view bytes) {
  HashStateResponse response;
  const bool parses = response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  // Without a hash of what lives it could not be compared.
  if (parses && response.state() == HashStateResponse::READY && response.has_live_hash()) {
    return HashProgress{HashProgress::State::kReady,
                        {.revision = Revision(response.revision()),
                         .compact_revision = Revision(response.compact_revision()),
                         .hash = response.hash(),
                         .live_hash = response.live_hash()}};
  }
  if (parses && response.state() == HashStateResponse::COMPUTING) {
    return HashProgress{HashProgress::State::kComputing, {}};
  }
  if (parses && response.state() == HashStateResponse::BEHIND) {
    return HashProgress{HashProgress::State::kBehind, {}};
  }
  return base::Error(absl::StatusCode::kDataLoss, "the answer does not parse");
}

void RegisterHashCalls(ClusterId cluster,
                       std::function<absl::StatusOr<HashProgress>(Revision)> hash_at,
                       rpc::ServiceTable& table) {
  table.AddUnary(
      kServiceName, kHashStateMethod,
      rpc::TypedUnary<peer::HashStateRequest>(
          [cluster, hash_at = std::move(hash_at)](std::unique_ptr<rpc::UnaryCall> call,
                                                  const peer::HashStateRequest& request) {
            if (request.cluster_id() != cluster.value()) {
              return call->Finish(api::ToStatus(api::Error::kClusterIdMismatch));
            }
            const absl::StatusOr<HashProgress> progress = hash_at(Revision(request.revision()));
            if (!progress.ok()) return call->Finish(progress.status());
            call->Finish(rpc::SliceList(rpc::Encode(Encode(*progress))));
          }));
}

}  // namespace cairn::server
