// etcdserverpb.PutRequest as views into its bytes.
//
// Puts are what a store does most, and a Protobuf object would copy key and value twice on their
// way (service, apply). Decodes what Protobuf decodes: fields in any order, the last of a repeated
// field wins, unknown fields are skipped. Pure; any thread.
#ifndef CAIRN_SERVER_PUT_REQUEST_H_
#define CAIRN_SERVER_PUT_REQUEST_H_

#include <cstdint>
#include <string_view>

#include "api/rpc.pb.h"

namespace cairn::server {

struct PutRequestView {
  std::string_view key;
  std::string_view value;
  int64_t lease = 0;
  bool prev_kv = false;
  bool ignore_value = false;
  bool ignore_lease = false;
};

// The request in `bytes`; the views point into them. False, with `request` unspecified, for bytes
// that are no message.
[[nodiscard]] bool DecodePutRequest(std::string_view bytes, PutRequestView& request);

// The views point into `request`.
PutRequestView ViewOf(const etcdserverpb::PutRequest& request);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_PUT_REQUEST_H_
