// A whole Raft group in one thread, for the tests of raft/: cores, disks, state and network.
//
// Test-only. Members run the real Core behind the smallest shell that keeps ready.h's contract:
// a disk that holds only completed writes, a state machine that is the list of applied entries, a
// network that is a list of messages. Nothing happens by itself; a test (or a seed) says what
// happens next. After every input the invariants are checked, and the first violation is kept.
//
// Faults are those that Raft promises to survive: messages lost, repeated, reordered; members
// crashing with the loss of every write that was not yet reported durable, and of applied state
// that was not yet flushed.
#ifndef CAIRN_RAFT_TEST_CLUSTER_H_
#define CAIRN_RAFT_TEST_CLUSTER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "raft/core.h"
#include "raft/invariants.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace cairn::raft {

// "1/2" is the entry of term 1 at index 2.
std::string DescribeEntry(const Entry& entry);
std::string DescribeMessage(const Message& message);

// Configurations as text: "voters=1,2,3 outgoing=1,2 learners=4". Also the payload of
// configuration entries here: each holds the whole next configuration.
std::string EncodeConfiguration(const Configuration& configuration);
Configuration DecodeConfiguration(std::string_view text);

class TestCluster;

class TestMember {
 public:
  TestMember(TestCluster& cluster, CoreOptions options, Configuration initial);

  bool is_up() const { return core_ != nullptr; }
  Core& core() { return *core_; }
  MemberId id() const { return options_.id; }
  const std::vector<Entry>& state() const { return state_; }
  const std::vector<Entry>& disk() const { return log_; }
  EntryId marker() const { return marker_; }
  size_t pending_writes() const { return writes_.size(); }
  size_t pending_reads() const { return log_reads_.size(); }

  // Gives one input to the core, with all checks.
  void Input(const std::function<void(Core&)>& input);
  // Takes every Ready there is.
  void Drain();
  // The `count` oldest writes become durable, and are reported; none while the disk is stalled.
  void CompleteWrites(size_t count);
  void set_disk_stalled(bool is_stalled) { is_disk_stalled_ = is_stalled; }
  bool is_disk_stalled() const { return is_disk_stalled_; }
  // Applies up to `count` entries that may be applied.
  void Apply(size_t count);
  // Answers the oldest log read; with `fails` as a disk would that has trouble.
  void AnswerLogRead(bool fails);

  // The first `writes_kept` pending writes have reached the disk unreported, the rest is lost.
  void Crash(size_t writes_kept);
  // `tail_extra` is how many committed entries come along in memory.
  void Restart(uint64_t seed, size_t tail_extra);
  // All state applied so far survives a crash from here on.
  void Flush() { flushed_ = state_.size(); }
  // Removes the log through `index` (at most what is flushed).
  void Compact(Index index);
  // Copies the flushed state of `from` here, if this core wants it.
  void InstallFrom(const TestMember& from);

  Index flushed() const { return Index(flushed_); }
  // Whether the disk holds that entry, or a snapshot that covers it.
  bool HoldsDurably(EntryId entry) const;
  bool all_applied() const { return core_->applied() + 1 == apply_limit_; }

 private:
  struct Write {
    uint64_t number;
    std::optional<HardState> hard_state;
    std::vector<Entry> entries;
    Index commit;
    std::vector<Message> after;
  };

  void WriteToDisk(const Write& write);
  // What leaves for the network must be true of the disk at that moment (thesis figure 3.1).
  void CheckPromise(const Message& message);
  void Send(Message message);
  // What a step newly committed, and who was newly elected.
  void CheckProgress(const CoreStatus& before, const CoreStatus& after);
  void CheckElected(const CoreStatus& status);
  void CheckCommitted(const CoreStatus& before, const CoreStatus& after);
  std::optional<Term> TermAt(Index index) const;
  const Configuration& ConfigurationAt(Index index) const;
  EntryId DiskLast() const;
  void CheckReadState(const ReadState& read);

  TestCluster& cluster_;
  CoreOptions options_;
  std::unique_ptr<Core> core_;

  // What survives a crash.
  HardState hard_state_;
  EntryId marker_;
  std::vector<Entry> log_;    // Right after the marker.
  std::vector<Entry> state_;  // From index 1; survives up to flushed_.
  size_t flushed_ = 0;
  std::map<Index, Configuration> configurations_;  // By the index that put them in force.

  // What does not.
  std::deque<Write> writes_;
  bool is_disk_stalled_ = false;
  std::deque<LogRead> log_reads_;
  Index apply_limit_ = Index(1);
  uint64_t last_ready_ = 0;
};

class TestCluster {
 public:
  struct Options {
    uint64_t seed = 1;
    CoreOptions core;  // Without id and seed.
    // A cut link still delivers what was sent before.
    bool cut_spares_under_way = false;
  };

  TestCluster(Options options, const Configuration& initial);

  TestMember& member(MemberId id) { return *members_.at(id); }
  bool has(MemberId id) const { return members_.contains(id); }
  // A new, empty member that knows nobody yet but `initial`.
  void AddMember(MemberId id, const Configuration& initial);
  std::vector<MemberId> ids() const;

  std::deque<Message>& network() { return network_; }
  void Post(Message message);
  // Hands over the message at `position`; returns its text.
  std::string Deliver(size_t position, bool keeps_copy = false);
  void Block(MemberId from, MemberId to) { blocked_.insert({from, to}); }
  void Heal() { blocked_.clear(); }
  bool IsBlocked(MemberId from, MemberId to) const { return blocked_.contains({from, to}); }

  // Drains, writes, delivers (in order), applies and answers until nothing is left to do. Returns
  // the number of deliveries. Does not tick.
  size_t Stabilize(size_t deliveries_max = 100'000);
  // Ticks `id` until it has campaigned, then stabilizes.
  void Elect(MemberId id);
  MemberId leader() const;  // Of the highest term; 0: none.

  void Read(MemberId id, uint64_t context);
  // One snapshot request: sends it, or lets it fail.
  void HandleSnapshot(bool fails);

  void Report(const std::string& violation);
  const std::string& violation() const { return violation_; }

  // More than half of `voters` hold `entry` on their disks. Counted one by one, not with the
  // arithmetic that is under test.
  bool IsDurableAtMajority(const std::vector<MemberId>& voters, EntryId entry) const;
  // Leadership is confirmed only by answers to what was sent before any later leader was elected
  // (core.h, IsLeadershipConfirmed).
  void SawElected(Term term);
  void SawRoundSent(MemberId leader, Term term, uint64_t round);
  void SawRoundConfirmed(MemberId leader, Term term, uint64_t round);

  GroupChecker checker;
  // Entries that anyone's application put into force as a configuration.
  std::set<Index> changes;
  // Snapshots that leaders want to send.
  std::deque<std::pair<MemberId, SnapshotWanted>> snapshots;
  // Context -> what was committed anywhere when it was asked for.
  std::map<uint64_t, Index> reads;
  std::map<uint64_t, Index> reads_answered;
  std::set<uint64_t> reads_refused;
  // Lines of what happened, when wanted (transcripts).
  std::vector<std::string> story;
  bool keeps_story = false;
  // How often each thing was traced, to show that a run meets what it is meant to meet.
  std::map<TraceKind, uint64_t> traced;

 private:
  Options options_;
  std::map<MemberId, std::unique_ptr<TestMember>> members_;
  std::deque<Message> network_;
  std::set<std::pair<MemberId, MemberId>> blocked_;
  std::string violation_;

  // Order of things, in which no clock has a part.
  uint64_t events_ = 0;
  std::map<Term, uint64_t> elected_at_;
  std::map<std::pair<MemberId, Term>, std::map<uint64_t, uint64_t>> rounds_sent_at_;
};

}  // namespace cairn::raft

#endif  // CAIRN_RAFT_TEST_CLUSTER_H_
