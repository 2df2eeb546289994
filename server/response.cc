#include "server/response.h"

#include "base/coding.h"
#include "server/wire.h"

namespace cairn::server {

ResponseHeader HeaderOf(const Node& node, Revision revision) {
  return {.cluster_id = node.cluster_id(),
          .member_id = node.member_id(),
          .revision = revision,
          .raft_term = node.status().term};
}

char* StoreHeaderField(char* to, const ResponseHeader& header) {
  const auto revision = static_cast<uint64_t>(header.revision.value());
  const size_t size_bytes = wire::NumberFieldBytes(header.cluster_id.value()) +
                            wire::NumberFieldBytes(header.member_id.value()) +
                            wire::NumberFieldBytes(revision) +
                            wire::NumberFieldBytes(header.raft_term.value());
  to = wire::StoreFieldStart(to, 1, size_bytes);
  to = wire::StoreNumberField(to, 1, header.cluster_id.value());
  to = wire::StoreNumberField(to, 2, header.member_id.value());
  to = wire::StoreNumberField(to, 3, revision);
  return wire::StoreNumberField(to, 4, header.raft_term.value());
}

void AppendHeaderField(std::string& to, const ResponseHeader& header) {
  char bytes[kHeaderFieldBytesMax];
  to.append(bytes, static_cast<size_t>(StoreHeaderField(bytes, header) - bytes));
}

rpc::SliceList WithHeader(const ResponseHeader& header, std::string_view body) {
  return WithHeader(header, body, rpc::SliceList());
}

rpc::SliceList WithHeader(const ResponseHeader& header, std::string_view body,
                          const rpc::SliceList& rest) {
  const bool copies = rest.size_bytes() < rpc::kShareFromBytes;
  std::string message;
  message.reserve(kHeaderFieldBytesMax + body.size() + (copies ? rest.size_bytes() : 0));
  AppendHeaderField(message, header);
  message.append(body);
  if (copies) {
    for (const rpc::Slice& slice : rest.slices()) message.append(slice.bytes());
    return rpc::SliceList(std::move(message));
  }
  rpc::SliceList list(std::move(message));
  for (const rpc::Slice& slice : rest.slices()) list.Append(slice);
  return list;
}

}  // namespace cairn::server
