// Which of many key ranges hold a key.
//
// Pure: a treap ordered by first key, each node knowing the highest limit below it, so that a
// look-up skips whatever ends before the key: O(log n + hits) for ranges that do not nest deeply.
// Ranges are unique; equal ones are the caller's to group. The views must live as long as their
// entry. The shape depends on the seed and the calls alone. Whoever knows the seed can choose
// ranges that make a chain of the tree, with calls as deep as it is long: where ranges come from
// clients, the seed must be one that they cannot know. Not thread-safe.
#ifndef CAIRN_WATCH_INTERVAL_INDEX_H_
#define CAIRN_WATCH_INTERVAL_INDEX_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace cairn::watch {

// The keys from `first` on, up to but without `limit`; without a limit, all of them.
struct Interval {
  std::string_view first;
  std::optional<std::string_view> limit;

  bool Contains(std::string_view key) const {
    return key >= first && (!limit.has_value() || key < *limit);
  }

  friend bool operator==(const Interval&, const Interval&) = default;
};

template <typename Value>
class IntervalIndex {
 public:
  // Any seed will do.
  explicit IntervalIndex(uint64_t seed) : priorities_(seed) {}
  ~IntervalIndex() {
    // From the left, so that no node is deleted within another's deletion.
    while (root_ != nullptr) {
      if (Link left = std::move(root_->left); left != nullptr) {
        root_->left = std::move(left->right);
        left->right = std::move(root_);
        root_ = std::move(left);
      } else {
        root_ = std::move(root_->right);
      }
    }
  }
  IntervalIndex(const IntervalIndex&) = delete;
  IntervalIndex& operator=(const IntervalIndex&) = delete;

  size_t size() const { return size_; }
  // The nodes on the longest way down, for tests: looks at all of them.
  size_t Height() const { return Height(root_.get()); }

  // The value of exactly this range, or null. Valid until the range is erased.
  Value* Find(const Interval& interval) {
    Node* node = root_.get();
    while (node != nullptr) {
      const int order = Compare(interval, node->interval);
      if (order == 0) return &node->value;
      node = order < 0 ? node->left.get() : node->right.get();
    }
    return nullptr;
  }

  // `interval` is not in the index yet (checked).
  void Insert(const Interval& interval, Value value) {
    auto node = std::make_unique<Node>(interval, std::move(value), NextPriority());
    Insert(root_, std::move(node));
    ++size_;
  }

  // `interval` is in the index (checked).
  void Erase(const Interval& interval) {
    Erase(root_, interval);
    --size_;
  }

  // Calls `visit(Value&)` for each range that holds `key`, by first key.
  template <typename Visit>
  void Stab(std::string_view key, Visit&& visit) {
    Stab(root_.get(), key, visit);
  }

 private:
  uint32_t NextPriority() { return static_cast<uint32_t>(priorities_.Next() >> 32); }

  struct Node {
    Node(const Interval& range, Value content, uint32_t rank)
        : interval(range), highest(range.limit), priority(rank), value(std::move(content)) {}

    // The highest limit in this subtree; none is the highest of all.
    void Update() {
      highest = interval.limit;
      for (const Node* child : {left.get(), right.get()}) {
        if (child == nullptr || !highest.has_value()) continue;
        if (!child->highest.has_value() || *child->highest > *highest) highest = child->highest;
      }
    }

    Interval interval;
    std::optional<std::string_view> highest;
    uint32_t priority;
    Value value;
    std::unique_ptr<Node> left;
    std::unique_ptr<Node> right;
  };
  using Link = std::unique_ptr<Node>;

  static int Compare(const Interval& a, const Interval& b) {
    if (const int order = a.first.compare(b.first); order != 0) return order;
    if (a.limit.has_value() != b.limit.has_value()) return a.limit.has_value() ? -1 : 1;
    return a.limit.has_value() ? a.limit->compare(*b.limit) : 0;
  }

  // Moves the left (or right) child above `link`.
  static void RotateRight(Link& link) {
    Link top = std::move(link->left);
    link->left = std::move(top->right);
    link->Update();
    top->right = std::move(link);
    link = std::move(top);
    link->Update();
  }
  static void RotateLeft(Link& link) {
    Link top = std::move(link->right);
    link->right = std::move(top->left);
    link->Update();
    top->left = std::move(link);
    link = std::move(top);
    link->Update();
  }

  static void Insert(Link& link, Link node) {
    if (link == nullptr) {
      link = std::move(node);
      return;
    }
    const int order = Compare(node->interval, link->interval);
    CAIRN_CHECK(order != 0, "a range is in the index already");
    if (order < 0) {
      Insert(link->left, std::move(node));
      link->Update();
      if (link->left->priority > link->priority) RotateRight(link);
    } else {
      Insert(link->right, std::move(node));
      link->Update();
      if (link->right->priority > link->priority) RotateLeft(link);
    }
  }

  static void Erase(Link& link, const Interval& interval) {
    CAIRN_CHECK(link != nullptr, "a range is not in the index");
    const int order = Compare(interval, link->interval);
    if (order == 0) {
      Sink(link);
      return;
    }
    Erase(order < 0 ? link->left : link->right, interval);
    link->Update();
  }

  // Rotates the node of `link` down until it has one child at most, and takes it out.
  static void Sink(Link& link) {
    if (link->left == nullptr || link->right == nullptr) {
      link = std::move(link->left == nullptr ? link->right : link->left);
      return;
    }
    if (link->left->priority > link->right->priority) {
      RotateRight(link);
      Sink(link->right);
    } else {
      RotateLeft(link);
      Sink(link->left);
    }
    link->Update();
  }

  template <typename Visit>
  static void Stab(Node* node, std::string_view key, Visit& visit) {
    while (node != nullptr) {
      // Everything below ends before the key.
      if (node->highest.has_value() && *node->highest <= key) return;
      Stab(node->left.get(), key, visit);
      // Everything to the right begins after it.
      if (node->interval.first > key) return;
      if (node->interval.Contains(key)) visit(node->value);
      node = node->right.get();
    }
  }

  static size_t Height(const Node* node) {
    if (node == nullptr) return 0;
    return 1 + std::max(Height(node->left.get()), Height(node->right.get()));
  }

  Link root_;
  size_t size_ = 0;
  // Any sequence without pattern keeps a treap flat.
  base::Random priorities_;
};

}  // namespace cairn::watch

#endif  // CAIRN_WATCH_INTERVAL_INDEX_H_
