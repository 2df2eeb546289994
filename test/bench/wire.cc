#include "test/bench/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <random>

#include "base/check.h"
#include "test/bench/proto_bytes.h"
#include "test/bench/stream_wire.h"

namespace cairn::bench {
namespace {

// ResponseHeader.revision.
bool ReadHeader(std::string_view bytes, Answer& answer) {
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return false;
    if (field.number == 3) answer.revision = static_cast<int64_t>(field.value);
  }
  return true;
}

// A bijection that looks random (the finaliser of splitmix64).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Enough that a value's neighbours in a block differ from it.
constexpr size_t kValuePoolBytes = 1 << 20;

}  // namespace

const char* MethodOf(Operation operation) {
  switch (operation) {
    case Operation::kPut:
      return "/etcdserverpb.KV/Put";
    case Operation::kTxn:
      return "/etcdserverpb.KV/Txn";
    case Operation::kGet:
    case Operation::kRange:
    case Operation::kWait:
      return "/etcdserverpb.KV/Range";
    case Operation::kRangeStream:
      return "/etcdserverpb.KV/RangeStream";
    case Operation::kHashKv:
      return "/etcdserverpb.Maintenance/HashKV";
    case Operation::kSnapshot:
      return "/etcdserverpb.Maintenance/Snapshot";
    case Operation::kCompact:
      return "/etcdserverpb.KV/Compact";
    case Operation::kGrant:
      return kGrantMethod;
    case Operation::kKeepAlive:
    case Operation::kHeldKeepAlive:
      return kKeepAliveMethod;
    case Operation::kWatch:
    case Operation::kExpiry:
    case Operation::kFailover:
      return "/etcdserverpb.KV/Put";
  }
  CAIRN_CHECK(false, "no such operation");
  return nullptr;
}

RequestSource::RequestSource(const Options& options)
    : options_(options),
      digits_(fmt::formatted_size("{}", options.first_key + options.key_space - 1)) {
  std::mt19937_64 random(options.seed);
  value_pool_.resize(kValuePoolBytes + options.value_size_bytes);
  std::generate(value_pool_.begin(), value_pool_.end(),
                [&random] { return static_cast<char>(random()); });
}

void RequestSource::AppendKey(uint64_t number, std::string& out) const {
  const size_t limit = out.size() + options_.key_size_bytes;
  fmt::format_to(std::back_inserter(out), "{}{:0{}}", options_.key_prefix, number, digits_);
  for (uint64_t tail = Mix(number); out.size() < limit; tail = Mix(tail)) {
    fmt::format_to(std::back_inserter(out), "{:016x}", tail);
  }
  out.resize(limit);
}

std::optional<uint64_t> RequestSource::NumberOf(std::string_view key) const {
  if (key.size() < options_.key_prefix.size() + digits_) return std::nullopt;
  uint64_t number = 0;
  const std::string_view digits = key.substr(options_.key_prefix.size(), digits_);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  std::string whole;
  AppendKey(number, whole);
  return whole == key ? std::optional(number) : std::nullopt;
}

uint64_t RequestSource::KeyNumber(uint64_t request) const {
  const uint64_t turn = options_.random_keys ? Mix(options_.seed ^ Mix(request)) : request;
  return options_.first_key + turn % options_.key_space;
}

void RequestSource::AppendPut(uint64_t key_number, uint64_t request, std::string& out) {
  key_scratch_.clear();
  AppendKey(key_number, key_scratch_);
  AppendBytes(1, key_scratch_, out);
  if (options_.value_size_bytes == 0) return;
  const size_t place = Mix(request ^ key_number << 32) % kValuePoolBytes;
  AppendBytes(2, std::string_view(value_pool_).substr(place, options_.value_size_bytes), out);
}

void RequestSource::AppendStampedPut(uint64_t number, int64_t time_ns, std::string& out) {
  AppendPut(KeyNumber(number), number, out);
  // The value is what a put without a lease ends with.
  Stamp(time_ns, out.data() + out.size() - options_.value_size_bytes);
}

void RequestSource::AppendTxn(uint64_t request, std::string& out) {
  // Transaction n takes the keys [n * txn_puts, (n + 1) * txn_puts) of the key space.
  const uint64_t groups = options_.key_space / options_.txn_puts;
  const uint64_t turn = options_.random_keys ? Mix(options_.seed ^ Mix(request)) : request;
  const uint64_t first = options_.first_key + turn % groups * options_.txn_puts;
  std::string operation;
  for (uint64_t key = first; key < first + options_.txn_puts; ++key) {
    put_scratch_.clear();
    AppendPut(key, request, put_scratch_);
    operation.clear();
    AppendBytes(2, put_scratch_, operation);  // RequestOp.request_put
    AppendBytes(2, operation, out);           // TxnRequest.success
  }
}

void RequestSource::AppendRange(std::string_view key, bool to_prefix_end, std::string& out) const {
  if (to_prefix_end && key.empty()) {
    // Everything: from the least key, with the range end that means "to the last".
    AppendBytes(1, std::string_view("\0", 1), out);
    AppendBytes(2, std::string_view("\0", 1), out);
  } else {
    AppendBytes(1, key, out);
    if (to_prefix_end) {
      std::string end(key);
      end.back() = static_cast<char>(end.back() + 1);
      AppendBytes(2, end, out);
    }
  }
  AppendNumber(3, static_cast<uint64_t>(options_.range_limit), out);
  AppendNumber(4, static_cast<uint64_t>(options_.revision), out);
  AppendNumber(7, options_.serializable, out);
  AppendNumber(8, options_.keys_only, out);
  AppendNumber(9, options_.count_only, out);
}

void RequestSource::Encode(uint64_t number, std::string& out) {
  out.clear();
  switch (options_.operation) {
    case Operation::kPut:
    case Operation::kWatch:
    case Operation::kExpiry:
    case Operation::kFailover:
      AppendPut(KeyNumber(number), number, out);
      // PutRequest.lease; the fields of a message come in any order.
      return AppendNumber(3, options_.leased ? KeyNumber(number) + 1 : 0, out);
    case Operation::kGrant:
      return AppendGrant(static_cast<int64_t>(options_.ttl_seconds),
                         static_cast<int64_t>(KeyNumber(number)) + 1, out);
    case Operation::kKeepAlive:
    case Operation::kHeldKeepAlive:
      return AppendKeepAlive(static_cast<int64_t>(KeyNumber(number)) + 1, out);
    case Operation::kTxn:
      return AppendTxn(number, out);
    case Operation::kGet:
    case Operation::kWait:
      key_scratch_.clear();
      AppendKey(KeyNumber(number), key_scratch_);
      return AppendRange(key_scratch_, false, out);
    case Operation::kRange:
    case Operation::kRangeStream:
      return AppendRange(options_.key_prefix, true, out);
    case Operation::kHashKv:
      return AppendNumber(1, static_cast<uint64_t>(options_.revision), out);
    case Operation::kCompact:
      AppendNumber(1, static_cast<uint64_t>(options_.revision), out);
      return AppendNumber(2, 1, out);  // CompactionRequest.physical
    case Operation::kSnapshot:
      return;  // SnapshotRequest has no fields.
  }
}

std::optional<Answer> ReadAnswer(Operation operation, std::string_view bytes) {
  // RangeStreamResponse wraps a RangeResponse as field 1.
  if (operation == Operation::kRangeStream) {
    Answer answer;
    Field field;
    while (!bytes.empty()) {
      if (!TakeField(bytes, field)) return std::nullopt;
      if (field.number != 1) continue;
      const auto inner = ReadAnswer(Operation::kRange, field.bytes);
      if (!inner.has_value()) return std::nullopt;
      answer = *inner;
    }
    return answer;
  }
  const bool is_range = operation == Operation::kGet || operation == Operation::kRange ||
                        operation == Operation::kWait;
  Answer answer;
  Field field;
  while (!bytes.empty()) {
    if (!TakeField(bytes, field)) return std::nullopt;
    if (field.number == 1 && !ReadHeader(field.bytes, answer)) return std::nullopt;
    if (is_range && field.number == 4) answer.count = static_cast<int64_t>(field.value);
    if (operation == Operation::kHashKv && field.number == 2) {
      answer.hash = static_cast<uint32_t>(field.value);
    }
  }
  return answer;
}

}  // namespace cairn::bench
