// Random requests of the KV and Lease services, valid and invalid, that keep a small set of keys
// busy.
//
// Pure: what it makes depends on the seed and on what it is told of the answers (Knowledge), so a
// run with the same seed against servers that answer alike repeats itself. One thread.
#ifndef CAIRN_TEST_DIFFERENTIAL_GENERATOR_H_
#define CAIRN_TEST_DIFFERENTIAL_GENERATOR_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "test/differential/operation.h"
#include "test/harness/random.h"

namespace cairn::test {

// What the run knows of the store, from answers on which both servers agree.
struct Knowledge {
  int64_t revision = 1;
  // The last revision that was compacted to; -1 before the first compaction.
  int64_t compacted = -1;
  // A compaction may still be running, or HashKV of its own revision would be asked: hold back.
  bool compaction_is_finished = true;
  // Revisions that deleted and then put one key: etcd 3.5.16 and later lose the live row when they
  // compact or hash exactly there. Nothing is compacted or hashed at them.
  std::set<int64_t> delete_then_put;
  // Leases that exist.
  std::set<int64_t> leases;
  // Whether the server under test has leases yet.
  bool with_leases = false;
};

// True if HashKV of `revision` is known to mean the same in all versions.
bool MayHash(const Knowledge& knowledge, int64_t revision);

// True if a compaction to `revision` is known to mean the same in all versions.
bool MayCompact(const Knowledge& knowledge, int64_t revision);

// True if the request has a sort number that no version defines, in it or in a nested operation.
bool HasUnknownSort(const Operation& operation);

// True if the transaction can delete and then put one key: only a delete to the end of all keys
// passes the check for duplicates.
bool MayDeleteThenPut(const etcdserverpb::TxnRequest& request);

// True if it can delete a key in that way and then put it with the value or lease that it had.
bool MayDeleteThenKeep(const etcdserverpb::TxnRequest& request);

// The keys that a run keeps busy.
std::vector<std::string> BusyKeys();

// The end of the range of all keys with this prefix, as clients compute it.
std::string PrefixEnd(std::string prefix);

class Generator {
 public:
  // `knowledge` is read at each call of Next and must outlive the generator.
  Generator(uint64_t seed, const Knowledge* knowledge);

  Operation Next();

 private:
  std::string Key();
  std::string RangeEnd(const std::string& key);
  std::string Value();
  int64_t AskedRevision();
  int64_t FilterRevision();
  int64_t Lease();
  etcdserverpb::RangeRequest Range();
  void MakeSortUnknown(etcdserverpb::RangeRequest& request);
  etcdserverpb::RangeRequest StreamedRange();
  etcdserverpb::PutRequest Put();
  etcdserverpb::DeleteRangeRequest DeleteRange();
  etcdserverpb::Compare Comparison();
  etcdserverpb::RequestOp Op(int depth);
  etcdserverpb::TxnRequest Txn(int depth);
  etcdserverpb::TxnRequest CrowdedTxn();
  etcdserverpb::TxnRequest UnknownSortTxn();
  etcdserverpb::CompactionRequest Compaction();
  Operation Hash();
  Operation LeaseOperation();

  Random random_;
  const Knowledge* const knowledge_;
  // In these runs no two values are equal, so that an order by value has no ties.
  const bool values_are_unique_;
  int64_t next_value_ = 0;
  const std::vector<std::string> keys_;
  std::vector<std::string> recent_values_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_GENERATOR_H_
