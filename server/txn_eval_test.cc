// What is evaluated is tested through the applier and the service; here is what decides where.
#include "server/txn_eval.h"

#include <gtest/gtest.h>

#include <string>

#include "api/rpc.pb.h"

namespace cairn::server {
namespace {

using etcdserverpb::TxnRequest;

TxnRequest Reads(int compares, int success, int failure) {
  TxnRequest request;
  for (int i = 0; i < compares; ++i) request.add_compare()->set_key("k");
  for (int i = 0; i < success; ++i) request.add_success()->mutable_request_range()->set_key("k");
  for (int i = 0; i < failure; ++i) request.add_failure()->mutable_request_range()->set_key("k");
  return request;
}

TEST(TxnEvalTest, SmallReadsAreFewSingleKeysOfOneBranch) {
  EXPECT_TRUE(IsSmallReadTxn(Reads(0, 0, 0)));
  EXPECT_TRUE(IsSmallReadTxn(Reads(1, 7, 7)));
  EXPECT_TRUE(IsSmallReadTxn(Reads(8, 0, 0)));
  EXPECT_FALSE(IsSmallReadTxn(Reads(9, 0, 0)));
  EXPECT_FALSE(IsSmallReadTxn(Reads(1, 8, 0)));
  EXPECT_FALSE(IsSmallReadTxn(Reads(1, 0, 8)));
}

TEST(TxnEvalTest, ReadsOfRangesAreNotSmall) {
  TxnRequest request = Reads(1, 1, 1);
  request.mutable_compare(0)->set_range_end("l");
  EXPECT_FALSE(IsSmallReadTxn(request));
  request = Reads(1, 1, 1);
  request.mutable_success(0)->mutable_request_range()->set_range_end("l");
  EXPECT_FALSE(IsSmallReadTxn(request));
  request = Reads(1, 1, 1);
  request.mutable_failure(0)->mutable_request_range()->set_range_end(std::string(1, '\0'));
  EXPECT_FALSE(IsSmallReadTxn(request));
}

}  // namespace
}  // namespace cairn::server
