#include "watch/event_batch.h"

#include "base/check.h"
#include "base/coding.h"

namespace cairn::watch {
namespace {

// Tags: number << 3 | type, 2 for bytes and 0 for a number.
constexpr char kEventsTag = 11 << 3 | 2;   // WatchResponse.events
constexpr char kTypeTag = 1 << 3 | 0;      // Event.type
constexpr char kDelete = 1;                // Event.EventType.DELETE; PUT is 0, so absent.
constexpr char kKvTag = 2 << 3 | 2;        // Event.kv
constexpr char kPreviousTag = 3 << 3 | 2;  // Event.prev_kv
constexpr char kModificationRevisionTag = 3 << 3 | 0;  // KeyValue.mod_revision

size_t FieldBytes(size_t size) { return 1 + static_cast<size_t>(base::VarintBytes(size)) + size; }

void AppendField(std::string& to, char tag, std::string_view bytes) {
  to.push_back(tag);
  base::AppendVarint(to, bytes.size());
  to.append(bytes);
}

void AppendEvent(std::string& to, const mvcc::Event& event,
                 std::optional<std::string_view> previous) {
  const bool is_deletion = event.kind == mvcc::ChangeKind::kDeletion;
  const auto revision = static_cast<uint64_t>(event.revision.main.value());
  // The row of a deletion holds the key alone; its event names the revision too.
  const size_t kv_bytes = event.key_value.size() +
                          (is_deletion ? 1 + static_cast<size_t>(base::VarintBytes(revision)) : 0);
  const size_t event_bytes = (is_deletion ? 2 : 0) + FieldBytes(kv_bytes) +
                             (previous.has_value() ? FieldBytes(previous->size()) : 0);
  to.push_back(kEventsTag);
  base::AppendVarint(to, event_bytes);
  if (is_deletion) {
    to.push_back(kTypeTag);
    to.push_back(kDelete);
  }
  to.push_back(kKvTag);
  base::AppendVarint(to, kv_bytes);
  to.append(event.key_value);
  if (is_deletion) {
    to.push_back(kModificationRevisionTag);
    base::AppendVarint(to, revision);
  }
  if (previous.has_value()) AppendField(to, kPreviousTag, *previous);
}

}  // namespace

void EventBatch::Add(const mvcc::Event& event, bool wants_plain, bool wants_previous,
                     std::optional<std::string_view> previous) {
  CAIRN_CHECK(items_.empty() || items_.back().revision <= event.revision.main);
  if (wants_plain) AppendEvent(plain_, event, std::nullopt);
  if (wants_previous) AppendEvent(with_previous_, event, previous);
  items_.push_back({event.revision.main, plain_.size(), with_previous_.size()});
}

std::string_view EventBatch::Bytes(Encoding encoding, Run run) const {
  CAIRN_CHECK(run.first < run.end && run.end <= items_.size());
  const auto end_of = [&](uint32_t count) -> size_t {
    if (count == 0) return 0;
    const Item& item = items_[count - 1];
    return encoding == Encoding::kPlain ? item.plain_end : item.with_previous_end;
  };
  const size_t begin = end_of(run.first);
  const std::string& bytes = encoding == Encoding::kPlain ? plain_ : with_previous_;
  return std::string_view(bytes).substr(begin, end_of(run.end) - begin);
}

}  // namespace cairn::watch
