#include "cmd/cairnutl/entry_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "server/command.h"
#include "server/membership_change.h"
#include "server/membership_rows.h"

namespace cairn::cairnutl {

namespace {

using google::protobuf::Message;
using server::CommandKind;

// Of a transaction in a line of text.
constexpr int kShownOperationsMax = 4;
// Of a message without a text of its own.
constexpr size_t kShownMessageBytesMax = 200;

struct KindInfo {
  CommandKind kind;
  std::string_view name;
  const Message& (*prototype)();
};

template <typename M>
const Message& PrototypeOf() {
  return M::default_instance();
}

// In the order of the numbers. A kind that is missing here is shown by its number.
constexpr std::array kKinds = {
    KindInfo{CommandKind::kPut, "put", PrototypeOf<etcdserverpb::PutRequest>},
    KindInfo{CommandKind::kDeleteRange, "delete-range",
             PrototypeOf<etcdserverpb::DeleteRangeRequest>},
    KindInfo{CommandKind::kTxn, "txn", PrototypeOf<etcdserverpb::TxnRequest>},
    KindInfo{CommandKind::kCompact, "compact", PrototypeOf<etcdserverpb::CompactionRequest>},
    KindInfo{CommandKind::kPublishMember, "publish-member", PrototypeOf<internal::PublishMember>},
    KindInfo{CommandKind::kLeaseGrant, "lease-grant", PrototypeOf<etcdserverpb::LeaseGrantRequest>},
    KindInfo{CommandKind::kLeaseRevoke, "lease-revoke",
             PrototypeOf<etcdserverpb::LeaseRevokeRequest>},
    KindInfo{CommandKind::kLeaseExpire, "lease-expire", PrototypeOf<internal::LeaseBatch>},
    KindInfo{CommandKind::kLeaseCheckpoint, "lease-checkpoint", PrototypeOf<internal::LeaseBatch>},
    KindInfo{CommandKind::kLeaseClear, "lease-clear", PrototypeOf<internal::LeaseBatch>},
    KindInfo{CommandKind::kAlarm, "alarm", PrototypeOf<etcdserverpb::AlarmRequest>},
    KindInfo{CommandKind::kSpaceAlarm, "space-alarm", PrototypeOf<internal::SpaceAlarm>},
    KindInfo{CommandKind::kClusterVersion, "cluster-version",
             PrototypeOf<internal::ClusterVersion>},
    KindInfo{CommandKind::kDowngrade, "downgrade", PrototypeOf<internal::Downgrade>},
    KindInfo{CommandKind::kRaiseRevision, "raise-revision", PrototypeOf<internal::RevisionRaise>},
};

const KindInfo* Find(CommandKind kind) {
  const auto found = std::find_if(kKinds.begin(), kKinds.end(),
                                  [kind](const KindInfo& info) { return info.kind == kind; });
  return found == kKinds.end() ? nullptr : &*found;
}

std::string NameOf(CommandKind kind) {
  const KindInfo* const info = Find(kind);
  if (info != nullptr) return std::string(info->name);
  return fmt::format("kind {}", static_cast<uint16_t>(kind));
}

std::string RangeText(const std::string& key, const std::string& range_end) {
  if (range_end.empty()) return Quote(key);
  return fmt::format("[{}, {})", Quote(key), Quote(range_end));
}

std::string PutText(const etcdserverpb::PutRequest& put) {
  std::string text = fmt::format("{} = ", Quote(put.key()));
  text += put.ignore_value() ? "value kept" : fmt::format("{} bytes", put.value().size());
  if (put.ignore_lease()) text += " lease kept";
  if (put.lease() != 0) text += " lease " + Hex(static_cast<uint64_t>(put.lease()));
  return text;
}

std::string TxnText(const etcdserverpb::TxnRequest& txn);

std::string OperationText(const etcdserverpb::RequestOp& operation) {
  switch (operation.request_case()) {
    case etcdserverpb::RequestOp::kRequestPut:
      return "put " + PutText(operation.request_put());
    case etcdserverpb::RequestOp::kRequestDeleteRange:
      return "delete " + RangeText(operation.request_delete_range().key(),
                                   operation.request_delete_range().range_end());
    case etcdserverpb::RequestOp::kRequestRange:
      return "range " +
             RangeText(operation.request_range().key(), operation.request_range().range_end());
    case etcdserverpb::RequestOp::kRequestTxn:
      return "txn (" + TxnText(operation.request_txn()) + ")";
    case etcdserverpb::RequestOp::REQUEST_NOT_SET:
      break;
  }
  return "nothing";
}

std::string OperationsText(
    const google::protobuf::RepeatedPtrField<etcdserverpb::RequestOp>& operations) {
  std::vector<std::string> parts;
  for (int i = 0; i < std::min(operations.size(), kShownOperationsMax); ++i) {
    parts.push_back(OperationText(operations[i]));
  }
  if (operations.size() > kShownOperationsMax) {
    parts.push_back(fmt::format("{} more", operations.size() - kShownOperationsMax));
  }
  return parts.empty() ? "nothing" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string TxnText(const etcdserverpb::TxnRequest& txn) {
  return fmt::format("if {} conditions then {} else {}", txn.compare_size(),
                     OperationsText(txn.success()), OperationsText(txn.failure()));
}

std::string BodyText(CommandKind kind, const Message& body) {
  switch (kind) {
    case CommandKind::kPut:
      return PutText(static_cast<const etcdserverpb::PutRequest&>(body));
    case CommandKind::kDeleteRange: {
      const auto& request = static_cast<const etcdserverpb::DeleteRangeRequest&>(body);
      return RangeText(request.key(), request.range_end());
    }
    case CommandKind::kTxn:
      return TxnText(static_cast<const etcdserverpb::TxnRequest&>(body));
    default:
      return Shorten(body.ShortDebugString(), kShownMessageBytesMax);
  }
}

// The message of a command's body; null when it is not one.
std::unique_ptr<Message> ParseBody(const server::DecodedCommand& command) {
  const KindInfo* const info = Find(command.header.kind);
  if (info == nullptr) return nullptr;
  std::unique_ptr<Message> body(info->prototype().New());
  const bool is_parsed =
      body->ParseFromArray(command.body.data(), static_cast<int>(command.body.size()));
  return is_parsed ? std::move(body) : nullptr;
}

std::string ProposerText(MemberId proposer, uint64_t sequence) {
  if (proposer == MemberId(0)) return {};
  return fmt::format(", by {:x} #{}", proposer, sequence);
}

std::string CommandText(std::string_view data) {
  const absl::StatusOr<server::DecodedCommand> command = server::DecodeCommand(data);
  if (!command.ok()) {
    return fmt::format("unreadable ({} bytes): {}", data.size(), base::Message(command.status()));
  }
  const server::CommandHeader& header = command->header;
  const std::unique_ptr<Message> body = ParseBody(*command);
  std::string text = NameOf(header.kind) + " ";
  text += body == nullptr ? fmt::format("unreadable ({} bytes)", command->body.size())
                          : BodyText(header.kind, *body);
  if (!header.user.empty()) text += fmt::format(", user {}", Quote(header.user));
  return text + ProposerText(header.proposer, header.sequence);
}

std::string_view ChangeName(server::ChangeKind kind) {
  constexpr std::array<std::string_view, 6> kNames = {
      "unknown", "add voter", "add learner", "promote learner", "remove", "update peer URLs"};
  const auto at = static_cast<size_t>(kind);
  return at < kNames.size() ? kNames[at] : kNames[0];
}

std::string ChangeText(std::string_view data) {
  const absl::StatusOr<server::MembershipChange> change = server::DecodeChange(data);
  if (!change.ok()) {
    return fmt::format("unreadable ({} bytes): {}", data.size(), base::Message(change.status()));
  }
  std::vector<std::string> parts;
  for (const server::ChangeStep& step : change->steps) {
    parts.push_back(fmt::format("{} {:x}", ChangeName(step.kind), step.member.id));
    if (!step.member.peer_urls.empty()) {
      parts.back() += fmt::format(
          " at {}",
          Shorten(fmt::format("{}", fmt::join(step.member.peer_urls, " ")), kShownMessageBytesMax));
    }
  }
  if (change->leave_joint) parts.push_back("leave the joint configuration");
  return fmt::format("{}{}", fmt::join(parts, ", "),
                     ProposerText(change->proposer.id, change->proposer.sequence));
}

void PutUnreadable(Json& object, std::string_view reason, std::string_view data) {
  object["unreadable"] = reason;
  object["data_base64"] = Base64(data);
}

// Protobuf's own JSON, taken apart once more to be put into another object.
Json ToJson(const Message& message) {
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text).ok()) return nullptr;
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

void PutProposer(Json& object, MemberId id, uint64_t nonce, uint64_t sequence) {
  object["proposer"] = Hex(id.value());
  // Random 64 bits, which some readers of JSON would round.
  object["nonce"] = Hex(nonce);
  object["sequence"] = sequence;
}

void PutCommand(Json& object, std::string_view data) {
  const absl::StatusOr<server::DecodedCommand> command = server::DecodeCommand(data);
  if (!command.ok()) return PutUnreadable(object, base::Message(command.status()), data);
  const server::CommandHeader& header = command->header;
  object["command"] = NameOf(header.kind);
  PutProposer(object, header.proposer, header.nonce, header.sequence);
  if (!header.user.empty()) PutBytes(object, "user", header.user);
  if (header.auth_revision != 0) object["authRevision"] = header.auth_revision;
  const std::unique_ptr<Message> body = ParseBody(*command);
  if (body == nullptr) return PutUnreadable(object, "the body is not a message", command->body);
  object["request"] = ToJson(*body);
}

void PutChange(Json& object, std::string_view data) {
  const absl::StatusOr<server::MembershipChange> change = server::DecodeChange(data);
  if (!change.ok()) return PutUnreadable(object, base::Message(change.status()), data);
  if (change->proposer != server::ChangeProposer{}) {
    PutProposer(object, change->proposer.id, change->proposer.nonce, change->proposer.sequence);
  }
  Json steps = Json::array();
  for (const server::ChangeStep& step : change->steps) {
    Json one = {{"kind", ChangeName(step.kind)}, {"id", Hex(step.member.id.value())}};
    if (!step.member.peer_urls.empty()) one["peerUrls"] = step.member.peer_urls;
    steps.push_back(std::move(one));
  }
  object["change"] = std::move(steps);
  if (change->leave_joint) object["leaveJoint"] = true;
}

Json Ids(const std::vector<MemberId>& ids) {
  Json list = Json::array();
  for (const MemberId id : ids) list.push_back(Hex(id.value()));
  return list;
}

}  // namespace

std::string EntryKindName(raft::EntryKind kind) {
  switch (kind) {
    case raft::EntryKind::kEmpty:
      return "empty";
    case raft::EntryKind::kCommand:
      return "command";
    case raft::EntryKind::kConfiguration:
      return "configuration";
  }
  return fmt::format("kind {}", static_cast<uint8_t>(kind));
}

std::string DescribeEntry(raft::EntryKind kind, std::string_view data) {
  switch (kind) {
    case raft::EntryKind::kCommand:
      return CommandText(data);
    case raft::EntryKind::kConfiguration:
      return ChangeText(data);
    case raft::EntryKind::kEmpty:
      break;
  }
  return data.empty() ? "" : fmt::format("{} bytes", data.size());
}

void PutEntry(Json& object, raft::EntryKind kind, std::string_view data) {
  object["kind"] = EntryKindName(kind);
  if (kind == raft::EntryKind::kCommand) {
    PutCommand(object, data);
  } else if (kind == raft::EntryKind::kConfiguration) {
    PutChange(object, data);
  } else if (!data.empty()) {
    PutUnreadable(object, "an entry of this kind has no data", data);
  }
}

std::string DescribeConfiguration(std::string_view data) {
  const absl::StatusOr<raft::Configuration> configuration = server::DecodeConfiguration(data);
  if (!configuration.ok()) {
    return fmt::format("unreadable ({} bytes): {}", data.size(),
                       base::Message(configuration.status()));
  }
  std::string text;
  const auto add = [&text](std::string_view name, const std::vector<MemberId>& ids) {
    if (ids.empty()) return;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
    for (const MemberId id : ids) text += fmt::format(" {:x}", id);
  };
  add("voters", configuration->voters);
  add("outgoing", configuration->outgoing);
  add("learners", configuration->learners);
  add("learners next", configuration->learners_next);
  return text.empty() ? "nobody" : text;
}

void PutConfiguration(Json& object, std::string_view data) {
  const absl::StatusOr<raft::Configuration> configuration = server::DecodeConfiguration(data);
  if (!configuration.ok()) {
    return PutUnreadable(object, base::Message(configuration.status()), data);
  }
  object["voters"] = Ids(configuration->voters);
  if (!configuration->outgoing.empty()) object["outgoing"] = Ids(configuration->outgoing);
  object["learners"] = Ids(configuration->learners);
  if (!configuration->learners_next.empty()) {
    object["learnersNext"] = Ids(configuration->learners_next);
  }
}

}  // namespace cairn::cairnutl
