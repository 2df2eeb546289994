#include "server/response_buffer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// One over what is kept for the beginnings of answers.
constexpr int64_t kReservedPart = 4;

// Chunks grow, so that a medium answer wastes little and a large one takes few steps.
constexpr size_t kChunkBytes[] = {512, size_t{16} << 10};
constexpr size_t kChunkBytesMax = size_t{64} << 10;
// A first chunk up to this size is not counted: it serves the small answers, which are most, and
// what carries them takes as much.
constexpr size_t kUncountedBytesMax = size_t{16} << 10;
// Room behind a piece for the small fields that end a message, so that a single large row needs no
// second chunk.
constexpr size_t kTailBytes = 32;

// A counted piece of memory, alive while any slice of it is.
struct Chunk {
  Chunk(ResponseBudget::Charge share, size_t size_bytes)
      : charge(std::move(share)), bytes(new char[size_bytes]) {}

  const ResponseBudget::Charge charge;
  const std::unique_ptr<char[]> bytes;
};

}  // namespace

struct ResponseBudget::Charge::State {
  explicit State(int64_t limit) : limit_bytes(limit) {}

  const int64_t limit_bytes;
  base::Mutex mutex;
  base::ConditionVariable freed;
  int64_t used_bytes ABSL_GUARDED_BY(mutex) = 0;
  int waiting ABSL_GUARDED_BY(mutex) = 0;
  std::chrono::steady_clock::time_point next_reclaim ABSL_GUARDED_BY(mutex);

  bool TakeNow(int64_t size_bytes, int64_t available_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (used_bytes + size_bytes > available_bytes) return false;
    used_bytes += size_bytes;
    return true;
  }
};

ResponseBudget::Charge::Charge(std::shared_ptr<State> state, int64_t size_bytes)
    : state_(std::move(state)), size_bytes_(size_bytes) {}

ResponseBudget::Charge::Charge(Charge&& other) noexcept
    : state_(std::move(other.state_)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

ResponseBudget::Charge& ResponseBudget::Charge::operator=(Charge&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

ResponseBudget::Charge::~Charge() {
  if (state_ == nullptr) return;
  base::MutexLock lock(state_->mutex);
  state_->used_bytes -= size_bytes_;
  CAIRN_CHECK_GE(state_->used_bytes, 0);
  state_->freed.SignalAll();
}

ResponseBudget::ResponseBudget(int64_t limit_bytes)
    : state_(std::make_shared<Charge::State>(limit_bytes)) {}

std::optional<ResponseBudget::Charge> ResponseBudget::Take(int64_t size_bytes, milliseconds wait,
                                                           Part part) {
  const int64_t limit_bytes = state_->limit_bytes;
  const int64_t available_bytes =
      part == Part::kBeginning ? limit_bytes : limit_bytes - limit_bytes / kReservedPart;
  {
    base::MutexLock lock(state_->mutex);
    if (state_->TakeNow(size_bytes, available_bytes)) return Charge(state_, size_bytes);
  }
  // What does not fit an empty budget is not worth waiting for.
  if (size_bytes > available_bytes) return std::nullopt;
  ReclaimIfDue();
  const auto deadline = steady_clock::now() + wait;
  base::MutexLock lock(state_->mutex);
  bool is_taken = state_->TakeNow(size_bytes, available_bytes);
  if (!is_taken && (wait.count() == 0 || state_->waiting >= kResponseBudgetWaitersMax)) {
    return std::nullopt;
  }
  ++state_->waiting;
  for (auto now = steady_clock::now(); !is_taken && now < deadline; now = steady_clock::now()) {
    state_->freed.WaitUntil(state_->mutex, std::min(deadline, now + kReclaimPause));
    is_taken = state_->TakeNow(size_bytes, available_bytes);
    if (is_taken) break;
    state_->mutex.Unlock();
    ReclaimIfDue();
    state_->mutex.Lock();
  }
  --state_->waiting;
  if (!is_taken) return std::nullopt;
  return Charge(state_, size_bytes);
}

void ResponseBudget::ReclaimIfDue() {
  if (reclaim_ == nullptr) return;
  {
    base::MutexLock lock(state_->mutex);
    const auto now = steady_clock::now();
    if (now < state_->next_reclaim) return;
    state_->next_reclaim = now + kReclaimPause;
  }
  reclaim_();
}

int64_t ResponseBudget::used_bytes() const {
  base::MutexLock lock(state_->mutex);
  return state_->used_bytes;
}

int64_t ResponseBudget::limit_bytes() const { return state_->limit_bytes; }

absl::Status ResponseBudgetSpent(const ResponseBudget& budget) {
  return base::Error(absl::StatusCode::kUnavailable,
                     "cairn: answers being built and sent take {} MiB already; try again, or read "
                     "in pieces (limit)",
                     budget.limit_bytes() >> 20);
}

absl::Status ResponseBuffer::refusal() const {
  return is_too_large_ ? TooLarge() : ResponseBudgetSpent(budget_);
}

absl::Status ResponseBuffer::TooLarge() const {
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "cairn: the answer is larger than {} MiB; read it in pieces (limit, or "
                     "RangeStream)",
                     size_bytes_max() >> 20);
}

std::optional<ResponseBudget::Charge> ResponseBuffer::Take(size_t size_bytes) {
  taken_bytes_ += size_bytes;
  const auto part = taken_bytes_ <= static_cast<size_t>(kReservedAnswerBytes)
                        ? ResponseBudget::Part::kBeginning
                        : ResponseBudget::Part::kRest;
  const auto began = steady_clock::now();
  std::optional<ResponseBudget::Charge> charge =
      budget_.Take(static_cast<int64_t>(size_bytes), wait_, part);
  // Whoever has waited waits less for the next piece.
  const auto waited = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
  wait_ -= std::min(wait_, waited);
  if (!charge) is_refused_ = true;
  return charge;
}

bool ResponseBuffer::Fits(size_t size_bytes) {
  if (size_bytes_ + size_bytes <= size_bytes_max()) return true;
  is_refused_ = true;
  is_too_large_ = true;
  return false;
}

char* ResponseBuffer::Reserve(size_t size_bytes) {
  if (chunk_ != nullptr && chunk_bytes_ - used_ >= size_bytes) return chunk_ + used_;
  CloseChunk();
  const size_t headroom = chunks_ == 0 ? kHeaderFieldBytesMax : 0;
  const size_t usual = chunks_ < std::size(kChunkBytes) ? kChunkBytes[chunks_] : kChunkBytesMax;
  const size_t room = std::max(size_bytes + kTailBytes, usual);
  if (chunks_ == 0 && room <= kUncountedBytesMax) {
    auto bytes = std::make_shared_for_overwrite<char[]>(headroom + room);
    chunk_ = bytes.get() + headroom;
    owner_ = std::move(bytes);
  } else {
    if (!Fits(size_bytes)) return nullptr;
    std::optional<ResponseBudget::Charge> charge = Take(headroom + room);
    if (!charge) return nullptr;
    auto owner = std::make_shared<Chunk>(*std::move(charge), headroom + room);
    chunk_ = owner->bytes.get() + headroom;
    owner_ = std::move(owner);
  }
  chunk_bytes_ = room;
  ++chunks_;
  return chunk_;
}

void ResponseBuffer::Advance(size_t size_bytes) {
  CAIRN_CHECK_LE(size_bytes, chunk_bytes_ - used_);
  used_ += size_bytes;
  size_bytes_ += size_bytes;
}

bool ResponseBuffer::Append(std::string_view bytes) {
  char* to = Reserve(bytes.size());
  if (to == nullptr) return false;
  std::memcpy(to, bytes.data(), bytes.size());
  Advance(bytes.size());
  return true;
}

bool ResponseBuffer::AppendSlice(const rpc::Slice& slice) {
  if (slice.size_bytes() < rpc::kShareFromBytes) return Append(slice.bytes());
  if (!Fits(slice.size_bytes())) return false;
  // A header needs a piece of ours before everything else.
  if (chunks_ == 0) Reserve(0);
  ClosePiece();
  rest_.Append(slice);
  size_bytes_ += slice.size_bytes();
  return true;
}

void ResponseBuffer::ClosePiece() {
  const std::string_view piece(chunk_ + begin_, used_ - begin_);
  begin_ = used_;
  if (first_owner_ == nullptr) {
    first_owner_ = owner_;
    first_ = piece;
  } else {
    rest_.Append(rpc::Slice(owner_, piece));
  }
}

void ResponseBuffer::CloseChunk() {
  if (chunk_ == nullptr) return;
  ClosePiece();
  owner_ = nullptr;
  chunk_ = nullptr;
  chunk_bytes_ = 0;
  begin_ = 0;
  used_ = 0;
}

void ResponseBuffer::Clear() {
  owner_ = nullptr;
  chunk_ = nullptr;
  chunk_bytes_ = 0;
  begin_ = 0;
  used_ = 0;
  chunks_ = 0;
  size_bytes_ = 0;
  taken_bytes_ = 0;
  is_refused_ = false;
  is_too_large_ = false;
  first_owner_ = nullptr;
  first_ = {};
  rest_ = rpc::SliceList();
}

rpc::SliceList ResponseBuffer::Finish() {
  CloseChunk();
  return FinishFrom(first_);
}

rpc::SliceList ResponseBuffer::FinishWithHeader(const ResponseHeader& header) {
  CloseChunk();
  if (chunks_ == 0) return WithHeader(header, {});
  char field[kHeaderFieldBytesMax];
  const auto field_bytes = static_cast<size_t>(StoreHeaderField(field, header) - field);
  // The chunk is ours alone until it is finished, so its headroom may still be written.
  char* const start = const_cast<char*>(first_.data()) - field_bytes;
  std::memcpy(start, field, field_bytes);
  return FinishFrom({start, field_bytes + first_.size()});
}

rpc::SliceList ResponseBuffer::FinishFrom(std::string_view first) {
  rpc::SliceList result(rpc::Slice(std::move(first_owner_), first));
  for (const rpc::Slice& slice : rest_.slices()) result.Append(slice);
  Clear();
  return result;
}

}  // namespace cairn::server
