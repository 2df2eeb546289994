#include "server/peer/service.h"

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "api/peer.pb.h"
#include "base/status.h"
#include "server/peer/codec.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using rpc::ReadResult;
using rpc::StreamCall;

constexpr std::string_view kServiceName = "cairn.peer.Peer";

// One incoming stream. It owns itself: one read is pending at any time, and it goes when it has
// finished the call.
class IncomingStream {
 public:
  static void Start(const PeerServiceOptions& options, std::shared_ptr<StreamCall> call) {
    (new IncomingStream(options, std::move(call)))->ReadNext();
  }

 private:
  IncomingStream(const PeerServiceOptions& options, std::shared_ptr<StreamCall> call)
      : options_(options), call_(std::move(call)) {}

  // A callback that runs at once may end this stream, so the call is held here.
  void ReadNext() {
    const std::shared_ptr<StreamCall> call = call_;
    call->Read([this](ReadResult result, std::string_view bytes) {
      if (result != ReadResult::kMessage) return Finish(absl::OkStatus());
      if (absl::Status status = Take(bytes); !status.ok()) return Finish(std::move(status));
      ReadNext();
    });
  }

  absl::Status Take(std::string_view bytes) {
    peer::PeerRequest request;
    CAIRN_RETURN_IF_ERROR(rpc::Parse(bytes, request));
    if (request.has_greeting()) return TakeGreeting(request.greeting());
    if (!from_.has_value()) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "a peer must greet first");
    }
    switch (request.request_case()) {
      case peer::PeerRequest::kBatch:
        return TakeBatch(*request.mutable_batch());
      case peer::PeerRequest::kProbe: {
        peer::PeerResponse response;
        *response.mutable_probe() = request.probe();
        call_->Write(rpc::SliceList(rpc::Encode(response)));
        return absl::OkStatus();
      }
      default:
        return base::Error(absl::StatusCode::kInvalidArgument,
                           "a request that this version does not know");
    }
  }

  absl::Status TakeGreeting(const peer::Greeting& greeting) {
    if (from_.has_value()) {
      return base::Error(absl::StatusCode::kInvalidArgument, "a peer must greet once");
    }
    CAIRN_RETURN_IF_ERROR(CheckGreeting(options_.identity, greeting));
    const MemberId from(greeting.from_member_id());
    if (options_.is_removed(from)) return RemovedStatus(from, options_.identity.cluster);
    from_ = from;
    options_.on_greeting(from, {greeting.peer_urls().begin(), greeting.peer_urls().end()});
    peer::PeerResponse response;
    *response.mutable_greeting() = MakeGreeting(options_.identity, from);
    call_->Write(rpc::SliceList(rpc::Encode(response)));
    return absl::OkStatus();
  }

  absl::Status TakeBatch(peer::Batch& batch) {
    // Also of a stream that was greeted before the removal.
    if (options_.is_removed(*from_)) return RemovedStatus(*from_, options_.identity.cluster);
    std::vector<raft::Message> messages;
    messages.reserve(static_cast<size_t>(batch.messages_size()));
    for (peer::Message& encoded : *batch.mutable_messages()) {
      CAIRN_ASSIGN_OR_RETURN(raft::Message message,
                             Decode(std::move(encoded), *from_, options_.identity.self));
      messages.push_back(std::move(message));
    }
    options_.deliver(std::move(messages));
    return absl::OkStatus();
  }

  void Finish(absl::Status status) {
    call_->Finish(std::move(status));
    delete this;
  }

  const PeerServiceOptions& options_;
  const std::shared_ptr<StreamCall> call_;
  std::optional<MemberId> from_;
};

}  // namespace

PeerService::PeerService(PeerServiceOptions options) : options_(std::move(options)) {}

void PeerService::Register(rpc::ServiceTable& table) {
  table.AddStream(kServiceName, "Exchange", [this](std::shared_ptr<StreamCall> call) {
    IncomingStream::Start(options_, std::move(call));
  });
}

}  // namespace cairn::server
