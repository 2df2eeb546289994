#include "test/bench/lease_load.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/bench/connection.h"
#include "test/bench/event_loop.h"
#include "test/bench/held_stream.h"
#include "test/bench/stream_wire.h"
#include "test/bench/unary_calls.h"

namespace cairn::bench {
namespace {

class HeldKeepAlive {
 public:
  explicit HeldKeepAlive(const Options& options) : options_(options) {}
  ~HeldKeepAlive() {
    for (Stream& stream : streams_) stream.held->Cancel();
    loop_.Drain();
  }
  HeldKeepAlive(const HeldKeepAlive&) = delete;
  HeldKeepAlive& operator=(const HeldKeepAlive&) = delete;

  absl::StatusOr<Report> Run() {
    CAIRN_ASSIGN_OR_RETURN(stubs_, ConnectStubs(options_.endpoint, options_.connections));
    for (uint32_t i = 0; i < options_.streams; ++i) Open(*stubs_[i % stubs_.size()]);
    CAIRN_RETURN_IF_ERROR(UntilDue(options_.warmup_ms, options_.warmup_total));
    report_.latency_ns = {};
    report_.response_bytes = 0;
    CAIRN_ASSIGN_OR_RETURN(const Meter meter, Meter::Begin(options_.server_pids));
    CAIRN_RETURN_IF_ERROR(UntilDue(options_.duration_ms, options_.total));
    CAIRN_RETURN_IF_ERROR(meter.End(report_));
    report_.requests = report_.latency_ns.count();
    return std::move(report_);
  }

 private:
  struct Stream {
    std::unique_ptr<HeldStream> held;
    Clock::time_point sent;
    bool is_open = false;
  };

  void Open(grpc::GenericStub& stub) {
    Stream& stream = streams_.emplace_back();
    stream.held = std::make_unique<HeldStream>(
        loop_, HeldStream::Handlers{
                   // Told once for the opening; a renewal follows the last one's answer.
                   .written =
                       [this, &stream] {
                         if (!std::exchange(stream.is_open, true)) Send(stream);
                       },
                   .message = [this, &stream](std::string_view bytes) { Take(stream, bytes); },
                   .ended =
                       [this](const grpc::Status& status) {
                         failure_ = base::Error(
                             absl::StatusCode::kUnavailable, "a stream ended: {}: {}",
                             static_cast<int>(status.error_code()), status.error_message());
                       },
               });
    stream.held->Open(stub, kKeepAliveMethod);
  }

  void Send(Stream& stream) {
    scratch_.clear();
    AppendKeepAlive(static_cast<int64_t>(1 + next_++ % options_.leases), scratch_);
    stream.sent = Clock::now();
    stream.held->Write(scratch_);
  }

  void Take(Stream& stream, std::string_view bytes) {
    if (ReadKeepAliveTtl(bytes).value_or(0) <= 0) {
      failure_ = base::MakeStatus(absl::StatusCode::kNotFound, "a lease is gone");
      return;
    }
    report_.latency_ns.Record(static_cast<uint64_t>((Clock::now() - stream.sent).count()));
    report_.response_bytes += bytes.size();
    Send(stream);
  }

  // Until `total` answers have come, counted from here, and `ms` have passed; 0: no such bound.
  absl::Status UntilDue(uint64_t ms, uint64_t total) {
    const auto end = Clock::now() + std::chrono::milliseconds(ms);
    const uint64_t count = report_.latency_ns.count() + total;
    while ((report_.latency_ns.count() < count || Clock::now() < end) && !StopRequested()) {
      loop_.Wait();
      CAIRN_RETURN_IF_ERROR(failure_);
    }
    return absl::OkStatus();
  }

  const Options options_;
  EventLoop loop_;
  Stubs stubs_;
  std::deque<Stream> streams_;
  uint64_t next_ = 0;
  std::string scratch_;
  absl::Status failure_;
  Report report_;
};

// The puts before the first lease is due are measured for at least this long.
constexpr std::chrono::seconds kQuietLeast{2};
// They are not counted so shortly before it: timers are not exact.
constexpr std::chrono::milliseconds kQuietEnd{200};
// A server that expires nothing for so long has forgotten the rest.
constexpr std::chrono::seconds kExpiryStallMax{30};

class Expiry {
 public:
  explicit Expiry(const Options& options)
      : options_(options),
        leased_(LeasedOptions(options)),
        leased_source_(leased_),
        put_source_(options),
        ttl_(std::chrono::seconds(options.ttl_seconds)),
        due_(options.leases) {}
  ~Expiry() {
    if (calls_.has_value()) calls_->Cancel();
    if (watch_ != nullptr) watch_->Cancel();
    loop_.Drain();
  }
  Expiry(const Expiry&) = delete;
  Expiry& operator=(const Expiry&) = delete;

  absl::StatusOr<Report> Run() {
    CAIRN_ASSIGN_OR_RETURN(stubs_, ConnectStubs(options_.endpoint, options_.connections));
    CAIRN_RETURN_IF_ERROR(Prepare());
    CAIRN_RETURN_IF_ERROR(OpenWatch());
    return Measure();
  }

 private:
  // The leased keys: a key space of their own.
  static Options LeasedOptions(Options options) {
    options.operation = Operation::kPut;
    options.key_prefix += "leased/";
    options.key_size_bytes += 8;
    options.first_key = 0;
    options.key_space = options.leases;
    options.leased = true;
    options.random_keys = false;
    return options;
  }

  absl::Status Each(const char* method, RequestSource& source,
                    std::function<void(uint64_t, Clock::time_point)> answered) {
    calls_.emplace(
        loop_, stubs_,
        UnaryCalls::Plan{
            .method = method,
            .clients = options_.clients,
            .total = options_.leases,
            .encode = [&source](uint64_t number, std::string& out) { source.Encode(number, out); },
            .answered = [&](uint64_t number, Clock::time_point sent,
                            Clock::time_point) { answered(number, sent); },
        });
    calls_->Start();
    while (!calls_->finished()) loop_.Wait();
    return CallErrors();
  }

  absl::Status CallErrors() const {
    if (calls_->errors() == 0) return absl::OkStatus();
    return base::Error(absl::StatusCode::kUnavailable, "{} calls failed, first {}",
                       calls_->errors(), calls_->first_error());
  }

  absl::Status Prepare() {
    Options grants = leased_;
    grants.operation = Operation::kGrant;
    RequestSource grant_source(grants);
    // Counted from when it was asked for: no lease may end before that and its TTL.
    CAIRN_RETURN_IF_ERROR(
        Each(kGrantMethod, grant_source,
             [this](uint64_t number, Clock::time_point sent) { due_[number] = sent + ttl_; }));
    CAIRN_RETURN_IF_ERROR(
        Each(MethodOf(Operation::kPut), leased_source_, [](uint64_t, Clock::time_point) {}));
    const auto [first, last] = std::minmax_element(due_.begin(), due_.end());
    first_due_ = *first;
    last_due_ = *last;
    if (Clock::now() + kQuietLeast + kQuietEnd > first_due_) {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "--ttl-seconds={} is too short for {} leases here", options_.ttl_seconds,
                         options_.leases);
    }
    return absl::OkStatus();
  }

  absl::Status OpenWatch() {
    bool is_open = false;
    watch_ = std::make_unique<HeldStream>(
        loop_, HeldStream::Handlers{
                   .written = [&is_open] { is_open = true; },
                   .message = [this](std::string_view bytes) { Take(bytes); },
                   .ended =
                       [this](const grpc::Status& status) {
                         failure_ = base::Error(absl::StatusCode::kUnavailable,
                                                "the watch ended: {}", status.error_message());
                       },
               });
    watch_->Open(*stubs_.front(), kWatchMethod);
    while (!is_open && failure_.ok()) loop_.Wait();
    CAIRN_RETURN_IF_ERROR(failure_);
    std::string request;
    std::string end = leased_.key_prefix;
    end.back() = static_cast<char>(end.back() + 1);
    AppendWatchCreate({.key = leased_.key_prefix, .range_end = end}, request);
    is_open = false;
    watch_->Write(request);
    // `is_open` is gone after this.
    while (!(is_open && is_created_) && failure_.ok()) loop_.Wait();
    return failure_;
  }

  void Take(std::string_view bytes) {
    if (!ReadWatchResponse(bytes, response_)) {
      failure_ = base::MakeStatus(absl::StatusCode::kDataLoss, "not a watch response");
      return;
    }
    if (response_.created) is_created_ = true;
    const auto now = Clock::now();
    for (const WatchedEvent& event : response_.events) {
      const auto number = leased_source_.NumberOf(event.key);
      if (!event.is_delete || !number.has_value() || *number >= due_.size()) {
        failure_ = base::MakeStatus(absl::StatusCode::kDataLoss, "an event nobody caused");
        return;
      }
      const auto late = now - due_[*number];
      if (late.count() < 0) ++early_;
      report_.latency_ns.Record(static_cast<uint64_t>(std::max<int64_t>(0, late.count())));
      if (report_.latency_ns.count() == 1) first_gone_ = now;
      last_gone_ = now;
    }
  }

  absl::StatusOr<Report> Measure() {
    const auto quiet = std::make_unique<Histogram>();
    const auto during = std::make_unique<Histogram>();
    calls_.emplace(loop_, stubs_,
                   UnaryCalls::Plan{
                       .method = MethodOf(Operation::kPut),
                       .clients = options_.clients,
                       .rate = options_.rate,
                       .encode = [this](uint64_t number,
                                        std::string& out) { put_source_.Encode(number, out); },
                       .answered =
                           [&](uint64_t, Clock::time_point due, Clock::time_point now) {
                             if (now < first_due_ - kQuietEnd) {
                               quiet->Record(static_cast<uint64_t>((now - due).count()));
                             } else if (now >= first_due_) {
                               during->Record(static_cast<uint64_t>((now - due).count()));
                             }
                           },
                   });
    calls_->Start();
    std::optional<Meter> meter;
    last_gone_ = last_due_;
    while (report_.latency_ns.count() < options_.leases && failure_.ok()) {
      if (calls_->paced()) {
        calls_->SendDue();
        loop_.Poll();
      } else {
        loop_.Wait();
      }
      const auto now = Clock::now();
      if (!meter.has_value() && now >= first_due_) {
        CAIRN_ASSIGN_OR_RETURN(meter, Meter::Begin(options_.server_pids));
      }
      if (now > std::max(last_gone_, last_due_) + kExpiryStallMax) {
        return base::Error(absl::StatusCode::kDeadlineExceeded, "{} of {} leases ended",
                           report_.latency_ns.count(), options_.leases);
      }
    }
    CAIRN_RETURN_IF_ERROR(failure_);
    if (meter.has_value()) CAIRN_RETURN_IF_ERROR(meter->End(report_));
    calls_->Stop();
    while (!calls_->finished()) loop_.Wait();
    CAIRN_RETURN_IF_ERROR(CallErrors());
    if (early_ > 0) {
      return base::Error(absl::StatusCode::kDataLoss, "{} leases ended early", early_);
    }
    report_.requests = options_.leases;
    const auto us = [](const Histogram& of, double fraction) {
      return static_cast<double>(of.Quantile(fraction)) / 1000;
    };
    using Seconds = std::chrono::duration<double>;
    report_.extra = {
        {"due_seconds", Seconds(last_due_ - first_due_).count()},
        {"first_to_last_seconds", Seconds(last_gone_ - first_gone_).count()},
        {"latest_seconds", static_cast<double>(report_.latency_ns.max()) / 1e9},
        {"quiet_put_p50_us", us(*quiet, 0.5)},
        {"quiet_put_p99_us", us(*quiet, 0.99)},
        {"put_p50_us", us(*during, 0.5)},
        {"put_p99_us", us(*during, 0.99)},
        {"puts", static_cast<double>(during->count())},
    };
    return std::move(report_);
  }

  const Options options_;
  const Options leased_;
  EventLoop loop_;
  RequestSource leased_source_;
  RequestSource put_source_;
  const std::chrono::nanoseconds ttl_;
  Stubs stubs_;
  std::optional<UnaryCalls> calls_;
  std::unique_ptr<HeldStream> watch_;
  bool is_created_ = false;
  std::vector<Clock::time_point> due_;  // by lease
  Clock::time_point first_due_;
  Clock::time_point last_due_;
  Clock::time_point first_gone_;
  Clock::time_point last_gone_;
  uint64_t early_ = 0;
  WatchedResponse response_;
  absl::Status failure_;
  Report report_;
};

}  // namespace

absl::StatusOr<Report> RunHeldKeepAlive(const Options& options) {
  HeldKeepAlive load(options);
  return load.Run();
}

absl::StatusOr<Report> RunExpiry(const Options& options) {
  Expiry load(options);
  return load.Run();
}

}  // namespace cairn::bench
