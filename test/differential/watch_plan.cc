#include "test/differential/watch_plan.h"

#include <algorithm>
#include <array>
#include <limits>

namespace cairn::test {
namespace {

using etcdserverpb::WatchCreateRequest;

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();
const std::string kFromKey(1, '\0');

}  // namespace

bool IsWanted(const WatchCreateRequest& request, const mvccpb::Event& event) {
  for (const int filter : request.filters()) {
    if (filter == WatchCreateRequest::NOPUT && event.type() == mvccpb::Event::PUT) return false;
    if (filter == WatchCreateRequest::NODELETE && event.type() == mvccpb::Event::DELETE) {
      return false;
    }
  }
  const std::string& key = request.key().empty() ? kFromKey : request.key();
  if (request.range_end().empty()) return event.kv().key() == key;
  return event.kv().key() >= key &&
         (request.range_end() == kFromKey || event.kv().key() < request.range_end());
}

WatchPlan::WatchPlan(uint64_t seed, const Knowledge* knowledge)
    : random_(seed), knowledge_(knowledge), keys_(BusyKeys()) {}

WatchCreateRequest WatchPlan::Create(const std::vector<int64_t>& live_ids) {
  WatchCreateRequest request;
  SetRange(request);
  request.set_start_revision(Start());
  request.set_watch_id(Id(live_ids));
  request.set_prev_kv(random_.Chance(40));
  request.set_fragment(random_.Chance(30));
  // Its notifications could not be told from answers to requests.
  request.set_progress_notify(random_.Chance(30) && request.watch_id() != -1);
  if (random_.Chance(12)) request.add_filters(WatchCreateRequest::NOPUT);
  if (random_.Chance(12)) request.add_filters(WatchCreateRequest::NODELETE);
  if (random_.Chance(2)) request.add_filters(WatchCreateRequest::NODELETE);
  if (random_.Chance(3)) request.add_filters(static_cast<WatchCreateRequest::FilterType>(7));
  return request;
}

void WatchPlan::SetRange(WatchCreateRequest& request) {
  const int64_t choice = random_.Below(100);
  if (choice >= 4) request.set_key(random_.Pick(keys_));
  if (choice < 2 || (choice >= 4 && choice < 40)) return;
  if (choice < 60) {
    request.set_range_end(PrefixEnd(request.key().substr(0, 1)));
  } else if (choice < 70) {
    request.set_range_end(PrefixEnd(request.key()));
  } else if (choice < 82) {
    request.set_range_end(kFromKey);
  } else if (choice < 85) {
    request.set_range_end(request.key());  // empty
  } else {
    request.set_range_end(random_.Pick(keys_));  // half of these are inverted
  }
}

int64_t WatchPlan::Start() {
  const int64_t current = knowledge_->revision;
  const int64_t compacted = std::max<int64_t>(knowledge_->compacted, 1);
  const int64_t choice = random_.Below(100);
  if (choice < 35) return 0;
  if (choice < 60) return random_.Between(compacted, current);
  if (choice < 70) return random_.Between(std::max(compacted, current - 20), current);
  if (choice < 75) return current;
  if (choice < 80) return current + 1;
  if (choice < 86) return current + random_.Between(2, 30);
  if (choice < 94) return std::max<int64_t>(1, compacted + random_.Between(-3, 1));
  if (choice < 96) return random_.Chance(50) ? kInt64Max : kInt64Max - 1;
  if (choice < 97) return random_.Chance(50) ? 1'000'000'000 : int64_t{1} << 62;
  return random_.Chance(60) ? -1 : random_.Chance(50) ? -random_.Between(2, 9) : kInt64Min;
}

int64_t WatchPlan::Id(const std::vector<int64_t>& live_ids) {
  static constexpr std::array<int64_t, 8> kIds = {1, 2, 3, 7, -2, -9, kInt64Min, kInt64Max};
  const int64_t choice = random_.Below(100);
  if (choice < 70) return 0;
  if (choice < 76 && !live_ids.empty()) return random_.Pick(live_ids);
  if (choice < 80) return -1;
  if (choice < 90) return random_.Between(1, 20);
  return random_.Pick(kIds);
}

int64_t WatchPlan::CancelId(const std::vector<int64_t>& live_ids) {
  static constexpr std::array<int64_t, 6> kIds = {-1, 0, 1, 12345, kInt64Min, kInt64Max};
  const int64_t choice = random_.Below(100);
  if (choice < 60 && !live_ids.empty()) return random_.Pick(live_ids);
  if (choice < 80) return random_.Below(20);
  return random_.Pick(kIds);
}

}  // namespace cairn::test
