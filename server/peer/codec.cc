#include "server/peer/codec.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "base/status.h"

namespace cairn::server {

namespace {

using raft::EntryId;
using raft::EntryKind;
using raft::Payload;

// Tags, lengths and numbers around a message and around an entry, at most.
constexpr size_t kMessageOverheadBytes = 80;
constexpr size_t kEntryOverheadBytes = 32;
constexpr size_t kIdBytesMax = 10;

void Set(EntryId id, peer::EntryId& encoded) {
  encoded.set_term(id.term.value());
  encoded.set_index(id.index.value());
}

EntryId Get(const peer::EntryId& encoded) { return {Term(encoded.term()), Index(encoded.index())}; }

absl::StatusOr<EntryKind> GetKind(uint32_t number) {
  switch (number) {
    case static_cast<uint32_t>(EntryKind::kEmpty):
      return EntryKind::kEmpty;
    case static_cast<uint32_t>(EntryKind::kCommand):
      return EntryKind::kCommand;
    case static_cast<uint32_t>(EntryKind::kConfiguration):
      return EntryKind::kConfiguration;
    default:
      return base::Error(absl::StatusCode::kInvalidArgument,
                         "an entry of kind {}, which this version does not know", number);
  }
}

absl::StatusOr<Payload> GetPayload(EntryKind kind, std::string&& data) {
  if (kind == EntryKind::kEmpty) {
    if (data.empty()) return Payload();
    return base::Error(absl::StatusCode::kInvalidArgument, "an empty entry with {} bytes of data",
                       data.size());
  }
  return std::make_shared<const std::string>(std::move(data));
}

struct Encoder {
  peer::Message& out;

  void operator()(const raft::VoteRequest& body) const {
    peer::VoteRequest& encoded = *out.mutable_vote_request();
    encoded.set_is_pre_vote(body.is_pre_vote);
    encoded.set_campaign_term(body.campaign_term.value());
    Set(body.last, *encoded.mutable_last());
    encoded.set_is_transfer(body.is_transfer);
    Set(body.committed, *encoded.mutable_committed());
  }
  void operator()(const raft::VoteReply& body) const {
    peer::VoteReply& encoded = *out.mutable_vote_reply();
    encoded.set_is_pre_vote(body.is_pre_vote);
    encoded.set_campaign_term(body.campaign_term.value());
    encoded.set_is_granted(body.is_granted);
    Set(body.committed, *encoded.mutable_committed());
  }
  void operator()(const raft::AppendRequest& body) const {
    peer::AppendRequest& encoded = *out.mutable_append_request();
    Set(body.previous, *encoded.mutable_previous());
    encoded.set_commit(body.commit.value());
    encoded.mutable_entries()->Reserve(static_cast<int>(body.entries.size()));
    for (const raft::Entry& entry : body.entries) {
      peer::Entry& added = *encoded.add_entries();
      added.set_term(entry.term.value());
      added.set_kind(static_cast<uint32_t>(entry.kind));
      if (entry.data != nullptr) added.set_data(*entry.data);
    }
  }
  void operator()(const raft::AppendAccepted& body) const {
    out.mutable_append_accepted()->set_match(body.match.value());
  }
  void operator()(const raft::AppendRejected& body) const {
    peer::AppendRejected& encoded = *out.mutable_append_rejected();
    Set(body.previous, *encoded.mutable_previous());
    Set(body.hint, *encoded.mutable_hint());
  }
  void operator()(const raft::Heartbeat& body) const {
    peer::Heartbeat& encoded = *out.mutable_heartbeat();
    encoded.set_commit(body.commit.value());
    encoded.set_round(body.round);
  }
  void operator()(const raft::HeartbeatReply& body) const {
    out.mutable_heartbeat_reply()->set_round(body.round);
  }
  void operator()(const raft::StaleTerm&) const { out.mutable_stale_term(); }
  void operator()(const raft::ForwardedProposals& body) const {
    peer::ForwardedProposals& encoded = *out.mutable_forwarded_proposals();
    for (const raft::Proposal& proposal : body.proposals) {
      peer::Proposal& added = *encoded.add_proposals();
      added.set_kind(static_cast<uint32_t>(proposal.kind));
      if (proposal.data != nullptr) added.set_data(*proposal.data);
      added.set_id(proposal.id);
    }
    encoded.set_start_nonce(body.start_nonce);
  }
  void operator()(const raft::RefusedProposals& body) const {
    peer::RefusedProposals& encoded = *out.mutable_refused_proposals();
    encoded.set_start_nonce(body.start_nonce);
    encoded.mutable_ids()->Add(body.ids.begin(), body.ids.end());
  }
  void operator()(const raft::ReadIndexRequest& body) const {
    out.mutable_read_index_request()->set_context(body.context);
  }
  void operator()(const raft::ReadIndexReply& body) const {
    peer::ReadIndexReply& encoded = *out.mutable_read_index_reply();
    encoded.set_context(body.context);
    encoded.set_index(body.index.value());
  }
  void operator()(const raft::TimeoutNow&) const { out.mutable_timeout_now(); }
};

absl::StatusOr<raft::AppendRequest> DecodeAppend(peer::AppendRequest& encoded) {
  raft::AppendRequest body{.previous = Get(encoded.previous()), .commit = Index(encoded.commit())};
  body.entries.reserve(static_cast<size_t>(encoded.entries_size()));
  Index next = body.previous.index + 1;
  for (peer::Entry& entry : *encoded.mutable_entries()) {
    CAIRN_ASSIGN_OR_RETURN(const EntryKind kind, GetKind(entry.kind()));
    CAIRN_ASSIGN_OR_RETURN(Payload data, GetPayload(kind, std::move(*entry.mutable_data())));
    body.entries.push_back({Term(entry.term()), next, kind, std::move(data)});
    next = next + 1;
  }
  return body;
}

absl::StatusOr<raft::ForwardedProposals> DecodeProposals(peer::ForwardedProposals& encoded) {
  raft::ForwardedProposals body;
  body.proposals.reserve(static_cast<size_t>(encoded.proposals_size()));
  for (peer::Proposal& proposal : *encoded.mutable_proposals()) {
    CAIRN_ASSIGN_OR_RETURN(const EntryKind kind, GetKind(proposal.kind()));
    CAIRN_ASSIGN_OR_RETURN(Payload data, GetPayload(kind, std::move(*proposal.mutable_data())));
    body.proposals.push_back({.kind = kind, .data = std::move(data), .id = proposal.id()});
  }
  body.start_nonce = encoded.start_nonce();
  if (body.proposals.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "proposals without a proposal");
  }
  return body;
}

absl::StatusOr<raft::MessageBody> DecodeBody(peer::Message& encoded) {
  switch (encoded.body_case()) {
    case peer::Message::kVoteRequest: {
      const peer::VoteRequest& body = encoded.vote_request();
      return raft::VoteRequest{body.is_pre_vote(), Term(body.campaign_term()), Get(body.last()),
                               body.is_transfer(), Get(body.committed())};
    }
    case peer::Message::kVoteReply: {
      const peer::VoteReply& body = encoded.vote_reply();
      return raft::VoteReply{body.is_pre_vote(), Term(body.campaign_term()), body.is_granted(),
                             Get(body.committed())};
    }
    case peer::Message::kAppendRequest:
      return DecodeAppend(*encoded.mutable_append_request());
    case peer::Message::kAppendAccepted:
      return raft::AppendAccepted{Index(encoded.append_accepted().match())};
    case peer::Message::kAppendRejected: {
      const peer::AppendRejected& body = encoded.append_rejected();
      return raft::AppendRejected{Get(body.previous()), Get(body.hint())};
    }
    case peer::Message::kHeartbeat:
      return raft::Heartbeat{Index(encoded.heartbeat().commit()), encoded.heartbeat().round()};
    case peer::Message::kHeartbeatReply:
      return raft::HeartbeatReply{encoded.heartbeat_reply().round()};
    case peer::Message::kStaleTerm:
      return raft::StaleTerm{};
    case peer::Message::kForwardedProposals:
      return DecodeProposals(*encoded.mutable_forwarded_proposals());
    case peer::Message::kReadIndexRequest:
      return raft::ReadIndexRequest{encoded.read_index_request().context()};
    case peer::Message::kReadIndexReply:
      return raft::ReadIndexReply{encoded.read_index_reply().context(),
                                  Index(encoded.read_index_reply().index())};
    case peer::Message::kTimeoutNow:
      return raft::TimeoutNow{};
    case peer::Message::kRefusedProposals: {
      const peer::RefusedProposals& body = encoded.refused_proposals();
      return raft::RefusedProposals{body.start_nonce(), {body.ids().begin(), body.ids().end()}};
    }
    case peer::Message::BODY_NOT_SET:
      break;
  }
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "a message whose body this version does not know");
}

// The largest term or index of a body. Rounds, contexts and ids are only compared or returned.
struct Largest {
  static uint64_t Of(EntryId id) { return std::max(id.term.value(), id.index.value()); }

  uint64_t operator()(const raft::VoteRequest& body) const {
    return std::max({body.campaign_term.value(), Of(body.last), Of(body.committed)});
  }
  uint64_t operator()(const raft::VoteReply& body) const {
    return std::max(body.campaign_term.value(), Of(body.committed));
  }
  uint64_t operator()(const raft::AppendRequest& body) const {
    uint64_t largest = std::max(Of(body.previous), body.commit.value());
    for (const raft::Entry& entry : body.entries) {
      largest = std::max({largest, entry.term.value(), entry.index.value()});
    }
    return largest;
  }
  uint64_t operator()(const raft::AppendAccepted& body) const { return body.match.value(); }
  uint64_t operator()(const raft::AppendRejected& body) const {
    return std::max(Of(body.previous), Of(body.hint));
  }
  uint64_t operator()(const raft::Heartbeat& body) const { return body.commit.value(); }
  uint64_t operator()(const raft::HeartbeatReply&) const { return 0; }
  uint64_t operator()(const raft::StaleTerm&) const { return 0; }
  uint64_t operator()(const raft::ForwardedProposals&) const { return 0; }
  uint64_t operator()(const raft::RefusedProposals&) const { return 0; }
  uint64_t operator()(const raft::ReadIndexRequest&) const { return 0; }
  uint64_t operator()(const raft::ReadIndexReply& body) const { return body.index.value(); }
  uint64_t operator()(const raft::TimeoutNow&) const { return 0; }
};

size_t ProposalBytes(const raft::Proposal& proposal) {
  return kEntryOverheadBytes + (proposal.data == nullptr ? 0 : proposal.data->size());
}

}  // namespace

size_t EncodedBytes(const raft::Message& message) {
  size_t bytes = kMessageOverheadBytes;
  if (const auto* append = std::get_if<raft::AppendRequest>(&message.body)) {
    for (const raft::Entry& entry : append->entries) {
      bytes += kEntryOverheadBytes + entry.data_bytes();
    }
  } else if (const auto* forwarded = std::get_if<raft::ForwardedProposals>(&message.body)) {
    for (const raft::Proposal& proposal : forwarded->proposals) bytes += ProposalBytes(proposal);
  } else if (const auto* refused = std::get_if<raft::RefusedProposals>(&message.body)) {
    bytes += kIdBytesMax * refused->ids.size();
  }
  return bytes;
}

void Encode(const raft::Message& message, peer::Message& encoded) {
  encoded.set_term(message.term.value());
  std::visit(Encoder{encoded}, message.body);
}

absl::Status CheckTermOrIndex(uint64_t number) {
  if (number <= raft::kTermOrIndexMax) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "a term or an index of {}, which no member can have come to", number);
}

absl::StatusOr<raft::Message> Decode(peer::Message&& encoded, MemberId from, MemberId to) {
  CAIRN_ASSIGN_OR_RETURN(raft::MessageBody body, DecodeBody(encoded));
  CAIRN_RETURN_IF_ERROR(CheckTermOrIndex(std::max(encoded.term(), std::visit(Largest(), body))));
  return raft::Message{from, to, Term(encoded.term()), std::move(body)};
}

void SplitInto(raft::Message message, size_t bytes_max, std::vector<raft::Message>& messages) {
  auto* const forwarded = std::get_if<raft::ForwardedProposals>(&message.body);
  if (forwarded == nullptr || EncodedBytes(message) <= bytes_max) {
    messages.push_back(std::move(message));
    return;
  }
  raft::ForwardedProposals part;
  size_t part_bytes = 0;
  const auto send = [&] {
    part.start_nonce = forwarded->start_nonce;
    messages.push_back({message.from, message.to, message.term, std::move(part)});
    part = {};
    part_bytes = 0;
  };
  for (raft::Proposal& proposal : forwarded->proposals) {
    const size_t bytes = ProposalBytes(proposal);
    if (part_bytes > 0 && part_bytes + bytes > bytes_max) send();
    part_bytes += bytes;
    part.proposals.push_back(std::move(proposal));
  }
  send();
}

}  // namespace cairn::server
