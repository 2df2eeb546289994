// What the watchers of one stream were told, in a form in which two servers can be compared.
//
// Pure: responses in, books out. Responses of events are taken apart, because how events are put
// together into responses depends on time: a server that is busy, or a watcher that catches up, may
// put several revisions into one response. What each server owes on its own is checked on the way:
// no revision twice, split or out of order, nothing at or below a revision that was promised, the
// fragments of a response together. One thread.
#ifndef CAIRN_TEST_DIFFERENTIAL_WATCH_BOOK_H_
#define CAIRN_TEST_DIFFERENTIAL_WATCH_BOOK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/rpc.pb.h"

namespace cairn::test {

// One response with events, its fragments joined.
struct ToldResponse {
  int64_t header_revision = 0;
  int64_t last_revision = 0;
  int parts = 1;
};

// One watcher, from its creation on.
struct ToldWatcher {
  int64_t id = 0;
  // Until it is cancelled, by whomever.
  bool is_live = true;
  // What the creation's header says.
  int64_t created_at = 0;
  // The revision of the last event, and the highest that was promised.
  int64_t told = 0;
  int64_t promised = 0;
  // Notifications of progress so far.
  int64_t notifications = 0;
  // The compaction that ended it; 0: none.
  int64_t compacted = 0;
  // Since the last Forget.
  std::vector<mvccpb::Event> events;
  std::vector<ToldResponse> responses;
};

class WatchBook {
 public:
  // Enters the next response of the stream.
  void Add(const etcdserverpb::WatchResponse& response);

  // Creations, refusals and cancellations in their order, in normal form.
  const std::vector<etcdserverpb::WatchResponse>& replies() const { return replies_; }
  // By the order of their creation.
  const std::vector<ToldWatcher>& watchers() const { return watchers_; }
  // The answers to progress requests since the last Forget: their revisions.
  const std::vector<int64_t>& progress() const { return progress_; }
  // Promises that were broken.
  const std::vector<std::string>& violations() const { return violations_; }

  // Drops what has been compared: events, responses, answers of progress, violations.
  void Forget();

 private:
  void AddReply(etcdserverpb::WatchResponse response);
  void AddEvents(const etcdserverpb::WatchResponse& response);
  void AddPromise(const etcdserverpb::WatchResponse& response);
  ToldWatcher* Live(int64_t id);
  void Complain(const etcdserverpb::WatchResponse& response, std::string_view what);

  std::vector<etcdserverpb::WatchResponse> replies_;
  std::vector<ToldWatcher> watchers_;
  // Places in `watchers_`.
  std::map<int64_t, size_t> live_;
  // Ids whose watchers a compaction has ended. etcd keeps them until they are cancelled too, and
  // answers that; such an answer is dropped (rules.h).
  std::set<int64_t> compacted_ids_;
  std::vector<int64_t> progress_;
  std::vector<std::string> violations_;
  // etcd holds back what comes before the answer to the creation, except for id -1.
  std::vector<etcdserverpb::WatchResponse> early_;
  // The watcher of which more fragments must follow at once.
  std::optional<int64_t> fragment_of_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_DIFFERENTIAL_WATCH_BOOK_H_
