#include "server/response.h"

#include <gtest/gtest.h>

#include <string>

#include "api/rpc.pb.h"

namespace cairn::server {
namespace {

TEST(ResponseHeader, IsWhatProtobufWouldWrite) {
  const ResponseHeader headers[] = {
      {},
      {.cluster_id = ClusterId(1), .member_id = MemberId(2), .revision = Revision(3)},
      {.cluster_id = ClusterId(~uint64_t{0}),
       .member_id = MemberId(~uint64_t{0}),
       .revision = Revision(-1),
       .raft_term = Term(~uint64_t{0})},
      {.revision = Revision(int64_t{1} << 40)},
  };
  for (const ResponseHeader& header : headers) {
    etcdserverpb::PutResponse expected;
    expected.mutable_header()->set_cluster_id(header.cluster_id.value());
    expected.mutable_header()->set_member_id(header.member_id.value());
    expected.mutable_header()->set_revision(header.revision.value());
    expected.mutable_header()->set_raft_term(header.raft_term.value());
    expected.mutable_prev_kv()->set_key("k");
    std::string body;
    etcdserverpb::PutResponse rest = expected;
    rest.clear_header();
    EXPECT_EQ(WithHeader(header, rest.SerializeAsString()).Flatten(), expected.SerializeAsString());
    for (const size_t value_bytes : {size_t{10}, size_t{10'000}}) {
      expected.mutable_prev_kv()->set_value(std::string(value_bytes, 'v'));
      rest.mutable_prev_kv()->set_value(expected.prev_kv().value());
      const rpc::SliceList pieces(rest.SerializeAsString());
      const rpc::SliceList answer = WithHeader(header, "", pieces);
      EXPECT_EQ(answer.Flatten(), expected.SerializeAsString());
      // Large pieces are shared.
      EXPECT_EQ(answer.slices().size(), value_bytes > 1000 ? 2U : 1U);
    }
    std::string field;
    AppendHeaderField(field, header);
    EXPECT_LE(field.size(), kHeaderFieldBytesMax);
  }
}

}  // namespace
}  // namespace cairn::server
