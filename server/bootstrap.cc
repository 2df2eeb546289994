#include "server/bootstrap.h"

#include <glog/logging.h>

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

#include "base/fail_point.h"
#include "base/status.h"
#include "server/force_new_cluster.h"
#include "server/installed_at.h"
#include "server/membership.h"
#include "server/membership_rows.h"
#include "server/remedy.h"
#include "server/sync_mode.h"

namespace cairn::server {

namespace {

// What is read back from the end of the log at once.
constexpr size_t kReadBytes = size_t{8} << 20;

absl::Status WriteBootstrapEntries(wal::Wal& wal, const Members& members) {
  wal::Append append;
  append.entries = BootstrapEntries(members);
  const Index last = append.entries.back().index;
  append.hard_state = raft::HardState{.term = Term(1), .commit = last};
  append.commit = last;
  CAIRN_RETURN_IF_ERROR(wal.Write({&append, 1}));
  return wal.Sync();
}

// Who a member without a log is: one of a new cluster, or one that an existing cluster expects.
absl::StatusOr<wal::Identity> FirstIdentity(const Foundation& foundation, const Config& config) {
  CAIRN_RETURN_IF_ERROR(CheckSyncMode(config, config.initial_cluster.size()));
  CAIRN_ASSIGN_OR_RETURN(const InitialMember own, FindSelf(config));
  if (config.joins_existing) {
    CAIRN_ASSIGN_OR_RETURN(const ExistingCluster existing,
                           FindCluster(config, foundation.ask_members));
    CAIRN_ASSIGN_OR_RETURN(const MemberId self, FindOwnId(config, existing));
    return wal::Identity{existing.id, self};
  }
  const Members members = InitialMembers(config.initial_cluster, config.initial_cluster_token);
  std::vector<MemberId> ids;
  for (const Member& initial : members) ids.push_back(initial.id);
  const MemberId self = DeriveMemberId(own.peer_urls, config.initial_cluster_token);
  CAIRN_RETURN_IF_ERROR(CheckNotBootstrapped(config, self, foundation.ask_members));
  return wal::Identity{DeriveClusterId(ids), self};
}

// Opens the log, or makes it and begins the cluster.
absl::Status OpenLog(const Foundation& foundation, const Config& config, Bootstrapped& member) {
  const std::string& path = foundation.wal_path;
  absl::StatusOr<wal::Wal::Opened> opened =
      wal::Wal::Open(foundation.fs, path, foundation.wal_options, std::nullopt);
  if (absl::IsNotFound(opened.status()) && foundation.has_state) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "there is a state, but no log in {}: start with the --wal-dir that this "
                       "member was made with, or restore the files that are missing there",
                       path);
  }
  if (absl::IsNotFound(opened.status())) {
    CAIRN_ASSIGN_OR_RETURN(const wal::Identity identity, FirstIdentity(foundation, config));
    opened = wal::Wal::Create(foundation.fs, path, foundation.wal_options, identity);
    member.is_new = true;
  }
  CAIRN_RETURN_IF_ERROR(opened.status());
  member.wal = std::move(opened->wal);
  member.recovered = std::move(opened->recovered);
  member.identity = member.recovered.identity;
  // Also a start that was cut short between making the log and filling it. Who joins gets its first
  // entries from the leader.
  if (member.recovered.last.index == Index(0) && !config.joins_existing) {
    const Members members = InitialMembers(config.initial_cluster, config.initial_cluster_token);
    const auto is_self = [&](const Member& initial) {
      return initial.id == member.identity.member;
    };
    if (std::none_of(members.begin(), members.end(), is_self)) {
      return base::Error(
          absl::StatusCode::kFailedPrecondition,
          "the log in {} was made for member {:x} and never used; start with the flags of that "
          "first start, or remove the directory",
          path, member.identity.member);
    }
    CAIRN_RETURN_IF_ERROR(WriteBootstrapEntries(*member.wal, members));
    member.recovered.last = {Term(1), Index(members.size())};
    member.recovered.hard_state = {.term = Term(1), .commit = Index(members.size())};
  }
  return absl::OkStatus();
}

absl::Status OpenState(const Foundation& foundation, Bootstrapped& member) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<mvcc::Backend> backend, foundation.open_state());
  CAIRN_ASSIGN_OR_RETURN(
      member.store, mvcc::Store::Open(std::move(backend), {.identity = {member.identity.cluster,
                                                                        member.identity.member}}));
  CAIRN_ASSIGN_OR_RETURN(
      member.applier,
      Applier::Open(*member.store, {.id = member.identity.member, .nonce = member.start_nonce}));
  return absl::OkStatus();
}

// A snapshot took the state's place, and the member ended before its log said so: the log says it
// now, whatever it holds. Nothing was appended or applied in between.
absl::Status RecordInstallation(Bootstrapped& member) {
  CAIRN_ASSIGN_OR_RETURN(const std::optional<raft::EntryId> installed,
                         ReadInstalledAt(*member.store));
  const mvcc::EntryApplied applied = member.store->applied();
  if (!installed.has_value() || *installed != raft::EntryId{applied.term, applied.index}) {
    return absl::OkStatus();
  }
  wal::Recovered& recovered = member.recovered;
  CAIRN_ASSIGN_OR_RETURN(
      const bool is_to_record,
      IsInstallationToRecord(*installed, recovered.before_first, recovered.hard_state.commit,
                             recovered.marker, recovered.snapshot_installed));
  if (!is_to_record) return absl::OkStatus();
  if (recovered.hard_state.term < installed->term) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition,
        "the state arrived as a snapshot of term {}, but the log knows no term above {}: log and "
        "state are not of one history; give --data-dir and --wal-dir of one member",
        installed->term, recovered.hard_state.term);
  }
  wal::Append append;
  append.snapshot_installed = wal::SnapshotInstalled{
      *installed, EncodeConfiguration(member.applier->membership().configuration)};
  append.commit = installed->index;
  CAIRN_RETURN_IF_ERROR(member.wal->Write({&append, 1}));
  CAIRN_RETURN_IF_ERROR(member.wal->Sync());
  base::FailPoint("server.bootstrap.installation_recorded");
  LOG(WARNING) << fmt::format(
      "the log had not yet recorded the snapshot through index {} of term {}; it ended at {}",
      installed->index, installed->term, recovered.last.index);
  recovered.snapshot_installed = append.snapshot_installed;
  recovered.configuration = append.snapshot_installed->configuration;
  recovered.before_first = recovered.last = *installed;
  recovered.hard_state.commit = std::max(recovered.hard_state.commit, installed->index);
  return absl::OkStatus();
}

// The log's entries above the commit index, which the core must hold in memory.
absl::StatusOr<std::vector<raft::Entry>> ReadTail(const wal::Wal& wal, Index commit, Index last) {
  std::vector<raft::Entry> tail;
  while (commit + tail.size() < last) {
    CAIRN_ASSIGN_OR_RETURN(std::vector<raft::Entry> read,
                           wal.ReadEntries(commit + tail.size() + 1, last + 1, kReadBytes));
    tail.insert(tail.end(), std::make_move_iterator(read.begin()),
                std::make_move_iterator(read.end()));
  }
  return tail;
}

absl::Status CheckTerm(const wal::Wal& wal, raft::EntryId before_first,
                       mvcc::EntryApplied applied) {
  if (applied.index == Index(0) || applied.index < before_first.index) return absl::OkStatus();
  CAIRN_ASSIGN_OR_RETURN(const Term term, wal.TermAt(applied.index));
  if (term == applied.term) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "the state has applied index {} at term {}, but the log has term {} there: "
      "log and state are not of one history; give --data-dir and --wal-dir of one member",
      applied.index, applied.term, term);
}

// Whether the member may go on with the members that its state knows.
absl::Status CheckMembership(const Membership& membership, MemberId self, const Config& config) {
  if (membership.removed.contains(self)) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "the member has been permanently removed from the cluster: {:x} cannot come "
                       "back; to join again remove its data directory, add a member with `etcdctl "
                       "member add` and start with --initial-cluster-state=existing",
                       self);
  }
  const auto learners = std::count_if(membership.members.begin(), membership.members.end(),
                                      [](const Member& member) { return member.is_learner; });
  if (learners > int64_t{config.max_learners}) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "membership: too many learner members in cluster: {}, --max-learners is {}",
                       learners, config.max_learners);
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t DrawStartNonce() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

absl::Status CheckLogMeetsState(raft::EntryId before_first, raft::EntryId last,
                                mvcc::EntryApplied applied) {
  const Index first = before_first.index + 1;
  if (first <= applied.index + 1 && applied.index <= last.index) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "the log holds entries {} to {}, but the state is applied through {}: {}; give --data-dir "
      "and --wal-dir of one member, or restore both from one copy",
      first, last.index, applied.index,
      applied.index > last.index ? "the log has lost its end" : "the state is too old for the log");
}

absl::StatusOr<bool> IsInstallationToRecord(raft::EntryId installed, raft::EntryId before_first,
                                            Index commit, const std::optional<wal::Marker>& marker,
                                            const std::optional<wal::SnapshotInstalled>& recorded) {
  if (marker.has_value() && marker->id == installed) return false;
  if (recorded.has_value() && recorded->id == installed) return false;
  const Index shown =
      std::max({commit, before_first.index, marker.has_value() ? marker->id.index : Index(0)});
  if (shown < installed.index) return true;
  return base::Error(
      absl::StatusCode::kFailedPrecondition,
      "the state arrived as a snapshot through entry {}, of which the log does not know, but the "
      "log has gone on through {}: the state is too old for the log; give --data-dir and --wal-dir "
      "of one member, or restore both from one copy",
      installed.index, shown);
}

absl::StatusOr<Bootstrapped> Bootstrap(const Foundation& foundation, const Config& config) {
  Bootstrapped member;
  member.start_nonce = foundation.start_nonce;
  CAIRN_RETURN_IF_ERROR(OpenLog(foundation, config, member));
  CAIRN_RETURN_IF_ERROR(WithRemedy(OpenState(foundation, member)));
  CAIRN_RETURN_IF_ERROR(base::Annotate(RecordInstallation(member), foundation.wal_path));
  const wal::Recovered& recovered = member.recovered;
  const mvcc::EntryApplied applied = member.store->applied();
  CAIRN_RETURN_IF_ERROR(base::Annotate(
      CheckLogMeetsState(recovered.before_first, recovered.last, applied), foundation.wal_path));
  CAIRN_RETURN_IF_ERROR(
      base::Annotate(CheckTerm(*member.wal, recovered.before_first, applied), foundation.wal_path));
  const Membership& membership = member.applier->membership();
  // What is in the log and not in the state yet is looked at again when it is (RelaxSync).
  CAIRN_RETURN_IF_ERROR(CheckSyncMode(config, membership.members.size()));
  CAIRN_RETURN_IF_ERROR(RaiseRevisionIfUnclean(membership, *member.wal, member.recovered));
  CAIRN_RETURN_IF_ERROR(CheckMembership(membership, member.identity.member, config));
  if (config.force_new_cluster && !member.is_new) {
    CAIRN_RETURN_IF_ERROR(
        ForceNewCluster(membership, applied.index, *member.wal, member.recovered));
  }

  raft::RestoredState& raft = member.raft;
  raft.hard_state = recovered.hard_state;
  // The state proves that what it has applied was committed.
  if (raft.hard_state.commit < applied.index) raft.hard_state.commit = applied.index;
  raft.configuration = membership.configuration;
  raft.applied = {applied.term, applied.index};
  raft.before_first = recovered.before_first;
  raft.last = recovered.last;
  const Index commit = raft.hard_state.commit;
  CAIRN_ASSIGN_OR_RETURN(raft.entries, ReadTail(*member.wal, commit, recovered.last.index));
  CAIRN_ASSIGN_OR_RETURN(const Term commit_term, member.wal->TermAt(commit));
  raft.before_entries = {commit_term, commit};
  return member;
}

absl::StatusOr<Bootstrapped> Bootstrap(wal::Fs& fs, const DataDir& directory, StateHome& states,
                                       const Config& config, AskMembers ask_members) {
  const auto open_state = [&] { return states.Open(states.current_path()); };
  return Bootstrap({fs,
                    directory.wal_path(),
                    {.segment_bytes = config.wal_segment_bytes},
                    open_state,
                    directory.has_state(),
                    std::move(ask_members)},
                   config);
}

}  // namespace cairn::server
