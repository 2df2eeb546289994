#include "server/rpc/service_table.h"

#include <absl/status/status.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "base/status.h"
#include "server/rpc/fake_call.h"

namespace cairn::rpc {
namespace {

void Echo(std::unique_ptr<UnaryCall> call) {
  call->Finish(SliceList(std::string(call->request())));
}

TEST(ServiceTableTest, FindsWhatWasAdded) {
  ServiceTable table;
  table.AddUnary("etcdserverpb.KV", "Put", Echo);
  table.AddUnimplementedStream("etcdserverpb.Watch", "Watch");
  EXPECT_TRUE(table.Has("etcdserverpb.KV", "Put"));
  EXPECT_FALSE(table.Has("etcdserverpb.KV", "Watch"));
  ASSERT_NE(table.Find("/etcdserverpb.KV/Put"), nullptr);
  EXPECT_TRUE(std::holds_alternative<UnaryHandler>(*table.Find("/etcdserverpb.KV/Put")));
  EXPECT_TRUE(std::holds_alternative<StreamHandler>(*table.Find("/etcdserverpb.Watch/Watch")));
  EXPECT_EQ(table.Find("etcdserverpb.KV/Put"), nullptr);
  EXPECT_EQ(table.Find(""), nullptr);
  EXPECT_EQ(CallUnary(table, "/etcdserverpb.KV/Put", "x").value(), "x");
}

TEST(ServiceTableTest, UnknownPathsAreNamed) {
  ServiceTable table;
  table.AddUnary("etcdserverpb.KV", "Put", Echo);
  const struct {
    const char* path;
    const char* text;
  } kCases[] = {
      {"/etcdserverpb.KV/Pat", "unknown method Pat for service etcdserverpb.KV"},
      {"/etcdserverpb.KV/", "unknown method  for service etcdserverpb.KV"},
      {"/etcdserverpb.K/Put", "unknown service etcdserverpb.K"},
      {"/etcdserverpb.KV2/Put", "unknown service etcdserverpb.KV2"},
      {"/a/b/c", "unknown service a/b"},
      {"//x", "unknown service "},
      {"/nothing", "malformed method name: \"/nothing\""},
      {"", "malformed method name: \"\""},
  };
  for (const auto& c : kCases) {
    const absl::Status status = table.UnknownPath(c.path);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << c.path;
    EXPECT_EQ(base::Message(status), c.text);
    EXPECT_EQ(CallUnary(table, c.path, "").status(), status);
    EXPECT_EQ(StartStream(table, c.path).WaitStatus(), status);
  }
}

TEST(ServiceTableTest, WhatIsNotBuiltNamesItself) {
  ServiceTable table;
  table.AddUnimplementedUnary("etcdserverpb.Lease", "LeaseGrant");
  table.AddUnimplementedStream("etcdserverpb.Lease", "LeaseKeepAlive");
  const absl::Status unary = CallUnary(table, "/etcdserverpb.Lease/LeaseGrant", "").status();
  EXPECT_EQ(unary, base::MakeStatus(absl::StatusCode::kUnimplemented,
                                    "method LeaseGrant of service etcdserverpb.Lease not "
                                    "implemented"));
  const absl::Status stream = StartStream(table, "/etcdserverpb.Lease/LeaseKeepAlive").WaitStatus();
  EXPECT_EQ(base::Message(stream),
            "method LeaseKeepAlive of service etcdserverpb.Lease not implemented");
}

TEST(ServiceTableTest, ServerStreamGetsItsOneRequest) {
  ServiceTable table;
  table.AddServerStream("s", "Repeat",
                        [](std::shared_ptr<StreamCall> call, std::string_view request) {
                          call->Write(SliceList(std::string(request)));
                          call->Write(SliceList(std::string(request)));
                          call->Finish(absl::OkStatus());
                        });
  FakeStreamCall call = StartStream(table, "/s/Repeat");
  EXPECT_FALSE(call.status().has_value());
  call.Send("again");
  EXPECT_FALSE(call.status().has_value());
  call.HalfClose();
  EXPECT_EQ(call.Receive(), "again");
  EXPECT_EQ(call.Receive(), "again");
  EXPECT_EQ(call.status(), absl::OkStatus());

  FakeStreamCall silent = StartStream(table, "/s/Repeat");
  silent.HalfClose();
  EXPECT_EQ(silent.WaitStatus(),
            base::MakeStatus(absl::StatusCode::kInternal,
                             "cardinality violation: received no request message from "
                             "non-client-streaming RPC"));
  FakeStreamCall talkative = StartStream(table, "/s/Repeat");
  talkative.Send("one");
  talkative.Send("two");
  EXPECT_EQ(talkative.WaitStatus(),
            base::MakeStatus(absl::StatusCode::kInternal,
                             "cardinality violation: received multiple request messages for "
                             "non-client-streaming RPC"));
  EXPECT_FALSE(talkative.Receive().has_value());
  FakeStreamCall half = StartStream(table, "/s/Repeat");
  half.Send("one");
  half.Cancel();
  EXPECT_FALSE(half.WaitStatus().ok());
  FakeStreamCall gone = StartStream(table, "/s/Repeat");
  gone.Cancel();
  EXPECT_FALSE(gone.WaitStatus().ok());
}

TEST(ServiceTableDeathTest, TwoHandlersForOnePath) {
  ServiceTable table;
  table.AddUnary("s", "M", Echo);
  EXPECT_DEATH(table.AddUnimplementedStream("s", "M"), "/s/M");
}

}  // namespace
}  // namespace cairn::rpc
