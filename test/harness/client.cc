#include "test/harness/client.h"

#include <grpcpp/generic/generic_stub.h>

#include <utility>
#include <vector>

namespace cairn::test {
namespace {

// A restarted server is found again this soon.
constexpr int kReconnectMs = 20;
constexpr int kReconnectMaxMs = 200;

// gRPC's least pause is also how long it lets one attempt take. A refused one fails at once, so
// only a loaded machine ever needs more than milliseconds.
constexpr int kConnectTimeoutMs = 20'000;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A connection of its own, not one shared with other clients of the same address.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void Prepare(grpc::ClientContext& context, const CallOptions& options) {
  context.set_deadline(std::chrono::system_clock::now() + options.timeout);
  context.set_wait_for_ready(options.wait_for_ready);
}

}  // namespace

Client::Client(const std::string& address)
    : channel_(MakeChannel(address)),
      kv_(etcdserverpb::KV::NewStub(channel_)),
      lease_(etcdserverpb::Lease::NewStub(channel_)),
      cluster_(etcdserverpb::Cluster::NewStub(channel_)),
      maintenance_(etcdserverpb::Maintenance::NewStub(channel_)) {}

grpc::Status Client::Range(const etcdserverpb::RangeRequest& request,
                           etcdserverpb::RangeResponse* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return kv_->Range(&context, request, response);
}

grpc::Status Client::Put(const etcdserverpb::PutRequest& request,
                         etcdserverpb::PutResponse* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return kv_->Put(&context, request, response);
}

grpc::Status Client::DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                                 etcdserverpb::DeleteRangeResponse* response,
                                 const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return kv_->DeleteRange(&context, request, response);
}

grpc::Status Client::Txn(const etcdserverpb::TxnRequest& request,
                         etcdserverpb::TxnResponse* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return kv_->Txn(&context, request, response);
}

grpc::Status Client::Compact(const etcdserverpb::CompactionRequest& request,
                             etcdserverpb::CompactionResponse* response,
                             const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return kv_->Compact(&context, request, response);
}

grpc::Status Client::RangeStream(const etcdserverpb::RangeRequest& request,
                                 etcdserverpb::RangeResponse* response,
                                 const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  auto reader = kv_->RangeStream(&context, request);
  etcdserverpb::RangeStreamResponse chunk;
  response->Clear();
  while (reader->Read(&chunk)) response->MergeFrom(chunk.range_response());
  return reader->Finish();
}

grpc::Status Client::LeaseGrant(const etcdserverpb::LeaseGrantRequest& request,
                                etcdserverpb::LeaseGrantResponse* response,
                                const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return lease_->LeaseGrant(&context, request, response);
}

grpc::Status Client::LeaseRevoke(const etcdserverpb::LeaseRevokeRequest& request,
                                 etcdserverpb::LeaseRevokeResponse* response,
                                 const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return lease_->LeaseRevoke(&context, request, response);
}

grpc::Status Client::LeaseKeepAlive(const etcdserverpb::LeaseKeepAliveRequest& request,
                                    etcdserverpb::LeaseKeepAliveResponse* response,
                                    const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  const auto stream = lease_->LeaseKeepAlive(&context);
  const bool is_answered = stream->Write(request) && stream->Read(response);
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  if (!status.ok() || is_answered) return status;
  return grpc::Status(grpc::INTERNAL, "a keepalive without an answer");
}

grpc::Status Client::LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request,
                                     etcdserverpb::LeaseTimeToLiveResponse* response,
                                     const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return lease_->LeaseTimeToLive(&context, request, response);
}

grpc::Status Client::LeaseLeases(const etcdserverpb::LeaseLeasesRequest& request,
                                 etcdserverpb::LeaseLeasesResponse* response,
                                 const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return lease_->LeaseLeases(&context, request, response);
}

grpc::Status Client::StatusOf(etcdserverpb::StatusResponse* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return maintenance_->Status(&context, etcdserverpb::StatusRequest(), response);
}

grpc::Status Client::HashKV(const etcdserverpb::HashKVRequest& request,
                            etcdserverpb::HashKVResponse* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return maintenance_->HashKV(&context, request, response);
}

grpc::Status Client::MemberList(etcdserverpb::MemberListResponse* response,
                                const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  return cluster_->MemberList(&context, etcdserverpb::MemberListRequest(), response);
}

grpc::Status Client::Raw(const std::string& method, const std::string& request,
                         std::string* response, const CallOptions& options) {
  grpc::ClientContext context;
  Prepare(context, options);
  const grpc::Slice request_slice(request);
  const grpc::ByteBuffer request_buffer(&request_slice, 1);
  grpc::ByteBuffer response_buffer;
  grpc::Status status;
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel_);
  auto call = stub.PrepareUnaryCall(&context, method, request_buffer, &queue);
  call->StartCall();
  call->Finish(&response_buffer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  response->clear();
  std::vector<grpc::Slice> slices;
  if (status.ok() && response_buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      response->append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return status;
}

}  // namespace cairn::test
