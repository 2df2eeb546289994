// What the hub has to say to a stream: one WatchResponse, its events as shared bytes.
//
// Pure: a value. The header's ids and the encoding of the few other fields are the server's.
#ifndef CAIRN_WATCH_MESSAGE_H_
#define CAIRN_WATCH_MESSAGE_H_

#include <absl/container/inlined_vector.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/strong_int.h"

namespace cairn::watch {

// A watcher within its stream; any number is legal.
using WatchId = base::StrongInt<struct WatchIdTag, int64_t>;
// A stream within a hub, from 1 on; never used twice.
using StreamId = base::StrongInt<struct WatchStreamIdTag, uint64_t>;

// In answers to creations that failed and to progress requests.
inline constexpr WatchId kNoWatch{-1};

// Bytes that live as long as their owner.
struct SharedBytes {
  std::shared_ptr<const void> owner;
  std::string_view bytes;
};

struct Message {
  WatchId id;
  // The header's; 0: absent.
  Revision revision;
  bool created = false;
  bool canceled = false;
  // More of the same response follows.
  bool fragment = false;
  // 0: absent.
  Revision compact_revision;
  std::string cancel_reason;
  // `events` fields, encoded, to follow everything else.
  absl::InlinedVector<SharedBytes, 1> events;

  size_t events_bytes() const {
    size_t bytes = 0;
    for (const SharedBytes& part : events) bytes += part.bytes.size();
    return bytes;
  }
};

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_MESSAGE_H_
