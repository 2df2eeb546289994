// Requests as a client may send them: decoded, checked, proposed, applied, answered, without a
// socket. The first byte chooses the rpc. The state is made afresh for each input.
#include <google/protobuf/text_format.h>

#include <array>

#include "api/rpc.pb.h"
#include "base/check.h"
#include "server/fake_node.h"
#include "server/rpc/fake_call.h"
#include "server/services.h"
#include "test/fuzz/fuzz.h"

namespace cairn::test {
namespace {

constexpr std::array<std::string_view, 9> kPaths = {
    "/etcdserverpb.KV/Range",          "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",        "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Alarm", "/etcdserverpb.Cluster/MemberList",
    "/grpc.health.v1.Health/Check",
};

template <typename Request>
std::string Seed(char path, const std::string& text) {
  Request request;
  CAIRN_CHECK(google::protobuf::TextFormat::ParseFromString(text, &request), text);
  return path + request.SerializeAsString();
}

}  // namespace

void Fuzz(std::string_view input) {
  if (input.empty()) return;
  server::FakeNode node;
  server::ResponseBudget budget;
  const server::Services services(
      server::ServiceContext{node, node.store(), budget, server::ServiceLimits{}});
  for (const char* key : {"a", "b", "c"}) {
    etcdserverpb::PutRequest put;
    put.set_key(key);
    CAIRN_CHECK(rpc::CallUnary(services.table(), kPaths[1], put.SerializeAsString()).ok());
  }
  const std::string_view path = kPaths[static_cast<uint8_t>(input[0]) % kPaths.size()];
  // Twice: the second time the state has changed.
  for (int round = 0; round < 2; ++round) {
    const absl::StatusOr<std::string> answer =
        rpc::CallUnary(services.table(), path, std::string(input.substr(1)));
    if (answer.ok()) continue;
    CAIRN_CHECK(!absl::IsDeadlineExceeded(answer.status()), "no answer");
    CAIRN_CHECK(!answer.status().message().empty());
  }
}

std::vector<std::string> FuzzSeeds() {
  using namespace etcdserverpb;  // Requests of each kind.
  return {
      Seed<RangeRequest>(0, R"(key: "a" range_end: "z" limit: 2 revision: 2 sort_order: DESCEND
                               sort_target: MOD keys_only: true min_mod_revision: 1)"),
      Seed<PutRequest>(1, R"(key: "a" value: "v" lease: 77 prev_kv: true)"),
      Seed<PutRequest>(1, R"(key: "a" ignore_value: true ignore_lease: true)"),
      Seed<DeleteRangeRequest>(2, R"(key: "a" range_end: "\000" prev_kv: true)"),
      Seed<TxnRequest>(3, R"(
        compare { key: "a" range_end: "c" target: VALUE result: LESS value: "z" }
        compare { key: "b" target: LEASE result: NOT_EQUAL lease: 7 }
        success { request_put { key: "n" value: "1" } }
        success { request_txn {
          compare { key: "n" target: VERSION version: 0 }
          success { request_delete_range { key: "a" prev_kv: true } }
          failure { request_range { key: "a" range_end: "z" count_only: true } } } }
        failure { request_range { key: "a" revision: 1 } })"),
      Seed<CompactionRequest>(4, "revision: 3 physical: true"),
      Seed<HashKVRequest>(5, "revision: 3"),
      Seed<AlarmRequest>(6, "action: GET"),
      Seed<MemberListRequest>(7, "linearizable: true"),
      std::string("\x08\x0a\x01x", 4),
  };
}

}  // namespace cairn::test
