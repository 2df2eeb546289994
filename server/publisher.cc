#include "server/publisher.h"

#include <glog/logging.h>

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

#include "base/thread.h"

namespace cairn::server {

namespace {

using std::chrono::steady_clock;

// After a failure, which is late by itself unless the member is overloaded.
constexpr std::chrono::milliseconds kRetryPause{200};

}  // namespace

Publisher::Publisher(Node& node, PublishedAttributes attributes)
    : node_(node), attributes_(std::move(attributes)) {
  thread_ = std::thread([this] { Run(); });
}

Publisher::~Publisher() { Stop(); }

bool Publisher::Wait(std::chrono::milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  base::MutexLock lock(mutex_);
  while (!published_ && !stopping_ && changed_.WaitUntil(mutex_, deadline)) {
  }
  return published_;
}

void Publisher::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool Publisher::IsKnown() const {
  const std::shared_ptr<const Members> members = node_.members();
  return std::any_of(members->begin(), members->end(), [&](const Member& known) {
    return known.id == attributes_.id && known.name == attributes_.name &&
           known.client_urls == attributes_.client_urls;
  });
}

void Publisher::Run() {
  base::NameThread("publisher");
  while (true) {
    std::promise<absl::Status> answered;
    if (IsKnown()) {
      // Nothing to tell, but a quorum to wait for, and for what it did meanwhile.
      node_.ReadBarrier(nullptr,
                        [&](absl::Status status) { answered.set_value(std::move(status)); });
    } else {
      node_.Propose(CommandKind::kPublishMember, EncodePublished(attributes_),
                    [&](Node::Outcome outcome) { answered.set_value(outcome.status); });
    }
    const absl::Status status = answered.get_future().get();
    base::MutexLock lock(mutex_);
    if (status.ok()) {
      published_ = true;
      changed_.SignalAll();
      return;
    }
    if (stopping_) return;
    LOG(WARNING) << "the cluster could not be told of this member yet: " << status;
    const auto next = steady_clock::now() + kRetryPause;
    while (!stopping_ && changed_.WaitUntil(mutex_, next)) {
    }
    if (stopping_) return;
  }
}

}  // namespace cairn::server
