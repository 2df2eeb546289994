#include "test/crash/workload.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/status.h"

namespace cairn::test {
namespace {

using etcdserverpb::Compare;
using etcdserverpb::RequestOp;

// Far above any number of writes in one round.
constexpr int64_t kAllEnded = std::numeric_limits<int64_t>::max() / 2;
// How far behind the newest revision a compaction stays, so that old reads can be checked.
constexpr int64_t kHistoryKept = 150;
constexpr int64_t kHistoryKeptVariation = 100;

// An answer that does not say whether the write was applied: the connection broke.
bool LeavesOpen(const grpc::Status& status) {
  return status.error_code() == grpc::UNAVAILABLE || status.error_code() == grpc::CANCELLED;
}

std::string KeyOf(int writer, int64_t number) { return fmt::format("w{}/{}", writer, number); }

absl::Status Unexpected(std::string_view what, const grpc::Status& status) {
  return base::Error(absl::StatusCode::kInternal, "{} was refused with {} {}", what,
                     static_cast<int>(status.error_code()), status.error_message());
}

}  // namespace

Workload::Workload(const std::string& address, uint64_t seed, int64_t round, const Ledger& ledger)
    : client_(address),
      seed_(seed),
      round_(round),
      threads_(kWriters),
      compacted_(ledger.perhaps_compacted()),
      highest_revision_(ledger.revision()) {}

Workload::~Workload() { CAIRN_CHECK(!compactor_.joinable(), "Finish was not called"); }

void Workload::Start() {
  running_ = kWriters;
  for (int writer = 0; writer < kWriters; ++writer) {
    const uint64_t seed = seed_ * 1000 + static_cast<uint64_t>(writer);
    threads_[static_cast<size_t>(writer)].thread =
        std::thread([this, writer, seed] { WriterLoop(writer, seed); });
  }
  compactor_ = std::thread([this] { CompactorLoop(seed_ * 1000 + kWriters); });
}

void Workload::AwaitAcknowledged(int64_t count) {
  int64_t seen = progress_.load();
  while (seen < count) {
    progress_.wait(seen);
    seen = progress_.load();
  }
}

void Workload::Saw(int64_t revision) {
  int64_t highest = highest_revision_.load();
  while (highest < revision && !highest_revision_.compare_exchange_weak(highest, revision)) {
  }
  progress_.fetch_add(1);
  progress_.notify_all();
}

void Workload::ThreadEnded() {
  if (running_.fetch_sub(1) == 1) {
    progress_.store(kAllEnded);
    progress_.notify_all();
  }
}

std::string Workload::Value(int writer, Random& random) {
  std::string value =
      fmt::format("round {} writer {} value {} ", round_, writer, sequence_.fetch_add(1));
  // Values of all sizes, so that records of the log span sectors and pages.
  if (random.Chance(20)) value.append(static_cast<size_t>(random.Between(1, 5000)), '.');
  if (random.Chance(3)) value.append(static_cast<size_t>(random.Between(1, 150'000)), ':');
  return value;
}

void Workload::WriterLoop(int writer, uint64_t seed) {
  Random random(seed);
  Thread& thread = threads_[static_cast<size_t>(writer)];
  while (random.Chance(15) ? OneCount(writer, random, thread) : OneWrite(writer, random, thread)) {
  }
  ThreadEnded();
}

bool Workload::OneWrite(int writer, Random& random, Thread& thread) {
  Write write{.writer = writer, .effects = {}};
  const int64_t kind = random.Below(10);
  const int64_t first = random.Below(kKeysPerWriter);
  // One key, or several in one transaction; deletions mixed in.
  const int64_t keys = kind < 6 ? 1 : random.Between(2, 4);
  for (int64_t i = 0; i < keys; ++i) {
    const bool is_delete = kind == 5 || (kind > 7 && random.Chance(40));
    std::optional<std::string> value;
    if (!is_delete) value = Value(writer, random);
    write.effects.emplace_back(KeyOf(writer, (first + i) % kKeysPerWriter), std::move(value));
  }
  Answer answer{.write = write, .floor = highest_revision_.load()};
  grpc::Status status;
  if (kind < 5) {
    etcdserverpb::PutRequest request;
    request.set_key(write.effects[0].first);
    request.set_value(*write.effects[0].second);
    etcdserverpb::PutResponse response;
    status = client_.Put(request, &response);
    answer.revision = response.header().revision();
  } else if (kind == 5) {
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(write.effects[0].first);
    etcdserverpb::DeleteRangeResponse response;
    status = client_.DeleteRange(request, &response);
    answer.revision = response.header().revision();
  } else {
    etcdserverpb::TxnRequest request;
    for (const auto& [key, value] : write.effects) {
      RequestOp& op = *request.add_success();
      if (value) {
        op.mutable_request_put()->set_key(key);
        op.mutable_request_put()->set_value(*value);
      } else {
        op.mutable_request_delete_range()->set_key(key);
      }
    }
    etcdserverpb::TxnResponse response;
    status = client_.Txn(request, &response);
    answer.revision = response.header().revision();
  }
  if (status.ok()) {
    Saw(answer.revision);
    thread.answers.push_back(std::move(answer));
    return true;
  }
  thread.open.push_back(std::move(write));
  if (!LeavesOpen(status)) thread.violation = Unexpected("a write", status);
  return false;
}

// Compare-and-set of the counter, reading it back in the same transaction.
bool Workload::OneCount(int writer, Random& random, Thread& thread) {
  etcdserverpb::RangeRequest read;
  read.set_key(kCounterKey);
  etcdserverpb::RangeResponse current;
  grpc::Status status = client_.Range(read, &current);
  if (!status.ok()) {
    if (!LeavesOpen(status)) thread.violation = Unexpected("a read", status);
    return false;
  }
  const std::string value = Value(writer, random);
  etcdserverpb::TxnRequest request;
  Compare& compare = *request.add_compare();
  compare.set_key(kCounterKey);
  compare.set_target(Compare::MOD);
  compare.set_mod_revision(current.kvs_size() == 0 ? 0 : current.kvs(0).mod_revision());
  auto& put = *request.add_success()->mutable_request_put();
  put.set_key(kCounterKey);
  put.set_value(value);
  *request.add_success()->mutable_request_range() = read;
  const int64_t floor = highest_revision_.load();
  etcdserverpb::TxnResponse response;
  status = client_.Txn(request, &response);
  if (!status.ok()) {
    thread.open_counts.push_back(value);
    if (!LeavesOpen(status)) thread.violation = Unexpected("a transaction", status);
    return false;
  }
  if (!response.succeeded()) return true;  // another writer was faster
  const auto& row = response.responses(1).response_range().kvs(0);
  Saw(response.header().revision());
  thread.answers.push_back({.write = {},
                            .revision = response.header().revision(),
                            .floor = floor,
                            .is_count = true,
                            .value = value,
                            .version = row.version()});
  if (row.value() != value || row.mod_revision() != response.header().revision()) {
    thread.violation = base::Error(absl::StatusCode::kInternal,
                                   "a transaction that won does not read its own write");
    return false;
  }
  return true;
}

// Compacts whenever enough history has gathered.
void Workload::CompactorLoop(uint64_t seed) {
  Random random(seed);
  while (true) {
    const int64_t seen = progress_.load();
    if (seen >= kAllEnded) return;
    const int64_t target =
        highest_revision_.load() - kHistoryKept - random.Below(kHistoryKeptVariation);
    if (target <= compacted_) {
      progress_.wait(seen);
      continue;
    }
    etcdserverpb::CompactionRequest request;
    request.set_revision(target);
    request.set_physical(random.Chance(30));
    etcdserverpb::CompactionResponse response;
    if (client_.Compact(request, &response).ok()) {
      compactions_.push_back(target);
    } else {
      open_compactions_.push_back(target);
      return;
    }
    compacted_ = target;
  }
}

absl::Status Workload::Finish(Ledger& ledger) {
  for (Thread& thread : threads_) thread.thread.join();
  compactor_.join();
  std::vector<Answer*> answers;
  for (Thread& thread : threads_) {
    CAIRN_RETURN_IF_ERROR(thread.violation);
    int64_t previous = 0;
    for (Answer& answer : thread.answers) {
      if (answer.revision < previous) {
        return base::Error(absl::StatusCode::kInternal, "revision {} was answered after {}",
                           answer.revision, previous);
      }
      previous = answer.revision;
      answers.push_back(&answer);
    }
  }
  // Stable: a deletion of nothing shares the revision of an earlier write of its writer.
  std::stable_sort(answers.begin(), answers.end(),
                   [](const Answer* a, const Answer* b) { return a->revision < b->revision; });
  for (const Answer* answer : answers) {
    CAIRN_RETURN_IF_ERROR(answer->is_count
                              ? ledger.AcknowledgeCount(answer->value, answer->version,
                                                        answer->revision, answer->floor)
                              : ledger.Acknowledge(answer->write, answer->revision, answer->floor));
  }
  for (const Thread& thread : threads_) {
    for (const Write& write : thread.open) ledger.LeaveOpen(write);
    for (const std::string& value : thread.open_counts) ledger.LeaveCountOpen(value);
  }
  for (const int64_t revision : compactions_) ledger.AcknowledgeCompaction(revision);
  for (const int64_t revision : open_compactions_) ledger.LeaveCompactionOpen(revision);
  return absl::OkStatus();
}

}  // namespace cairn::test
