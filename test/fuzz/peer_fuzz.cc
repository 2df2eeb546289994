// What members send each other: any bytes are refused, or they are a message that means the same
// when it is written again, and of which no number can wrap around.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/peer.pb.h"
#include "base/check.h"
#include "raft/types.h"
#include "server/peer/codec.h"
#include "server/peer/hash_calls.h"
#include "server/peer/member_service.h"
#include "test/fuzz/fuzz.h"

namespace cairn::test {

namespace {

constexpr MemberId kFrom(7);
constexpr MemberId kTo(9);

std::string EncodeToString(const raft::Message& message) {
  peer::Message encoded;
  server::Encode(message, encoded);
  return encoded.SerializeAsString();
}

void FuzzMessage(std::string_view input) {
  peer::Message encoded;
  if (!encoded.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  absl::StatusOr<raft::Message> message = server::Decode(std::move(encoded), kFrom, kTo);
  if (!message.ok()) {
    CAIRN_CHECK(absl::IsInvalidArgument(message.status()));
    return;
  }
  CAIRN_CHECK_EQ(message->from, kFrom);
  CAIRN_CHECK_EQ(message->to, kTo);
  CAIRN_CHECK_LE(message->term.value(), raft::kTermOrIndexMax);
  if (const auto* append = std::get_if<raft::AppendRequest>(&message->body)) {
    Index before = append->previous.index;
    for (const raft::Entry& entry : append->entries) {
      CAIRN_CHECK_EQ(entry.index, before + 1);
      CAIRN_CHECK_LE(entry.index.value(), raft::kTermOrIndexMax);
      CAIRN_CHECK((entry.kind == raft::EntryKind::kEmpty) == (entry.data == nullptr));
      before = entry.index;
    }
  }
  // The bytes hold every field, so equal bytes are equal messages.
  const std::string bytes = EncodeToString(*message);
  CAIRN_CHECK_LE(bytes.size(), server::EncodedBytes(*message));
  peer::Message parsed;
  CAIRN_CHECK(parsed.ParseFromString(bytes));
  const absl::StatusOr<raft::Message> again = server::Decode(std::move(parsed), kFrom, kTo);
  CAIRN_CHECK(again.ok());
  CAIRN_CHECK(EncodeToString(*again) == bytes);

  size_t proposals = 0;
  if (const auto* forwarded = std::get_if<raft::ForwardedProposals>(&message->body)) {
    proposals = forwarded->proposals.size();
  }
  std::vector<raft::Message> parts;
  server::SplitInto(*std::move(message), 100, parts);
  CAIRN_CHECK(!parts.empty());
  for (const raft::Message& part : parts) {
    const auto* forwarded = std::get_if<raft::ForwardedProposals>(&part.body);
    if (forwarded != nullptr) proposals -= forwarded->proposals.size();
  }
  CAIRN_CHECK_EQ(proposals, 0u);
}

}  // namespace

// The first byte chooses what the rest is.
void Fuzz(std::string_view input) {
  if (input.empty()) return;
  const std::string_view bytes = input.substr(1);
  switch (input[0] % 3) {
    case 0:
      return FuzzMessage(bytes);
    case 1:
      server::DecodeHashResponse(bytes).status().IgnoreError();
      return;
    default:
      server::DecodeMembersResponse(bytes).status().IgnoreError();
  }
}

std::vector<std::string> FuzzSeeds() {
  const raft::Payload data = std::make_shared<const std::string>("data");
  const raft::EntryId at{Term(4), Index(80)};
  const std::vector<raft::MessageBody> bodies = {
      raft::VoteRequest{true, Term(5), at, true, at},
      raft::VoteReply{true, Term(5), true, at},
      raft::AppendRequest{at,
                          Index(79),
                          {{Term(4), Index(81), raft::EntryKind::kCommand, data},
                           {Term(5), Index(82), raft::EntryKind::kEmpty, nullptr},
                           {Term(5), Index(83), raft::EntryKind::kConfiguration, data}}},
      raft::AppendAccepted{Index(84)},
      raft::AppendRejected{at, at},
      raft::Heartbeat{Index(84), 17},
      raft::HeartbeatReply{17},
      raft::StaleTerm{},
      raft::ForwardedProposals{{{.kind = raft::EntryKind::kCommand, .data = data, .id = 300},
                                {.kind = raft::EntryKind::kConfiguration, .data = data, .id = 1}},
                               77},
      raft::RefusedProposals{77, {1, 300}},
      raft::ReadIndexRequest{0xfedcba9876543210},
      raft::ReadIndexReply{0xfedcba9876543210, Index(84)},
      raft::TimeoutNow{},
  };
  std::vector<std::string> seeds;
  for (const raft::MessageBody& body : bodies) {
    seeds.push_back(std::string(1, '\0') + EncodeToString({kFrom, kTo, Term(6), body}));
  }
  peer::HashStateResponse hash;
  hash.set_state(peer::HashStateResponse::READY);
  hash.set_revision(7);
  hash.set_live_hash(8);
  seeds.push_back('\1' + hash.SerializeAsString());
  peer::MembersResponse members;
  members.set_cluster_id(1);
  members.add_members()->add_peer_urls("http://a:1");
  seeds.push_back('\2' + members.SerializeAsString());
  return seeds;
}

}  // namespace cairn::test
