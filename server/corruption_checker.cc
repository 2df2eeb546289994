#include "server/corruption_checker.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <string>
#include <utility>

#include "api/rpc.pb.h"
#include "base/status.h"
#include "base/thread.h"
#include "server/cluster_state.h"
#include "server/kv_source.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often a wait for answers looks whether it is time to stop.
constexpr milliseconds kLook{50};

std::string Show(const std::vector<MemberHash>& members) {
  std::string text;
  for (const MemberHash& member : members) {
    text += fmt::format("{}{:x}: ", text.empty() ? "" : "; ", member.member);
    text += member.hash.has_value()
                ? fmt::format("{:08x} {:08x} at {} (compacted {})", member.hash->hash,
                              member.hash->live_hash, member.hash->revision,
                              member.hash->compact_revision)
                : std::string("no answer");
  }
  return text;
}

}  // namespace

// The answers to one round of questions.
struct CorruptionChecker::Round {
  base::Mutex mutex;
  base::ConditionVariable changed;
  size_t missing ABSL_GUARDED_BY(mutex) = 0;
  Answers answers ABSL_GUARDED_BY(mutex);
};

CorruptionChecker::CorruptionChecker(CorruptionCheckerOptions options, const mvcc::Store& store,
                                     Node& node)
    : options_(options), store_(store), node_(node), thread_([this] { Run(); }) {}

CorruptionChecker::~CorruptionChecker() { Stop(); }

void CorruptionChecker::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool CorruptionChecker::is_stopping() const {
  base::MutexLock lock(mutex_);
  return stopping_;
}

bool CorruptionChecker::Pause(milliseconds time) {
  const auto until = steady_clock::now() + time;
  base::MutexLock lock(mutex_);
  while (!stopping_ && wake_.WaitUntil(mutex_, until)) {
  }
  return !stopping_;
}

absl::StatusOr<HashProgress> CorruptionChecker::HashAt(Revision at) {
  using State = HashProgress::State;
  if (at > store_.published().revision) return HashProgress{State::kBehind, {}};
  base::MutexLock lock(mutex_);
  const auto is_stale = [now = steady_clock::now()](const Asked& asked) {
    return asked.hash.has_value() && now > asked.fresh_until;
  };
  asked_.erase(std::remove_if(asked_.begin(), asked_.end(), is_stale), asked_.end());
  const auto found = std::find_if(asked_.begin(), asked_.end(),
                                  [at](const Asked& asked) { return asked.at == at; });
  if (found == asked_.end()) {
    // Who finds no place asks again.
    if (asked_.size() < kHashesMax) {
      asked_.push_back({at, std::nullopt, {}});
      wake_.SignalAll();
    }
    return HashProgress{State::kComputing, {}};
  }
  if (!found->hash.has_value()) return HashProgress{State::kComputing, {}};
  const absl::StatusOr<StateHash> hash = *found->hash;
  asked_.erase(found);
  if (!hash.ok()) return hash.status();
  return HashProgress{State::kReady, *hash};
}

std::optional<Revision> CorruptionChecker::NextAsked() const {
  for (const Asked& asked : asked_) {
    if (!asked.hash.has_value()) return asked.at;
  }
  return std::nullopt;
}

void CorruptionChecker::Run() {
  base::NameThread("corruption-check");
  auto next_check = steady_clock::now() + options_.interval;
  const bool checks = options_.interval > milliseconds(0);
  while (true) {
    std::optional<Revision> at;
    {
      base::MutexLock lock(mutex_);
      bool is_due = false;
      while (!stopping_ && !NextAsked().has_value() && !is_due) {
        if (checks) {
          is_due = !wake_.WaitUntil(mutex_, next_check);
        } else {
          wake_.Wait(mutex_);
        }
      }
      if (stopping_) return;
      at = NextAsked();
    }
    if (at.has_value()) {
      const auto begun = steady_clock::now();
      absl::StatusOr<StateHash> hash = OwnHash(*at);
      const auto done = steady_clock::now();
      const steady_clock::duration fresh = kHashFresh;
      base::MutexLock lock(mutex_);
      for (Asked& asked : asked_) {
        if (asked.at != *at) continue;
        asked.hash = std::move(hash);
        asked.fresh_until = done + std::max(fresh, done - begun);
        break;
      }
      continue;
    }
    if (node_.status().leader == node_.member_id()) Check();
    next_check = steady_clock::now() + options_.interval;
  }
}

absl::StatusOr<StateHash> CorruptionChecker::OwnHash(Revision at) const {
  const absl::StatusOr<mvcc::HashKvResult> hash =
      store_.HashKv(at, mvcc::LiveKeys::kHash, [this] { return is_stopping(); });
  if (!hash.ok()) return TranslateReadError(hash.status());
  return StateHash{hash->hash_revision, hash->compact_revision, hash->hash, hash->live_hash};
}

std::shared_ptr<CorruptionChecker::Round> CorruptionChecker::Ask(
    const std::vector<MemberId>& members, Revision at) {
  auto round = std::make_shared<Round>();
  {
    base::MutexLock lock(round->mutex);
    round->missing = members.size();
  }
  for (const MemberId member : members) {
    node_.CallPeer(member, kHashStateMethod, EncodeHashRequest(node_.cluster_id(), at),
                   [round, member](absl::StatusOr<std::string> answer) {
                     absl::StatusOr<HashProgress> progress =
                         answer.ok() ? DecodeHashResponse(*answer)
                                     : absl::StatusOr<HashProgress>(answer.status());
                     base::MutexLock lock(round->mutex);
                     round->answers.emplace(member, std::move(progress));
                     --round->missing;
                     round->changed.SignalAll();
                   });
  }
  return round;
}

CorruptionChecker::Answers CorruptionChecker::Await(Round& round) const {
  base::MutexLock lock(round.mutex);
  // Every call ends by itself within the time of a proposal.
  while (round.missing > 0 && !is_stopping()) {
    round.changed.WaitUntil(round.mutex, steady_clock::now() + kLook);
  }
  return round.answers;
}

absl::StatusOr<std::vector<MemberHash>> CorruptionChecker::Gather() {
  const Revision at = store_.published().revision;
  std::vector<MemberHash> members = {{node_.member_id(), std::nullopt}};
  std::vector<MemberId> open;
  for (const Member& member : *node_.members()) {
    if (member.id == node_.member_id()) continue;
    members.push_back({member.id, std::nullopt});
    open.push_back(member.id);
  }
  // Asked first: all of them read at the same time.
  std::shared_ptr<Round> round = Ask(open, at);
  CAIRN_ASSIGN_OR_RETURN(members.front().hash, OwnHash(at));
  Answers answers = Await(*round);
  // Patience begins only now: what was answered before this member's own hash, which may have taken
  // minutes, says nothing about the present.
  const auto begun = steady_clock::now();
  std::map<MemberId, steady_clock::time_point> computed_last;
  while (!is_stopping()) {
    const auto now = steady_clock::now();
    open.clear();
    for (MemberHash& member : members) {
      const auto answer = answers.find(member.member);
      if (answer == answers.end()) continue;
      const absl::StatusOr<HashProgress>& progress = answer->second;
      if (progress.ok() && progress->state == HashProgress::State::kReady) {
        member.hash = progress->hash;
        continue;
      }
      // What is compacted there will not come back.
      if (absl::IsOutOfRange(progress.status())) continue;
      const bool computes = progress.ok() && progress->state == HashProgress::State::kComputing;
      if (computes) computed_last[member.member] = now;
      const auto last = computed_last.find(member.member);
      const auto silent_since = last == computed_last.end() ? begun : last->second;
      const bool may_come = now - begun < options_.computing_max &&
                            (computes || now - silent_since < options_.silent_max);
      if (may_come) open.push_back(member.member);
    }
    if (open.empty()) return OfPresentMembers(std::move(members));
    if (!Pause(options_.ask_again)) break;
    round = Ask(open, at);
    answers = Await(*round);
  }
  return base::Error(absl::StatusCode::kCancelled, "the server is stopping");
}

std::vector<MemberHash> CorruptionChecker::OfPresentMembers(
    std::vector<MemberHash> gathered) const {
  std::vector<MemberHash> members = {std::move(gathered.front())};
  // Who has been removed is no longer anybody's business, and who is new has a vote.
  for (const Member& member : *node_.members()) {
    if (member.id == members.front().member) {
      members.front().is_learner = member.is_learner;
      continue;
    }
    MemberHash& present = members.emplace_back(MemberHash{member.id, {}, member.is_learner});
    for (const MemberHash& known : gathered) {
      if (known.member == member.id) present.hash = known.hash;
    }
  }
  return members;
}

absl::Status CorruptionChecker::CheckAtStart() {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<MemberHash> members, Gather());
  const CorruptionVerdict verdict = JudgeHashes(members);
  LOG(INFO) << fmt::format("the state was compared with those of {} other members: {}",
                           verdict.compared - 1, Show(members));
  const bool is_ours =
      std::any_of(verdict.corrupt.begin(), verdict.corrupt.end(),
                  [&](MemberId id) { return id == node_.member_id() || id == MemberId(0); });
  if (!is_ours) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kDataLoss,
      "{:x} found data inconsistency with peers: {}. If the others are right, remove "
      "this member with \"etcdctl member remove {:x}\", delete its data directory "
      "and add it again; without --experimental-initial-corrupt-check it starts as "
      "it is",
      node_.member_id(), Show(members), node_.member_id());
}

void CorruptionChecker::Check() {
  const absl::StatusOr<std::vector<MemberHash>> members = Gather();
  if (!members.ok()) {
    LOG_IF(WARNING, !absl::IsCancelled(members.status()))
        << "the members could not be compared: " << members.status();
    return;
  }
  // Another leader compares for itself.
  if (node_.status().leader != node_.member_id()) return;
  const CorruptionVerdict verdict = JudgeHashes(*members);
  Tell(verdict, *members);
  if (verdict.corrupt.empty()) return;
  LOG(ERROR) << "the states of the members differ: " << Show(*members);
  for (const MemberId member : verdict.corrupt) Raise(member);
}

void CorruptionChecker::Tell(const CorruptionVerdict& verdict,
                             const std::vector<MemberHash>& members) {
  const std::string counted =
      fmt::format("{} of {} members compared", verdict.compared, members.size());
  if (verdict.has_quorum == lacks_quorum_) {
    lacks_quorum_ = !verdict.has_quorum;
    LOG_IF(WARNING, lacks_quorum_)
        << counted << ", which is no majority, so a difference may go unseen: " << Show(members);
    LOG_IF(INFO, !lacks_quorum_) << counted << ", a majority again";
  }
  if (!verdict.corrupt.empty()) return;
  VLOG(1) << counted << (verdict.compared == members.size() ? ", all alike: " : ", no difference: ")
          << Show(members);
}

void CorruptionChecker::Raise(MemberId member) {
  if (FindAlarm(*node_.cluster_state(), AlarmKind::kCorrupt, member) != nullptr) return;
  etcdserverpb::AlarmRequest request;
  request.set_action(etcdserverpb::AlarmRequest::ACTIVATE);
  request.set_memberid(member.value());
  request.set_alarm(etcdserverpb::CORRUPT);
  node_.Propose(
      CommandKind::kAlarm, request.SerializeAsString(), [member](const Node::Outcome& outcome) {
        LOG_IF(ERROR, !outcome.status.ok())
            << fmt::format("the alarm CORRUPT of member {:x} could not be raised: ", member)
            << outcome.status;
      });
}

}  // namespace cairn::server
