// The services over a fake node, asked in text format. Test only.
//
// What a call answers is one line of text without the ids and the term of its header, which are
// checked, so that a test reads like a history. One thread.
#ifndef CAIRN_SERVER_SERVICES_FIXTURE_H_
#define CAIRN_SERVER_SERVICES_FIXTURE_H_

#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/response_buffer.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"

namespace cairn::server {

template <typename Message>
Message Parse(std::string_view text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(text), &message)) << text;
  return message;
}

inline std::string Show(const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(message, &text);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

class ServicesTest : public testing::Test {
 protected:
  explicit ServicesTest(ServiceLimits limits = {})
      : services_(ServiceContext{node_, node_.store(), budget_, limits}) {}

  // The response, without the ids and the term of its header (which are checked), or
  // "CODE: text".
  template <typename Request, typename Response>
  std::string Call(std::string_view path, std::string_view request,
                   rpc::FakeCallOptions options = {}) {
    const absl::StatusOr<std::string> answer = rpc::CallUnary(
        services_.table(), path, Parse<Request>(request).SerializeAsString(), options);
    if (!answer.ok()) {
      return fmt::format("{}: {}", absl::StatusCodeToString(answer.status().code()),
                         base::Message(answer.status()));
    }
    Response response;
    EXPECT_TRUE(response.ParseFromString(*answer));
    EXPECT_EQ(response.header().cluster_id(), 11U);
    EXPECT_EQ(response.header().member_id(), 22U);
    EXPECT_EQ(response.header().raft_term(), 3U);
    response.mutable_header()->clear_cluster_id();
    response.mutable_header()->clear_member_id();
    response.mutable_header()->clear_raft_term();
    return Show(response);
  }

  std::string Put(std::string_view request) {
    return Call<etcdserverpb::PutRequest, etcdserverpb::PutResponse>("/etcdserverpb.KV/Put",
                                                                     request);
  }
  std::string Range(std::string_view request) {
    return Call<etcdserverpb::RangeRequest, etcdserverpb::RangeResponse>("/etcdserverpb.KV/Range",
                                                                         request);
  }
  std::string Delete(std::string_view request) {
    return Call<etcdserverpb::DeleteRangeRequest, etcdserverpb::DeleteRangeResponse>(
        "/etcdserverpb.KV/DeleteRange", request);
  }
  std::string Txn(std::string_view request) {
    return Call<etcdserverpb::TxnRequest, etcdserverpb::TxnResponse>("/etcdserverpb.KV/Txn",
                                                                     request);
  }
  std::string Compact(std::string_view request) {
    return Call<etcdserverpb::CompactionRequest, etcdserverpb::CompactionResponse>(
        "/etcdserverpb.KV/Compact", request);
  }

  FakeNode node_;
  ResponseBudget budget_;
  Services services_;
};

inline std::string Text(api::Error error) {
  return fmt::format("{}: {}", absl::StatusCodeToString(api::Info(error).code),
                     api::Info(error).text);
}

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SERVICES_FIXTURE_H_
