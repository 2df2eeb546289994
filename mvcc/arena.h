// Bytes that live until Reset: the rows of one open batch.
//
// Allocation moves a pointer; Reset keeps a few chunks, so that batch after batch needs no heap.
// Not thread-safe.
#ifndef CAIRN_MVCC_ARENA_H_
#define CAIRN_MVCC_ARENA_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace cairn::mvcc {

class Arena {
 public:
  // Uninitialised room; valid until Reset.
  char* Allocate(size_t size_bytes) {
    if (size_bytes > kChunkBytes) {
      used_bytes_ += size_bytes;
      large_.push_back(std::make_unique_for_overwrite<char[]>(size_bytes));
      return large_.back().get();
    }
    if (size_bytes > room_bytes_) NextChunk();
    char* const place = next_;
    next_ += size_bytes;
    room_bytes_ -= size_bytes;
    used_bytes_ += size_bytes;
    return place;
  }

  // Gives the last `size_bytes` of the newest allocation back, which was `allocated_bytes` long.
  void GiveBack(size_t allocated_bytes, size_t size_bytes) {
    if (allocated_bytes > kChunkBytes) return;
    next_ -= size_bytes;
    room_bytes_ += size_bytes;
    used_bytes_ -= size_bytes;
  }

  std::string_view Copy(std::string_view bytes) {
    char* const place = Allocate(bytes.size());
    if (!bytes.empty()) std::memcpy(place, bytes.data(), bytes.size());
    return {place, bytes.size()};
  }

  size_t used_bytes() const { return used_bytes_; }

  // Everything allocated is gone.
  void Reset() {
    large_.clear();
    if (chunks_.size() > kChunksKept) chunks_.resize(kChunksKept);
    chunks_used_ = 0;
    next_ = nullptr;
    room_bytes_ = 0;
    used_bytes_ = 0;
  }

 private:
  // A batch of 32 small puts fits into one.
  static constexpr size_t kChunkBytes = size_t{64} << 10;
  // 1 MiB stays: a usual batch under load.
  static constexpr size_t kChunksKept = 16;

  void NextChunk() {
    if (chunks_used_ == chunks_.size()) {
      chunks_.push_back(std::make_unique_for_overwrite<char[]>(kChunkBytes));
    }
    next_ = chunks_[chunks_used_++].get();
    room_bytes_ = kChunkBytes;
  }

  std::vector<std::unique_ptr<char[]>> chunks_;
  std::vector<std::unique_ptr<char[]>> large_;
  size_t chunks_used_ = 0;
  char* next_ = nullptr;
  size_t room_bytes_ = 0;
  size_t used_bytes_ = 0;
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_ARENA_H_
