// What is known to differ between versions of etcd, one entry a difference: the allow-list of the
// differential test. Where versions differ Cairn follows the newest, so each entry says what an
// older reference does and what is done about it. Nothing else may differ.
#ifndef CAIRN_TEST_DIFFERENTIAL_RULES_H_
#define CAIRN_TEST_DIFFERENTIAL_RULES_H_

#include "test/differential/operation.h"
#include "test/harness/target.h"

namespace cairn::test {

struct ReferenceRules {
  // 3.6: an unknown number of sort_order or sort_target is InvalidArgument, `invalid sort option`.
  // Older ones ignore it, and would take a Txn that the newer ones refuse. Such a request is not
  // sent to an older reference; the server under test must give the error.
  bool refuses_unknown_sort = true;
  // 3.7: keys_only leaves out the lease too, unless sorted by value. From an older reference the
  // lease is removed before the comparison.
  bool keys_only_drops_lease = true;
  // 3.7: KV.RangeStream. With an older reference the stream is compared with the reference's Range.
  bool has_range_stream = true;
  // 3.7: RangeStream with a sort target and no order sorts each of its chunks by the target, goes
  // on behind the key that came last in that order, and so leaves out and miscounts keys. Cairn
  // streams in the order of keys; that is compared with the reference's Range.
  bool sorts_stream_chunks = true;
  // 3.6: HashKVResponse.hash_revision. Removed from the comparison with an older reference.
  bool has_hash_revision = true;
  // 3.6: the operations of a transaction are checked in their order. Older ones check all puts
  // first, then all ranges, so a transaction with several faults is refused for another one. With
  // an older reference any two of those refusals count as equal.
  bool checks_txn_in_order = true;
  // 3.4.34 and 3.5.16: a compaction keeps a deletion that lies exactly at the compacted revision,
  // which shows in HashKV. HashKV is not compared with an older reference after a compaction.
  bool keeps_deletion_at_compaction = true;
  // Of all versions: a transaction that deletes a key, with a delete to the end of all keys, and
  // then puts it with ignore_value or ignore_lease, ends the process (an index out of range
  // in 3.7.3), and again at each start. It is sent to neither. 3.6.6: a watcher with a start below
  // 0 is refused as compacted. An older reference is asked for an inverted range in its place, and
  // gives the reason of that.
  bool refuses_negative_start = true;
  // 3.4.38, 3.5.22 and 3.6.2: a watcher whose start lies in the future is promised nothing, and
  // with it on the stream progress requests stay unanswered. Such promises of an older reference
  // are let pass; the server under test must give none.
  bool withholds_before_start = true;
  // Of all versions: a watcher that a compaction has ended is half there until it is cancelled too:
  // its id is in use, and the progress requests of its stream go unanswered. In Cairn it is gone.
  // So the run cancels it at once, and whether that is answered does not count (watch_book.h).
};

// True if the two refusals of one transaction may stem from different faults in it, for a reference
// that does not check in order.
bool AreFaultsOfOneTxn(const Outcome& a, const Outcome& b);

// The rules of a reference of this version.
ReferenceRules RulesOf(const EtcdVersion& version);

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_RULES_H_
