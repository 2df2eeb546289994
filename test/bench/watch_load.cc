#include "test/bench/watch_load.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/bench/connection.h"
#include "test/bench/event_loop.h"
#include "test/bench/held_stream.h"
#include "test/bench/process_stats.h"
#include "test/bench/stream_wire.h"
#include "test/bench/unary_calls.h"

namespace cairn::bench {
namespace {

// A server that has delivered nothing for so long while events are missing has lost them.
constexpr std::chrono::seconds kStallMax{30};
constexpr std::chrono::milliseconds kMemorySampleStep{100};
// Puts share few connections: the watchers' are what is measured.
constexpr uint32_t kPutConnectionsMax = 10;
constexpr double kMib = 1 << 20;

struct Watcher {
  int64_t revision = 0;  // of the last event
  uint64_t events = 0;
};

// What puts showed in one phase.
struct PutPhase {
  uint64_t puts = 0;
  double seconds = 0;  // until the last answer
  Histogram latency_ns;
};

class WatchLoad {
 public:
  explicit WatchLoad(const Options& options)
      : options_(options),
        source_(options),
        puts_of_part_(options.watched_parts),
        watchers_(uint64_t{options.streams} * options.watchers) {}
  ~WatchLoad();
  WatchLoad(const WatchLoad&) = delete;
  WatchLoad& operator=(const WatchLoad&) = delete;

  absl::StatusOr<Report> Run();

 private:
  struct Stream {
    uint32_t number = 0;
    uint32_t asked = 0;  // watchers
    std::unique_ptr<HeldStream> held;
  };

  uint64_t running_from() const { return uint64_t{options_.stopped_streams} * options_.watchers; }
  // How many of the watchers from number `first` on watch `part`.
  uint64_t WatchersOf(uint64_t part, uint64_t first) const;
  uint64_t PartOf(uint64_t key_number) const;

  absl::Status OpenStreams();
  void AskNext(Stream& stream);
  void Take(const Stream& stream, std::string_view bytes);
  void TakeEvent(Watcher& watcher, uint64_t number, const WatchedEvent& event, int64_t now_ns);
  absl::Status Puts(uint64_t total, uint64_t duration_ms, PutPhase& phase);
  absl::Status Measure(Report& report);
  absl::Status MeasureStopped(Report& report);
  absl::Status CheckComplete() const;

  void Fail(absl::Status status);
  template <typename Predicate>
  absl::Status Until(Predicate done);
  absl::Status Drain();
  absl::Status Rest();
  absl::Status SampleMemory();
  absl::StatusOr<double> MemoryMib() const;

  const Options options_;
  EventLoop loop_;
  RequestSource source_;
  Stubs stream_stubs_;
  Stubs put_stubs_;
  std::deque<Stream> streams_;
  std::optional<UnaryCalls> puts_;

  uint64_t put_number_ = 0;
  std::vector<uint64_t> puts_of_part_;
  std::vector<Watcher> watchers_;
  uint64_t created_ = 0;
  uint64_t messages_ = 0;
  uint64_t bytes_ = 0;
  // Of all watchers, and of those whose streams are never stopped.
  uint64_t events_ = 0;
  uint64_t expected_ = 0;
  uint64_t running_events_ = 0;
  uint64_t running_expected_ = 0;
  Histogram* delays_ = nullptr;  // null: not recorded
  WatchedResponse response_;
  absl::Status failure_;
  Clock::time_point last_message_;
  Clock::time_point last_sample_;
  double memory_peak_mib_ = 0;
};

WatchLoad::~WatchLoad() {
  if (puts_.has_value()) puts_->Cancel();
  for (Stream& stream : streams_) stream.held->Cancel();
  loop_.Drain();
}

uint64_t WatchLoad::WatchersOf(uint64_t part, uint64_t first) const {
  // Of the numbers [0, n), those that leave `part`.
  const auto below = [&](uint64_t n) {
    return n / options_.watched_parts + (n % options_.watched_parts > part ? 1 : 0);
  };
  return below(watchers_.size()) - below(first);
}

uint64_t WatchLoad::PartOf(uint64_t key_number) const {
  return (key_number - options_.first_key) / (options_.key_space / options_.watched_parts);
}

void WatchLoad::Fail(absl::Status status) {
  if (failure_.ok()) failure_ = std::move(status);
}

template <typename Predicate>
absl::Status WatchLoad::Until(Predicate done) {
  last_message_ = Clock::now();
  while (!done()) {
    if (puts_.has_value() && puts_->paced() && puts_->MaySend()) {
      puts_->SendDue();
      loop_.Poll();
    } else {
      loop_.Wait();
    }
    CAIRN_RETURN_IF_ERROR(failure_);
    CAIRN_RETURN_IF_ERROR(SampleMemory());
  }
  return failure_;
}

absl::StatusOr<double> WatchLoad::MemoryMib() const {
  uint64_t sum_bytes = 0;
  for (const int32_t pid : options_.server_pids) {
    CAIRN_ASSIGN_OR_RETURN(const uint64_t bytes, ResidentBytes(pid));
    sum_bytes += bytes;
  }
  return static_cast<double>(sum_bytes) / kMib;
}

absl::Status WatchLoad::SampleMemory() {
  const auto now = Clock::now();
  if (now - last_sample_ < kMemorySampleStep) return absl::OkStatus();
  last_sample_ = now;
  CAIRN_ASSIGN_OR_RETURN(const double mib, MemoryMib());
  memory_peak_mib_ = std::max(memory_peak_mib_, mib);
  return absl::OkStatus();
}

absl::Status WatchLoad::Rest() {
  const auto end = Clock::now() + std::chrono::milliseconds(options_.settle_ms);
  return Until([&] { return Clock::now() >= end; });
}

absl::Status WatchLoad::OpenStreams() {
  for (uint32_t number = 0; number < options_.streams; ++number) {
    Stream& stream = streams_.emplace_back();
    stream.number = number;
    stream.held = std::make_unique<HeldStream>(
        loop_,
        HeldStream::Handlers{
            .written = [this, &stream] { AskNext(stream); },
            .message = [this, &stream](std::string_view bytes) { Take(stream, bytes); },
            .ended =
                [this](const grpc::Status& status) {
                  Fail(base::Error(absl::StatusCode::kUnavailable, "a stream ended: {}: {}",
                                   static_cast<int>(status.error_code()), status.error_message()));
                },
        });
    stream.held->Open(*stream_stubs_[number % stream_stubs_.size()], kWatchMethod);
  }
  return Until([this] {
    if (Clock::now() - last_message_ > kStallMax) {
      Fail(base::Error(absl::StatusCode::kDeadlineExceeded, "{} of {} watchers were created",
                       created_, watchers_.size()));
      return true;
    }
    return created_ == watchers_.size();
  });
}

void WatchLoad::AskNext(Stream& stream) {
  if (stream.asked == options_.watchers) return;
  const uint64_t watcher = uint64_t{stream.number} * options_.watchers + stream.asked++;
  const uint64_t part_keys = options_.key_space / options_.watched_parts;
  const uint64_t first_key = options_.first_key + watcher % options_.watched_parts * part_keys;
  std::string key;
  std::string range_end;
  source_.AppendKey(first_key, key);
  if (part_keys > 1) {
    // Behind the part's last key.
    source_.AppendKey(first_key + part_keys - 1, range_end);
    range_end.push_back('\0');
  }
  std::string request;
  AppendWatchCreate({.watch_id = stream.asked,
                     .key = key,
                     .range_end = range_end,
                     .start_revision = options_.start_revision,
                     .prev_kv = options_.prev_kv},
                    request);
  stream.held->Write(request);
}

void WatchLoad::Take(const Stream& stream, std::string_view bytes) {
  const auto now = Clock::now();
  last_message_ = now;
  if (!ReadWatchResponse(bytes, response_)) {
    return Fail(base::MakeStatus(absl::StatusCode::kDataLoss, "not a watch response"));
  }
  if (response_.canceled) {
    return Fail(base::Error(absl::StatusCode::kFailedPrecondition, "a watcher was cancelled: {}",
                            response_.cancel_reason));
  }
  if (response_.created) {
    ++created_;
    return;
  }
  if (response_.watch_id < 1 || response_.watch_id > options_.watchers) {
    return Fail(base::Error(absl::StatusCode::kDataLoss, "no watcher {}", response_.watch_id));
  }
  ++messages_;
  bytes_ += bytes.size();
  const uint64_t number =
      uint64_t{stream.number} * options_.watchers + static_cast<uint64_t>(response_.watch_id) - 1;
  for (const WatchedEvent& event : response_.events) {
    TakeEvent(watchers_[number], number, event, now.time_since_epoch().count());
  }
}

void WatchLoad::TakeEvent(Watcher& watcher, uint64_t number, const WatchedEvent& event,
                          int64_t now_ns) {
  // One key a revision: each event is newer than the one before.
  if (event.mod_revision <= watcher.revision) {
    return Fail(base::Error(absl::StatusCode::kDataLoss,
                            "watcher {} was given revision {} after revision {}", number,
                            event.mod_revision, watcher.revision));
  }
  watcher.revision = event.mod_revision;
  ++watcher.events;
  ++events_;
  if (number < running_from()) return;
  ++running_events_;
  if (delays_ == nullptr) return;
  const auto sent_ns = StampOf(event.value);
  if (sent_ns.has_value())
    delays_->Record(static_cast<uint64_t>(std::max<int64_t>(0, now_ns - *sent_ns)));
}

absl::Status WatchLoad::Puts(uint64_t total, uint64_t duration_ms, PutPhase& phase) {
  if (total == 0 && duration_ms == 0) return absl::OkStatus();
  auto last = Clock::now();
  const auto start = last;
  puts_.emplace(loop_, put_stubs_,
                UnaryCalls::Plan{
                    .method = MethodOf(Operation::kPut),
                    .clients = options_.clients,
                    .rate = options_.rate,
                    .total = total,
                    .first = put_number_,
                    .encode =
                        [this](uint64_t number, std::string& out) {
                          const int64_t now_ns = Clock::now().time_since_epoch().count();
                          source_.AppendStampedPut(number, now_ns, out);
                        },
                    .answered =
                        [&](uint64_t number, Clock::time_point due, Clock::time_point now) {
                          const uint64_t part = PartOf(source_.KeyNumber(number));
                          ++puts_of_part_[part];
                          expected_ += WatchersOf(part, 0);
                          running_expected_ += WatchersOf(part, running_from());
                          ++phase.puts;
                          phase.latency_ns.Record(static_cast<uint64_t>((now - due).count()));
                          last = now;
                        },
                });
  puts_->Start();
  const auto end = start + std::chrono::milliseconds(duration_ms);
  CAIRN_RETURN_IF_ERROR(Until([&] {
    if (StopRequested() || (duration_ms != 0 && Clock::now() >= end)) puts_->Stop();
    return puts_->finished();
  }));
  put_number_ += puts_->sent();
  phase.seconds = std::chrono::duration<double>(last - start).count();
  // A put that failed may have been made: what watchers must see is not known any more.
  if (puts_->errors() > 0) {
    return base::Error(absl::StatusCode::kUnavailable, "{} puts failed, first {}", puts_->errors(),
                       puts_->first_error());
  }
  return absl::OkStatus();
}

absl::Status WatchLoad::Drain() {
  return Until([this] {
    if (events_ < expected_ && Clock::now() - last_message_ > kStallMax) {
      Fail(base::Error(absl::StatusCode::kDeadlineExceeded, "{} of {} events came", events_,
                       expected_));
    }
    return events_ >= expected_;
  });
}

absl::Status WatchLoad::CheckComplete() const {
  for (uint64_t number = 0; number < watchers_.size(); ++number) {
    const uint64_t expected = options_.history + puts_of_part_[number % options_.watched_parts];
    if (watchers_[number].events != expected) {
      return base::Error(absl::StatusCode::kDataLoss, "watcher {} was given {} events, not {}",
                         number, watchers_[number].events, expected);
    }
  }
  return absl::OkStatus();
}

absl::Status WatchLoad::Measure(Report& report) {
  PutPhase warmup;
  CAIRN_RETURN_IF_ERROR(Puts(options_.warmup_total, options_.warmup_ms, warmup));
  CAIRN_RETURN_IF_ERROR(Drain());
  const uint64_t events_before = events_;
  const uint64_t messages_before = messages_;
  bytes_ = 0;
  delays_ = &report.latency_ns;
  PutPhase puts;
  CAIRN_ASSIGN_OR_RETURN(const Meter meter, Meter::Begin(options_.server_pids));
  CAIRN_RETURN_IF_ERROR(Puts(options_.total, options_.duration_ms, puts));
  CAIRN_RETURN_IF_ERROR(Drain());
  CAIRN_RETURN_IF_ERROR(meter.End(report));
  delays_ = nullptr;
  report.requests = events_ - events_before;
  report.response_bytes = bytes_;
  if (puts.puts == 0) return absl::OkStatus();
  const auto count = static_cast<double>(puts.puts);
  const auto us = [&](double fraction) {
    return static_cast<double>(puts.latency_ns.Quantile(fraction)) / 1000;
  };
  report.extra.insert(
      report.extra.end(),
      {{"messages", static_cast<double>(messages_ - messages_before)},
       {"puts", count},
       {"put_throughput", count / puts.seconds},
       {"put_p50_us", us(0.5)},
       {"put_p99_us", us(0.99)},
       {"put_server_cpu_us", static_cast<double>(report.server_cpu_ns.value_or(0)) / 1000 / count},
       {"put_client_cpu_us", static_cast<double>(report.client_cpu_ns) / 1000 / count}});
  return absl::OkStatus();
}

absl::Status WatchLoad::MeasureStopped(Report& report) {
  CAIRN_ASSIGN_OR_RETURN(const double memory_before_mib, MemoryMib());
  memory_peak_mib_ = memory_before_mib;
  for (uint32_t i = 0; i < options_.stopped_streams; ++i) streams_[i].held->StopReading();
  const auto delays = std::make_unique<Histogram>();
  delays_ = delays.get();
  PutPhase puts;
  CAIRN_RETURN_IF_ERROR(Puts(0, options_.stop_ms, puts));
  CAIRN_RETURN_IF_ERROR(Until([this] {
    if (Clock::now() - last_message_ > kStallMax) {
      Fail(base::Error(absl::StatusCode::kDeadlineExceeded, "{} of {} events came", running_events_,
                       running_expected_));
    }
    return running_events_ >= running_expected_;
  }));
  delays_ = nullptr;
  const double grown_mib = memory_peak_mib_ - memory_before_mib;
  const uint64_t missing = expected_ - events_;
  const auto resumed = Clock::now();
  for (uint32_t i = 0; i < options_.stopped_streams; ++i) streams_[i].held->ResumeReading();
  CAIRN_RETURN_IF_ERROR(Drain());
  const auto us = [&](double fraction) {
    return static_cast<double>(delays->Quantile(fraction)) / 1000;
  };
  report.extra.insert(report.extra.end(),
                      {{"stopped_p50_us", us(0.5)},
                       {"stopped_p99_us", us(0.99)},
                       {"stopped_grown_mib", grown_mib},
                       {"stopped_missed_events", static_cast<double>(missing)},
                       {"stopped_catch_up_seconds",
                        std::chrono::duration<double>(Clock::now() - resumed).count()}});
  return absl::OkStatus();
}

absl::StatusOr<Report> WatchLoad::Run() {
  Report report;
  CAIRN_ASSIGN_OR_RETURN(
      stream_stubs_,
      ConnectStubs(options_.endpoint, options_.connections,
                   options_.stopped_streams > 0 ? ReadAhead::kLeast : ReadAhead::kAdaptive));
  CAIRN_ASSIGN_OR_RETURN(
      put_stubs_, ConnectStubs(options_.endpoint, std::min(options_.clients, kPutConnectionsMax)));
  CAIRN_RETURN_IF_ERROR(Rest());
  CAIRN_ASSIGN_OR_RETURN(const double before_mib, MemoryMib());
  expected_ = options_.history * watchers_.size();
  running_expected_ = options_.history * (watchers_.size() - running_from());
  CAIRN_ASSIGN_OR_RETURN(const Meter meter, Meter::Begin(options_.server_pids));
  CAIRN_RETURN_IF_ERROR(OpenStreams());
  CAIRN_RETURN_IF_ERROR(Drain());
  CAIRN_RETURN_IF_ERROR(meter.End(report));
  report.extra = {{"created_seconds", report.seconds}};
  CAIRN_RETURN_IF_ERROR(Rest());
  CAIRN_ASSIGN_OR_RETURN(const double idle_mib, MemoryMib());
  if (options_.total == 0 && options_.duration_ms == 0) {
    // What was to be seen lies in the past: opening and catching up were the run.
    report.requests = events_;
    report.response_bytes = bytes_;
    report.extra.emplace_back("messages", static_cast<double>(messages_));
  } else {
    CAIRN_RETURN_IF_ERROR(Measure(report));
  }
  if (options_.stopped_streams > 0) CAIRN_RETURN_IF_ERROR(MeasureStopped(report));
  CAIRN_RETURN_IF_ERROR(CheckComplete());
  report.extra.emplace_back("rss_before_mib", before_mib);
  report.extra.emplace_back("rss_idle_mib", idle_mib);
  report.extra.emplace_back("rss_peak_mib", memory_peak_mib_);
  if (!watchers_.empty()) {
    report.extra.emplace_back("idle_watcher_bytes", (idle_mib - before_mib) * kMib /
                                                        static_cast<double>(watchers_.size()));
  }
  return report;
}

}  // namespace

absl::StatusOr<Report> RunWatch(const Options& options) {
  WatchLoad load(options);
  return load.Run();
}

}  // namespace cairn::bench
