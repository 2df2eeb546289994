// The header that nearly every response begins with, and how it gets in front of an encoded body.
//
// The applier and the readers make bodies: the fields of a response but the first. Only the
// answering member knows its ids and its term, so the service adds the header last. Which revision
// it carries depends on the rpc (etcd-semantics.md section 2): the caller's business. Pure; any
// thread.
#ifndef CAIRN_SERVER_RESPONSE_H_
#define CAIRN_SERVER_RESPONSE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "server/node.h"
#include "server/rpc/slice.h"

namespace cairn::server {

// etcdserverpb.ResponseHeader. Zero fields are absent on the wire.
struct ResponseHeader {
  ClusterId cluster_id;
  MemberId member_id;
  Revision revision;
  Term raft_term;
};

// The header of an answer that `node` gives now. Revision 0 for the rpcs that have none.
ResponseHeader HeaderOf(const Node& node, Revision revision);

// What a header field takes at most: its tag and length, and four numbers with a tag each.
inline constexpr size_t kHeaderFieldBytesMax = 2 + 4 * 11;

// Writes the header as field 1 of a message at `to`, which has room for kHeaderFieldBytesMax, and
// returns the end. An all-zero header is written as an empty message, not left out.
char* StoreHeaderField(char* to, const ResponseHeader& header);

void AppendHeaderField(std::string& to, const ResponseHeader& header);

// The response of `header` and `body`, in one slice: copies the body, for small ones.
rpc::SliceList WithHeader(const ResponseHeader& header, std::string_view body);
// The same with `rest` behind `body`: copied into the slice where that is cheaper than to share it.
rpc::SliceList WithHeader(const ResponseHeader& header, std::string_view body,
                          const rpc::SliceList& rest);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_RESPONSE_H_
