#include "server/peer/link.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "api/peer.pb.h"
#include "base/check.h"
#include "base/status.h"
#include "server/peer/codec.h"
#include "server/rpc/proto.h"
#include "server/url.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kExchangePath = "/cairn.peer.Peer/Exchange";

// What to connect to. One that cannot be read is skipped: the rest may do.
std::vector<std::string> Authorities(const std::vector<std::string>& urls) {
  std::vector<std::string> authorities;
  for (const std::string& text : urls) {
    if (const absl::StatusOr<Url> url = ParseUrl(text); url.ok()) {
      authorities.push_back(url->authority());
    }
  }
  return authorities;
}

}  // namespace

bool IsWaitedFor(const raft::Message& message) {
  return std::holds_alternative<raft::ForwardedProposals>(message.body) ||
         std::holds_alternative<raft::ReadIndexRequest>(message.body);
}

// Binds what one stream tells to the stream it came from, and keeps the link.
class PeerTransport::Link::Events final : public rpc::ClientStreamEvents {
 public:
  Events(std::shared_ptr<Link> link, uint64_t generation)
      : link_(std::move(link)), generation_(generation) {}

  void OnMessage(std::string_view message) override { link_->OnMessage(generation_, message); }
  void OnWritten() override { link_->OnWritten(generation_); }
  void OnEnd(absl::Status status) override { link_->OnEnd(generation_, status); }

 private:
  const std::shared_ptr<Link> link_;
  const uint64_t generation_;
};

PeerTransport::Link::Link(std::shared_ptr<const PeerTransportOptions> options, MemberId id,
                          std::vector<std::string> peer_urls, uint64_t random_seed)
    : options_(std::move(options)),
      id_(id),
      authorities_(Authorities(peer_urls)),
      random_(random_seed),
      pause_(options_->retry_min) {}

void PeerTransport::Link::SetAddresses(const std::vector<std::string>& peer_urls) {
  std::vector<std::string> authorities = Authorities(peer_urls);
  std::shared_ptr<rpc::ClientStream> stream;
  {
    base::MutexLock lock(mutex_);
    if (authorities == authorities_) return;
    authorities_ = std::move(authorities);
    next_authority_ = 0;
    stream = stream_;
  }
  if (stream != nullptr) stream->Cancel();
}

void PeerTransport::Link::Add(raft::Message message) {
  bool is_overflow = false;
  {
    base::MutexLock lock(mutex_);
    const size_t bytes = EncodedBytes(message);
    // One message always fits, or a large entry would never travel.
    const bool fits = queue_.empty() || queued_bytes_ + bytes <= options_->queue_bytes_max;
    if (stream_ != nullptr && fits) {
      queued_bytes_ += bytes;
      queue_.push_back(std::move(message));
      return;
    }
    ++dropped_messages_;
    is_overflow = stream_ != nullptr && !std::exchange(overflowed_, true);
  }
  if (is_overflow) options_->on_unreachable(id_);
  if (!IsWaitedFor(message)) return;
  std::vector<raft::Message> undelivered;
  undelivered.push_back(std::move(message));
  options_->on_undelivered(std::move(undelivered));
}

bool PeerTransport::Link::TakeNext(peer::PeerRequest& request,
                                   std::vector<raft::Message>& messages) {
  if (std::exchange(greeting_is_due_, false)) {
    *request.mutable_greeting() = MakeGreeting(options_->identity, id_);
    return true;
  }
  if (std::exchange(probe_is_due_, false)) {
    probe_ = Probe{++probes_, options_->now()};
    request.mutable_probe()->set_number(probe_->number);
    return true;
  }
  size_t taken_bytes = 0;
  while (!queue_.empty()) {
    const size_t bytes = EncodedBytes(queue_.front());
    if (!messages.empty() && taken_bytes + bytes > options_->batch_bytes_max) break;
    taken_bytes += bytes;
    messages.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queued_bytes_ -= taken_bytes;
  return !messages.empty();
}

void PeerTransport::Link::Pump() {
  peer::PeerRequest request;
  std::vector<raft::Message> messages;
  std::shared_ptr<rpc::ClientStream> stream;
  {
    base::MutexLock lock(mutex_);
    if (stream_ == nullptr || writing_ || !TakeNext(request, messages)) return;
    writing_ = true;
    stream = stream_;
  }
  // Outside the lock, so that nobody who adds a message waits for a megabyte to be encoded. Whoever
  // set writing_ is the only one to write.
  for (const raft::Message& message : messages) {
    Encode(message, *request.mutable_batch()->add_messages());
  }
  stream->Write(rpc::SliceList(rpc::Encode(request)));
}

void PeerTransport::Link::Open(Time now) {
  if (authorities_.empty()) return;
  const std::string& authority = authorities_[next_authority_++ % authorities_.size()];
  ++generation_;
  connection_ = options_->connect(authority);
  stream_ = connection_->OpenStream(kExchangePath,
                                    std::make_shared<Events>(shared_from_this(), generation_));
  opened_ = now;
  last_probe_ = now;
  greeting_is_due_ = true;
  writing_ = false;
}

std::vector<raft::Message> PeerTransport::Link::Close(Time now) {
  ++generation_;
  stream_ = nullptr;
  connection_ = nullptr;
  writing_ = false;
  greeting_is_due_ = false;
  probe_is_due_ = false;
  probe_.reset();
  connected_since_.reset();
  dropped_messages_ += queue_.size();
  std::vector<raft::Message> undelivered;
  for (raft::Message& message : queue_) {
    if (IsWaitedFor(message)) undelivered.push_back(std::move(message));
  }
  queue_.clear();
  queued_bytes_ = 0;
  // Between half the pause and the whole of it.
  const auto half = static_cast<uint64_t>(std::max<int64_t>(1, pause_.count() / 2));
  retry_at_ = now + milliseconds(half + random_.Below(half));
  pause_ = std::min(2 * pause_, options_->retry_max);
  return undelivered;
}

void PeerTransport::Link::Tick() {
  const Time now = options_->now();
  std::shared_ptr<rpc::ClientStream> dead;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    overflowed_ = false;
    if (stream_ == nullptr) {
      if (now >= retry_at_) Open(now);
    } else if (!connected_since_.has_value()) {
      if (now - opened_ >= options_->probe_timeout) dead = stream_;
    } else if (probe_.has_value()) {
      if (now - probe_->sent >= options_->probe_timeout) dead = stream_;
    } else if (!probe_is_due_ && now - last_probe_ >= options_->probe_interval) {
      probe_is_due_ = true;
      last_probe_ = now;
    }
  }
  if (dead != nullptr) dead->Cancel();
  Pump();
}

void PeerTransport::Link::PeerIsThere() {
  {
    base::MutexLock lock(mutex_);
    const Time now = options_->now();
    // What is due anyway is the next tick's.
    if (stopped_ || stream_ != nullptr || now >= retry_at_) return;
    pause_ = options_->retry_min;
    Open(now);
  }
  Pump();
}

void PeerTransport::Link::Call(std::string_view path, std::string request, milliseconds timeout,
                               CallDone done) {
  std::shared_ptr<rpc::ClientConnection> connection;
  {
    base::MutexLock lock(mutex_);
    if (connected_since_.has_value()) connection = connection_;
  }
  if (connection == nullptr) {
    std::move(done)(
        base::Error(absl::StatusCode::kUnavailable, "member {:x} is not connected", id_));
    return;
  }
  connection->Call(path, rpc::SliceList(std::move(request)), timeout, std::move(done));
}

PeerLinkStatus PeerTransport::Link::status() const {
  base::MutexLock lock(mutex_);
  return {.id = id_,
          .connected_since = connected_since_,
          .round_trip = round_trip_,
          .server_version = server_version_,
          .queued_bytes = queued_bytes_,
          .dropped_messages = dropped_messages_};
}

std::vector<raft::Message> PeerTransport::Link::Stop() {
  std::shared_ptr<rpc::ClientStream> stream;
  std::vector<raft::Message> undelivered;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    stream = stream_;
    undelivered = Close(options_->now());
  }
  if (stream != nullptr) stream->Cancel();
  return undelivered;
}

void PeerTransport::Link::OnGreeting(const peer::Greeting& greeting) {
  connected_since_ = options_->now();
  server_version_ = greeting.server_version();
  pause_ = options_->retry_min;
  last_refusal_.clear();
}

void PeerTransport::Link::OnMessage(uint64_t generation, std::string_view message) {
  peer::PeerResponse response;
  std::shared_ptr<rpc::ClientStream> wrong;
  absl::Status refusal;
  {
    base::MutexLock lock(mutex_);
    if (generation != generation_) return;
    if (!rpc::Parse(message, response).ok()) {
      wrong = stream_;
    } else if (response.has_greeting()) {
      refusal = CheckGreeting(options_->identity, response.greeting());
      if (refusal.ok()) {
        OnGreeting(response.greeting());
      } else {
        wrong = stream_;
        if (std::exchange(last_refusal_, base::Message(refusal)) == base::Message(refusal)) {
          refusal = absl::OkStatus();
        }
      }
    } else if (response.has_probe() && probe_.has_value() &&
               response.probe().number() == probe_->number) {
      round_trip_ =
          std::chrono::duration_cast<std::chrono::microseconds>(options_->now() - probe_->sent);
      probe_.reset();
    }
  }
  if (wrong != nullptr) wrong->Cancel();
  if (!refusal.ok()) options_->on_refused(id_, refusal);
}

void PeerTransport::Link::OnWritten(uint64_t generation) {
  {
    base::MutexLock lock(mutex_);
    if (generation != generation_) return;
    writing_ = false;
  }
  Pump();
}

void PeerTransport::Link::OnEnd(uint64_t generation, const absl::Status& status) {
  bool is_new_refusal = false;
  std::vector<raft::Message> undelivered;
  {
    base::MutexLock lock(mutex_);
    if (generation != generation_) return;
    undelivered = Close(options_->now());
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      const std::string_view words = base::Message(status);
      is_new_refusal = last_refusal_ != words;
      last_refusal_ = words;
    }
  }
  if (is_new_refusal) options_->on_refused(id_, status);
  options_->on_unreachable(id_);
  if (!undelivered.empty()) options_->on_undelivered(std::move(undelivered));
}

}  // namespace cairn::server
