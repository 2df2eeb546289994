// Bytes on their way out: immutable pieces with shared ownership, and a message as a list of them.
//
// One encoded event reaches ten thousand watchers, and a range of 25 MB leaves in chunks, without a
// copy in between: whoever encodes makes a Slice, every call that sends it holds a share. A Slice
// is never changed after it is made and may be used from any thread; a SliceList belongs to one
// thread at a time. Knows no transport and no message format.
#ifndef CAIRN_SERVER_RPC_SLICE_H_
#define CAIRN_SERVER_RPC_SLICE_H_

#include <absl/container/inlined_vector.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::rpc {

// Slices of at least this many bytes are passed by reference; below, copying beats the two
// allocations that a reference costs.
inline constexpr size_t kShareFromBytes = 2048;

class Slice {
 public:
  // No bytes.
  Slice() = default;
  // `bytes`, which live as long as `owner` does.
  Slice(std::shared_ptr<const void> owner, std::string_view bytes)
      : owner_(std::move(owner)), bytes_(bytes) {}

  // Takes the string over.
  static Slice FromString(std::string bytes);
  static Slice CopyOf(std::string_view bytes);

  std::string_view bytes() const { return bytes_; }
  size_t size_bytes() const { return bytes_.size(); }

  // The part that begins at `offset` (at most the size) and has at most `size_bytes` bytes. Shares
  // the owner.
  Slice Part(size_t offset, size_t size_bytes) const {
    return Slice(owner_, bytes_.substr(offset, size_bytes));
  }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view bytes_;
};

// One message: the concatenation of its slices. An empty list is the empty message.
class SliceList {
 public:
  SliceList() = default;
  explicit SliceList(Slice slice) { Append(std::move(slice)); }
  explicit SliceList(std::string bytes) { Append(Slice::FromString(std::move(bytes))); }

  // Empty slices are left out.
  void Append(Slice slice);

  size_t size_bytes() const { return size_bytes_; }
  std::span<const Slice> slices() const { return {slices_.data(), slices_.size()}; }

  // All bytes in one string. Copies: for tests and small messages.
  std::string Flatten() const;

 private:
  // Most responses are one piece, a shared event is a header of its own and the event.
  static constexpr size_t kInlineSlices = 2;

  absl::InlinedVector<Slice, kInlineSlices> slices_;
  size_t size_bytes_ = 0;
};

}  // namespace cairn::rpc

#endif  // CAIRN_SERVER_RPC_SLICE_H_
