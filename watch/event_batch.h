// Events encoded once, as field 11 of WatchResponse, for every watcher that will ever get them.
//
// Pure: rows of history in, bytes out. A batch holds whole revisions in order. While it is built it
// belongs to one thread; afterwards it is shared, unchanged, until the last response that carries a
// part of it is sent. Two encodings, each only of the events that someone wants so: without and
// with the previous value.
#ifndef CAIRN_WATCH_EVENT_BATCH_H_
#define CAIRN_WATCH_EVENT_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "mvcc/event_reader.h"

namespace cairn::watch {

enum class Encoding : uint8_t { kPlain, kWithPrevious };

// Events [first, end) of a batch.
struct Run {
  uint32_t first = 0;
  uint32_t end = 0;
};

class EventBatch {
 public:
  // Appends an event, in the order of revisions, encoded as asked; `previous` is the encoded
  // KeyValue that it replaced, if there was one.
  void Add(const mvcc::Event& event, bool wants_plain, bool wants_previous,
           std::optional<std::string_view> previous);

  uint32_t size() const { return static_cast<uint32_t>(items_.size()); }
  bool empty() const { return items_.empty(); }
  // Of the event at `index`.
  Revision revision(uint32_t index) const { return items_[index].revision; }

  // The encodings of a run, one after the other. Each event of it was added with this encoding.
  std::string_view Bytes(Encoding encoding, Run run) const;
  size_t size_bytes() const {
    return plain_.size() + with_previous_.size() + items_.size() * sizeof(Item);
  }

 private:
  struct Item {
    Revision revision;
    // Where the encodings end.
    size_t plain_end = 0;
    size_t with_previous_end = 0;
  };

  std::string plain_;
  std::string with_previous_;
  std::vector<Item> items_;
};

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_EVENT_BATCH_H_
