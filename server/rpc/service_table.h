// Which handler serves which path: what the services fill at start-up and every transport reads.
//
// Filled by one thread before the first transport starts, constant afterwards and then readable
// from any thread; outlives the transports. Knows no transport and no message format.
#ifndef CAIRN_SERVER_RPC_SERVICE_TABLE_H_
#define CAIRN_SERVER_RPC_SERVICE_TABLE_H_

#include <absl/status/status.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "server/rpc/call.h"

namespace cairn::rpc {

class ServiceTable {
 public:
  using Handler = std::variant<UnaryHandler, StreamHandler>;
  using Methods = std::map<std::string, Handler, std::less<>>;

  ServiceTable() = default;
  ServiceTable(const ServiceTable&) = delete;
  ServiceTable& operator=(const ServiceTable&) = delete;

  // `service` is the full name ("etcdserverpb.KV"), `method` the bare one ("Put"). Each path once.
  void AddUnary(std::string_view service, std::string_view method, UnaryHandler handler);
  void AddStream(std::string_view service, std::string_view method, StreamHandler handler);
  // Reads the one request and the client's half-close first, then calls `handler`; a client that
  // sends none or more gets INTERNAL in grpc-go's words.
  void AddServerStream(std::string_view service, std::string_view method,
                       ServerStreamHandler handler);
  // An rpc of the contract that is not built yet: answers UNIMPLEMENTED, naming itself.
  void AddUnimplementedUnary(std::string_view service, std::string_view method);
  void AddUnimplementedStream(std::string_view service, std::string_view method);

  bool Has(std::string_view service, std::string_view method) const;
  // The handler of "/service/method"; null if there is none.
  const Handler* Find(std::string_view path) const;
  // What a path without a handler is answered with, in the words of grpc-go (etcd-semantics.md
  // section 1): UNIMPLEMENTED, and whether the method, the service or the path's form is at fault.
  absl::Status UnknownPath(std::string_view path) const;

  // All, by full path.
  const Methods& methods() const { return methods_; }

 private:
  void Add(std::string_view service, std::string_view method, Handler handler);

  Methods methods_;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_SERVICE_TABLE_H_
