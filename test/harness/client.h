// A connection to an etcd-compatible server for tests: a channel of its own and one method a call.
//
// Thread-safe, as gRPC's channels and stubs are. Every call has a deadline. A call never retries;
// the channel itself reconnects within milliseconds, since tests restart servers.
#ifndef CAIRN_TEST_HARNESS_CLIENT_H_
#define CAIRN_TEST_HARNESS_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "api/rpc.grpc.pb.h"

namespace cairn::test {

struct CallOptions {
  // Generous: a loaded machine must not turn into a failed test.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  // Wait for the connection instead of failing with UNAVAILABLE.
  bool wait_for_ready = false;
};

class Client {
 public:
  // `address` is host:port.
  explicit Client(const std::string& address);

  grpc::Status Range(const etcdserverpb::RangeRequest& request,
                     etcdserverpb::RangeResponse* response, const CallOptions& options = {});
  grpc::Status Put(const etcdserverpb::PutRequest& request, etcdserverpb::PutResponse* response,
                   const CallOptions& options = {});
  grpc::Status DeleteRange(const etcdserverpb::DeleteRangeRequest& request,
                           etcdserverpb::DeleteRangeResponse* response,
                           const CallOptions& options = {});
  grpc::Status Txn(const etcdserverpb::TxnRequest& request, etcdserverpb::TxnResponse* response,
                   const CallOptions& options = {});
  grpc::Status Compact(const etcdserverpb::CompactionRequest& request,
                       etcdserverpb::CompactionResponse* response, const CallOptions& options = {});
  // All chunks of the stream joined: key-values appended, the other fields of the last message. On
  // an error the chunks before it are in `response`.
  grpc::Status RangeStream(const etcdserverpb::RangeRequest& request,
                           etcdserverpb::RangeResponse* response, const CallOptions& options = {});
  grpc::Status LeaseGrant(const etcdserverpb::LeaseGrantRequest& request,
                          etcdserverpb::LeaseGrantResponse* response,
                          const CallOptions& options = {});
  grpc::Status LeaseRevoke(const etcdserverpb::LeaseRevokeRequest& request,
                           etcdserverpb::LeaseRevokeResponse* response,
                           const CallOptions& options = {});
  // One message of a keepalive stream and its answer.
  grpc::Status LeaseKeepAlive(const etcdserverpb::LeaseKeepAliveRequest& request,
                              etcdserverpb::LeaseKeepAliveResponse* response,
                              const CallOptions& options = {});
  grpc::Status LeaseTimeToLive(const etcdserverpb::LeaseTimeToLiveRequest& request,
                               etcdserverpb::LeaseTimeToLiveResponse* response,
                               const CallOptions& options = {});
  grpc::Status LeaseLeases(const etcdserverpb::LeaseLeasesRequest& request,
                           etcdserverpb::LeaseLeasesResponse* response,
                           const CallOptions& options = {});
  grpc::Status StatusOf(etcdserverpb::StatusResponse* response, const CallOptions& options = {});
  grpc::Status HashKV(const etcdserverpb::HashKVRequest& request,
                      etcdserverpb::HashKVResponse* response, const CallOptions& options = {});
  grpc::Status MemberList(etcdserverpb::MemberListResponse* response,
                          const CallOptions& options = {});

  // Sends any bytes to any unary method (`/package.Service/Method`) and takes any bytes back.
  grpc::Status Raw(const std::string& method, const std::string& request, std::string* response,
                   const CallOptions& options = {});

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<etcdserverpb::KV::Stub> kv_;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease_;
  std::unique_ptr<etcdserverpb::Cluster::Stub> cluster_;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_CLIENT_H_
