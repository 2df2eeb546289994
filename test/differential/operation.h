// One step of a differential run: a request of the KV service, of the leases it needs, or of
// HashKV.
#ifndef CAIRN_TEST_DIFFERENTIAL_OPERATION_H_
#define CAIRN_TEST_DIFFERENTIAL_OPERATION_H_

#include <string>
#include <string_view>
#include <variant>

#include "api/rpc.pb.h"

namespace cairn::test {

// The same request as Range, sent as a stream and joined.
struct RangeStream {
  etcdserverpb::RangeRequest request;
};

using Operation =
    std::variant<etcdserverpb::RangeRequest, RangeStream, etcdserverpb::PutRequest,
                 etcdserverpb::DeleteRangeRequest, etcdserverpb::TxnRequest,
                 etcdserverpb::CompactionRequest, etcdserverpb::HashKVRequest,
                 etcdserverpb::LeaseGrantRequest, etcdserverpb::LeaseRevokeRequest,
                 etcdserverpb::LeaseKeepAliveRequest, etcdserverpb::LeaseTimeToLiveRequest,
                 etcdserverpb::LeaseLeasesRequest>;

// The answer to it: exactly one of an error and a response.
using Response =
    std::variant<etcdserverpb::RangeResponse, etcdserverpb::PutResponse,
                 etcdserverpb::DeleteRangeResponse, etcdserverpb::TxnResponse,
                 etcdserverpb::CompactionResponse, etcdserverpb::HashKVResponse,
                 etcdserverpb::LeaseGrantResponse, etcdserverpb::LeaseRevokeResponse,
                 etcdserverpb::LeaseKeepAliveResponse, etcdserverpb::LeaseTimeToLiveResponse,
                 etcdserverpb::LeaseLeasesResponse>;

struct Outcome {
  int code = 0;  // gRPC's number; 0 with a response
  std::string text;
  Response response;
};

// The name of its rpc, for reports and counts.
std::string_view NameOf(const Operation& operation);

// One line, cut to a readable length.
std::string Describe(const Operation& operation);
std::string Describe(const Outcome& outcome);

// The header of a response.
const etcdserverpb::ResponseHeader& HeaderOf(const Response& response);

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_OPERATION_H_
