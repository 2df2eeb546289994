#include "server/rpc/service_table.h"

#include <absl/status/status.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace cairn::rpc {
namespace {

std::string PathOf(std::string_view service, std::string_view method) {
  return fmt::format("/{}/{}", service, method);
}

absl::Status Unimplemented(std::string_view service, std::string_view method) {
  return base::Error(absl::StatusCode::kUnimplemented, "method {} of service {} not implemented",
                     method, service);
}

// Hands `request` over once the client has said that it was the only one.
void ExpectOneRequest(const std::shared_ptr<StreamCall>& call, std::string request,
                      std::shared_ptr<const ServerStreamHandler> handler) {
  call->Read([call, request = std::move(request), handler = std::move(handler)](
                 ReadResult result, std::string_view /*message*/) {
    if (result == ReadResult::kMessage) {
      call->Finish(base::MakeStatus(absl::StatusCode::kInternal,
                                    "cardinality violation: received multiple request messages "
                                    "for non-client-streaming RPC"));
    } else if (result == ReadResult::kEnd) {
      (*handler)(call, request);
    } else {
      call->Finish(absl::CancelledError());
    }
  });
}

}  // namespace

void ServiceTable::Add(std::string_view service, std::string_view method, Handler handler) {
  CAIRN_CHECK(!service.empty() && !method.empty());
  const bool added = methods_.emplace(PathOf(service, method), std::move(handler)).second;
  CAIRN_CHECK(added, PathOf(service, method));
}

void ServiceTable::AddUnary(std::string_view service, std::string_view method,
                            UnaryHandler handler) {
  Add(service, method, std::move(handler));
}

void ServiceTable::AddStream(std::string_view service, std::string_view method,
                             StreamHandler handler) {
  Add(service, method, std::move(handler));
}

void ServiceTable::AddServerStream(std::string_view service, std::string_view method,
                                   ServerStreamHandler handler) {
  // Shared by the table and every call, so that a call does not copy what the handler captured.
  auto shared = std::make_shared<const ServerStreamHandler>(std::move(handler));
  AddStream(service, method, [shared](std::shared_ptr<StreamCall> call) {
    StreamCall& stream = *call;
    stream.Read([shared, call = std::move(call)](ReadResult result, std::string_view request) {
      if (result == ReadResult::kMessage) {
        ExpectOneRequest(call, std::string(request), shared);
      } else {
        call->Finish(base::MakeStatus(absl::StatusCode::kInternal,
                                      "cardinality violation: received no request message from "
                                      "non-client-streaming RPC"));
      }
    });
  });
}

void ServiceTable::AddUnimplementedUnary(std::string_view service, std::string_view method) {
  AddUnary(service, method,
           [status = Unimplemented(service, method)](std::unique_ptr<UnaryCall> call) {
             call->Finish(status);
           });
}

void ServiceTable::AddUnimplementedStream(std::string_view service, std::string_view method) {
  AddStream(service, method,
            [status = Unimplemented(service, method)](std::shared_ptr<StreamCall> call) {
              call->Finish(status);
            });
}

bool ServiceTable::Has(std::string_view service, std::string_view method) const {
  return methods_.contains(PathOf(service, method));
}

const ServiceTable::Handler* ServiceTable::Find(std::string_view path) const {
  const auto it = methods_.find(path);
  return it == methods_.end() ? nullptr : &it->second;
}

absl::Status ServiceTable::UnknownPath(std::string_view path) const {
  std::string_view name = path;
  if (name.starts_with('/')) name.remove_prefix(1);
  const size_t slash = name.rfind('/');
  if (slash == std::string_view::npos) {
    return base::Error(absl::StatusCode::kUnimplemented, "malformed method name: \"{}\"", path);
  }
  const std::string_view service = name.substr(0, slash);
  const std::string prefix = fmt::format("/{}/", service);
  const auto it = methods_.lower_bound(prefix);
  if (it == methods_.end() || !it->first.starts_with(prefix)) {
    return base::Error(absl::StatusCode::kUnimplemented, "unknown service {}", service);
  }
  return base::Error(absl::StatusCode::kUnimplemented, "unknown method {} for service {}",
                     name.substr(slash + 1), service);
}

}  // namespace cairn::rpc
