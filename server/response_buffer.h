// Where responses are written: chunks, counted against one budget for the whole server.
//
// A range of 30 MB is never one piece of memory: rows are encoded into chunks that grow up to 64
// KiB and leave as slices. What answers hold, from the first row to the moment the transport has
// sent them, counts against a ResponseBudget; when that is spent, a writer waits a bounded time and
// is then refused, and calls that do not take their answers are ended. A budget may be used from
// any thread; a ResponseBuffer belongs to one.
#ifndef CAIRN_SERVER_RESPONSE_BUFFER_H_
#define CAIRN_SERVER_RESPONSE_BUFFER_H_

#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "server/response.h"
#include "server/rpc/slice.h"

namespace cairn::server {

// What all answers being built or sent may hold together (design section 9).
inline constexpr int64_t kResponseBudgetBytes = int64_t{256} << 20;

// How long a large read waits for others' answers to leave before it is refused. Longer than a busy
// server takes to send a few large answers, shorter than a client waits.
inline constexpr std::chrono::milliseconds kResponseBudgetWait{2000};

// So many may wait at a time, others are refused at once: of two read threads one stays free for
// reads whose answers are small or that answer with a number.
inline constexpr int kResponseBudgetWaitersMax = 1;

// What answers hold beyond their first MiB may take three quarters of the budget: a few stopped
// readers of huge answers hold up huge answers alone, until theirs are ended (SetReclaim).
inline constexpr int64_t kReservedAnswerBytes = int64_t{1} << 20;

// How often those who find the budget spent look whose answer has been on its way for too long: one
// look costs as much as there are calls.
inline constexpr std::chrono::milliseconds kReclaimPause{250};

class ResponseBudget {
 public:
  explicit ResponseBudget(int64_t limit_bytes = kResponseBudgetBytes);

  // Has `reclaim` called, every kReclaimPause at most, by those who find the budget spent: it ends
  // what holds it for too long. It must not block, and may give charges back before it returns.
  // Before the first Take.
  void SetReclaim(std::function<void()> reclaim) { reclaim_ = std::move(reclaim); }

  // A share of the budget; gives it back when it is destroyed, which may be after the budget's end.
  class Charge {
   public:
    Charge() = default;
    Charge(Charge&& other) noexcept;
    Charge& operator=(Charge&& other) noexcept;
    ~Charge();

   private:
    friend class ResponseBudget;
    struct State;
    Charge(std::shared_ptr<State> state, int64_t size_bytes);

    std::shared_ptr<State> state_;
    int64_t size_bytes_ = 0;
  };

  // Of an answer: what it begins with, up to kReservedAnswerBytes, or what follows.
  enum class Part : bool { kBeginning, kRest };

  // None when `size_bytes` are not free within `wait`; blocks for that long at most (0: never, nor
  // when kResponseBudgetWaitersMax others do already).
  std::optional<Charge> Take(int64_t size_bytes, std::chrono::milliseconds wait,
                             Part part = Part::kBeginning);

  int64_t used_bytes() const;
  int64_t limit_bytes() const;

 private:
  void ReclaimIfDue();

  std::shared_ptr<Charge::State> state_;
  std::function<void()> reclaim_;
};

// UNAVAILABLE, so that clients try a read again: the budget is spent on other answers.
absl::Status ResponseBudgetSpent(const ResponseBudget& budget);

class ResponseBuffer {
 public:
  // Waits up to `wait` in all; use 0 on threads that must not block. `budget` must outlive
  // the buffer, not the slices made from it.
  ResponseBuffer(ResponseBudget& budget, std::chrono::milliseconds wait)
      : budget_(budget), wait_(wait) {}

  // Room for `size_bytes` in one piece, null when the answer is too large or the budget refuses
  // (see refusal). Write, then call Advance before the next Reserve.
  char* Reserve(size_t size_bytes);
  // What was written since Reserve, at most as much as was asked for.
  void Advance(size_t size_bytes);
  // Reserve, copy and Advance. False when the budget refuses.
  bool Append(std::string_view bytes);
  // Appends what is counted already, shared where that is cheaper than a copy. False when the
  // answer is too large, or the budget refuses what is copied.
  bool AppendSlice(const rpc::Slice& slice);

  // Whether room was refused since the last Clear: what fails then fails for want of memory.
  bool is_refused() const { return is_refused_; }
  // Whether that was because this answer alone is too large.
  bool is_too_large() const { return is_too_large_; }
  // What to answer after a refusal: RESOURCE_EXHAUSTED when this answer alone is too large (half
  // the budget, so that no one answer keeps all others waiting), else ResponseBudgetSpent.
  absl::Status refusal() const;

  // What to answer when this answer alone is too large, whether it has been found out here or not.
  absl::Status TooLarge() const;

  size_t size_bytes() const { return size_bytes_; }
  // The most that one answer may have.
  size_t size_bytes_max() const { return static_cast<size_t>(budget_.limit_bytes() / 2); }

  // An empty one with the same budget, and what is left of the wait: for a part of the answer.
  ResponseBuffer Another() const { return ResponseBuffer(budget_, wait_); }
  // Leaves this one no more wait than such a part has left.
  void WaitedIn(const ResponseBuffer& part) { wait_ = part.wait_; }

  // A share of the budget for what the writer of this buffer holds besides, with the same wait.
  std::optional<ResponseBudget::Charge> Charge(size_t size_bytes) { return Take(size_bytes); }
  const ResponseBudget& budget() const { return budget_; }

  // Drops what was written and begins again.
  void Clear();

  // Everything written. The buffer is empty afterwards.
  rpc::SliceList Finish();
  // The same behind a header, which is put into room kept free in the first chunk.
  rpc::SliceList FinishWithHeader(const ResponseHeader& header);

 private:
  std::optional<ResponseBudget::Charge> Take(size_t size_bytes);
  // Whether the answer stays within its bound with so much more; notes it if not.
  bool Fits(size_t size_bytes);
  // Ends the piece being written; the chunk may be filled further.
  void ClosePiece();
  void CloseChunk();
  rpc::SliceList FinishFrom(std::string_view first);

  ResponseBudget& budget_;
  std::chrono::milliseconds wait_;
  // The chunk being filled: [chunk_, chunk_ + chunk_bytes_), of which used_ bytes are written;
  // those from begin_ on are in no piece yet.
  std::shared_ptr<void> owner_;
  char* chunk_ = nullptr;
  size_t chunk_bytes_ = 0;
  size_t begin_ = 0;
  size_t used_ = 0;
  size_t chunks_ = 0;
  size_t size_bytes_ = 0;
  // Asked of the budget so far, with what the writer holds besides.
  size_t taken_bytes_ = 0;
  bool is_refused_ = false;
  bool is_too_large_ = false;
  // The first piece once it is closed; there is room for a header before it.
  std::shared_ptr<void> first_owner_;
  std::string_view first_;
  rpc::SliceList rest_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_RESPONSE_BUFFER_H_
