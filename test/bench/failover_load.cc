#include "test/bench/failover_load.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "test/bench/byte_buffer.h"
#include "test/bench/connection.h"
#include "test/bench/event_loop.h"
#include "test/bench/proto_bytes.h"
#include "test/bench/stream_wire.h"
#include "test/bench/wire.h"

namespace cairn::bench {
namespace {

using std::chrono::milliseconds;

// After a round of all endpoints without an answer: short beside any election.
constexpr milliseconds kPause{2};

// What the answer to a get says of its key.
struct Found {
  int64_t revision = 0;
  std::optional<int64_t> number;  // The stamp of the value; absent: no such key.
};

std::optional<int64_t> ValueStamp(std::string_view key_value) {
  Field field;
  while (!key_value.empty() && TakeField(key_value, field)) {
    if (field.number == 5) return StampOf(field.bytes);
  }
  return std::nullopt;
}

Found ReadFound(std::string_view bytes) {
  Found found;
  const auto answer = ReadAnswer(Operation::kGet, bytes);
  if (answer.has_value()) found.revision = answer->revision;
  Field field;
  while (!bytes.empty() && TakeField(bytes, field)) {
    if (field.number == 2) found.number = ValueStamp(field.bytes);
  }
  return found;
}

// The longest time between two answers.
struct Gap {
  Clock::time_point last;
  Clock::time_point begin;
  Clock::duration longest{0};

  void Answered(Clock::time_point now) {
    if (now - last > longest) {
      longest = now - last;
      begin = last;
    }
    last = now;
  }
  double longest_ms() const { return std::chrono::duration<double, std::milli>(longest).count(); }
};

class Failover {
 public:
  explicit Failover(const Options& options)
      : options_(options),
        put_source_(ForSource(options, Operation::kPut)),
        get_source_(ForSource(options, Operation::kGet)) {}
  ~Failover();
  Failover(const Failover&) = delete;
  Failover& operator=(const Failover&) = delete;

  absl::StatusOr<Report> Run();

 private:
  struct Client final : public Event {
    void Happened(bool /*ok*/) override { owner->Ended(*this); }

    Failover* owner = nullptr;
    uint64_t key = 0;
    size_t endpoint = 0;
    // Attempts to put are numbered from 1, and their values are their numbers: the last that was
    // sent, the last that was acknowledged, and those that failed, which may still be done.
    int64_t tried = 0;
    int64_t acknowledged = 0;
    std::vector<int64_t> unsure;
    int64_t revision = 0;  // The highest it was told.

    bool is_put = false;
    Clock::time_point due;
    Clock::time_point again_at;
    size_t attempts = 0;
    std::optional<grpc::ClientContext> context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> call;
    grpc::ByteBuffer response;
    grpc::Status status;
  };

  static Options ForSource(Options options, Operation operation) {
    options.operation = operation;
    // A key of each client.
    options.key_space = options.clients;
    return options;
  }

  void Begin(Client& client, bool is_put, Clock::time_point due);
  void Attempt(Client& client);
  void Ended(Client& client);
  void TakeAnswer(Client& client, Clock::time_point now);
  // Sends what is due, also again, and hears what has ended.
  void Step(bool takes_new);
  absl::Status VerifyAll();
  void Fill(Report& report) const;

  const Options options_;
  RequestSource put_source_;
  RequestSource get_source_;
  EventLoop loop_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::deque<Client> clients_;     // never moves: addresses are tags
  std::deque<Client*> idle_;       // longest idle first
  std::deque<Client*> to_repeat_;  // in the order of `again_at`
  std::string scratch_;
  Clock::time_point next_due_;
  bool is_measured_ = false;
  bool is_verifying_ = false;

  Gap put_gap_;
  Gap get_gap_;
  Histogram latency_ns_;
  uint64_t answered_ = 0;
  uint64_t retried_ = 0;
  std::string first_error_;
  uint64_t failed_puts_ = 0;
  uint64_t failed_gets_ = 0;
  uint64_t lost_ = 0;
  uint64_t stale_ = 0;
};

Failover::~Failover() {
  for (Client& client : clients_) {
    if (client.context.has_value()) client.context->TryCancel();
  }
  loop_.Drain();
}

void Failover::Begin(Client& client, bool is_put, Clock::time_point due) {
  client.is_put = is_put;
  client.due = due;
  client.attempts = 0;
  Attempt(client);
}

void Failover::Attempt(Client& client) {
  scratch_.clear();
  if (client.is_put) {
    put_source_.AppendStampedPut(client.key, ++client.tried, scratch_);
  } else {
    get_source_.Encode(client.key, scratch_);
  }
  // What a call made lies in memory of the call, which its context ends.
  client.call.reset();
  client.context.emplace();
  client.context->set_deadline(std::chrono::system_clock::now() +
                               milliseconds(options_.attempt_ms));
  client.response.Clear();
  const char* method = MethodOf(client.is_put ? Operation::kPut : Operation::kGet);
  client.call = stubs_[client.endpoint]->PrepareUnaryCall(&*client.context, method,
                                                          BufferOf(scratch_), &loop_.queue());
  client.call->StartCall();
  client.call->Finish(&client.response, &client.status, &client);
}

void Failover::Ended(Client& client) {
  const auto now = Clock::now();
  if (client.status.ok()) {
    TakeAnswer(client, now);
    idle_.push_back(&client);
    return;
  }
  if (client.is_put) client.unsure.push_back(client.tried);
  if (retried_++ == 0) {
    first_error_ = fmt::format("{}: {}", static_cast<int>(client.status.error_code()),
                               client.status.error_message());
  }
  client.endpoint = (client.endpoint + 1) % stubs_.size();
  if (now - client.due > milliseconds(options_.give_up_ms)) {
    ++(client.is_put ? failed_puts_ : failed_gets_);
    idle_.push_back(&client);
    return;
  }
  if (++client.attempts % stubs_.size() != 0) return Attempt(client);
  client.again_at = now + kPause;
  to_repeat_.push_back(&client);
}

void Failover::TakeAnswer(Client& client, Clock::time_point now) {
  const Found found = ReadFound(BytesOf(client.response));
  // A put always has a revision of its own.
  if (found.revision < client.revision + (client.is_put ? 1 : 0)) ++stale_;
  client.revision = std::max(client.revision, found.revision);
  if (client.is_put) {
    client.acknowledged = client.tried;
  } else {
    const int64_t number = found.number.value_or(0);
    const bool is_late = std::ranges::find(client.unsure, number) != client.unsure.end();
    const bool is_right = number >= client.acknowledged && number <= client.tried;
    if (!is_right && !is_late) ++(is_verifying_ ? lost_ : stale_);
  }
  if (!is_measured_) return;
  (client.is_put ? put_gap_ : get_gap_).Answered(now);
  ++answered_;
  latency_ns_.Record(static_cast<uint64_t>((now - client.due).count()));
}

void Failover::Step(bool takes_new) {
  const auto now = Clock::now();
  while (takes_new && !idle_.empty() && next_due_ <= now) {
    Client& client = *idle_.front();
    idle_.pop_front();
    Begin(client, !client.is_put, next_due_);
    next_due_ += std::chrono::nanoseconds(1'000'000'000 / options_.rate);
  }
  while (!to_repeat_.empty() && to_repeat_.front()->again_at <= now) {
    Client& client = *to_repeat_.front();
    to_repeat_.pop_front();
    Attempt(client);
  }
  // Not in a loop that burns its core: others share it, and a millisecond is little beside a gap.
  loop_.Wait(1);
}

absl::Status Failover::VerifyAll() {
  is_verifying_ = true;
  const uint64_t failed_before = failed_gets_;
  std::deque<Client*> all = std::exchange(idle_, {});
  for (Client* client : all) Begin(*client, /*is_put=*/false, Clock::now());
  while (idle_.size() < clients_.size()) Step(/*takes_new=*/false);
  if (failed_gets_ == failed_before) return absl::OkStatus();
  return base::Error(absl::StatusCode::kUnavailable,
                     "{} keys could not be looked at in the end, first error {}",
                     failed_gets_ - failed_before, first_error_);
}

void Failover::Fill(Report& report) const {
  report.requests = answered_;
  report.latency_ns = latency_ns_;
  report.first_error = first_error_;
  report.extra = {
      {"put_gap_ms", put_gap_.longest_ms()},
      {"put_gap_begin_ns", static_cast<double>(put_gap_.begin.time_since_epoch().count())},
      {"get_gap_ms", get_gap_.longest_ms()},
      {"retried", static_cast<double>(retried_)},
      {"failed_puts", static_cast<double>(failed_puts_)},
      {"failed_gets", static_cast<double>(failed_gets_)},
      {"stale", static_cast<double>(stale_)},
  };
}

absl::StatusOr<Report> Failover::Run() {
  stubs_ = ReconnectingStubs(options_.endpoint);
  clients_.resize(options_.clients);
  for (size_t i = 0; i < clients_.size(); ++i) {
    clients_[i].owner = this;
    clients_[i].key = i;
    clients_[i].endpoint = i % stubs_.size();
    // Half of them begin with a put, so that puts and gets alternate.
    clients_[i].is_put = i % 2 == 1;
    idle_.push_back(&clients_[i]);
  }
  next_due_ = Clock::now();
  const auto warm_at = next_due_ + milliseconds(options_.warmup_ms);
  while (Clock::now() < warm_at && !StopRequested()) Step(/*takes_new=*/true);
  Report report;
  // Members die: their CPU is not counted.
  CAIRN_ASSIGN_OR_RETURN(const Meter meter, Meter::Begin({}));
  const auto began = Clock::now();
  is_measured_ = true;
  put_gap_.last = get_gap_.last = began;
  retried_ = 0;
  first_error_.clear();
  const auto end = began + milliseconds(options_.duration_ms);
  while (Clock::now() < end && !StopRequested()) Step(/*takes_new=*/true);
  // A cluster that no longer answers has a gap too.
  put_gap_.Answered(Clock::now());
  get_gap_.Answered(Clock::now());
  is_measured_ = false;
  CAIRN_RETURN_IF_ERROR(meter.End(report));
  while (idle_.size() < clients_.size()) Step(/*takes_new=*/false);
  Fill(report);
  CAIRN_RETURN_IF_ERROR(VerifyAll());
  report.extra.emplace_back("lost", static_cast<double>(lost_));
  return report;
}

}  // namespace

absl::StatusOr<Report> RunFailover(const Options& options) { return Failover(options).Run(); }

}  // namespace cairn::bench
