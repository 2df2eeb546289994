// The state row that everybody may read while one thread replaces it.
//
// A sequence lock over plain words: readers never block and never see a mixture of two states.
// Every word is an atomic, so there is no race for the thread sanitizer to find and no fence for it
// to miss.
#ifndef CAIRN_MVCC_PUBLISHED_H_
#define CAIRN_MVCC_PUBLISHED_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "mvcc/schema.h"
#include "mvcc/types.h"

namespace cairn::mvcc {

class PublishedState {
 public:
  // One thread at a time.
  void Store(const StateRow& row) {
    const uint64_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);
    // Release: whoever sees one of the new words also sees the odd sequence number before it.
    const std::array<int64_t, kWords> words = {
        row.published.revision.value(),
        row.published.watermark.value(),
        row.removal_cursor.main.value(),
        row.removal_cursor.sub,
        row.logical_size_bytes,
        static_cast<int64_t>(row.applied.index.value()),
        static_cast<int64_t>(row.applied.term.value()),
    };
    for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  Published LoadPublished() const {
    const auto words = Read<2>();
    return {Revision(words[0]), Revision(words[1])};
  }

  StateRow Load() const {
    const auto words = Read<kWords>();
    StateRow row;
    row.published = {Revision(words[0]), Revision(words[1])};
    row.removal_cursor = {Revision(words[2]), words[3]};
    row.logical_size_bytes = words[4];
    row.applied = {Index(static_cast<uint64_t>(words[5])), Term(static_cast<uint64_t>(words[6]))};
    return row;
  }

 private:
  static constexpr size_t kWords = 7;

  template <size_t kCount>
  std::array<int64_t, kCount> Read() const {
    std::array<int64_t, kCount> words;
    for (;;) {
      const uint64_t before = sequence_.load(std::memory_order_acquire);
      for (size_t i = 0; i < kCount; ++i) words[i] = words_[i].load(std::memory_order_acquire);
      const uint64_t after = sequence_.load(std::memory_order_relaxed);
      if (before == after && before % 2 == 0) return words;
    }
  }

  std::atomic<uint64_t> sequence_{0};
  std::array<std::atomic<int64_t>, kWords> words_{};
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_PUBLISHED_H_
