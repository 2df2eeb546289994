#include "server/peer/transport.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/peer.pb.h"
#include "base/status.h"
#include "server/peer/codec.h"

namespace cairn::server {
namespace {

using std::chrono::milliseconds;
using Time = std::chrono::steady_clock::time_point;

constexpr ClusterId kCluster(0xc1);

// The other end of one stream, held by the test.
struct FakeStream {
  std::string authority;
  std::shared_ptr<rpc::ClientStreamEvents> events;
  std::deque<peer::PeerRequest> written;
  bool cancelled = false;
  bool ended = false;

  // Takes the oldest request that was written and lets the next be.
  peer::PeerRequest Take() {
    EXPECT_FALSE(written.empty());
    peer::PeerRequest request = written.front();
    written.pop_front();
    events->OnWritten();
    return request;
  }
  void Say(const peer::PeerResponse& response) { events->OnMessage(response.SerializeAsString()); }
  void Greet(MemberId from, MemberId to) {
    peer::PeerResponse response;
    *response.mutable_greeting() = MakeGreeting({kCluster, from, {}}, to);
    Say(response);
  }
  void End(absl::Status status) {
    ended = true;
    events->OnEnd(std::move(status));
  }
};

class FakeNetwork {
 public:
  rpc::Connector Connector() {
    return [this](const std::string& authority) {
      return std::make_unique<Connection>(*this, authority);
    };
  }
  // All streams ever opened.
  std::vector<std::shared_ptr<FakeStream>> streams;
  std::vector<std::string> calls;  // Their paths.

  FakeStream& last() { return *streams.back(); }

 private:
  class Stream final : public rpc::ClientStream {
   public:
    explicit Stream(std::shared_ptr<FakeStream> state) : state_(std::move(state)) {}
    void Write(rpc::SliceList message) override {
      peer::PeerRequest request;
      EXPECT_TRUE(request.ParseFromString(message.Flatten()));
      state_->written.push_back(std::move(request));
    }
    void Cancel() override { state_->cancelled = true; }

   private:
    const std::shared_ptr<FakeStream> state_;
  };

  class Connection final : public rpc::ClientConnection {
   public:
    Connection(FakeNetwork& network, std::string authority)
        : network_(network), authority_(std::move(authority)) {}
    std::shared_ptr<rpc::ClientStream> OpenStream(
        std::string_view path, std::shared_ptr<rpc::ClientStreamEvents> events) override {
      EXPECT_EQ(path, "/cairn.peer.Peer/Exchange");
      auto state = std::make_shared<FakeStream>();
      state->authority = authority_;
      state->events = std::move(events);
      network_.streams.push_back(state);
      return std::make_shared<Stream>(state);
    }
    void Call(std::string_view path, rpc::SliceList request, milliseconds, CallDone done) override {
      network_.calls.emplace_back(path);
      std::move(done)(request.Flatten() + "!");
    }

   private:
    FakeNetwork& network_;
    const std::string authority_;
  };
};

class PeerTransportTest : public testing::Test {
 protected:
  PeerTransportTest() {
    PeerTransportOptions options;
    options.identity = {kCluster, MemberId(1), {"http://127.0.0.1:1"}};
    options.connect = network_.Connector();
    options.on_unreachable = [this](MemberId peer) { unreachable_.push_back(peer); };
    options.on_undelivered = [this](std::vector<raft::Message> messages) {
      for (raft::Message& message : messages) undelivered_.push_back(std::move(message));
    };
    options.on_refused = [this](MemberId, const absl::Status& why) {
      refusals_.emplace_back(base::Message(why));
    };
    options.queue_bytes_max = 10'000;
    options.batch_bytes_max = 1'000;
    options.now = [this] { return now_; };
    transport_ = std::make_unique<PeerTransport>(std::move(options));
    transport_->SetMembers({Of(1), Of(2)});
  }
  ~PeerTransportTest() override {
    // Streams keep their links until they end.
    transport_->Stop();
    for (const auto& stream : network_.streams) {
      if (!stream->ended) stream->End(absl::CancelledError("the test is over"));
    }
  }

  static Member Of(uint64_t id) {
    return {MemberId(id), "", {"http://127.0.0.1:" + std::to_string(id)}, {}, false};
  }
  void After(milliseconds time) {
    now_ += time;
    transport_->Tick();
  }
  // A stream to member 2 that is greeted both ways.
  FakeStream& Connect() {
    transport_->Tick();
    FakeStream& stream = network_.last();
    EXPECT_EQ(stream.Take().greeting().to_member_id(), 2u);
    stream.Greet(MemberId(2), MemberId(1));
    return stream;
  }
  void SendRound(uint64_t round, size_t data_bytes = 0) {
    std::vector<raft::Message> messages;
    if (data_bytes == 0) {
      messages.push_back({MemberId(1), MemberId(2), Term(3), raft::Heartbeat{Index(1), round}});
    } else {
      raft::AppendRequest append{.commit = Index(round)};
      append.entries.push_back({Term(1), Index(1), raft::EntryKind::kCommand,
                                std::make_shared<const std::string>(data_bytes, 'x')});
      messages.push_back({MemberId(1), MemberId(2), Term(3), std::move(append)});
    }
    transport_->Send(std::move(messages));
  }

  void Forward(const char* data, MemberId to = MemberId(2)) {
    raft::ForwardedProposals body;
    body.proposals.push_back(
        {raft::EntryKind::kCommand, std::make_shared<const std::string>(data)});
    std::vector<raft::Message> messages;
    messages.push_back({MemberId(1), to, Term(3), std::move(body)});
    transport_->Send(std::move(messages));
  }
  static std::string DataOf(const raft::Message& message) {
    return *std::get<raft::ForwardedProposals>(message.body).proposals[0].data;
  }

  Time now_ = Time() + std::chrono::hours(1);
  FakeNetwork network_;
  std::vector<MemberId> unreachable_;
  std::vector<raft::Message> undelivered_;
  std::vector<std::string> refusals_;
  std::unique_ptr<PeerTransport> transport_;
};

TEST_F(PeerTransportTest, GreetsFirstThenSendsInOrderAndGathersWhileAWriteIsUnderWay) {
  FakeStream& stream = Connect();
  EXPECT_EQ(stream.authority, "127.0.0.1:2");
  SendRound(1);
  SendRound(2);
  SendRound(3);
  ASSERT_EQ(stream.written.size(), 1u);
  const peer::PeerRequest first = stream.Take();
  ASSERT_EQ(first.batch().messages_size(), 1);
  EXPECT_EQ(first.batch().messages(0).heartbeat().round(), 1u);
  const peer::PeerRequest second = stream.Take();
  ASSERT_EQ(second.batch().messages_size(), 2);
  EXPECT_EQ(second.batch().messages(0).heartbeat().round(), 2u);
  EXPECT_EQ(second.batch().messages(1).heartbeat().round(), 3u);
  EXPECT_TRUE(stream.written.empty());
}

TEST_F(PeerTransportTest, BatchesAreBoundedAndALargeMessageGoesAlone) {
  FakeStream& stream = Connect();
  SendRound(1);
  SendRound(2, 600);
  SendRound(3, 600);
  SendRound(4, 5000);
  SendRound(5);
  std::vector<int> sizes;
  while (!stream.written.empty()) sizes.push_back(stream.Take().batch().messages_size());
  EXPECT_EQ(sizes, (std::vector<int>{1, 1, 1, 1, 1}));
}

TEST_F(PeerTransportTest, WhatTheQueueCannotHoldIsDroppedAndToldOnce) {
  FakeStream& stream = Connect();
  for (uint64_t round = 1; round <= 30; ++round) SendRound(round, 1000);
  EXPECT_EQ(unreachable_, std::vector<MemberId>{MemberId(2)});
  EXPECT_GT(transport_->Links()[0].dropped_messages, 10u);
  EXPECT_LE(transport_->Links()[0].queued_bytes, 10'000u);
  // What was taken arrives whole and in order.
  uint64_t last = 0;
  while (!stream.written.empty()) {
    const peer::PeerRequest request = stream.Take();
    for (const peer::Message& message : request.batch().messages()) {
      EXPECT_EQ(message.append_request().commit(), last + 1);
      last = message.append_request().commit();
    }
  }
  EXPECT_GT(last, 5u);
}

TEST_F(PeerTransportTest, AMessageLargerThanTheQueueStillTravels) {
  FakeStream& stream = Connect();
  SendRound(1, 50'000);
  ASSERT_EQ(stream.written.size(), 1u);
  EXPECT_TRUE(unreachable_.empty());
}

TEST_F(PeerTransportTest, WithoutAStreamMessagesAreDropped) {
  SendRound(1);
  EXPECT_EQ(transport_->Links()[0].dropped_messages, 1u);
  EXPECT_TRUE(network_.streams.empty());
}

TEST_F(PeerTransportTest, ForwardedProposalsThatWereNotWrittenComeBack) {
  Forward("no stream");
  ASSERT_EQ(undelivered_.size(), 1u);
  EXPECT_EQ(DataOf(undelivered_[0]), "no stream");

  FakeStream& stream = Connect();
  Forward("written");
  SendRound(1);
  Forward("queued");
  EXPECT_EQ(undelivered_.size(), 1u);
  stream.End(absl::UnavailableError("gone"));
  // What was being written may have arrived.
  ASSERT_EQ(undelivered_.size(), 2u);
  EXPECT_EQ(DataOf(undelivered_[1]), "queued");
}

// A leader that is removed, whose link goes with it; and one that was never heard of.
TEST_F(PeerTransportTest, ForwardedProposalsComeBackFromALinkThatGoesAndFromNone) {
  Connect();
  Forward("written");
  Forward("queued");
  SendRound(1);
  transport_->SetMembers({Of(1), Of(3)});
  ASSERT_EQ(undelivered_.size(), 1u);
  EXPECT_EQ(DataOf(undelivered_[0]), "queued");
  Forward("no link");
  SendRound(2);
  ASSERT_EQ(undelivered_.size(), 2u);
  EXPECT_EQ(DataOf(undelivered_[1]), "no link");
}

TEST_F(PeerTransportTest, WhatWaitsForAStrangerComesBackWhenOthersTakeItsPlace) {
  transport_->Greeted(MemberId(50), Of(50).peer_urls);
  transport_->Tick();
  Forward("first", MemberId(50));  // The greeting is being written.
  EXPECT_TRUE(undelivered_.empty());
  for (uint64_t id = 100; id < 100 + PeerTransport::kRemotesMax; ++id) {
    transport_->Greeted(MemberId(id), Of(id).peer_urls);
  }
  ASSERT_EQ(undelivered_.size(), 1u);
  EXPECT_EQ(DataOf(undelivered_[0]), "first");
}

TEST_F(PeerTransportTest, AnEndedStreamIsOpenedAgainAfterGrowingPauses) {
  transport_->Tick();
  std::vector<milliseconds> pauses;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const size_t opened = network_.streams.size();
    network_.last().End(absl::UnavailableError("refused"));
    milliseconds pause(0);
    while (network_.streams.size() == opened) {
      After(milliseconds(1));
      pause += milliseconds(1);
      ASSERT_LE(pause, milliseconds(1100));
    }
    pauses.push_back(pause);
  }
  EXPECT_LE(pauses.front(), milliseconds(51));
  EXPECT_GE(pauses.back(), milliseconds(500));
  EXPECT_EQ(unreachable_.size(), 8u);
}

TEST_F(PeerTransportTest, ASuccessMakesTheNextPauseShortAgain) {
  transport_->Tick();
  for (int attempt = 0; attempt < 6; ++attempt) {
    network_.last().End(absl::UnavailableError("refused"));
    After(milliseconds(1001));
  }
  network_.last().Greet(MemberId(2), MemberId(1));
  network_.last().End(absl::UnavailableError("gone"));
  const size_t opened = network_.streams.size();
  After(milliseconds(51));
  EXPECT_EQ(network_.streams.size(), opened + 1);
}

// A member that was down for long would otherwise hear of the leader only after the longest pause.
TEST_F(PeerTransportTest, APeerThatIsBackIsSpokenToAtOnce) {
  transport_->Tick();
  for (int attempt = 0; attempt < 6; ++attempt) {
    network_.last().End(absl::UnavailableError("refused"));
    After(milliseconds(1001));
  }
  network_.last().End(absl::UnavailableError("refused"));
  const size_t opened = network_.streams.size();
  transport_->Greeted(MemberId(2), Of(2).peer_urls);
  ASSERT_EQ(network_.streams.size(), opened + 1);
  EXPECT_TRUE(network_.last().written.front().has_greeting());
  // Once is enough.
  transport_->Greeted(MemberId(2), Of(2).peer_urls);
  EXPECT_EQ(network_.streams.size(), opened + 1);
}

TEST_F(PeerTransportTest, ConnectedFollowsGreetingAndEnd) {
  EXPECT_EQ(transport_->ConnectedMs(MemberId(2)), std::nullopt);
  FakeStream& stream = Connect();
  EXPECT_EQ(transport_->ConnectedMs(MemberId(2)), 0);
  now_ += milliseconds(7);
  EXPECT_EQ(transport_->ConnectedMs(MemberId(2)), 7);
  EXPECT_EQ(transport_->Links()[0].server_version, "3.7.0");
  EXPECT_EQ(transport_->ServerVersion(transport_->Links()[0].id), "3.7.0");
  EXPECT_EQ(transport_->ServerVersion(MemberId(999)), std::nullopt);
  stream.End(absl::UnavailableError("gone"));
  EXPECT_EQ(transport_->ConnectedMs(MemberId(2)), std::nullopt);
}

TEST_F(PeerTransportTest, ProbesMeasureTheWayAndEndADeadStream) {
  FakeStream& stream = Connect();
  After(milliseconds(1000));
  const uint64_t number = stream.Take().probe().number();
  now_ += milliseconds(3);
  peer::PeerResponse answer;
  answer.mutable_probe()->set_number(number);
  stream.Say(answer);
  EXPECT_EQ(transport_->Links()[0].round_trip, std::chrono::microseconds(3000));

  After(milliseconds(1000));
  EXPECT_TRUE(stream.Take().has_probe());
  After(milliseconds(4999));
  EXPECT_FALSE(stream.cancelled);
  After(milliseconds(1));
  EXPECT_TRUE(stream.cancelled);
}

TEST_F(PeerTransportTest, AStreamThatIsNeverGreetedIsGivenUp) {
  transport_->Tick();
  After(milliseconds(4999));
  EXPECT_FALSE(network_.last().cancelled);
  After(milliseconds(1));
  EXPECT_TRUE(network_.last().cancelled);
}

TEST_F(PeerTransportTest, RefusalsAreToldOnceEach) {
  for (const char* why : {"wrong cluster", "wrong cluster", "removed"}) {
    After(milliseconds(1001));
    network_.last().End(absl::FailedPreconditionError(why));
  }
  EXPECT_EQ(refusals_, (std::vector<std::string>{"wrong cluster", "removed"}));
}

TEST_F(PeerTransportTest, AnAnswerOfAnotherMemberIsRefused) {
  transport_->Tick();
  network_.last().Greet(MemberId(2), MemberId(9));
  EXPECT_TRUE(network_.last().cancelled);
  ASSERT_EQ(refusals_.size(), 1u);
  EXPECT_EQ(transport_->ConnectedMs(MemberId(2)), std::nullopt);
}

TEST_F(PeerTransportTest, MembersComeMoveAndGo) {
  FakeStream& stream = Connect();
  Member moved = Of(2);
  moved.peer_urls = {"http://127.0.0.1:22"};
  transport_->SetMembers({Of(1), moved, Of(3)});
  EXPECT_TRUE(stream.cancelled);
  stream.End(absl::CancelledError("moved"));
  After(milliseconds(100));
  ASSERT_EQ(network_.streams.size(), 3u);
  std::vector<std::string> authorities = {network_.streams[1]->authority,
                                          network_.streams[2]->authority};
  std::sort(authorities.begin(), authorities.end());
  EXPECT_EQ(authorities, (std::vector<std::string>{"127.0.0.1:22", "127.0.0.1:3"}));
  transport_->SetMembers({Of(1), Of(3)});
  EXPECT_EQ(transport_->Links().size(), 1u);
}

TEST_F(PeerTransportTest, AStrangerThatGreetedIsAnsweredAndBecomesAMember) {
  transport_->Greeted(MemberId(5), {"http://127.0.0.1:5"});
  transport_->Greeted(MemberId(5), {"http://127.0.0.1:5"});
  transport_->Tick();
  ASSERT_EQ(network_.streams.size(), 2u);  // To member 2 and to the stranger.
  EXPECT_EQ(network_.last().authority, "127.0.0.1:5");
  transport_->SetMembers({Of(1), Of(2), Of(5)});
  After(milliseconds(1));
  EXPECT_EQ(network_.streams.size(), 2u);
  EXPECT_EQ(transport_->Links().size(), 2u);

  for (uint64_t id = 100; id < 100 + 2 * PeerTransport::kRemotesMax; ++id) {
    transport_->Greeted(MemberId(id), Of(id).peer_urls);
  }
  transport_->Tick();
  EXPECT_EQ(network_.streams.size(), 2u + PeerTransport::kRemotesMax);
}

TEST_F(PeerTransportTest, CallsUseTheConnectionOfTheStream) {
  std::vector<absl::StatusOr<std::string>> answers;
  const auto call = [&](MemberId to) {
    transport_->Call(to, "Promote", "x", milliseconds(100),
                     [&](absl::StatusOr<std::string> answer) { answers.push_back(answer); });
  };
  call(MemberId(2));
  call(MemberId(77));
  Connect();
  call(MemberId(2));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers[1].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers[2].value_or("-"), "x!");
  EXPECT_EQ(network_.calls, std::vector<std::string>{"/cairn.peer.Peer/Promote"});
}

TEST_F(PeerTransportTest, AfterAStopNothingIsToldOrSent) {
  FakeStream& stream = Connect();
  transport_->Stop();
  EXPECT_TRUE(stream.cancelled);
  stream.End(absl::CancelledError("stopped"));
  SendRound(1);
  Forward("too late");
  After(milliseconds(2000));
  EXPECT_TRUE(unreachable_.empty());
  EXPECT_TRUE(undelivered_.empty());
  EXPECT_EQ(network_.streams.size(), 1u);
}

}  // namespace
}  // namespace cairn::server
