#include "server/put_request.h"

#include "base/coding.h"
#include "server/wire.h"

namespace cairn::server {

bool DecodePutRequest(std::string_view bytes, PutRequestView& request) {
  request = PutRequestView();
  while (!bytes.empty()) {
    uint32_t field = 0;
    uint32_t type = 0;
    if (!wire::TakeTag(bytes, field, type)) return false;
    uint64_t number = 0;
    if ((field == 1 || field == 2) && type == wire::kBytes) {
      if (!wire::TakeField(bytes, field == 1 ? request.key : request.value)) return false;
    } else if (field >= 3 && field <= 6 && type == wire::kVarint) {
      if (!base::TakeVarint(bytes, number)) return false;
      if (field == 3) request.lease = static_cast<int64_t>(number);
      if (field == 4) request.prev_kv = number != 0;
      if (field == 5) request.ignore_value = number != 0;
      if (field == 6) request.ignore_lease = number != 0;
    } else if (!wire::Skip(bytes, field, type)) {
      return false;
    }
  }
  return true;
}

PutRequestView ViewOf(const etcdserverpb::PutRequest& request) {
  return {.key = request.key(),
          .value = request.value(),
          .lease = request.lease(),
          .prev_kv = request.prev_kv(),
          .ignore_value = request.ignore_value(),
          .ignore_lease = request.ignore_lease()};
}

}  // namespace cairn::server
