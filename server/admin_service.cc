#include "server/admin_service.h"

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/errors.h"
#include "base/histogram.h"
#include "base/status.h"
#include "server/lease_apply.h"
#include "server/lease_manager.h"
#include "server/log_stats.h"
#include "server/response.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using api::Error;
using api::ToStatus;
using cairn::admin::v1::Client;
using cairn::admin::v1::ClientsRequest;
using cairn::admin::v1::ClientsResponse;
using cairn::admin::v1::Histogram;
using cairn::admin::v1::Lease;
using cairn::admin::v1::LeasesRequest;
using cairn::admin::v1::LeasesResponse;
using cairn::admin::v1::LogPin;
using cairn::admin::v1::LogRequest;
using cairn::admin::v1::LogResponse;
using cairn::admin::v1::Watcher;
using cairn::admin::v1::WatchersRequest;
using cairn::admin::v1::WatchersResponse;
using cairn::admin::v1::WatchStream;
using rpc::UnaryCall;
using std::chrono::steady_clock;

constexpr std::string_view kServiceName = "cairn.admin.v1.Admin";

absl::Status BadToken(std::string_view token) {
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "cairn: \"{}\" is no page token of this rpc; pass on next_page_token as it is",
                     token);
}

// The whole of `text` as a number.
template <typename Number>
bool ParseNumber(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end;
}

int64_t AgeMs(steady_clock::time_point now, steady_clock::time_point then) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::max(now, then) - then).count();
}

// Parses and checks what the rpcs of lists have in common, and finishes the call if that fails.
template <typename Request>
std::optional<size_t> TakeRequest(const ServiceContext& context, UnaryCall& call,
                                  Request& request) {
  absl::Status status = rpc::Parse(call.request(), request);
  if (status.ok()) status = Admit(context, call, OnLearner::kServe);
  if (status.ok() &&
      (request.limit() < 0 || request.limit() > static_cast<int64_t>(AdminService::kMaxLimit))) {
    status = base::Error(absl::StatusCode::kInvalidArgument, "cairn: limit {} is not 0 to {}",
                         request.limit(), AdminService::kMaxLimit);
  }
  if (!status.ok()) {
    call.Finish(std::move(status));
    return std::nullopt;
  }
  return request.limit() == 0 ? AdminService::kDefaultLimit : static_cast<size_t>(request.limit());
}

// --- Clients ---

// Clients behind `after` in order, so many of them and one, whatever order the calls come in.
class ClientPage {
 public:
  ClientPage(std::string after, size_t limit) : after_(std::move(after)), limit_(limit) {}

  void Add(const rpc::OpenCallView& call) {
    ++(call.is_stream ? streams_ : calls_);
    if (call.peer <= after_) return;
    // The last of those kept only moves down, so who stands behind it will never be on the page.
    if (clients_.size() > limit_ && call.peer > clients_.rbegin()->first) return;
    Client::Method& method = clients_[call.peer][call.path];
    if (clients_.size() > limit_ + 1) clients_.erase(std::prev(clients_.end()));
    method.set_path(std::string(call.path));
    method.set_is_stream(call.is_stream);
    method.set_open(method.open() + 1);
    method.set_oldest_age_ms(std::max(method.oldest_age_ms(), AgeMs(now_, call.began)));
    method.set_queued_bytes(method.queued_bytes() + call.queued_bytes);
  }

  ClientsResponse Finish() {
    ClientsResponse response;
    response.set_open_calls(calls_);
    response.set_open_streams(streams_);
    if (clients_.size() > limit_) {
      clients_.erase(std::prev(clients_.end()));
      response.set_next_page_token(clients_.rbegin()->first);
    }
    for (auto& [peer, methods] : clients_) {
      Client& client = *response.add_clients();
      client.set_peer(peer);
      for (auto& [path, method] : methods) {
        client.set_oldest_age_ms(std::max(client.oldest_age_ms(), method.oldest_age_ms()));
        *client.add_methods() = std::move(method);
      }
    }
    return response;
  }

 private:
  const std::string after_;
  const size_t limit_;
  const steady_clock::time_point now_ = steady_clock::now();
  std::map<std::string, std::map<std::string_view, Client::Method>> clients_;
  int64_t calls_ = 0;
  int64_t streams_ = 0;
};

// --- Watchers ---

// "7" is behind the stream 7, "7/-3" behind its watcher -3.
std::string TokenOf(const watch::HubPlace& place) {
  if (!place.watcher.has_value()) return fmt::format("{}", place.stream);
  return fmt::format("{}/{}", place.stream, *place.watcher);
}

std::optional<watch::HubPlace> PlaceOf(std::string_view token) {
  watch::HubPlace place;
  if (token.empty()) return place;
  const size_t slash = token.find('/');
  uint64_t stream = 0;
  if (!ParseNumber(token.substr(0, slash), stream)) return std::nullopt;
  place.stream = watch::StreamId(stream);
  if (slash == std::string_view::npos) return place;
  int64_t watcher = 0;
  if (!ParseNumber(token.substr(slash + 1), watcher)) return std::nullopt;
  place.watcher = watch::WatchId(watcher);
  return place;
}

Watcher::State StateOf(watch::WatcherView::State state) {
  switch (state) {
    case watch::WatcherView::State::kFuture:
      return Watcher::FUTURE;
    case watch::WatcherView::State::kLagging:
      return Watcher::LAGGING;
    case watch::WatcherView::State::kSynced:
      break;
  }
  return Watcher::SYNCED;
}

void Fill(const watch::WatcherView& view, Revision published, Watcher& watcher) {
  watcher.set_watch_id(view.id.value());
  watcher.set_key(view.key);
  watcher.set_range_end(view.range_end);
  watcher.set_state(StateOf(view.state));
  watcher.set_next_revision(view.next.value());
  watcher.set_lag_revisions(std::max<int64_t>(0, published.value() + 1 - view.next.value()));
  watcher.set_no_put(view.skips_puts);
  watcher.set_no_delete(view.skips_deletions);
  watcher.set_prev_kv(view.wants_previous);
  watcher.set_progress_notify(view.progress_notify);
  watcher.set_fragment(view.fragment);
}

WatchersResponse WatchersOf(const WatchPage& page, Revision published) {
  const steady_clock::time_point now = steady_clock::now();
  WatchersResponse response;
  for (const WatchPage::Stream& from : page.streams) {
    WatchStream& stream = *response.add_streams();
    stream.set_id(from.view.id.value());
    stream.set_peer(from.peer);
    stream.set_age_ms(AgeMs(now, from.opened));
    stream.set_watchers(static_cast<int64_t>(from.view.watchers));
    stream.set_lagging(static_cast<int64_t>(from.view.lagging));
    stream.set_waiting(static_cast<int64_t>(from.view.waiting));
    stream.set_queued_bytes(from.queued_bytes);
    stream.set_is_blocked(from.view.is_blocked);
    for (const watch::WatcherView& watcher : from.view.shown) {
      Fill(watcher, published, *stream.add_shown());
    }
  }
  if (page.next.has_value()) response.set_next_page_token(TokenOf(*page.next));
  response.set_streams_total(static_cast<int64_t>(page.stats.streams));
  response.set_watchers_total(static_cast<int64_t>(page.stats.watchers));
  response.set_lagging_total(static_cast<int64_t>(page.stats.lagging));
  response.set_retained_bytes(static_cast<int64_t>(page.stats.retained_bytes));
  response.set_told_revision(page.told.value());
  return response;
}

// --- Leases ---

void Fill(const lease::LeaseView& view, Lease& lease) {
  lease.set_id(view.id.value());
  lease.set_granted_ttl_s(view.facts.ttl_s);
  if (view.remaining_ms.has_value()) lease.set_remaining_ms(*view.remaining_ms);
  lease.set_keys(view.facts.key_count);
  lease.set_state(view.is_revoking || view.facts.is_ending() ? Lease::REVOKING
                  : view.is_checkpointed                     ? Lease::CHECKPOINTED
                                                             : Lease::ACTIVE);
  lease.set_granted_index(view.facts.granted.value());
  if (view.facts.checkpoint_ms.has_value()) lease.set_checkpoint_ms(*view.facts.checkpoint_ms);
}

absl::StatusOr<LeasesResponse> LeasesFrom(const ServiceContext& context, LeaseId first,
                                          size_t limit) {
  LeasesResponse response;
  std::vector<LeaseId> ids;
  CAIRN_RETURN_IF_ERROR(ScanLeases(context.store, first, [&](LeaseId id, const lease::LeaseFacts&) {
    if (ids.size() == limit) {
      response.set_next_page_token(std::to_string(ids.back().value()));
      return false;
    }
    ids.push_back(id);
    return true;
  }));
  const LeaseManager& leases = context.node.leases();
  for (const lease::LeaseView& view : leases.FindAll(ids, leases.Now())) {
    Fill(view, *response.add_leases());
  }
  response.set_leases_total(static_cast<int64_t>(leases.count()));
  response.set_keepalives_waiting(static_cast<int64_t>(leases.waiting()));
  return response;
}

// --- The log ---

LogPin::Kind KindOf(wal::PinKind kind) {
  switch (kind) {
    case wal::PinKind::kTail:
      return LogPin::TAIL;
    case wal::PinKind::kFollower:
      return LogPin::FOLLOWER;
    case wal::PinKind::kLearner:
      return LogPin::LEARNER;
    case wal::PinKind::kSnapshot:
      return LogPin::SNAPSHOT;
    case wal::PinKind::kBackup:
      return LogPin::BACKUP;
  }
  return LogPin::KIND_UNSPECIFIED;
}

LogResponse::SyncMode ModeOf(wal::SyncMode mode) {
  switch (mode) {
    case wal::SyncMode::kAlways:
      return LogResponse::ALWAYS;
    case wal::SyncMode::kInterval:
      return LogResponse::INTERVAL;
    case wal::SyncMode::kNever:
      return LogResponse::NEVER;
  }
  return LogResponse::SYNC_MODE_UNSPECIFIED;
}

void Fill(const base::HistogramView& view, Histogram& histogram) {
  for (const base::HistogramView::Bucket& from : view.buckets) {
    Histogram::Bucket& bucket = *histogram.add_buckets();
    bucket.set_upper_bound(from.upper_bound);
    bucket.set_count(from.count);
  }
  histogram.set_count(view.count);
  histogram.set_sum(view.sum);
}

void Fill(const wal::PinView& view, LogPin& pin) {
  pin.set_kind(KindOf(view.pin.kind));
  pin.set_holder(view.pin.holder);
  pin.set_from_index(view.pin.from.value());
  pin.set_is_kept(view.is_kept);
  pin.set_entries(view.entries);
  pin.set_bytes(view.bytes);
  pin.set_segments(view.segments);
}

LogResponse ResponseOf(const LogStats& stats) {
  LogResponse response;
  response.set_segments(stats.log.segments);
  response.set_used_bytes(stats.log.used_bytes);
  response.set_disk_bytes(stats.log.disk_bytes);
  response.set_first_index(stats.log.before_first.index.value() + 1);
  response.set_last_index(stats.log.last.index.value());
  response.set_applied_index(stats.applied.value());
  response.set_marker_index(stats.log.marker.value());
  response.set_sync_mode(ModeOf(stats.thread.mode));
  response.set_appended_entries(stats.log.appended_entries);
  response.set_appended_bytes(stats.log.appended_bytes);
  response.set_synced_bytes(stats.log.synced_bytes);
  response.set_submissions(stats.thread.submissions);
  response.set_batches(stats.thread.batches);
  response.set_spares_made(stats.thread.spares);
  response.set_segments_removed(stats.log.removed_segments);
  Fill(stats.log.batch_bytes, *response.mutable_batch_bytes());
  Fill(stats.log.sync_us, *response.mutable_sync_us());
  response.set_open_us(stats.open_us);
  response.set_open_bytes(stats.open_bytes);
  response.set_replayed_entries(stats.replayed_entries);
  if (stats.replay_us.has_value()) response.set_replay_us(*stats.replay_us);
  for (const wal::PinView& view : stats.retention.pins) Fill(view, *response.add_pins());
  if (stats.retention.keep_from != wal::kKeepNothing) {
    response.set_keep_from(stats.retention.keep_from.value());
  }
  return response;
}

}  // namespace

void AdminService::Register(rpc::ServiceTable& table) {
  const auto unary = [&](std::string_view method,
                         void (AdminService::*handler)(std::unique_ptr<UnaryCall>)) {
    table.AddUnary(kServiceName, method, [this, handler](std::unique_ptr<UnaryCall> call) {
      (this->*handler)(std::move(call));
    });
  };
  if (open_calls_ != nullptr) unary("Clients", &AdminService::Clients);
  if (watch_ != nullptr) unary("Watchers", &AdminService::Watchers);
  unary("Leases", &AdminService::Leases);
  unary("Log", &AdminService::Log);
}

template <typename Response>
void AdminService::AnswerInPool(const SharedCall& call,
                                absl::AnyInvocable<absl::StatusOr<Response>()> answer) const {
  auto work = [this, call, answer = std::move(answer)]() mutable {
    const absl::StatusOr<Response> response = answer();
    if (!response.ok()) return (*call)->Finish(response.status());
    (*call)->Finish(WithHeader(context_.HeaderNow(), response->SerializeAsString()));
  };
  // The call goes along only when it is taken; otherwise it is refused here.
  if (!context_.node.RunInReadPool(std::move(work))) {
    (*call)->Finish(ToStatus(Error::kTooManyRequests));
  }
}

void AdminService::Clients(std::unique_ptr<UnaryCall> call) {
  ClientsRequest request;
  const std::optional<size_t> limit = TakeRequest(context_, *call, request);
  if (!limit.has_value()) return;
  const auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  AnswerInPool<ClientsResponse>(shared, [this, request, limit = *limit] {
    ClientPage page(request.page_token(), limit);
    open_calls_->Look([&](const rpc::OpenCallView& open) { page.Add(open); });
    return page.Finish();
  });
}

void AdminService::Watchers(std::unique_ptr<UnaryCall> call) {
  WatchersRequest request;
  const std::optional<size_t> limit = TakeRequest(context_, *call, request);
  if (!limit.has_value()) return;
  const std::optional<watch::HubPlace> after = PlaceOf(request.page_token());
  if (!after.has_value()) return call->Finish(BadToken(request.page_token()));
  const auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  watch_->Look(*after, *limit, [this, shared](absl::StatusOr<WatchPage> page) {
    if (!page.ok()) return (*shared)->Finish(page.status());
    AnswerInPool<WatchersResponse>(shared, [this, page = *std::move(page)] {
      return WatchersOf(page, context_.store.published().revision);
    });
  });
}

void AdminService::Leases(std::unique_ptr<UnaryCall> call) {
  LeasesRequest request;
  const std::optional<size_t> limit = TakeRequest(context_, *call, request);
  if (!limit.has_value()) return;
  int64_t first = std::numeric_limits<int64_t>::min();
  if (!request.page_token().empty()) {
    if (!ParseNumber(request.page_token(), first) || first == std::numeric_limits<int64_t>::max()) {
      return call->Finish(BadToken(request.page_token()));
    }
    ++first;
  }
  const auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  AnswerInPool<LeasesResponse>(shared, [this, first = LeaseId(first), limit = *limit] {
    return LeasesFrom(context_, first, limit);
  });
}

void AdminService::Log(std::unique_ptr<UnaryCall> call) {
  LogRequest request;
  absl::Status status = rpc::Parse(call->request(), request);
  if (status.ok()) status = Admit(context_, *call, OnLearner::kServe);
  if (!status.ok()) return call->Finish(std::move(status));
  const auto shared = std::make_shared<std::unique_ptr<UnaryCall>>(std::move(call));
  AnswerInPool<LogResponse>(shared, [this] { return ResponseOf(context_.node.log_stats()); });
}

}  // namespace cairn::server
