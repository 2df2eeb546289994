#include "test/bench/load.h"

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "test/bench/byte_buffer.h"
#include "test/bench/connection.h"
#include "test/bench/pacer.h"
#include "test/bench/process_stats.h"

namespace cairn::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> stop_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "written by a signal handler");

// A run with this many errors says nothing about speed; it ends early.
constexpr uint64_t kErrorsMax = 1000;
// Pause between two attempts to reach a server that is starting: the resolution of the figure.
constexpr std::chrono::milliseconds kWaitStep{1};

// One client: at most one request in flight. Its address is the tag of its events.
struct Client {
  enum class Stage { kIdle, kStarting, kWriting, kReading, kFinishing };

  grpc::GenericStub* stub = nullptr;
  Stage stage = Stage::kIdle;
  Clock::time_point due;
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> unary;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::Status status;
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        method_(MethodOf(options.operation)),
        is_stream_(options.operation == Operation::kRangeStream ||
                   options.operation == Operation::kKeepAlive ||
                   options.operation == Operation::kSnapshot),
        source_(options) {}
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  absl::Status Open();
  absl::StatusOr<Report> Run();

 private:
  enum class Phase { kWarmUp, kMeasure, kDrain };

  bool MayIssue() const;
  void Issue(Client& client, Clock::time_point due);
  void IssueDue(Clock::time_point now);
  // The next event of the queue; null if none is there yet (open loop only).
  Client* NextEvent(bool& ok);
  // Has the pacer wake the loop for the next request that is due.
  void SleepUntilDue();
  // Carries a client's call on; true when the call has ended.
  bool Advance(Client& client, bool ok);
  void TakeResponse(Client& client);
  void Complete(Client& client, Clock::time_point now);
  absl::Status UpdatePhase(Clock::time_point now);
  absl::Status BeginMeasure(Clock::time_point now);
  absl::Status EndMeasure();
  absl::Status CheckExpectation() const;

  const Options options_;
  const std::string method_;
  const bool is_stream_;
  RequestSource source_;
  std::string scratch_;

  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::deque<Client> clients_;  // never moves: addresses are tags
  std::vector<Client*> idle_;   // open loop only

  Phase phase_ = Phase::kWarmUp;
  uint64_t issued_ = 0;
  uint64_t completed_ = 0;  // in this phase
  uint64_t in_flight_ = 0;
  bool first_answer_read_ = false;
  Clock::time_point phase_start_;
  Clock::time_point next_due_;
  std::chrono::nanoseconds interval_{0};
  std::unique_ptr<Pacer> pacer_;  // of an open loop that sleeps
  Meter meter_;
  Report report_;
};

Load::~Load() {
  pacer_.reset();
  for (Client& client : clients_) {
    if (client.context.has_value()) client.context->TryCancel();
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

absl::Status Load::Open() {
  CAIRN_ASSIGN_OR_RETURN(stubs_, ConnectStubs(options_.endpoint, options_.connections));
  clients_.resize(options_.clients);
  for (uint32_t i = 0; i < options_.clients; ++i) {
    clients_[i].stub = stubs_[i % options_.connections].get();
  }
  return absl::OkStatus();
}

bool Load::MayIssue() const {
  if (phase_ == Phase::kDrain) return false;
  const bool has_warmup = options_.warmup_total != 0 || options_.warmup_ms != 0;
  return has_warmup || options_.total == 0 || issued_ < options_.total;
}

void Load::Issue(Client& client, Clock::time_point due) {
  source_.Encode(issued_++, scratch_);
  ++in_flight_;
  client.due = due;
  // What a call made lies in memory of the call, which its context ends.
  client.unary.reset();
  client.stream.reset();
  client.context.emplace();
  client.response.Clear();
  if (is_stream_) {
    client.request = BufferOf(scratch_);
    client.stream = client.stub->PrepareCall(&*client.context, method_, &queue_);
    client.stage = Client::Stage::kStarting;
    client.stream->StartCall(&client);
    return;
  }
  client.unary =
      client.stub->PrepareUnaryCall(&*client.context, method_, BufferOf(scratch_), &queue_);
  client.stage = Client::Stage::kFinishing;
  client.unary->StartCall();
  client.unary->Finish(&client.response, &client.status, &client);
}

void Load::IssueDue(Clock::time_point now) {
  while (!idle_.empty() && next_due_ <= now && MayIssue()) {
    Client& client = *idle_.back();
    idle_.pop_back();
    Issue(client, next_due_);
    next_due_ += interval_;
  }
}

void Load::SleepUntilDue() {
  // With every client waiting, none can be sent when it is due, but as soon as an answer comes.
  pacer_->WakeAt(std::max(next_due_, Clock::now() + interval_ / 2));
}

Client* Load::NextEvent(bool& ok) {
  void* tag = nullptr;
  if (options_.rate == 0 || phase_ == Phase::kDrain || pacer_ != nullptr) {
    CAIRN_CHECK(queue_.Next(&tag, &ok));
    if (tag != pacer_.get() || pacer_ == nullptr) return static_cast<Client*>(tag);
    IssueDue(Clock::now());
    SleepUntilDue();
    return nullptr;
  }
  // gRPC's timeouts are whole milliseconds, which would send in bursts: this open loop spins.
  const auto result = queue_.AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC));
  return result == grpc::CompletionQueue::GOT_EVENT ? static_cast<Client*>(tag) : nullptr;
}

void Load::TakeResponse(Client& client) {
  report_.response_bytes += client.response.Length();
  // Only the first request's answer: reading a range of 100,000 keys costs the client. Of a
  // snapshot nothing but the size is of interest.
  if (first_answer_read_ || options_.operation == Operation::kSnapshot) return;
  const auto answer = ReadAnswer(options_.operation, BytesOf(client.response));
  if (!answer.has_value()) return;
  report_.answer.revision = std::max(report_.answer.revision, answer->revision);
  report_.answer.count = std::max(report_.answer.count, answer->count);
  report_.answer.hash = answer->hash;
}

bool Load::Advance(Client& client, bool ok) {
  switch (client.stage) {
    case Client::Stage::kIdle:
      CAIRN_CHECK(false, "event for an idle client");
      return false;
    case Client::Stage::kFinishing:
      if (!is_stream_ && client.status.ok()) TakeResponse(client);
      return true;
    case Client::Stage::kStarting:
      client.stage = Client::Stage::kWriting;
      if (ok) {
        client.stream->WriteLast(client.request, {}, &client);
        return false;
      }
      break;
    case Client::Stage::kReading:
      if (ok) TakeResponse(client);
      [[fallthrough]];
    case Client::Stage::kWriting:
      client.stage = Client::Stage::kReading;
      if (ok) {
        client.stream->Read(&client.response, &client);
        return false;
      }
      break;
  }
  client.stage = Client::Stage::kFinishing;
  client.stream->Finish(&client.status, &client);
  return false;
}

void Load::Complete(Client& client, Clock::time_point now) {
  client.stage = Client::Stage::kIdle;
  --in_flight_;
  if (phase_ == Phase::kDrain) return;
  if (client.status.ok()) {
    first_answer_read_ = true;
    ++completed_;
    if (phase_ == Phase::kMeasure) {
      report_.latency_ns.Record(static_cast<uint64_t>((now - client.due).count()));
    }
    return;
  }
  if (report_.errors++ == 0) {
    report_.first_error = fmt::format("{}: {}", static_cast<int>(client.status.error_code()),
                                      client.status.error_message());
  }
}

absl::Status Load::BeginMeasure(Clock::time_point now) {
  phase_ = Phase::kMeasure;
  phase_start_ = now;
  completed_ = 0;
  report_.response_bytes = 0;
  CAIRN_ASSIGN_OR_RETURN(meter_, Meter::Begin(options_.server_pids));
  return absl::OkStatus();
}

absl::Status Load::EndMeasure() {
  phase_ = Phase::kDrain;
  report_.requests = completed_;
  return meter_.End(report_);
}

absl::Status Load::CheckExpectation() const {
  if (options_.expect_count < 0 || report_.errors > 0 ||
      report_.answer.count == options_.expect_count) {
    return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kFailedPrecondition, "the range counts {} keys, not {}",
                     report_.answer.count, options_.expect_count);
}

absl::Status Load::UpdatePhase(Clock::time_point now) {
  const auto elapsed_ms =
      static_cast<uint64_t>((now - phase_start_) / std::chrono::milliseconds(1));
  const bool must_end = stop_requested || report_.errors >= kErrorsMax;
  if (phase_ == Phase::kWarmUp) {
    if (must_end || (completed_ >= options_.warmup_total && elapsed_ms >= options_.warmup_ms)) {
      return BeginMeasure(now);
    }
  } else if (phase_ == Phase::kMeasure) {
    if (must_end || (options_.total != 0 && completed_ + report_.errors >= options_.total) ||
        (options_.duration_ms != 0 && elapsed_ms >= options_.duration_ms)) {
      return EndMeasure();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Report> Load::Run() {
  phase_start_ = Clock::now();
  CAIRN_RETURN_IF_ERROR(UpdatePhase(phase_start_));
  if (options_.rate != 0) {
    interval_ = std::chrono::nanoseconds(1'000'000'000 / options_.rate);
    next_due_ = phase_start_;
    for (Client& client : clients_) idle_.push_back(&client);
    if (options_.sleeps) {
      pacer_ = std::make_unique<Pacer>(queue_);
      SleepUntilDue();
    }
  } else {
    for (Client& client : clients_) {
      if (MayIssue()) Issue(client, phase_start_);
    }
  }
  while (in_flight_ > 0 || phase_ != Phase::kDrain) {
    if (options_.rate != 0) IssueDue(Clock::now());
    bool ok = false;
    Client* const client = NextEvent(ok);
    const Clock::time_point now = Clock::now();
    if (client != nullptr && Advance(*client, ok)) {
      Complete(*client, now);
      CAIRN_RETURN_IF_ERROR(UpdatePhase(now));
      if (options_.rate != 0) {
        idle_.push_back(client);
      } else if (MayIssue()) {
        Issue(*client, now);
      }
    } else if (client == nullptr) {
      CAIRN_RETURN_IF_ERROR(UpdatePhase(now));
    }
  }
  CAIRN_RETURN_IF_ERROR(CheckExpectation());
  return std::move(report_);
}

// One request on a connection of its own: the answer's bytes.
absl::StatusOr<std::string> TryOnce(const Options& options, const std::string& request) {
  CAIRN_ASSIGN_OR_RETURN(auto channel, Connect(options.endpoint));
  grpc::GenericStub stub(std::move(channel));
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  const auto call =
      stub.PrepareUnaryCall(&context, MethodOf(options.operation), BufferOf(request), &queue);
  grpc::ByteBuffer response;
  grpc::Status status;
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  CAIRN_CHECK(queue.Next(&tag, &ok));
  if (!status.ok()) return base::MakeStatus(absl::StatusCode::kUnavailable, status.error_message());
  return BytesOf(response);
}

absl::StatusOr<int64_t> SumOfCpuTimeNs(const std::vector<int32_t>& pids) {
  int64_t sum_ns = 0;
  for (const int32_t pid : pids) {
    CAIRN_ASSIGN_OR_RETURN(const int64_t time_ns, CpuTimeNs(pid));
    sum_ns += time_ns;
  }
  return sum_ns;
}

}  // namespace

absl::StatusOr<Meter> Meter::Begin(const std::vector<int32_t>& server_pids) {
  Meter meter;
  meter.server_pids_ = server_pids;
  meter.start_ = Clock::now();
  meter.client_cpu_ns_ = OwnCpuTimeNs();
  CAIRN_ASSIGN_OR_RETURN(meter.server_cpu_ns_, SumOfCpuTimeNs(server_pids));
  return meter;
}

absl::Status Meter::End(Report& report) const {
  report.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  report.client_cpu_ns = OwnCpuTimeNs() - client_cpu_ns_;
  if (!server_pids_.empty()) {
    CAIRN_ASSIGN_OR_RETURN(const int64_t end, SumOfCpuTimeNs(server_pids_));
    report.server_cpu_ns = end - server_cpu_ns_;
  }
  return absl::OkStatus();
}

void RequestStop() { stop_requested = true; }

bool StopRequested() { return stop_requested; }

absl::StatusOr<Report> RunLoad(const Options& options) {
  Load load(options);
  CAIRN_RETURN_IF_ERROR(load.Open());
  return load.Run();
}

absl::StatusOr<int64_t> WaitForFirstRead(const Options& options) {
  RequestSource source(options);
  std::string request;
  source.Encode(0, request);
  const auto give_up = Clock::now() + std::chrono::seconds(options.limit_seconds);
  for (; Clock::now() < give_up; std::this_thread::sleep_for(kWaitStep)) {
    const auto bytes = TryOnce(options, request);
    if (!bytes.ok()) continue;
    const int64_t now_ns = Clock::now().time_since_epoch().count();
    const auto answer = ReadAnswer(options.operation, *bytes);
    const int64_t count = answer.has_value() ? answer->count : -1;
    if (options.expect_count >= 0 && count != options.expect_count) {
      return base::Error(absl::StatusCode::kFailedPrecondition,
                         "the first read finds {} keys, not {}", count, options.expect_count);
    }
    return now_ns;
  }
  return base::Error(absl::StatusCode::kDeadlineExceeded, "{}: no read was answered within {} s",
                     options.endpoint, options.limit_seconds);
}

}  // namespace cairn::bench
