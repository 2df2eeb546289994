#include "cmd/cairnutl/row_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/message.h>

#include <utility>

#include "api/auth.pb.h"
#include "api/internal.pb.h"
#include "base/coding.h"
#include "cmd/cairnutl/entry_text.h"
#include "lease/lease_codec.h"
#include "mvcc/key_value.h"
#include "mvcc/row_codec.h"
#include "mvcc/schema.h"
#include "server/cluster_state.h"
#include "server/installed_at.h"
#include "server/membership_rows.h"

namespace cairn::cairnutl {

namespace {

using mvcc::Family;

RowText Unreadable(std::string name, std::string_view key, std::string_view value) {
  RowText row;
  row.name = std::move(name);
  row.text = fmt::format("{} unreadable: {}", Quote(key), Quote(value));
  row.json = {{"unreadable", true}};
  PutBytes(row.json, "key", key);
  row.json["value_base64"] = Base64(value);
  row.is_unreadable = true;
  return row;
}

std::string RevisionText(RowRevision revision) {
  return fmt::format("{}/{}", revision.main, revision.sub);
}

Json RevisionJson(RowRevision revision) {
  return {{"main", revision.main.value()}, {"sub", revision.sub}};
}

std::string LeaseText(LeaseId lease) {
  return lease == LeaseId(0) ? "" : ", lease " + Hex(static_cast<uint64_t>(lease.value()));
}

RowText DescribeLatest(std::string_view key, std::string_view value) {
  mvcc::LatestRow latest;
  if (!mvcc::DecodeLatestRow(value, latest)) return Unreadable("key", key, value);
  RowText row;
  PutBytes(row.json, "key", key);
  row.json["modified"] = RevisionJson(latest.revision);
  row.json["position"] = latest.position;
  row.json["revisionRowBytes"] = latest.revision_row_bytes;
  if (!latest.live) {
    row.name = "tombstone";
    row.text = fmt::format("{} deleted at {}", Quote(key), RevisionText(latest.revision));
    return row;
  }
  row.name = "key";
  row.text = fmt::format(
      "{} modified {}, created {}, version {}{}, {}", Quote(key), RevisionText(latest.revision),
      latest.create_revision, latest.version, LeaseText(latest.lease),
      latest.has_value ? fmt::format("value {}", Quote(latest.value)) : "value in revisions");
  row.json["createRevision"] = latest.create_revision.value();
  row.json["version"] = latest.version;
  row.json["lease"] = latest.lease.value();
  if (latest.has_value) PutBytes(row.json, "value", latest.value);
  return row;
}

RowText DescribeRevision(std::string_view key, std::string_view value) {
  RowRevision revision;
  mvcc::RevisionRow change;
  mvcc::KeyValueView kv;
  if (!mvcc::ParseRevisionKey(key, revision) || !mvcc::DecodeRevisionRow(value, change) ||
      !mvcc::ParseKeyValue(change.key_value, kv)) {
    return Unreadable("creation", key, value);
  }
  RowText row;
  row.name = change.kind == mvcc::ChangeKind::kCreation ? "creation"
             : change.kind == mvcc::ChangeKind::kUpdate ? "update"
                                                        : "deletion";
  row.text = fmt::format("{} {}", RevisionText(revision), Quote(kv.key));
  row.json["revision"] = RevisionJson(revision);
  PutBytes(row.json, "key", kv.key);
  if (change.kind != mvcc::ChangeKind::kDeletion) {
    row.text +=
        fmt::format(" version {}{}, value {}", kv.version, LeaseText(kv.lease), Quote(kv.value));
    row.json["createRevision"] = kv.create_revision.value();
    row.json["version"] = kv.version;
    row.json["lease"] = kv.lease.value();
    PutBytes(row.json, "value", kv.value);
  }
  if (change.previous != kNoRow) {
    row.text += fmt::format(", previous {}, skip {}", RevisionText(change.previous),
                            RevisionText(change.skip));
    row.json["previous"] = RevisionJson(change.previous);
    row.json["skip"] = RevisionJson(change.skip);
  }
  return row;
}

RowText DescribeFormat(std::string_view key, std::string_view value) {
  mvcc::FormatRow format;
  if (!mvcc::DecodeFormatRow(value, format)) return Unreadable("format", key, value);
  RowText row;
  row.text = fmt::format("version {}, cluster {:x}, member {:x}", format.version, format.cluster,
                         format.member);
  row.json = {{"version", format.version},
              {"cluster", Hex(format.cluster.value())},
              {"member", Hex(format.member.value())}};
  return row;
}

RowText DescribeState(std::string_view key, std::string_view value) {
  mvcc::StateRow state;
  if (!mvcc::DecodeStateRow(value, state)) return Unreadable("state", key, value);
  RowText row;
  row.text = fmt::format(
      "applied {} of term {}, revision {}, compacted {}, removal at {}, {} bytes logical",
      state.applied.index, state.applied.term, state.published.revision, state.published.watermark,
      RevisionText(state.removal_cursor), state.logical_size_bytes);
  row.json = {{"appliedIndex", state.applied.index.value()},
              {"appliedTerm", state.applied.term.value()},
              {"revision", state.published.revision.value()},
              {"compactRevision", state.published.watermark.value()},
              {"removalCursor", RevisionJson(state.removal_cursor)},
              {"logicalSizeBytes", state.logical_size_bytes}};
  return row;
}

RowText DescribeAlarm(std::string_view key, std::string_view value) {
  const absl::StatusOr<server::Alarm> alarm = server::DecodeAlarmRow(key, value);
  if (!alarm.ok()) return Unreadable("alarm", key, value);
  const std::string kind = alarm->kind == server::AlarmKind::kNoSpace ? "NOSPACE" : "CORRUPT";
  RowText row;
  row.text = fmt::format("{} of member {:x}{}", kind, alarm->member,
                         alarm->is_automatic ? ", raised by itself" : "");
  row.json = {{"alarm", kind},
              {"member", Hex(alarm->member.value())},
              {"isAutomatic", alarm->is_automatic}};
  return row;
}

RowText DescribeConfigurationRow(std::string_view key, std::string_view value) {
  RowText row;
  if (!server::DecodeConfiguration(value).ok()) return Unreadable("configuration", key, value);
  row.text = DescribeConfiguration(value);
  row.json = Json::object();
  PutConfiguration(row.json, value);
  return row;
}

RowText DescribeRemoved(std::string_view key, std::string_view value) {
  const absl::StatusOr<server::RemovedMember> removed = server::DecodeRemoved(key, value);
  if (!removed.ok()) return Unreadable("removed-member", key, value);
  RowText row;
  row.text = fmt::format("member {:x}, by entry {}", removed->id, removed->index);
  row.json = {{"member", Hex(removed->id.value())}, {"index", removed->index.value()}};
  return row;
}

RowText DescribeInstalled(std::string_view key, std::string_view value) {
  std::string_view rest = value;
  uint64_t term = 0;
  uint64_t index = 0;
  if (!base::TakeBig64(rest, term) || !base::TakeBig64(rest, index) || !rest.empty()) {
    return Unreadable("installed", key, value);
  }
  RowText row;
  row.text = fmt::format("arrived as a snapshot through {} of term {}", index, term);
  row.json = {{"index", index}, {"term", term}};
  return row;
}

RowText DescribeLease(std::string_view key, std::string_view value) {
  std::string_view rest = key.substr(mvcc::kLeasePrefix.size());
  LeaseId id;
  lease::LeaseFacts facts;
  if (!lease::TakeLeaseId(rest, id) || !rest.empty() || !lease::DecodeLeaseRow(value, facts)) {
    return Unreadable("lease", key, value);
  }
  RowText row;
  const std::string life = facts.is_ending() ? "ending" : fmt::format("ttl {} s", facts.ttl_s);
  row.text = fmt::format("{:x} {}, granted by entry {}, {} keys", static_cast<uint64_t>(id.value()),
                         life, facts.granted, facts.key_count);
  row.json = {{"id", id.value()},
              {"ttlSeconds", facts.ttl_s},
              {"grantedIndex", facts.granted.value()},
              {"keys", facts.key_count}};
  if (facts.checkpoint_ms.has_value()) {
    row.text += fmt::format(", {} ms remained at the checkpoint", *facts.checkpoint_ms);
    row.json["checkpointMs"] = *facts.checkpoint_ms;
  }
  return row;
}

RowText DescribeLeaseKey(std::string_view key, std::string_view value) {
  std::string_view rest = key.substr(mvcc::kLeaseKeyPrefix.size());
  LeaseId id;
  if (!lease::TakeLeaseId(rest, id) || !value.empty()) return Unreadable("lease-key", key, value);
  RowText row;
  row.text = fmt::format("{:x} holds {}", static_cast<uint64_t>(id.value()), Quote(rest));
  row.json = {{"id", id.value()}};
  PutBytes(row.json, "key", rest);
  return row;
}

RowText DescribeMember(std::string_view key, std::string_view value) {
  const absl::StatusOr<server::Member> member = server::DecodeMember(value);
  if (!member.ok()) return Unreadable("member", key, value);
  RowText row;
  row.text = fmt::format("{:x} {} peers {} clients {}{}", member->id, Quote(member->name),
                         fmt::join(member->peer_urls, " "), fmt::join(member->client_urls, " "),
                         member->is_learner ? ", learner" : "");
  row.json = {{"id", Hex(member->id.value())},
              {"name", member->name},
              {"peerUrls", member->peer_urls},
              {"clientUrls", member->client_urls},
              {"isLearner", member->is_learner}};
  return row;
}

// Nobody needs to see a password's hash to know that there is one.
void HideSecrets(authpb::User& user) {
  if (!user.password().empty()) user.set_password("hidden");
}
void HideSecrets(const google::protobuf::Message&) {}

// A row that holds one message, shown as Protobuf shows it.
template <typename M>
RowText DescribeMessage(std::string_view key, std::string_view value) {
  constexpr size_t kShownMax = 200;
  M message;
  if (!message.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Unreadable("", key, value);
  }
  HideSecrets(message);
  RowText row;
  row.text = fmt::format("{} {}", Quote(key), Shorten(message.ShortDebugString(), kShownMax));
  PutBytes(row.json, "key", key);
  row.json["message"] = message.ShortDebugString();
  return row;
}

RowText DescribeUnknown(std::string_view key, std::string_view value) {
  RowText row;
  row.text = fmt::format("{} = {}", Quote(key), Quote(value));
  PutBytes(row.json, "key", key);
  row.json["value_base64"] = Base64(value);
  return row;
}

using Describe = RowText (*)(std::string_view key, std::string_view value);

struct MetaRow {
  std::string_view prefix;
  // Else the row's key is exactly that.
  bool is_prefix;
  std::string_view name;
  Describe describe;
};

// The first that fits counts.
constexpr MetaRow kMetaRows[] = {
    {mvcc::kFormatKey, false, "format", DescribeFormat},
    {mvcc::kStateKey, false, "state", DescribeState},
    {mvcc::kFencePrefix, true, "fence", DescribeUnknown},
    {mvcc::kAlarmPrefix, true, "alarm", DescribeAlarm},
    {server::kConfigurationKey, false, "configuration", DescribeConfigurationRow},
    {server::kRemovedMemberPrefix, true, "removed-member", DescribeRemoved},
    {server::kInstalledKey, false, "installed", DescribeInstalled},
    {mvcc::kLeaseKeyPrefix, true, "lease-key", DescribeLeaseKey},
    {mvcc::kLeasePrefix, true, "lease", DescribeLease},
    {mvcc::kMemberPrefix, true, "member", DescribeMember},
    {mvcc::kRolePrefix, true, "role", DescribeMessage<authpb::Role>},
    {mvcc::kUserPrefix, true, "user", DescribeMessage<authpb::User>},
    {server::kClusterVersionKey, false, "cluster-version",
     DescribeMessage<internal::ClusterVersion>},
    {server::kDowngradeKey, false, "downgrade", DescribeMessage<internal::Downgrade>},
};

RowText DescribeMeta(std::string_view key, std::string_view value) {
  for (const MetaRow& one : kMetaRows) {
    if (one.is_prefix ? !key.starts_with(one.prefix) : key != one.prefix) continue;
    RowText row = one.describe(key, value);
    row.name = one.name;
    return row;
  }
  RowText row = DescribeUnknown(key, value);
  row.name = "unknown";
  return row;
}

}  // namespace

RowText DescribeRow(Family family, std::string_view key, std::string_view value) {
  switch (family) {
    case Family::kKeys:
      return DescribeLatest(key, value);
    case Family::kRevisions:
      return DescribeRevision(key, value);
    case Family::kMeta:
      break;
  }
  return DescribeMeta(key, value);
}

const std::vector<std::string>& RowNames() {
  static const auto* const names = [] {
    auto* const made = new std::vector<std::string>{"key",    "tombstone", "creation",
                                                    "update", "deletion",  "unknown"};
    for (const MetaRow& row : kMetaRows) made->emplace_back(row.name);
    return made;
  }();
  return *names;
}

}  // namespace cairn::cairnutl
