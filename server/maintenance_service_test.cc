#include "server/maintenance_service.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/fake_node.h"
#include "server/response_buffer.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"

namespace cairn::server {
namespace {

using api::Error;
using namespace etcdserverpb;  // The test is about these messages.

std::string Show(const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(message, &text);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string Text(Error error) {
  return fmt::format("{}: {}", absl::StatusCodeToString(api::Info(error).code),
                     api::Info(error).text);
}

class MaintenanceServiceTest : public testing::Test {
 protected:
  MaintenanceServiceTest() : services_(ServiceContext{node_, node_.store(), budget_, {}}) {}

  // The response, with nothing in its header but the revision, or "CODE: text".
  template <typename Request, typename Response>
  std::string Call(std::string_view path, std::string_view request) {
    Request parsed;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(request), &parsed));
    const absl::StatusOr<std::string> answer =
        rpc::CallUnary(services_.table(), path, parsed.SerializeAsString());
    if (!answer.ok()) {
      return fmt::format("{}: {}", absl::StatusCodeToString(answer.status().code()),
                         base::Message(answer.status()));
    }
    Response response;
    EXPECT_TRUE(response.ParseFromString(*answer));
    EXPECT_EQ(response.header().member_id(), 22U);
    const int64_t revision = response.header().revision();
    response.mutable_header()->Clear();
    response.mutable_header()->set_revision(revision);
    return Show(response);
  }
  std::string Put(std::string_view request) {
    return Call<PutRequest, PutResponse>("/etcdserverpb.KV/Put", request);
  }
  std::string Range(std::string_view request) {
    return Call<RangeRequest, RangeResponse>("/etcdserverpb.KV/Range", request);
  }
  std::string Delete(std::string_view request) {
    return Call<DeleteRangeRequest, DeleteRangeResponse>("/etcdserverpb.KV/DeleteRange", request);
  }
  std::string Compact(std::string_view request) {
    return Call<CompactionRequest, CompactionResponse>("/etcdserverpb.KV/Compact", request);
  }

  FakeNode node_;
  ResponseBudget budget_;
  Services services_;
};

TEST_F(MaintenanceServiceTest, AlarmsAreRaisedListedAndCleared) {
  const auto alarm = [&](std::string_view request) {
    return Call<AlarmRequest, AlarmResponse>("/etcdserverpb.Maintenance/Alarm", request);
  };
  EXPECT_EQ(alarm("action: ACTIVATE"), "header { revision: 1 }");
  EXPECT_EQ(alarm("action: ACTIVATE memberID: 5 alarm: NOSPACE"),
            "header { revision: 1 } alarms { memberID: 5 alarm: NOSPACE }");
  EXPECT_EQ(alarm("action: ACTIVATE memberID: 4 alarm: CORRUPT"),
            "header { revision: 1 } alarms { memberID: 4 alarm: CORRUPT }");
  EXPECT_EQ(alarm(""),
            "header { revision: 1 } alarms { memberID: 5 alarm: NOSPACE } "
            "alarms { memberID: 4 alarm: CORRUPT }");
  // The member does not matter to who lists them.
  EXPECT_EQ(alarm("memberID: 9 alarm: CORRUPT"),
            "header { revision: 1 } alarms { memberID: 4 alarm: CORRUPT }");
  const auto bytes = rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Status", "");
  StatusResponse status;
  ASSERT_TRUE(bytes.ok() && status.ParseFromString(*bytes));
  EXPECT_EQ((std::vector<std::string>{status.errors().begin(), status.errors().end()}),
            (std::vector<std::string>{"memberID:5 alarm:NOSPACE", "memberID:4 alarm:CORRUPT"}));
  // Reads go on.
  EXPECT_EQ(Put(R"(key: "a")"), Text(Error::kCorrupt));
  EXPECT_EQ(Delete(R"(key: "a")"), Text(Error::kCorrupt));
  EXPECT_EQ(Compact("revision: 1"), Text(Error::kCorrupt));
  EXPECT_EQ(Range(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(alarm("action: DEACTIVATE memberID: 4 alarm: CORRUPT"),
            "header { revision: 1 } alarms { memberID: 4 alarm: CORRUPT }");
  EXPECT_EQ(Put(R"(key: "a")"), Text(Error::kNoSpace));
  EXPECT_EQ(Delete(R"(key: "a")"), "header { revision: 1 }");
  EXPECT_EQ(alarm("action: DEACTIVATE alarm: NOSPACE"), "header { revision: 1 }");
  EXPECT_EQ(alarm("action: DEACTIVATE memberID: 5 alarm: NOSPACE"),
            "header { revision: 1 } alarms { memberID: 5 alarm: NOSPACE }");
  EXPECT_EQ(Put(R"(key: "a")"), "header { revision: 2 }");
  for (const int action : {3, -1}) {
    AlarmRequest unknown;
    unknown.set_action(static_cast<AlarmRequest::AlarmAction>(action));
    EXPECT_EQ(rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Alarm",
                             unknown.SerializeAsString())
                  .status()
                  .code(),
              absl::StatusCode::kUnimplemented);
  }
  AlarmRequest unknown;
  unknown.set_action(AlarmRequest::ACTIVATE);
  unknown.set_alarm(static_cast<AlarmType>(3));
  EXPECT_EQ(rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Alarm",
                           unknown.SerializeAsString())
                .status()
                .code(),
            absl::StatusCode::kUnimplemented);
}

TEST_F(MaintenanceServiceTest, DowngradesAreValidatedBegunAndCancelled) {
  const auto downgrade = [&](std::string_view request) {
    return Call<DowngradeRequest, DowngradeResponse>("/etcdserverpb.Maintenance/Downgrade",
                                                     request);
  };
  const auto status = [&] {
    StatusResponse response;
    const auto bytes = rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Status", "");
    EXPECT_TRUE(bytes.ok() && response.ParseFromString(*bytes));
    return response.storageversion() + " " + Show(response.downgradeinfo());
  };
  EXPECT_EQ(downgrade(R"(version: "x")"), Text(Error::kInvalidDowngradeTargetFormat));
  EXPECT_EQ(downgrade(R"(version: "3.6")"), Text(Error::kClusterVersionUnavailable));
  EXPECT_EQ(downgrade("action: CANCEL"), Text(Error::kClusterVersionUnavailable));
  internal::ClusterVersion version;
  version.set_version("3.7.0");
  node_.Apply(CommandKind::kClusterVersion, version.SerializeAsString());
  const std::string done = R"(header { revision: 1 } version: "3.7")";
  EXPECT_EQ(downgrade(R"(version: "3.5")"), Text(Error::kInvalidDowngradeTarget));
  EXPECT_EQ(downgrade(R"(version: "3.6.4")"), done);
  EXPECT_EQ(downgrade("action: CANCEL"), done);
  EXPECT_EQ(status(), "3.7.0 ");
  EXPECT_EQ(downgrade(R"(action: ENABLE version: "3.7")"), Text(Error::kInvalidDowngradeTarget));
  EXPECT_EQ(downgrade(R"(action: ENABLE version: "3.6")"), done);
  EXPECT_EQ(status(), R"(3.7.0 enabled: true targetVersion: "3.6.0")");
  EXPECT_EQ(downgrade(R"(action: ENABLE version: "3.6")"), Text(Error::kDowngradeInProgress));
  EXPECT_EQ(downgrade(R"(version: "3.6")"), Text(Error::kDowngradeInProgress));
  version.set_version("3.6.0");
  node_.Apply(CommandKind::kClusterVersion, version.SerializeAsString());
  EXPECT_EQ(status(), R"(3.6.0 enabled: true targetVersion: "3.6.0")");
  EXPECT_EQ(downgrade("action: CANCEL"), R"(header { revision: 1 } version: "3.6")");
  EXPECT_EQ(status(), "3.7.0 ");
  DowngradeRequest unknown;
  unknown.set_action(static_cast<DowngradeRequest::DowngradeAction>(3));
  EXPECT_EQ(rpc::CallUnary(services_.table(), "/etcdserverpb.Maintenance/Downgrade",
                           unknown.SerializeAsString())
                .status(),
            api::ToStatus(Error::kUnknownMethod));
}

}  // namespace
}  // namespace cairn::server
