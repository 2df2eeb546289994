#include "server/peer/codec.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cairn::server {
namespace {

using raft::EntryId;
using raft::EntryKind;
using raft::Message;
using raft::MessageBody;

constexpr MemberId kFrom(7);
constexpr MemberId kTo(9);

raft::Payload Bytes(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

EntryId At(uint64_t term, uint64_t index) { return {Term(term), Index(index)}; }

// One of each body, every field set.
std::vector<MessageBody> Bodies() {
  return {
      raft::VoteRequest{true, Term(5), At(4, 80), true, At(3, 70)},
      raft::VoteReply{true, Term(5), true, At(3, 70)},
      raft::AppendRequest{At(4, 80),
                          Index(79),
                          {{Term(4), Index(81), EntryKind::kCommand, Bytes("a\0b")},
                           {Term(5), Index(82), EntryKind::kEmpty, nullptr},
                           {Term(5), Index(83), EntryKind::kConfiguration, Bytes("c")},
                           {Term(5), Index(84), EntryKind::kCommand, Bytes("")}}},
      raft::AppendAccepted{Index(84)},
      raft::AppendRejected{At(4, 80), At(3, 60)},
      raft::Heartbeat{Index(84), 17},
      raft::HeartbeatReply{17},
      raft::StaleTerm{},
      raft::ForwardedProposals{
          {{.kind = EntryKind::kCommand, .data = Bytes("x"), .id = 300},
           {.kind = EntryKind::kConfiguration, .data = Bytes("y"), .id = UINT64_MAX}},
          0xfedcba98},
      raft::ReadIndexRequest{0xfedcba9876543210},
      raft::ReadIndexReply{0xfedcba9876543210, Index(84)},
      raft::TimeoutNow{},
      raft::RefusedProposals{0xfedcba98, {1, 300, UINT64_MAX}},
  };
}

std::string EncodeToString(const Message& message) {
  peer::Message encoded;
  Encode(message, encoded);
  return encoded.SerializeAsString();
}

absl::StatusOr<Message> DecodeFromString(const std::string& bytes) {
  peer::Message encoded;
  if (!encoded.ParseFromString(bytes)) return absl::DataLossError("does not parse");
  return Decode(std::move(encoded), kFrom, kTo);
}

TEST(PeerCodec, EveryBodyComesBackAsItWas) {
  const std::vector<MessageBody> bodies = Bodies();
  ASSERT_EQ(bodies.size(), std::variant_size_v<MessageBody>);
  for (const MessageBody& body : bodies) {
    const std::string bytes = EncodeToString({kFrom, kTo, Term(6), body});
    absl::StatusOr<Message> decoded = DecodeFromString(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->from, kFrom);
    EXPECT_EQ(decoded->to, kTo);
    EXPECT_EQ(decoded->term, Term(6));
    EXPECT_EQ(decoded->body.index(), body.index());
    // The bytes hold every field, so equal bytes are equal messages.
    EXPECT_EQ(EncodeToString(*decoded), bytes);
  }
}

TEST(PeerCodec, IndexesOfEntriesFollowFromTheirPlace) {
  const MessageBody body = Bodies()[2];
  const absl::StatusOr<Message> decoded =
      DecodeFromString(EncodeToString({kFrom, kTo, Term(6), body}));
  ASSERT_TRUE(decoded.ok());
  const auto& append = std::get<raft::AppendRequest>(decoded->body);
  ASSERT_EQ(append.entries.size(), 4u);
  for (size_t i = 0; i < append.entries.size(); ++i) {
    EXPECT_EQ(append.entries[i].index, Index(81 + i));
  }
  EXPECT_EQ(append.entries[1].data, nullptr);
  EXPECT_EQ(*append.entries[3].data, "");
}

TEST(PeerCodec, TheEstimateIsNeverBelowTheBytes) {
  for (const MessageBody& body : Bodies()) {
    const Message message{kFrom, kTo, Term(UINT64_MAX), body};
    EXPECT_GE(EncodedBytes(message), EncodeToString(message).size());
  }
}

TEST(PeerCodec, EveryTruncationAndEveryFlippedByteIsRefusedOrIsSomeMessage) {
  for (const MessageBody& body : Bodies()) {
    const std::string bytes = EncodeToString({kFrom, kTo, Term(6), body});
    for (size_t length = 0; length < bytes.size(); ++length) {
      DecodeFromString(bytes.substr(0, length)).status().IgnoreError();
    }
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string flipped = bytes;
        flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
        DecodeFromString(flipped).status().IgnoreError();
      }
    }
  }
}

TEST(PeerCodec, WhatNoMemberWritesIsRefused) {
  peer::Message none;
  none.set_term(3);
  EXPECT_EQ(Decode(std::move(none), kFrom, kTo).status().code(),
            absl::StatusCode::kInvalidArgument);

  peer::Message kind;
  kind.mutable_append_request()->add_entries()->set_kind(99);
  EXPECT_EQ(Decode(std::move(kind), kFrom, kTo).status().message(),
            "an entry of kind 99, which this version does not know");

  peer::Message filled;
  peer::Entry& entry = *filled.mutable_append_request()->add_entries();
  entry.set_kind(1);
  entry.set_data("x");
  EXPECT_EQ(Decode(std::move(filled), kFrom, kTo).status().message(),
            "an empty entry with 1 bytes of data");

  peer::Message proposals;
  proposals.mutable_forwarded_proposals();
  EXPECT_EQ(Decode(std::move(proposals), kFrom, kTo).status().message(),
            "proposals without a proposal");
}

// One such message, taken for true, would cost the cluster all terms there are.
TEST(PeerCodec, NumbersThatNoMemberCanHaveComeToAreRefused) {
  constexpr uint64_t kMost = raft::kTermOrIndexMax;
  // A body of each kind that has such numbers, once for each of them.
  const auto bodies = [](uint64_t number) {
    const raft::Entry entry{Term(number), Index(1), EntryKind::kEmpty, nullptr};
    return std::vector<MessageBody>{
        raft::VoteRequest{true, Term(number), At(1, 1), true, At(1, 1)},
        raft::VoteRequest{true, Term(1), At(number, 1), true, At(1, 1)},
        raft::VoteRequest{true, Term(1), At(1, number), true, At(1, 1)},
        raft::VoteRequest{true, Term(1), At(1, 1), true, At(number, 1)},
        raft::VoteRequest{true, Term(1), At(1, 1), true, At(1, number)},
        raft::VoteReply{true, Term(number), true, At(1, 1)},
        raft::VoteReply{true, Term(1), true, At(number, 1)},
        raft::VoteReply{true, Term(1), true, At(1, number)},
        raft::AppendRequest{At(number, 1), Index(1), {}},
        raft::AppendRequest{At(1, number), Index(1), {}},
        raft::AppendRequest{At(1, 1), Index(number), {}},
        raft::AppendRequest{At(1, 0), Index(1), {entry}},
        raft::AppendAccepted{Index(number)},
        raft::AppendRejected{At(number, 1), At(1, 1)},
        raft::AppendRejected{At(1, number), At(1, 1)},
        raft::AppendRejected{At(1, 1), At(number, 1)},
        raft::AppendRejected{At(1, 1), At(1, number)},
        raft::Heartbeat{Index(number), 1},
        raft::ReadIndexReply{1, Index(number)},
    };
  };
  const auto decode = [](const MessageBody& body, uint64_t term) {
    return DecodeFromString(EncodeToString({kFrom, kTo, Term(term), body})).status();
  };
  for (const MessageBody& body : bodies(kMost)) EXPECT_TRUE(decode(body, kMost).ok());
  for (const uint64_t number : {kMost + 1, UINT64_MAX}) {
    for (const MessageBody& body : bodies(number)) {
      EXPECT_TRUE(absl::IsInvalidArgument(decode(body, 1))) << body.index();
    }
    for (const MessageBody& body : Bodies()) {
      EXPECT_TRUE(absl::IsInvalidArgument(decode(body, number))) << body.index();
    }
  }
  // Also where only the last of the entries is too far.
  raft::AppendRequest append{At(1, kMost), Index(1), {{Term(1), Index(1), EntryKind::kEmpty, {}}}};
  EXPECT_TRUE(absl::IsInvalidArgument(decode(append, 1)));
}

TEST(PeerCodec, ManyForwardedProposalsTravelInSeveralMessages) {
  raft::ForwardedProposals body;
  for (int i = 0; i < 10; ++i) {
    body.proposals.push_back({EntryKind::kCommand, Bytes(std::string(100, 'a' + i))});
  }
  body.proposals.push_back({EntryKind::kCommand, Bytes(std::string(5000, 'z'))});
  body.start_nonce = 77;
  std::vector<Message> parts;
  SplitInto({kFrom, kTo, Term(6), body}, 400, parts);
  EXPECT_EQ(parts.size(), 5u);  // Three a message, and the large one alone.
  size_t seen = 0;
  for (const Message& part : parts) {
    EXPECT_EQ(part.term, Term(6));
    EXPECT_EQ(std::get<raft::ForwardedProposals>(part.body).start_nonce, 77u);
    for (const raft::Proposal& proposal : std::get<raft::ForwardedProposals>(part.body).proposals) {
      EXPECT_EQ(proposal.data, body.proposals[seen++].data);
    }
  }
  EXPECT_EQ(seen, body.proposals.size());

  parts.clear();
  SplitInto({kFrom, kTo, Term(6), raft::TimeoutNow{}}, 1, parts);
  EXPECT_EQ(parts.size(), 1u);
}

}  // namespace
}  // namespace cairn::server
