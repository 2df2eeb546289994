#include "server/peer/service.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/peer.pb.h"
#include "base/status.h"
#include "server/peer/codec.h"
#include "server/rpc/fake_call.h"

namespace cairn::server {
namespace {

const PeerIdentity kSelf{ClusterId(0xc1), MemberId(1), {"http://127.0.0.1:1"}};
const PeerIdentity kOther{ClusterId(0xc1), MemberId(2), {"http://127.0.0.1:2"}};

class PeerServiceTest : public testing::Test {
 protected:
  PeerServiceTest()
      : service_({.identity = kSelf,
                  .is_removed = [this](MemberId id) { return removed_.contains(id); },
                  .on_greeting =
                      [this](MemberId from, const std::vector<std::string>& urls) {
                        greeted_.emplace_back(from, urls);
                      },
                  .deliver =
                      [this](std::vector<raft::Message> messages) {
                        for (raft::Message& message : messages) got_.push_back(std::move(message));
                      }}) {
    service_.Register(table_);
    std::get<rpc::StreamHandler> (*table_.Find("/cairn.peer.Peer/Exchange"))(stream_.TakeCall());
  }

  // A stream keeps itself until it ends.
  ~PeerServiceTest() override { stream_.Cancel(); }

  void Greet(const peer::Greeting& greeting) {
    peer::PeerRequest request;
    *request.mutable_greeting() = greeting;
    stream_.Send(request.SerializeAsString());
  }
  void GreetWell() { Greet(MakeGreeting(kOther, kSelf.self)); }
  std::optional<peer::PeerResponse> Receive() {
    const std::optional<std::string> bytes = stream_.Receive();
    if (!bytes.has_value()) return std::nullopt;
    peer::PeerResponse response;
    EXPECT_TRUE(response.ParseFromString(*bytes));
    return response;
  }
  std::string EndText() {
    const std::optional<absl::Status> status = stream_.status();
    return status.has_value() ? std::string(base::Message(*status)) : "not ended";
  }

  std::set<MemberId> removed_;
  std::vector<std::pair<MemberId, std::vector<std::string>>> greeted_;
  std::vector<raft::Message> got_;
  PeerService service_;
  rpc::ServiceTable table_;
  rpc::FakeStreamCall stream_;
};

TEST_F(PeerServiceTest, AGreetedPeersMessagesAreDeliveredInOrder) {
  GreetWell();
  const std::optional<peer::PeerResponse> answer = Receive();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->greeting().from_member_id(), 1u);
  EXPECT_EQ(answer->greeting().to_member_id(), 2u);
  ASSERT_EQ(greeted_.size(), 1u);
  EXPECT_EQ(greeted_[0].first, MemberId(2));
  EXPECT_EQ(greeted_[0].second, kOther.peer_urls);

  peer::PeerRequest request;
  for (uint64_t round = 1; round <= 3; ++round) {
    Encode({MemberId(2), MemberId(1), Term(4), raft::HeartbeatReply{round}},
           *request.mutable_batch()->add_messages());
  }
  stream_.Send(request.SerializeAsString());
  ASSERT_EQ(got_.size(), 3u);
  for (uint64_t round = 1; round <= 3; ++round) {
    const raft::Message& message = got_[round - 1];
    EXPECT_EQ(message.from, MemberId(2));
    EXPECT_EQ(message.to, MemberId(1));
    EXPECT_EQ(std::get<raft::HeartbeatReply>(message.body).round, round);
  }
}

TEST_F(PeerServiceTest, AProbeComesBack) {
  GreetWell();
  Receive();
  peer::PeerRequest request;
  request.mutable_probe()->set_number(7);
  stream_.Send(request.SerializeAsString());
  const std::optional<peer::PeerResponse> answer = Receive();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->probe().number(), 7u);
}

TEST_F(PeerServiceTest, StrangersAreToldWhy) {
  struct Case {
    std::string name;
    std::function<void(peer::Greeting&)> change;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"cluster", [](peer::Greeting& g) { g.set_cluster_id(0xbad); },
       "cluster ID mismatch: 2 is a member of cluster bad, 1 of c1; check --initial-cluster-token "
       "and --initial-cluster of both"},
      {"addressee", [](peer::Greeting& g) { g.set_to_member_id(3); },
       "member ID mismatch: 2 looks for 3 here, but this is 1; check the peer URLs in the member "
       "list"},
      {"itself", [](peer::Greeting& g) { g.set_from_member_id(1); },
       "a peer that calls itself 1, as this member or nobody is called"},
      {"newer",
       [](peer::Greeting& g) {
         g.set_protocol_version_min(5);
         g.set_protocol_version_max(6);
       },
       "incompatible version: 2 speaks peer protocol 5 to 6, 1 speaks 1 to 1"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    rpc::FakeStreamCall stream;
    std::get<rpc::StreamHandler> (*table_.Find("/cairn.peer.Peer/Exchange"))(stream.TakeCall());
    peer::PeerRequest request;
    *request.mutable_greeting() = MakeGreeting(kOther, kSelf.self);
    c.change(*request.mutable_greeting());
    stream.Send(request.SerializeAsString());
    ASSERT_TRUE(stream.status().has_value());
    EXPECT_EQ(stream.status()->code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(base::Message(*stream.status()), c.text);
  }
  EXPECT_TRUE(greeted_.empty());
}

TEST_F(PeerServiceTest, ARemovedMemberIsToldSo) {
  removed_.insert(MemberId(2));
  GreetWell();
  ASSERT_TRUE(stream_.status().has_value());
  EXPECT_TRUE(IsRemovedStatus(*stream_.status())) << *stream_.status();
}

TEST_F(PeerServiceTest, ARemovalEndsAStreamThatWasGreetedBefore) {
  GreetWell();
  removed_.insert(MemberId(2));
  peer::PeerRequest request;
  Encode({MemberId(2), MemberId(1), Term(4), raft::TimeoutNow{}},
         *request.mutable_batch()->add_messages());
  stream_.Send(request.SerializeAsString());
  ASSERT_TRUE(stream_.status().has_value());
  EXPECT_TRUE(IsRemovedStatus(*stream_.status()));
  EXPECT_TRUE(got_.empty());
}

TEST_F(PeerServiceTest, WhatNoMemberSendsEndsTheStream) {
  peer::PeerRequest batch;
  batch.mutable_batch()->add_messages();
  stream_.Send(batch.SerializeAsString());
  EXPECT_EQ(EndText(), "a peer must greet first");

  const auto ends_with = [&](const std::string& bytes, std::string_view text) {
    rpc::FakeStreamCall stream;
    std::get<rpc::StreamHandler> (*table_.Find("/cairn.peer.Peer/Exchange"))(stream.TakeCall());
    peer::PeerRequest greeting;
    *greeting.mutable_greeting() = MakeGreeting(kOther, kSelf.self);
    stream.Send(greeting.SerializeAsString());
    stream.Send(bytes);
    ASSERT_TRUE(stream.status().has_value()) << text;
    EXPECT_NE(base::Message(*stream.status()).find(text), std::string_view::npos)
        << *stream.status();
  };
  peer::PeerRequest greeting;
  *greeting.mutable_greeting() = MakeGreeting(kOther, kSelf.self);
  ends_with(greeting.SerializeAsString(), "a peer must greet once");
  ends_with(batch.SerializeAsString(), "a message whose body this version does not know");
  ends_with("", "a request that this version does not know");
  ends_with("\xff\xff\xff", "PeerRequest");
  EXPECT_TRUE(got_.empty());
}

TEST_F(PeerServiceTest, TheEndOfThePeersHalfEndsTheStream) {
  GreetWell();
  stream_.HalfClose();
  ASSERT_TRUE(stream_.status().has_value());
  EXPECT_TRUE(stream_.status()->ok());
}

}  // namespace
}  // namespace cairn::server
