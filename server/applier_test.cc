#include "server/applier.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/errors.h"
#include "api/internal.pb.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "mvcc/mem_backend.h"
#include "mvcc/revision_limits.h"
#include "server/apply_all.h"
#include "server/change_sink.h"
#include "server/membership.h"
#include "server/membership_rows.h"

namespace cairn::server {
namespace {

constexpr uint64_t kNonce = 77;
const Members kMembers = InitialMembers({{"n1", {"http://localhost:2380"}}}, "etcd-cluster");
const MemberId kSelf = kMembers[0].id;

raft::Entry Command(uint64_t index, std::string payload) {
  return {Term(2), Index(index), raft::EntryKind::kCommand,
          std::make_shared<const std::string>(std::move(payload))};
}

std::string PutBody(std::string_view key, std::string_view value) {
  etcdserverpb::PutRequest request;
  request.set_key(std::string(key));
  request.set_value(std::string(value));
  return request.SerializeAsString();
}

class ApplierTest : public testing::Test {
 protected:
  void SetUp() override { Open(); }

  void Open() {
    applier_.reset();
    store_.reset();
    auto store =
        mvcc::Store::Open(disk_.Open(), {.identity = {.cluster = ClusterId(1), .member = kSelf}});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto applier = Applier::Open(*store_, {.id = kSelf, .nonce = kNonce});
    ASSERT_TRUE(applier.ok()) << applier.status();
    applier_ = *std::move(applier);
  }

  Applier::Result Apply(const std::vector<raft::Entry>& entries) {
    auto result = ApplyAll(*applier_, entries);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Applier::Result();
  }
  void Begin() { Apply(BootstrapEntries(kMembers)); }

  // A put by this process' proposer unless told otherwise.
  raft::Entry Put(uint64_t index, std::string_view key, uint64_t sequence = 1,
                  MemberId proposer = kSelf, uint64_t nonce = kNonce) {
    return Command(
        index,
        EncodeCommand(
            {.kind = CommandKind::kPut, .proposer = proposer, .nonce = nonce, .sequence = sequence},
            PutBody(key, "value")));
  }

  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  std::unique_ptr<Applier> applier_;
};

// Commands of clients whose answers may take more than there is room for: they are applied all the
// same, and the member goes on.
class LargeAnswersTest : public ApplierTest {
 protected:
  // One more MiB than an answer may have.
  static constexpr uint64_t kRows = (kApplyResponseBytesMax >> 20) + 1;

  void SetUp() override {
    ApplierTest::SetUp();
    Begin();
    Fill();
  }

  void Fill() {
    const std::string value(size_t{1} << 20, 'v');
    std::vector<raft::Entry> puts;
    for (uint64_t i = 0; i < kRows; ++i) {
      puts.push_back(Own(CommandKind::kPut, PutBody(fmt::format("k{}", i), value)));
    }
    Apply(puts);
  }

  raft::Entry Own(CommandKind kind, const std::string& body) {
    ++index_;
    return Command(
        index_, EncodeCommand(
                    {.kind = kind, .proposer = kSelf, .nonce = kNonce, .sequence = index_}, body));
  }

  Node::Outcome Run(CommandKind kind, const google::protobuf::Message& request) {
    Applier::Result result = Apply({Own(kind, request.SerializeAsString())});
    if (result.outcomes.size() == 1) return std::move(result.outcomes[0].second);
    ADD_FAILURE() << result.outcomes.size() << " outcomes";
    return {};
  }

  static void ExpectApplied(const Node::Outcome& outcome) {
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(base::Message(outcome.status),
              "cairn: the request was applied, but its response is larger than 64 MiB");
  }

  int64_t Count() const { return store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count; }

  uint64_t index_ = 1;
};

template <typename Request>
Request WithAllKeys(Request request) {
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  return request;
}

TEST_F(LargeAnswersTest, OfATransactionThatReads) {
  etcdserverpb::TxnRequest request;
  request.add_success()->mutable_request_put()->set_key("x");
  *request.add_success()->mutable_request_range() = WithAllKeys(etcdserverpb::RangeRequest());
  request.add_success()->mutable_request_put()->set_key("y");
  ExpectApplied(Run(CommandKind::kTxn, request));
  EXPECT_EQ(Count(), kRows + 2);
  // In order of anything but the keys, it is held before it is written.
  auto& range = *request.mutable_success(1)->mutable_request_range();
  range.set_sort_target(etcdserverpb::RangeRequest::MOD);
  range.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
  ExpectApplied(Run(CommandKind::kTxn, request));
  // Smaller ones add up.
  range = WithAllKeys(etcdserverpb::RangeRequest());
  range.set_limit(kRows / 2);
  EXPECT_TRUE(Run(CommandKind::kTxn, request).status.ok());
  *request.add_success()->mutable_request_range() = range;
  *request.add_success()->mutable_request_range() = range;
  ExpectApplied(Run(CommandKind::kTxn, request));
}

TEST_F(LargeAnswersTest, OfDeletionsThatShowWhatWasThere) {
  auto remove = WithAllKeys(etcdserverpb::DeleteRangeRequest());
  remove.set_prev_kv(true);
  ExpectApplied(Run(CommandKind::kDeleteRange, remove));
  EXPECT_EQ(Count(), 0);
  Fill();
  etcdserverpb::TxnRequest request;
  *request.add_success()->mutable_request_delete_range() = remove;
  request.add_success()->mutable_request_put()->set_key("x");
  ExpectApplied(Run(CommandKind::kTxn, request));
  EXPECT_EQ(Count(), 1);
}

// From when they are made to when they are sent.
TEST_F(LargeAnswersTest, CountUntilTheyAreSent) {
  ResponseBudget& budget = applier_->response_budget();
  auto remove = WithAllKeys(etcdserverpb::DeleteRangeRequest());
  remove.set_key("k6");
  remove.set_prev_kv(true);
  std::vector<Node::Outcome> unsent;
  unsent.push_back(Run(CommandKind::kDeleteRange, remove));
  EXPECT_TRUE(unsent.back().status.ok());
  EXPECT_GT(budget.used_bytes(), int64_t{9} << 20);
  const int64_t removed_bytes = budget.used_bytes();
  etcdserverpb::TxnRequest request;
  *request.add_success()->mutable_request_range() = WithAllKeys(etcdserverpb::RangeRequest());
  request.add_success()->mutable_request_put()->set_key("x");
  unsent.push_back(Run(CommandKind::kTxn, request));
  EXPECT_TRUE(unsent.back().status.ok()) << unsent.back().status;
  // Counted once: the answer shares what was read.
  EXPECT_GT(budget.used_bytes(), removed_bytes + (int64_t{50} << 20));
  EXPECT_LT(budget.used_bytes(), removed_bytes + (int64_t{60} << 20));
  const Node::Outcome refused = Run(CommandKind::kTxn, request);
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::Message(refused.status),
            "cairn: the request was applied, but there is no memory for its response: 128 MiB for "
            "it and those that have not been sent");
  etcdserverpb::PutRequest put;
  put.set_key("k1");
  put.set_prev_kv(true);
  unsent.push_back(Run(CommandKind::kPut, put));
  EXPECT_TRUE(unsent.back().status.ok()) << unsent.back().status;
  unsent.clear();
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_TRUE(Run(CommandKind::kTxn, request).status.ok());
}

// Commands that would change more at once than there is memory for: refused, and nothing changes.
class TooMuchAtOnceTest : public LargeAnswersTest {
 protected:
  // Keys of one MiB: three more than one command deletes.
  static constexpr int kKeys = static_cast<int>(mvcc::WriteTxn::kBytesMax >> 20) + 2;

  void SetUp() override {
    ApplierTest::SetUp();
    Begin();
    std::vector<raft::Entry> puts;
    for (int i = 0; i < kKeys; ++i) puts.push_back(Own(CommandKind::kPut, PutBody(KeyOf(i), "v")));
    Apply(puts);
  }

  static std::string KeyOf(int i) {
    return fmt::format("{:03}", i) + std::string((size_t{1} << 20) - 3, 'k');
  }
  static etcdserverpb::DeleteRangeRequest Deletion(int first, int limit) {
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(fmt::format("{:03}", first));
    request.set_range_end(fmt::format("{:03}", limit));
    return request;
  }
  void ExpectRefused(CommandKind kind, const google::protobuf::Message& request) {
    const mvcc::Published before = store_->published();
    const int64_t size_bytes = store_->logical_size_bytes();
    const int64_t count = Count();
    EXPECT_EQ(Run(kind, request).status, api::ToStatus(api::Error::kTooMuchAtOnce));
    EXPECT_EQ(store_->published(), before);
    EXPECT_EQ(store_->applied().index, Index(index_));
    EXPECT_EQ(store_->logical_size_bytes(), size_bytes);
    EXPECT_EQ(Count(), count);
  }
};

TEST_F(TooMuchAtOnceTest, ChangesNothing) {
  auto all = WithAllKeys(etcdserverpb::DeleteRangeRequest());
  ExpectRefused(CommandKind::kDeleteRange, all);
  all.set_prev_kv(true);
  ExpectRefused(CommandKind::kDeleteRange, all);

  // All that a transaction deletes and puts counts together.
  etcdserverpb::TxnRequest txn;
  txn.add_success()->mutable_request_put()->set_key("x");
  *txn.add_success()->mutable_request_delete_range() = Deletion(0, 20);
  *txn.add_success()->mutable_request_delete_range() = Deletion(20, kKeys);
  ExpectRefused(CommandKind::kTxn, txn);
  etcdserverpb::PutRequest put;
  put.set_key("y");
  put.set_value(std::string(size_t{25} << 20, 'v'));
  *txn.mutable_success(2)->mutable_request_txn()->add_success()->mutable_request_put() = put;
  ExpectRefused(CommandKind::kTxn, txn);
  // The branch that is not taken does not count.
  txn.mutable_failure()->Swap(txn.mutable_success());
  EXPECT_TRUE(Run(CommandKind::kTxn, txn).status.ok());

  // Members that nobody waits at, and a start later, see it alike.
  Apply({Command(++index_, EncodeCommand({.kind = CommandKind::kDeleteRange, .proposer = {}},
                                         all.SerializeAsString()))});
  EXPECT_EQ(Count(), kKeys);
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(store_->applied().index, Index(index_));
  ExpectRefused(CommandKind::kDeleteRange, all);

  // In pieces it goes.
  EXPECT_TRUE(Run(CommandKind::kDeleteRange, Deletion(0, 20)).status.ok());
  EXPECT_EQ(Count(), kKeys - 20);
  EXPECT_TRUE(Run(CommandKind::kDeleteRange, Deletion(20, kKeys)).status.ok());
  EXPECT_EQ(Count(), 0);
}

// Entries that come together are one batch only as long as it is small.
TEST_F(TooMuchAtOnceTest, NoTwoInOneBatch) {
  class Sink final : public ChangeSink {
   public:
    void OnCommitted(std::span<const mvcc::Change> changes, Revision revision) override {
      batches.emplace_back(changes.size(), revision);
    }
    void OnRaised(Revision) override {}
    void OnReplaced(Revision) override {}
    std::vector<std::pair<size_t, Revision>> batches;
  };
  Sink sink;
  applier_->SetChangeSink(&sink);
  const auto all = WithAllKeys(etcdserverpb::DeleteRangeRequest()).SerializeAsString();
  const Revision before = store_->published().revision;
  const std::vector<raft::Entry> entries = {
      Own(CommandKind::kPut, PutBody("a", "v")), Own(CommandKind::kDeleteRange, all),
      Own(CommandKind::kDeleteRange, Deletion(0, 20).SerializeAsString()),
      Own(CommandKind::kDeleteRange, Deletion(20, kKeys).SerializeAsString()),
      Own(CommandKind::kPut, PutBody("b", "v"))};
  std::vector<bool> done;
  for (std::span<const raft::Entry> left(entries); !left.empty();) {
    const auto result = applier_->Apply(left);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(store_->applied().index, left[result->entries - 1].index);
    left = left.subspan(result->entries);
    for (const auto& [sequence, outcome] : result->outcomes) done.push_back(outcome.status.ok());
  }
  EXPECT_EQ(done, (std::vector<bool>{true, false, true, true, true}));
  EXPECT_EQ(sink.batches, (std::vector<std::pair<size_t, Revision>>{
                              {1, before + 1}, {20, before + 2}, {15, before + 4}}));
  EXPECT_EQ(store_->applied().index, Index(index_));
  EXPECT_EQ(Count(), 2);
}

TEST_F(ApplierTest, BootstrapEntriesMakeTheMembersAndTheConfiguration) {
  const Applier::Result result = Apply(BootstrapEntries(kMembers));
  EXPECT_TRUE(result.members_changed);
  ASSERT_TRUE(result.configuration.has_value());
  EXPECT_EQ(result.configuration->first.voters, std::vector<MemberId>{kSelf});
  EXPECT_EQ(result.configuration->second, Index(1));
  EXPECT_EQ(applier_->membership().members, kMembers);
  EXPECT_TRUE(result.outcomes.empty());
  EXPECT_EQ(store_->applied(), (mvcc::EntryApplied{Index(1), Term(1)}));
  EXPECT_EQ(store_->published().revision, mvcc::kFirstRevision);
}

TEST_F(ApplierTest, OutcomesGoOnlyToOwnProposalsOfThisStart) {
  Begin();
  const Applier::Result result = Apply({
      Put(2, "a", 11),
      Put(3, "b", 12, MemberId(99)),       // Another member's.
      Put(4, "c", 13, kSelf, kNonce - 1),  // This member's, before a restart.
      Put(5, "d", 14),
  });
  ASSERT_EQ(result.outcomes.size(), 2U);
  EXPECT_EQ(result.outcomes[0].first, 11U);
  EXPECT_EQ(result.outcomes[0].second.revision, Revision(2));
  EXPECT_EQ(result.outcomes[1].first, 14U);
  EXPECT_EQ(result.outcomes[1].second.revision, Revision(5));
  // All of them happened.
  EXPECT_EQ(store_->published().revision, Revision(5));
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 4);
}

// One batch of the backend each: what is published is also what a crash keeps or loses as a whole.
TEST_F(ApplierTest, EveryKindOfEntryAdvancesTheAppliedIndexInItsBatch) {
  Begin();
  size_t batches = disk_.unflushed_batches();
  const auto expect_one_batch = [&](uint64_t index) {
    EXPECT_EQ(store_->applied(), (mvcc::EntryApplied{Index(index), Term(2)}));
    EXPECT_EQ(disk_.unflushed_batches(), ++batches);
  };
  Apply({{Term(2), Index(2), raft::EntryKind::kEmpty, nullptr}});
  expect_one_batch(2);
  Apply({Put(3, "key")});
  expect_one_batch(3);
  // Refused: no such lease.
  etcdserverpb::PutRequest refused;
  refused.set_key("key");
  refused.set_lease(5);
  const Applier::Result result = Apply({Command(
      4,
      EncodeCommand({.kind = CommandKind::kPut, .proposer = kSelf, .nonce = kNonce, .sequence = 9},
                    refused.SerializeAsString()))});
  expect_one_batch(4);
  ASSERT_EQ(result.outcomes.size(), 1U);
  EXPECT_EQ(result.outcomes[0].second.status, api::ToStatus(api::Error::kLeaseNotFound));
  EXPECT_EQ(store_->published().revision, Revision(2));
  // A configuration entry: another member, as a voter.
  const Members other = InitialMembers({{"n2", {"http://localhost:2381"}}}, "etcd-cluster");
  raft::Entry configuration = BootstrapEntries(other)[0];
  configuration.index = Index(5);
  configuration.term = Term(2);
  EXPECT_TRUE(Apply({configuration}).configuration.has_value());
  expect_one_batch(5);
  // Many in one.
  Apply({Put(6, "a"), {Term(2), Index(7), raft::EntryKind::kEmpty, nullptr}, Put(8, "b")});
  expect_one_batch(8);
}

TEST_F(ApplierTest, ARaiseIsRevisionsThatNobodyGets) {
  class Sink final : public ChangeSink {
   public:
    void OnCommitted(std::span<const mvcc::Change>, Revision revision) override {
      committed.push_back(revision);
    }
    void OnRaised(Revision revision) override { raised.push_back(revision); }
    void OnReplaced(Revision) override {}
    std::vector<Revision> committed;
    std::vector<Revision> raised;
  } sink;
  applier_->SetChangeSink(&sink);
  Begin();
  const auto raise = [](uint64_t index, int64_t by) {
    internal::RevisionRaise body;
    body.set_by(by);
    return Command(index, EncodeCommand({.kind = CommandKind::kRaiseRevision, .proposer = kSelf},
                                        body.SerializeAsString()));
  };
  Apply({Put(2, "a")});
  EXPECT_TRUE(Apply({raise(3, 1000)}).outcomes.empty());
  EXPECT_EQ(store_->published().revision, Revision(1002));
  Apply({raise(4, 10), Put(5, "b")});
  EXPECT_EQ(store_->published().revision, Revision(1013));
  EXPECT_EQ(sink.committed, (std::vector<Revision>{Revision(2), Revision(1013)}));
  EXPECT_EQ(sink.raised, std::vector<Revision>{Revision(1002)});
  // Never so far that writes could use up what is left.
  const int64_t most = mvcc::kLoggedRaiseRevisionMax.value() - 1013;
  for (const int64_t by :
       {int64_t{0}, int64_t{-1}, most + 1, std::numeric_limits<int64_t>::max()}) {
    EXPECT_EQ(applier_->Apply(std::vector{raise(6, by)}).status().code(),
              absl::StatusCode::kDataLoss)
        << by;
  }
  Apply({raise(6, most), Put(7, "c")});
  EXPECT_EQ(store_->published().revision, mvcc::kLoggedRaiseRevisionMax + 1);
}

TEST_F(ApplierTest, AMemberPublishesItsAttributes) {
  Begin();
  const auto publish = [&](uint64_t index, MemberId id) {
    return Command(index, EncodeCommand({.kind = CommandKind::kPublishMember,
                                         .proposer = kSelf,
                                         .nonce = kNonce,
                                         .sequence = index},
                                        EncodePublished({id, "n1", {"http://localhost:2379"}})));
  };
  Applier::Result result = Apply({publish(2, kSelf)});
  EXPECT_TRUE(result.members_changed);
  ASSERT_EQ(result.outcomes.size(), 1U);
  EXPECT_TRUE(result.outcomes[0].second.status.ok());
  const Members expected = {{.id = kSelf,
                             .name = "n1",
                             .peer_urls = {"http://localhost:2380"},
                             .client_urls = {"http://localhost:2379"}}};
  EXPECT_EQ(applier_->membership().members, expected);
  // Of a member that is gone: nothing to do, but answered.
  result = Apply({publish(3, MemberId(99))});
  EXPECT_FALSE(result.members_changed);
  EXPECT_EQ(result.outcomes.size(), 1U);
  EXPECT_EQ(applier_->membership().members, expected);
  // The rows say the same to the next start.
  ASSERT_TRUE(store_->Flush().ok());
  const raft::Configuration configuration = applier_->membership().configuration;
  Open();
  EXPECT_EQ(applier_->membership().members, expected);
  EXPECT_EQ(applier_->membership().configuration, configuration);
  EXPECT_EQ(store_->applied().index, Index(3));
}

raft::Entry ChangeEntry(uint64_t index, ChangeStep step, ChangeProposer proposer = {}) {
  MembershipChange change;
  change.steps = {std::move(step)};
  change.proposer = proposer;
  return {Term(2), Index(index), raft::EntryKind::kConfiguration,
          std::make_shared<const std::string>(EncodeChange(change))};
}

TEST_F(ApplierTest, AMembershipChangeAnswersItsProposerWithEveryone) {
  Begin();
  const Member added{MemberId(5), "", {"http://five:1"}, {}, true};
  const Applier::Result result = Apply({
      ChangeEntry(2, {ChangeKind::kAddLearner, added}, {kSelf, kNonce, 31}),
      ChangeEntry(3, {ChangeKind::kAddLearner, added}, {kSelf, kNonce, 32}),  // Refused.
      ChangeEntry(4, {ChangeKind::kRemove, added}, {MemberId(9), kNonce, 33}),
      ChangeEntry(5, {ChangeKind::kRemove, added}, {kSelf, kNonce - 1, 34}),
      ChangeEntry(6, {ChangeKind::kAddVoter, added}, {kSelf, kNonce, 35}),
  });
  EXPECT_EQ(store_->applied(), (mvcc::EntryApplied{Index(6), Term(2)}));
  EXPECT_TRUE(result.members_changed);
  EXPECT_FALSE(result.self_removed);
  ASSERT_TRUE(result.configuration.has_value());
  EXPECT_EQ(result.configuration->first, applier_->membership().configuration);
  EXPECT_EQ(result.configuration->second, Index(6));
  ASSERT_EQ(result.changes.size(), 3U);
  EXPECT_EQ(result.changes[0].first, 31U);
  ASSERT_TRUE(result.changes[0].second.status.ok());
  etcdserverpb::MemberAddResponse response;
  ASSERT_TRUE(response.ParseFromString(result.changes[0].second.response));
  EXPECT_EQ(response.member().id(), 5U);
  EXPECT_TRUE(response.member().islearner());
  EXPECT_EQ(response.members_size(), 2);
  EXPECT_EQ(result.changes[1].first, 32U);
  EXPECT_EQ(result.changes[1].second.status, api::ToStatus(api::Error::kMemberExists));
  EXPECT_EQ(result.changes[2].first, 35U);
  EXPECT_EQ(result.changes[2].second.status, api::ToStatus(api::Error::kMemberNotFound));
}

TEST_F(ApplierTest, RemovedMembersStayOutAcrossAStart) {
  Begin();
  const Member other{MemberId(5), "", {"http://five:1"}, {}, false};
  Apply({ChangeEntry(2, {ChangeKind::kAddVoter, other})});
  Apply({ChangeEntry(3, {ChangeKind::kRemove, other})});
  EXPECT_EQ(applier_->membership().members, kMembers);
  ASSERT_TRUE(store_->Flush().ok());
  Open();
  EXPECT_EQ(applier_->membership().members, kMembers);
  EXPECT_EQ(applier_->membership().configuration.voters, std::vector<MemberId>{kSelf});
  EXPECT_EQ(applier_->membership().removed, (std::map<MemberId, Index>{{MemberId(5), Index(3)}}));
  Applier::Result result =
      Apply({ChangeEntry(4, {ChangeKind::kAddVoter, other}, {kSelf, kNonce, 1})});
  ASSERT_EQ(result.changes.size(), 1U);
  EXPECT_EQ(result.changes[0].second.status, api::ToStatus(api::Error::kMemberNotFound));
  EXPECT_FALSE(result.members_changed);
}

TEST_F(ApplierTest, AMemberLearnsOfItsOwnRemoval) {
  Begin();
  Apply({ChangeEntry(2, {ChangeKind::kAddVoter, {MemberId(5), "", {"http://five:1"}, {}, false}})});
  const Applier::Result result =
      Apply({ChangeEntry(3, {ChangeKind::kRemove, {kSelf, "", {}, {}, false}})});
  EXPECT_TRUE(result.self_removed);
  EXPECT_TRUE(applier_->membership().removed.contains(kSelf));
}

TEST_F(ApplierTest, WhatIsNotUnderstoodStopsTheMemberAndChangesNothing) {
  Begin();
  Apply({Put(2, "key")});
  std::string newer_kind = EncodeCommand({.kind = static_cast<CommandKind>(999)}, "");
  std::string newer_format = EncodeCommand({.kind = CommandKind::kPut}, PutBody("a", "b"));
  newer_format[0] = kCommandFormatVersion + 1;
  raft::Entry unknown_entry{Term(2), Index(4), static_cast<raft::EntryKind>(9), nullptr};
  struct Case {
    raft::Entry entry;
    absl::StatusCode code;
    std::string_view text;
  };
  const Case kCases[] = {
      {Command(4, newer_kind), absl::StatusCode::kUnimplemented,
       "a command of kind 999, which this binary does not know"},
      {Command(4, newer_format), absl::StatusCode::kUnimplemented,
       "a command of format version 2; this binary understands 1 and older"},
      {unknown_entry, absl::StatusCode::kUnimplemented,
       "an entry of kind 9, which this binary does not know"},
      {Command(4, "x"), absl::StatusCode::kDataLoss, "a command of 1 bytes is too short"},
  };
  const size_t batches = disk_.unflushed_batches();
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.text);
    // Behind one that is fine: the batch goes as a whole or not at all.
    const std::vector<raft::Entry> entries = {Put(3, "other"), c.entry};
    const absl::Status status = applier_->Apply(entries).status();
    EXPECT_EQ(status.code(), c.code);
    EXPECT_EQ(base::Message(status),
              fmt::format("applying the entry at index 4 of term 2: {}", c.text));
    EXPECT_EQ(store_->applied().index, Index(2));
    EXPECT_EQ(store_->published().revision, Revision(2));
    EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 1);
    EXPECT_EQ(disk_.unflushed_batches(), batches);
  }
  // A binary that understands goes on from there.
  Apply({Put(3, "other")});
  EXPECT_EQ(store_->published().revision, Revision(3));
}

TEST_F(ApplierTest, ARemovalStepCommitsWithoutAnEntry) {
  Begin();
  Apply({Put(2, "key"), Put(3, "key"), Put(4, "key")});
  etcdserverpb::CompactionRequest request;
  request.set_revision(4);
  Apply({Command(5, EncodeCommand({.kind = CommandKind::kCompact}, request.SerializeAsString()))});
  const mvcc::EntryApplied applied = store_->applied();
  const auto first = store_->FindRemovalStep(1);
  ASSERT_TRUE(first.ok() && !first->empty());
  EXPECT_TRUE(*applier_->ApplyRemoval(*first));
  EXPECT_EQ(store_->applied(), applied);
  // The same step again is stale, and says so.
  EXPECT_FALSE(*applier_->ApplyRemoval(*first));
  while (true) {
    const auto step = store_->FindRemovalStep(1);
    ASSERT_TRUE(step.ok());
    if (step->empty()) break;
    EXPECT_TRUE(*applier_->ApplyRemoval(*step));
  }
  EXPECT_GE(store_->removed_through(), Revision(4));
  EXPECT_EQ(store_->applied(), applied);
}

TEST_F(ApplierTest, MemberRowsThatDoNotDecodeAreRefused) {
  {
    mvcc::Batch batch = store_->BeginBatch();
    batch.PutMeta("m/\0\0\0\0\0\0\0\1", "\xff");
    ASSERT_TRUE(batch.Commit({Index(1), Term(1)}).ok());
  }
  const absl::Status status = Applier::Open(*store_, {.id = kSelf, .nonce = kNonce}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(base::Message(status), "a member row does not parse");
}

// A snapshot took the state's place: leases that are gone, that stay and that are new are told of,
// members too, and what comes next is applied to it.
TEST_F(ApplierTest, MovesToAStateThatReplacesItsOwn) {
  const auto grant = [](uint64_t index, int64_t id) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(60);
    return Command(index, EncodeCommand({.kind = CommandKind::kLeaseGrant,
                                         .proposer = MemberId(9),
                                         .nonce = 1,
                                         .sequence = index},
                                        request.SerializeAsString()));
  };
  Begin();
  Apply({grant(2, 1), grant(3, 2)});
  EXPECT_TRUE(applier_->cluster().alarms.empty());
  internal::SpaceAlarm full;
  full.set_member_id(kSelf.value());
  full.set_is_full(true);
  const raft::Entry alarm =
      Command(5, EncodeCommand({.kind = CommandKind::kSpaceAlarm}, full.SerializeAsString()));

  const mvcc::StoreIdentity identity = {.cluster = ClusterId(1), .member = MemberId(9)};
  auto ahead = mvcc::Store::Open(disk_.Open("ahead"), {.identity = identity});
  ASSERT_TRUE(ahead.ok());
  auto applier = Applier::Open(**ahead, {.id = MemberId(9), .nonce = 1});
  ASSERT_TRUE(applier.ok());
  ASSERT_TRUE((*applier)->Apply(BootstrapEntries(kMembers)).ok());
  ASSERT_TRUE(
      (*applier)->Apply(std::vector{grant(2, 2), grant(3, 3), Put(4, "key", 1, MemberId(9))}).ok());
  ASSERT_TRUE((*applier)->Apply(std::vector{alarm}).ok());
  ASSERT_TRUE((*ahead)->Checkpoint("copy").ok());
  auto fresh = mvcc::Store::Adopt(disk_.Open("copy"),
                                  {.identity = {.cluster = ClusterId(1), .member = kSelf}});
  ASSERT_TRUE(fresh.ok());
  ASSERT_TRUE((*fresh)->Flush().ok());
  auto loaded = Applier::Load(**fresh);
  ASSERT_TRUE(loaded.ok());

  const Applier::Result result = applier_->Replace(*std::move(fresh), *std::move(loaded));
  EXPECT_TRUE(result.members_changed);
  std::vector<std::pair<LeaseId, bool>> leases;
  for (const lease::LeaseUpdate& update : result.leases) {
    leases.emplace_back(update.id, update.facts.has_value());
  }
  EXPECT_EQ(leases, (std::vector<std::pair<LeaseId, bool>>{
                        {LeaseId(2), true}, {LeaseId(3), true}, {LeaseId(1), false}}));
  EXPECT_EQ(store_->applied().index, Index(5));
  EXPECT_EQ(applier_->membership().members, kMembers);
  // Alarms too, and they hold.
  ASSERT_NE(result.cluster, nullptr);
  EXPECT_EQ(result.cluster->alarms,
            (std::vector<Alarm>{{AlarmKind::kNoSpace, kSelf, /*is_automatic=*/true}}));
  EXPECT_EQ(Apply({Put(6, "next")}).outcomes.at(0).second.status,
            api::ToStatus(api::Error::kNoSpace));
  full.set_is_full(false);
  EXPECT_NE(Apply({Command(7, EncodeCommand({.kind = CommandKind::kSpaceAlarm},
                                            full.SerializeAsString()))})
                .cluster,
            nullptr);
  EXPECT_EQ(Apply({Put(8, "next")}).cluster, nullptr);
  EXPECT_EQ(store_->published().revision, Revision(3));
}

}  // namespace
}  // namespace cairn::server
