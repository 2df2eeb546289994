#include "test/guarantees/fall_counter.h"

#include <chrono>
#include <utility>

namespace cairn::test {
namespace {

using cairn::admin::v1::Watcher;

constexpr std::chrono::seconds kLookTimeout{5};
// More than there are.
constexpr int64_t kWatchersMax = 1000;

}  // namespace

FallCounter::FallCounter(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(cairn::admin::v1::Admin::NewStub(channel)) {}

void FallCounter::Look() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLookTimeout);
  cairn::admin::v1::WatchersRequest request;
  request.set_limit(kWatchersMax);
  cairn::admin::v1::WatchersResponse response;
  if (!stub_->Watchers(&context, request, &response).ok()) return;
  std::map<std::pair<uint64_t, int64_t>, bool> is_synced;
  for (const cairn::admin::v1::WatchStream& stream : response.streams()) {
    for (const Watcher& watcher : stream.shown()) {
      const std::pair<uint64_t, int64_t> name(stream.id(), watcher.watch_id());
      is_synced[name] = watcher.state() == Watcher::SYNCED;
      const auto before = was_synced_.find(name);
      if (before == was_synced_.end() || !before->second || watcher.state() != Watcher::LAGGING) {
        continue;
      }
      ++fallen_;
    }
  }
  was_synced_ = std::move(is_synced);
  is_all_synced_ = response.lagging_total() == 0;
}

}  // namespace cairn::test
