#include "test/guarantees/watch_clients.h"

#include <chrono>
#include <functional>
#include <iterator>
#include <utility>

namespace cairn::test {
namespace {

using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;
using std::chrono::milliseconds;

constexpr milliseconds kRetryPause{20};
// Of a writer whose pace is steady, after each write.
constexpr milliseconds kSteadyPause{150};
// After one in so many responses a client asks for progress.
constexpr uint64_t kProgressOneIn = 20;
// In answers to that.
constexpr int64_t kEveryWatcher = -1;
// In a heavy run. Five of them fill a request; with what they replace a response is cut into
// fragments.
constexpr size_t kHeavyValueBytes = size_t{256} << 10;

// What stands for a value in the records: itself, or what tells a large one from all others.
std::string Digest(const std::string& value) {
  if (value.size() < kHeavyValueBytes) return value;
  return fmt::format("{} and {} bytes, {:x}", value.substr(0, value.find(' ')), value.size(),
                     std::hash<std::string>()(value));
}

}  // namespace

WatchRecord DrawRequest(Dice& dice, int number, bool is_heavy) {
  WatchRecord request = {.name = fmt::format("watcher {}", number), .first = dice.DrawKey()};
  if (dice.Draw(3) != 0) request.limit = dice.Draw(2) == 0 ? kKeysLimit : request.first + "\x7f";
  request.skips_puts = dice.Draw(8) == 0;
  request.skips_deletions = !request.skips_puts && dice.Draw(8) == 0;
  request.wants_previous = dice.Draw(2) == 0;
  if (!is_heavy) return request;
  request.takes_fragments = dice.Draw(2) == 0;
  if (number % 4 != 0) return request;
  return {.name = std::move(request.name),
          .first = kLeastKey,
          .limit = kKeysLimit,
          .wants_previous = true,
          .takes_fragments = true};
}

Watcher::Watcher(const std::string& address, const std::vector<WatchRecord>& requests,
                 uint64_t seed, Reader reader, const std::atomic<bool>& stop)
    : client_(address),
      stub_(etcdserverpb::Watch::NewStub(client_.channel())),
      dice_(seed),
      reader_(reader),
      reading_stops_(stop) {
  for (const WatchRecord& request : requests) {
    lanes_.push_back({.request = request, .records = {request}});
  }
  thread_ = std::thread([this] { Run(); });
}

void Watcher::Stop() {
  stopping_ = true;
  {
    base::MutexLock lock(mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }
  if (thread_.joinable()) thread_.join();
}

std::vector<WatchRecord> Watcher::records() const {
  std::vector<WatchRecord> all;
  for (const Lane& lane : lanes_) all.insert(all.end(), lane.records.begin(), lane.records.end());
  return all;
}

void Watcher::Run() {
  while (!stopping_) {
    Connect();
    std::this_thread::sleep_for(kRetryPause);
  }
}

void Watcher::Connect() {
  grpc::ClientContext context;
  const std::unique_ptr<Stream> stream = stub_->Watch(&context);
  {
    base::MutexLock lock(mutex_);
    context_ = &context;
    stream_ = stream.get();
  }
  bool is_connected = true;
  for (size_t i = 0; i < lanes_.size() && is_connected; ++i) {
    is_connected = Create(i);
    // What is promised now says nothing of the next one, however far behind that begins.
    if (dice_.Draw(4) == 0) AskProgress();
  }
  if (is_connected) {
    ++connections_;
    Listen(*stream);
  }
  {
    base::MutexLock lock(mutex_);
    context_ = nullptr;
    stream_ = nullptr;
  }
  context.TryCancel();
  WatchResponse rest;
  while (stream->Read(&rest)) {
  }
  stream->Finish();
}

bool Watcher::Create(size_t place) {
  Lane& lane = lanes_[place];
  WatchRequest request;
  auto& create = *request.mutable_create_request();
  create.set_watch_id(static_cast<int64_t>(place) + 1);
  create.set_key(lane.request.first);
  create.set_range_end(lane.request.limit);
  create.set_start_revision(lane.next);
  create.set_prev_kv(lane.request.wants_previous);
  create.set_progress_notify(true);
  create.set_fragment(lane.request.takes_fragments);
  if (lane.request.skips_puts) create.add_filters(etcdserverpb::WatchCreateRequest::NOPUT);
  if (lane.request.skips_deletions) create.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
  base::MutexLock lock(mutex_);
  if (!stream_->Write(request)) return false;
  lane.records.back().responses.push_back({.start = lane.next});
  lane.pieces.clear();
  lane.is_created = false;
  return true;
}

void Watcher::AskProgress() {
  WatchRequest request;
  request.mutable_progress_request();
  base::MutexLock lock(mutex_);
  if (stream_ != nullptr) stream_->Write(request);
}

void Watcher::Listen(Stream& stream) {
  const bool is_faithful = reader_ == Reader::kFaithful;
  const uint64_t patience = is_faithful ? UINT64_MAX : 1 + dice_.Draw(400);
  const bool is_slow = !is_faithful && dice_.Draw(3) == 0;
  WatchResponse response;
  for (uint64_t taken = 0; taken < patience || final_ != 0; ++taken) {
    if (!stream.Read(&response) || stopping_) return;
    if (response.created()) {
      lanes_[static_cast<size_t>(response.watch_id()) - 1].is_created = true;
      continue;
    }
    if (response.canceled()) return Overtaken(response);
    Take(response);
    if (dice_.Draw(kProgressOneIn) == 0) AskProgress();
    if (is_slow && final_ == 0) std::this_thread::sleep_for(milliseconds(dice_.Draw(30)));
    while (reader_ == Reader::kStopping && reading_stops_ && !stopping_) {
      std::this_thread::sleep_for(kRetryPause);
    }
  }
}

void Watcher::Overtaken(const WatchResponse& response) {
  ++compacted_;
  Lane& lane = lanes_[static_cast<size_t>(response.watch_id()) - 1];
  lane.records.back().responses.push_back({.overtaken_by = response.compact_revision()});
  lane.next = std::max(lane.next, response.compact_revision());
  lane.records.push_back(lane.request);
}

void Watcher::Take(const WatchResponse& response) {
  WatchRecord::Response taken = {.revision = response.header().revision()};
  for (const mvccpb::Event& event : response.events()) {
    WatchedEvent& watched = taken.events.emplace_back();
    watched.revision = event.kv().mod_revision();
    watched.key = event.kv().key();
    watched.is_deletion = event.type() == mvccpb::Event::DELETE;
    watched.value = Digest(event.kv().value());
    watched.create_revision = event.kv().create_revision();
    watched.version = event.kv().version();
    if (event.has_prev_kv()) watched.previous = Digest(event.prev_kv().value());
  }
  if (response.watch_id() != kEveryWatcher) {
    std::vector<WatchedEvent>& pieces = lanes_[static_cast<size_t>(response.watch_id()) - 1].pieces;
    std::move(taken.events.begin(), taken.events.end(), std::back_inserter(pieces));
    if (response.fragment()) {
      ++fragments_;
      return;
    }
    taken.events = std::exchange(pieces, {});
  }
  int64_t covered = INT64_MAX;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    Lane& lane = lanes_[i];
    const bool is_meant = response.watch_id() == kEveryWatcher
                              ? lane.is_created
                              : response.watch_id() == static_cast<int64_t>(i) + 1;
    if (is_meant) {
      if (taken.events.empty()) {
        lane.promised = std::max(lane.promised, taken.revision);
      } else {
        lane.next = taken.events.back().revision + 1;
        if (i == 0) told_ = taken.events.back().revision;
      }
      lane.records.back().responses.push_back(taken);
    }
    covered = std::min(covered, lane.covered());
  }
  covered_ = covered;
}

Writer::Writer(const std::string& address, uint64_t seed, bool is_heavy,
               const std::atomic<Pace>& pace)
    : client_(address), dice_(seed), seed_(seed), is_heavy_(is_heavy), pace_(pace) {
  thread_ = std::thread([this] { Run(); });
}

void Writer::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void Writer::Run() {
  while (!stopping_) {
    const Pace pace = pace_;
    if (pace == Pace::kRest || !WriteOnce()) std::this_thread::sleep_for(kRetryPause);
    if (pace == Pace::kSteady) std::this_thread::sleep_for(kSteadyPause);
  }
}

bool Writer::WriteOnce() {
  std::string value = fmt::format("{}-{}", seed_, ++writes_);
  if (is_heavy_) {
    value += ' ';
    value.resize(kHeavyValueBytes, static_cast<char>('a' + writes_ % 26));
  }
  const std::string digest = Digest(value);
  etcdserverpb::TxnRequest request;
  std::vector<WatchedEvent> events;
  // Each of them draws from keys of its own.
  const uint64_t puts_max = is_heavy_ ? 5 : 3;
  const uint64_t keys_each = is_heavy_ ? 2 : 4;
  const uint64_t puts = 1 + dice_.Draw(puts_max);
  const uint64_t shift = dice_.Draw(kKeys);
  for (uint64_t i = 0; i < puts; ++i) {
    const std::string key =
        fmt::format("k{}", (shift + dice_.Draw(keys_each) + keys_each * i) % kKeys);
    auto& put = *request.add_success()->mutable_request_put();
    put.set_key(key);
    put.set_value(value);
    events.push_back({.key = key, .value = digest});
  }
  if (dice_.Draw(4) == 0) {
    request.Clear();
    events.clear();
    auto& deletion = *request.add_success()->mutable_request_delete_range();
    deletion.set_key(dice_.DrawKey());
    if (is_heavy_ && dice_.Draw(3) == 0) {
      deletion.set_key(kLeastKey);
      deletion.set_range_end(kKeysLimit);
    }
  }
  etcdserverpb::TxnResponse response;
  const CallOptions patience = {.timeout = milliseconds(2000)};
  if (!client_.Txn(request, &response, patience).ok()) return false;
  for (WatchedEvent& event : events) {
    event.revision = response.header().revision();
    acknowledged_.push_back(std::move(event));
    written_bytes_ += static_cast<int64_t>(value.size());
  }
  return true;
}

}  // namespace cairn::test
