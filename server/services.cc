#include "server/services.h"

#include <google/protobuf/descriptor.h>

#include <memory>
#include <string_view>
#include <utility>

#include "api/election.pb.h"
#include "api/lock.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/rpc/proto.h"
#include "server/wire.h"

namespace cairn::server {

namespace {

// grpc.health.v1: HealthCheckRequest{string service = 1}, HealthCheckResponse{ServingStatus status
// = 1}. Two fields that will not change, so the messages are read and written here by hand.
constexpr std::string_view kHealthService = "grpc.health.v1.Health";
constexpr uint32_t kHealthServiceField = 1;
constexpr uint32_t kHealthStatusField = 1;
constexpr uint64_t kHealthServing = 1;

void CheckHealth(const ServiceContext& context, std::unique_ptr<rpc::UnaryCall> call) {
  std::string_view rest = call->request();
  std::string_view service;
  while (!rest.empty()) {
    uint32_t field = 0;
    uint32_t type = 0;
    bool ok = wire::TakeTag(rest, field, type);
    if (ok && field == kHealthServiceField && type == wire::kBytes) {
      ok = wire::TakeField(rest, service);
    } else if (ok) {
      ok = wire::Skip(rest, field, type);
    }
    if (!ok) {
      call->Finish(rpc::UndecodableRequest(call->request(), "grpc.health.v1.HealthCheckRequest"));
      return;
    }
  }
  if (absl::Status status = Admit(context, *call, OnLearner::kRefuse); !status.ok()) {
    call->Finish(std::move(status));
    return;
  }
  if (!service.empty()) {
    call->Finish(base::MakeStatus(absl::StatusCode::kNotFound, "unknown service"));
    return;
  }
  std::string response;
  wire::AppendNumberField(response, kHealthStatusField, kHealthServing);
  call->Finish(rpc::SliceList(std::move(response)));
}

void AddUnimplementedFile(const google::protobuf::FileDescriptor& file, rpc::ServiceTable& table) {
  for (int i = 0; i < file.service_count(); ++i) {
    rpc::AddUnimplementedRest(*file.service(i), table);
  }
}

}  // namespace

Services::Services(const ServiceContext& context, WatchService* watch,
                   const rpc::OpenCalls* open_calls, SnapshotSaver* saver)
    : context_(context),
      kv_(context),
      lease_(context),
      maintenance_(context, saver),
      cluster_(context),
      admin_(context, watch, open_calls) {
  kv_.Register(table_);
  lease_.Register(table_);
  maintenance_.Register(table_);
  cluster_.Register(table_);
  admin_.Register(table_);
  if (watch != nullptr) watch->Register(table_);
  table_.AddUnary(kHealthService, "Check", [this](std::unique_ptr<rpc::UnaryCall> call) {
    CheckHealth(context_, std::move(call));
  });
  table_.AddUnimplementedStream(kHealthService, "Watch");
  AddUnimplementedFile(*etcdserverpb::RangeRequest::descriptor()->file(), table_);
  AddUnimplementedFile(*v3lockpb::LockRequest::descriptor()->file(), table_);
  AddUnimplementedFile(*v3electionpb::CampaignRequest::descriptor()->file(), table_);
}

}  // namespace cairn::server
