// Leases through the whole applier: entries in, rows and outcomes out.
#include "server/lease_apply.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "base/status.h"
#include "lease/lease_codec.h"
#include "mvcc/mem_backend.h"
#include "mvcc/schema.h"
#include "server/applier.h"
#include "server/apply_all.h"
#include "server/membership.h"

namespace cairn::server {
namespace {

using api::Error;
using cairn::internal::LeaseBatch;

constexpr uint64_t kNonce = 77;
constexpr Term kTerm{2};
const Members kMembers = InitialMembers({{"n1", {"http://localhost:2380"}}}, "etcd-cluster");
const MemberId kSelf = kMembers[0].id;

class LeaseApplyTest : public testing::Test {
 protected:
  void SetUp() override {
    Open();
    ASSERT_TRUE(applier_->Apply(BootstrapEntries(kMembers)).ok());
  }

  // Also in place of what was open: a restart.
  void Open() {
    applier_.reset();
    if (store_ != nullptr) {
      ASSERT_TRUE(store_->Flush().ok());
    }
    store_.reset();
    auto store =
        mvcc::Store::Open(disk_.Open(), {.identity = {.cluster = ClusterId(1), .member = kSelf}});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto applier = Applier::Open(*store_, {.id = kSelf, .nonce = kNonce});
    ASSERT_TRUE(applier.ok()) << applier.status();
    applier_ = *std::move(applier);
  }

  // One more entry of the batch to come; returns its index.
  Index Add(CommandKind kind, const google::protobuf::Message& body) {
    const Index index = store_->applied().index + 1 + entries_.size();
    std::string payload =
        EncodeCommand({.kind = kind, .proposer = kSelf, .nonce = kNonce, .sequence = index.value()},
                      body.SerializeAsString());
    entries_.push_back({kTerm, index, raft::EntryKind::kCommand,
                        std::make_shared<const std::string>(std::move(payload))});
    return index;
  }
  Applier::Result Commit() {
    auto result = ApplyAll(*applier_, std::exchange(entries_, {}));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Applier::Result();
  }

  // One command alone: its outcome.
  Node::Outcome Do(CommandKind kind, const google::protobuf::Message& body) {
    Add(kind, body);
    Applier::Result result = Commit();
    EXPECT_EQ(result.outcomes.size(), 1u);
    return result.outcomes.empty() ? Node::Outcome() : std::move(result.outcomes[0].second);
  }
  static etcdserverpb::LeaseGrantRequest GrantOf(int64_t id, int64_t ttl_s = 60) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl_s);
    return request;
  }
  static etcdserverpb::LeaseRevokeRequest RevokeOf(int64_t id) {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(id);
    return request;
  }
  static etcdserverpb::PutRequest PutOf(std::string_view key, int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(std::string(key));
    request.set_value("value");
    request.set_lease(lease);
    return request;
  }
  LeaseBatch BatchOf(const std::vector<int64_t>& ids, Term term = kTerm) const {
    LeaseBatch batch;
    batch.set_term(term.value());
    for (const int64_t id : ids) {
      LeaseBatch::Lease& lease = *batch.add_leases();
      lease.set_id(id);
      const lease::LeaseFacts* facts = applier_->leases().Find(LeaseId(id));
      lease.set_granted_index(facts == nullptr ? 0 : facts->granted.value());
    }
    return batch;
  }
  std::string Do(CommandKind kind, const google::protobuf::Message& body, Revision revision) {
    const Node::Outcome outcome = Do(kind, body);
    EXPECT_EQ(outcome.revision, revision);
    return std::string(base::Message(outcome.status));
  }

  // The keys of a lease as its rows have them.
  std::vector<std::string> KeysOf(int64_t id) const {
    std::vector<std::string> keys;
    const std::string prefix = LeaseKeysPrefix(LeaseId(id));
    EXPECT_TRUE(store_
                    ->ScanMeta(prefix,
                               [&](std::string_view row, std::string_view) {
                                 keys.emplace_back(row.substr(prefix.size()));
                                 return true;
                               })
                    .ok());
    return keys;
  }

  using Keys = std::vector<std::string>;

  mvcc::MemDisk disk_;
  std::unique_ptr<mvcc::Store> store_;
  std::unique_ptr<Applier> applier_;
  std::vector<raft::Entry> entries_;
};

TEST_F(LeaseApplyTest, GrantTakesNoRevisionAndAnIdOnce) {
  const Node::Outcome granted = Do(CommandKind::kLeaseGrant, GrantOf(-7, 60));
  EXPECT_TRUE(granted.status.ok());
  EXPECT_EQ(granted.revision, Revision(1));
  etcdserverpb::LeaseGrantResponse response;
  ASSERT_TRUE(response.ParseFromString(granted.response));
  EXPECT_EQ(response.id(), -7);
  EXPECT_EQ(response.ttl(), 60);
  EXPECT_EQ(Do(CommandKind::kLeaseGrant, GrantOf(-7, 60)).status,
            api::ToStatus(Error::kLeaseExists));
  EXPECT_EQ(Do(CommandKind::kLeaseRevoke, RevokeOf(8)).status,
            api::ToStatus(Error::kLeaseNotFound));
  EXPECT_EQ(Do(CommandKind::kLeaseRevoke, RevokeOf(-7), Revision(1)), "");
  EXPECT_EQ(applier_->leases().size(), 0u);
  EXPECT_EQ(Do(CommandKind::kPut, PutOf("a", -7)).status, api::ToStatus(Error::kLeaseNotFound));
}

TEST_F(LeaseApplyTest, KeysMoveWithTheirPuts) {
  Do(CommandKind::kLeaseGrant, GrantOf(1));
  Do(CommandKind::kLeaseGrant, GrantOf(2));
  Do(CommandKind::kPut, PutOf("b", 1));
  Do(CommandKind::kPut, PutOf("a", 1));
  Do(CommandKind::kPut, PutOf("a", 1));
  EXPECT_EQ(KeysOf(1), (Keys{"a", "b"}));
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->key_count, 2);

  Do(CommandKind::kPut, PutOf("a", 2));
  EXPECT_EQ(KeysOf(1), (Keys{"b"}));
  EXPECT_EQ(KeysOf(2), (Keys{"a"}));

  etcdserverpb::PutRequest kept = PutOf("a", 0);
  kept.set_ignore_lease(true);
  Do(CommandKind::kPut, kept);
  EXPECT_EQ(KeysOf(2), (Keys{"a"}));
  // A kept value does not keep the lease.
  etcdserverpb::PutRequest value = PutOf("a", 0);
  value.clear_value();
  value.set_ignore_value(true);
  Do(CommandKind::kPut, value);
  EXPECT_EQ(KeysOf(2), (Keys{}));

  etcdserverpb::DeleteRangeRequest deletion;
  deletion.set_key("b");
  Do(CommandKind::kDeleteRange, deletion);
  EXPECT_EQ(KeysOf(1), (Keys{}));
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->key_count, 0);
}

TEST_F(LeaseApplyTest, RevokeDeletesSortedInOneRevision) {
  Do(CommandKind::kLeaseGrant, GrantOf(1));
  // In one batch: rows that are not written yet are found, and deleted ones are not.
  for (const char* key : {"c", "a", "b", "gone"}) Add(CommandKind::kPut, PutOf(key, 1));
  etcdserverpb::DeleteRangeRequest deletion;
  deletion.set_key("gone");
  Add(CommandKind::kDeleteRange, deletion);
  const Index revoke = Add(CommandKind::kLeaseRevoke, RevokeOf(1));
  Add(CommandKind::kPut, PutOf("d", 1));
  const Applier::Result result = Commit();
  EXPECT_EQ(result.outcomes[5].first, revoke.value());
  EXPECT_EQ(result.outcomes[5].second.revision, Revision(7));
  EXPECT_EQ(result.outcomes[6].second.status, api::ToStatus(Error::kLeaseNotFound));
  EXPECT_EQ(result.leases, (std::vector<lease::LeaseUpdate>{{LeaseId(1), std::nullopt}}));
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 0);
  EXPECT_EQ(KeysOf(1), (Keys{}));
  // Sorted: the hash of this history is the same on every member, and etcd's.
  EXPECT_EQ(store_->published().revision, Revision(7));
}

TEST_F(LeaseApplyTest, ExpiryEndsManyLeasesEachInARevision) {
  for (int64_t id = 1; id <= 4; ++id) Do(CommandKind::kLeaseGrant, GrantOf(id));
  for (const auto& [key, id] : std::map<std::string, int64_t>{{"a", 1}, {"b", 2}, {"c", 2}}) {
    Do(CommandKind::kPut, PutOf(key, id));
  }
  // A lease that was granted anew is not the one that was due.
  LeaseBatch batch = BatchOf({2, 1, 3, 9, 4});
  Do(CommandKind::kLeaseRevoke, RevokeOf(4));
  Do(CommandKind::kLeaseGrant, GrantOf(4));
  EXPECT_EQ(Do(CommandKind::kLeaseExpire, batch, Revision(6)), "");
  EXPECT_EQ(applier_->leases().size(), 1u);
  EXPECT_NE(applier_->leases().Find(LeaseId(4)), nullptr);
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 0);
  // Leases 2 and 1 took a revision each, in the order of the entry; lease 3 had no keys.
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), Revision(5))->count, 1);
}

// Keys of one MiB: a deletion off a lease counts two of them (mvcc::WriteTxn::ChangeBytes).
constexpr int64_t kLargeKeysPerEntry = (mvcc::WriteTxn::kBytesMax >> 21) - 1;

std::string LargeKey(int64_t i) {
  return fmt::format("{:03}", i) + std::string((size_t{1} << 20) - 3, 'k');
}

TEST_F(LeaseApplyTest, ALeaseWithTooManyKeysEndsInPieces) {
  constexpr int64_t kKeys = 2 * kLargeKeysPerEntry + 5;
  Do(CommandKind::kLeaseGrant, GrantOf(1));
  for (int64_t i = 0; i < kKeys; ++i) Add(CommandKind::kPut, PutOf(LargeKey(i), 1));
  Commit();
  const Revision before = store_->published().revision;

  EXPECT_EQ(Do(CommandKind::kLeaseRevoke, RevokeOf(1), before + 1), "");
  const auto key_count = [&] { return applier_->leases().Find(LeaseId(1))->key_count; };
  EXPECT_EQ(key_count(), kKeys - kLargeKeysPerEntry);
  EXPECT_EQ(KeysOf(1).front(), LargeKey(kLargeKeysPerEntry));
  // It counts for nobody, and its id is not free.
  EXPECT_EQ(Do(CommandKind::kPut, PutOf("x", 1)).status, api::ToStatus(Error::kLeaseNotFound));
  EXPECT_EQ(Do(CommandKind::kLeaseGrant, GrantOf(1)).status, api::ToStatus(Error::kLeaseExists));
  LeaseBatch noted = BatchOf({1});
  noted.mutable_leases(0)->set_remaining_ms(500);
  Do(CommandKind::kLeaseCheckpoint, noted);
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->checkpoint_ms, std::nullopt);
  // A put that keeps the lease of its key takes none off it, one that does not takes its own.
  etcdserverpb::PutRequest kept = PutOf(LargeKey(kKeys - 1), 0);
  kept.set_ignore_lease(true);
  EXPECT_TRUE(Do(CommandKind::kPut, kept).status.ok());
  EXPECT_TRUE(Do(CommandKind::kPut, PutOf(LargeKey(kKeys - 2), 0)).status.ok());
  EXPECT_EQ(key_count(), kKeys - kLargeKeysPerEntry - 1);

  // Whoever leads goes on, also after a start.
  Open();
  EXPECT_TRUE(applier_->leases().Find(LeaseId(1))->is_ending());
  EXPECT_EQ(Do(CommandKind::kLeaseExpire, BatchOf({1}), before + 4), "");
  EXPECT_EQ(key_count(), 4);
  EXPECT_EQ(Do(CommandKind::kLeaseRevoke, RevokeOf(1), before + 5), "");
  EXPECT_EQ(applier_->leases().size(), 0u);
  EXPECT_EQ(KeysOf(1), (Keys{}));
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 1);
  EXPECT_EQ(Do(CommandKind::kLeaseRevoke, RevokeOf(1)).status,
            api::ToStatus(Error::kLeaseNotFound));
}

// What one entry deletes is bounded over all the leases that it names.
TEST_F(LeaseApplyTest, LeasesOfOneEntryShareItsRoom) {
  for (int64_t id = 1; id <= 4; ++id) Do(CommandKind::kLeaseGrant, GrantOf(id));
  for (int64_t i = 0; i < kLargeKeysPerEntry; ++i) {
    Add(CommandKind::kPut, PutOf(LargeKey(i), 1 + i % 2));
  }
  Add(CommandKind::kPut, PutOf(LargeKey(500), 3));
  Commit();
  const LeaseBatch batch = BatchOf({1, 2, 3, 4});
  Do(CommandKind::kLeaseExpire, batch);
  // The third has no room for its key, the fourth has no key.
  ASSERT_EQ(applier_->leases().size(), 1u);
  EXPECT_TRUE(applier_->leases().Find(LeaseId(3))->is_ending());
  EXPECT_EQ(KeysOf(3), (Keys{LargeKey(500)}));
  Do(CommandKind::kLeaseExpire, batch);
  EXPECT_EQ(applier_->leases().size(), 0u);
  EXPECT_EQ(store_->Count(mvcc::KeyRange::All(), mvcc::kCurrent)->count, 0);
}

// Whoever leads proposes it again when it hears of it, and not before.
TEST_F(LeaseApplyTest, AnEndingLeaseWithoutRoomForAKeyIsToldOfToo) {
  for (int64_t id = 1; id <= 2; ++id) Do(CommandKind::kLeaseGrant, GrantOf(id));
  for (int64_t i = 0; i < 2 * kLargeKeysPerEntry; ++i) {
    Add(CommandKind::kPut, PutOf(LargeKey(i), 1));
  }
  Commit();
  Do(CommandKind::kPut, PutOf(LargeKey(500), 2));
  for (int piece = 0; piece < 2; ++piece) {
    SCOPED_TRACE(piece);
    Add(CommandKind::kLeaseExpire, BatchOf({1, 2}));
    std::vector<LeaseId> told;
    for (const lease::LeaseUpdate& update : Commit().leases) told.push_back(update.id);
    EXPECT_EQ(told, (std::vector{LeaseId(1), LeaseId(2)}));
    EXPECT_EQ(KeysOf(2), Keys{LargeKey(500)});
  }
  Do(CommandKind::kLeaseExpire, BatchOf({1, 2}));
  EXPECT_EQ(applier_->leases().size(), 0u);
}

TEST_F(LeaseApplyTest, WhatAnotherTermProposedIsIgnored) {
  Do(CommandKind::kLeaseGrant, GrantOf(1));
  Do(CommandKind::kPut, PutOf("a", 1));
  LeaseBatch noted = BatchOf({1});
  noted.mutable_leases(0)->set_remaining_ms(500);
  EXPECT_EQ(Do(CommandKind::kLeaseCheckpoint, noted, Revision(2)), "");
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->checkpoint_ms, 500);

  EXPECT_EQ(Do(CommandKind::kLeaseExpire, BatchOf({1}, kTerm - 1), Revision(2)), "");
  EXPECT_EQ(Do(CommandKind::kLeaseClear, BatchOf({1}, kTerm + 1), Revision(2)), "");
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->checkpoint_ms, 500);
  EXPECT_EQ(KeysOf(1), (Keys{"a"}));

  Open();
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->checkpoint_ms, 500);
  EXPECT_EQ(Do(CommandKind::kLeaseClear, BatchOf({1}), Revision(2)), "");
  EXPECT_EQ(applier_->leases().Find(LeaseId(1))->checkpoint_ms, std::nullopt);
}

TEST_F(LeaseApplyTest, ABodyThatIsNoRequestStopsTheMember) {
  for (const CommandKind kind : {CommandKind::kLeaseGrant, CommandKind::kLeaseRevoke,
                                 CommandKind::kLeaseExpire, CommandKind::kLeaseCheckpoint}) {
    const std::string payload = EncodeCommand({.kind = kind, .proposer = kSelf}, "\xff");
    const auto result = applier_->Apply(
        std::vector<raft::Entry>{{kTerm, store_->applied().index + 1, raft::EntryKind::kCommand,
                                  std::make_shared<const std::string>(payload)}});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss) << result.status();
  }
}

// Random entries in random batches with restarts in between, against a map from key to lease. After
// each batch the rows of leases and of their keys are exactly what the keys themselves say.
TEST_F(LeaseApplyTest, RowsAgreeWithTheKeys) {
  std::mt19937 random(7);
  const auto pick = [&](uint32_t limit) { return static_cast<int64_t>(random() % limit); };
  for (int round = 0; round < 400; ++round) {
    for (int64_t n = 1 + pick(8); n > 0; --n) {
      const std::string key(1, static_cast<char>('a' + pick(12)));
      const int64_t id = pick(5) - 2;  // 0 too.
      const auto put = PutOf(key, id);
      switch (pick(7)) {
        case 0:
          if (id != 0) Add(CommandKind::kLeaseGrant, GrantOf(id));
          break;
        case 1:
          Add(CommandKind::kLeaseRevoke, RevokeOf(id));
          break;
        case 2:
          Add(CommandKind::kLeaseExpire, BatchOf({id, pick(5) - 2}));
          break;
        case 3: {
          etcdserverpb::DeleteRangeRequest deletion;
          deletion.set_key(key);
          deletion.set_range_end(std::string(1, static_cast<char>('a' + pick(14))));
          Add(CommandKind::kDeleteRange, deletion);
          break;
        }
        case 4: {
          etcdserverpb::TxnRequest txn;
          txn.add_success()->mutable_request_delete_range()->set_key(key);
          *txn.add_success()->mutable_request_put() = PutOf("x", id);
          Add(CommandKind::kTxn, txn);
          break;
        }
        default:
          Add(CommandKind::kPut, put);
      }
    }
    if (entries_.empty()) continue;
    Commit();
    if (pick(10) == 0) {
      ASSERT_NO_FATAL_FAILURE(Open());
    }

    std::map<int64_t, Keys> expected;
    ASSERT_TRUE(store_
                    ->Scan(
                        {.range = mvcc::KeyRange::All()},
                        [&](const mvcc::KeyValueView& kv) {
                          if (kv.lease != LeaseId(0)) {
                            expected[kv.lease.value()].emplace_back(kv.key);
                          }
                          return true;
                        },
                        [&] { expected.clear(); })
                    .ok());
    std::set<int64_t> rows;
    ASSERT_TRUE(store_
                    ->ScanMeta(mvcc::kLeasePrefix,
                               [&](std::string_view key, std::string_view value) {
                                 key.remove_prefix(mvcc::kLeasePrefix.size());
                                 LeaseId id;
                                 lease::LeaseFacts facts;
                                 EXPECT_TRUE(lease::TakeLeaseId(key, id));
                                 EXPECT_TRUE(lease::DecodeLeaseRow(value, facts));
                                 const auto* known = applier_->leases().Find(id);
                                 EXPECT_NE(known, nullptr);
                                 if (known != nullptr) {
                                   EXPECT_EQ(*known, facts);
                                 }
                                 rows.insert(id.value());
                                 return true;
                               })
                    .ok());
    EXPECT_EQ(rows.size(), applier_->leases().size());
    for (int64_t id = -2; id <= 2; ++id) {
      EXPECT_EQ(KeysOf(id), expected[id]) << "round " << round;
      EXPECT_TRUE(expected[id].empty() || rows.contains(id)) << "round " << round;
      if (const auto* facts = applier_->leases().Find(LeaseId(id))) {
        EXPECT_EQ(facts->key_count, static_cast<int64_t>(expected[id].size()));
      }
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::server
