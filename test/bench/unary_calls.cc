#include "test/bench/unary_calls.h"

#include <fmt/format.h>

#include <utility>

#include "test/bench/byte_buffer.h"

namespace cairn::bench {
namespace {

// Calls that keep failing say nothing about speed and are not sent for ever.
constexpr uint64_t kErrorsMax = 1000;

}  // namespace

UnaryCalls::UnaryCalls(EventLoop& loop, const Stubs& stubs, Plan plan)
    : loop_(loop), plan_(std::move(plan)) {
  clients_.resize(plan_.clients);
  for (uint32_t i = 0; i < plan_.clients; ++i) {
    clients_[i].owner = this;
    clients_[i].stub = stubs[i % stubs.size()].get();
  }
}

void UnaryCalls::Start() {
  next_due_ = Clock::now();
  for (Client& client : clients_) {
    if (paced()) {
      idle_.push_back(&client);
    } else if (MaySend()) {
      Send(client, next_due_);
    }
  }
}

void UnaryCalls::SendDue() {
  if (!paced() || !MaySend()) return;
  const auto now = Clock::now();
  while (!idle_.empty() && next_due_ <= now && MaySend()) {
    Client& client = *idle_.back();
    idle_.pop_back();
    Send(client, next_due_);
    next_due_ += std::chrono::nanoseconds(1'000'000'000 / plan_.rate);
  }
}

void UnaryCalls::Cancel() {
  Stop();
  for (Client& client : clients_) {
    if (client.context.has_value()) client.context->TryCancel();
  }
}

void UnaryCalls::Send(Client& client, Clock::time_point due) {
  client.number = plan_.first + sent_++;
  scratch_.clear();
  plan_.encode(client.number, scratch_);
  ++in_flight_;
  client.due = due;
  // What a call made lies in memory of the call, which its context ends.
  client.call.reset();
  client.context.emplace();
  client.response.Clear();
  client.call = client.stub->PrepareUnaryCall(&*client.context, plan_.method, BufferOf(scratch_),
                                              &loop_.queue());
  client.call->StartCall();
  client.call->Finish(&client.response, &client.status, &client);
}

void UnaryCalls::Ended(Client& client) {
  --in_flight_;
  const auto now = Clock::now();
  if (client.status.ok()) {
    ++answered_;
    if (plan_.answered) plan_.answered(client.number, client.due, now);
  } else if (errors_++ == 0) {
    first_error_ = fmt::format("{}: {}", static_cast<int>(client.status.error_code()),
                               client.status.error_message());
  }
  if (errors_ >= kErrorsMax) Stop();
  if (paced()) {
    idle_.push_back(&client);
  } else if (MaySend()) {
    Send(client, now);
  }
}

}  // namespace cairn::bench
