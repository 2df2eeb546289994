#include "server/rpc/slice.h"

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::rpc {

Slice Slice::FromString(std::string bytes) {
  if (bytes.empty()) return Slice();
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  const std::string_view view = *owner;
  return Slice(std::move(owner), view);
}

Slice Slice::CopyOf(std::string_view bytes) { return FromString(std::string(bytes)); }

void SliceList::Append(Slice slice) {
  if (slice.size_bytes() == 0) return;
  size_bytes_ += slice.size_bytes();
  slices_.push_back(std::move(slice));
}

std::string SliceList::Flatten() const {
  std::string bytes;
  bytes.reserve(size_bytes_);
  for (const Slice& slice : slices_) bytes += slice.bytes();
  return bytes;
}

}  // namespace cairn::rpc
