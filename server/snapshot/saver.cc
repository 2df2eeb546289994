#include "server/snapshot/saver.h"

#include <glog/logging.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/errors.h"
#include "api/snapshot.pb.h"
#include "api/version.h"
#include "base/status.h"
#include "base/thread.h"
#include "mvcc/rocks_backend.h"
#include "server/rpc/slice.h"
#include "server/snapshot/archive_stream.h"
#include "server/snapshot/sha256.h"
#include "server/wire.h"
#include "wal/pins.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Fields of etcdserverpb.SnapshotResponse.
constexpr uint32_t kRemainingBytesField = 2;
constexpr uint32_t kBlobField = 3;
constexpr uint32_t kVersionField = 4;

// How often it is looked at who is to be given up, however busy the sending thread is, and at who
// has gone while it waited for a copy.
constexpr milliseconds kPoll{1000};
// For how long others count as served after the last that was done for them: ten calls a second are
// too few to slow a stream down for good, and a thousand are served all the time.
constexpr milliseconds kBusyAfter{20};
// Well below what serves clients: where the processor is short, saving takes longer instead of
// puts. With less the scheduler lets the thread finish its slice first: the p99 of puts beside a
// stream is 2.6 ms at 5, 2.1 at 10 and 1.5 at 15. With more, whoever waits for a lock that the
// thread holds, one of gRPC's or the allocator's, might wait too long where the processor has no
// free moment. A thirtieth of it is left to the thread beside one busy one; on a core that 100
// clients keep full a snapshot of 550 MiB takes 11 s.
constexpr int kNiceness = 15;

absl::Status StallStatus(milliseconds limit) {
  return base::Error(absl::StatusCode::kAborted, "no message of the snapshot was taken for {} s",
                     limit.count() / 1000);
}

// What the copy in `directory` says of itself: its own rows, since it may hold more than was asked
// for.
absl::StatusOr<snapshot::Manifest> Describe(const std::string& directory,
                                            const std::vector<SnapshotFile>& files) {
  CAIRN_ASSIGN_OR_RETURN(
      std::unique_ptr<mvcc::Backend> backend,
      mvcc::OpenRocksBackendForReading(
          {.directory = directory, .memory_limit_bytes = mvcc::kMemoryLimitBytesMin}));
  mvcc::StoreIdentity identity;
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<mvcc::Store> store,
                         mvcc::Store::Inspect(std::move(backend), identity));
  snapshot::Manifest manifest;
  manifest.set_format_version(kArchiveFormatVersion);
  manifest.set_cairn_version(std::string(api::kCairnVersion));
  manifest.set_storage_version(std::string(api::kStorageVersion));
  manifest.set_cluster_id(fmt::format("{:x}", identity.cluster));
  manifest.set_member_id(fmt::format("{:x}", identity.member));
  manifest.set_revision(store->published().revision.value());
  manifest.set_compacted_revision(store->published().watermark.value());
  manifest.set_applied_index(store->applied().index.value());
  manifest.set_applied_term(store->applied().term.value());
  manifest.set_logical_size_bytes(store->logical_size_bytes());
  for (const SnapshotFile& file : files) {
    snapshot::Manifest::File& described = *manifest.add_files();
    described.set_name(file.name);
    described.set_size_bytes(file.size_bytes);
  }
  return manifest;
}

}  // namespace

// One stream. What is not guarded by the saver's mutex belongs to the thread that it is with: the
// one for copies until the copy is made and from PassToCopies until it is let go of, else the one
// that sends; Stop's once both have ended.
class SnapshotSaver::Transfer {
 public:
  Transfer(std::shared_ptr<rpc::StreamCall> call, std::string version, Index at_least)
      : call_(std::move(call)), version_(std::move(version)), at_least_(at_least) {}

  const std::shared_ptr<rpc::StreamCall>& call() const { return call_; }
  bool has_copy() const { return copy_ != nullptr; }
  bool has_begun() const { return archive_ != nullptr; }
  // What the stream ends with, once nothing more is to be sent.
  const std::optional<absl::Status>& ending() const { return ending_; }
  // The digest has left.
  bool is_done() const { return is_done_; }
  const Checkpoint& copy() const { return *copy_; }

  // Makes or shares a copy.
  absl::Status TakeCopy(Checkpoints& copies) {
    CAIRN_ASSIGN_OR_RETURN(copy_, copies.Take(at_least_, wal::PinKind::kBackup));
    return absl::OkStatus();
  }
  // Looks into the copy.
  absl::Status Begin(wal::Fs& fs) {
    CAIRN_ASSIGN_OR_RETURN(const snapshot::Manifest manifest, Describe(copy_->path, copy_->files));
    CAIRN_ASSIGN_OR_RETURN(archive_, ArchiveStream::Begin(fs, copy_->path, manifest));
    LOG(INFO) << fmt::format("a snapshot of revision {}, {} MiB, is being saved by {}",
                             manifest.revision(), archive_->left_bytes() >> 20, call_->peer());
    return absl::OkStatus();
  }

  // The next message, of at most `size_bytes` of the archive; the digest when all has left.
  absl::StatusOr<rpc::SliceList> NextMessage(size_t size_bytes) {
    if (archive_->left_bytes() == 0) {
      is_done_ = true;
      return MakeMessage(rpc::Slice::FromString(sha256_.Finish()));
    }
    const size_t size = std::min<uint64_t>(size_bytes, archive_->left_bytes());
    // Not cleared before it is read into.
    const std::shared_ptr<char[]> buffer = std::make_shared_for_overwrite<char[]>(size);
    CAIRN_RETURN_IF_ERROR(archive_->Read(buffer.get(), size).status());
    const std::string_view bytes(buffer.get(), size);
    sha256_.Update(bytes);
    return MakeMessage(rpc::Slice(buffer, bytes));
  }

  // Lets go of the copy, which the last one of those who share it removes.
  void Release() {
    archive_.reset();
    copy_.reset();
  }
  void SetEnding(absl::Status status) { ending_ = std::move(status); }

  // Since when its client has taken nothing, and what was queued then; none while it is queued for
  // a thread or with one. The saver's mutex.
  struct Waiting {
    steady_clock::time_point since;
    int64_t queued_bytes = 0;
  };
  std::optional<Waiting> waiting;
  // When its copy was made, while the thread that sends has it or nobody. The saver's mutex.
  std::optional<steady_clock::time_point> copy_made_at;

 private:
  // `blob` leaves as it is, behind the other fields.
  rpc::SliceList MakeMessage(rpc::Slice blob) const {
    std::string head;
    wire::AppendNumberField(head, kRemainingBytesField, archive_->left_bytes());
    wire::AppendFieldStart(head, kVersionField, version_.size());
    head += version_;
    wire::AppendFieldStart(head, kBlobField, blob.size_bytes());
    rpc::SliceList message(std::move(head));
    message.Append(std::move(blob));
    return message;
  }

  const std::shared_ptr<rpc::StreamCall> call_;
  const std::string version_;
  const Index at_least_;
  std::shared_ptr<const Checkpoint> copy_;
  std::unique_ptr<ArchiveStream> archive_;
  Sha256 sha256_;
  bool is_done_ = false;
  std::optional<absl::Status> ending_;
};

SnapshotSaver::SnapshotSaver(SnapshotSaverOptions options, wal::Fs& fs, StateHome& states,
                             mvcc::Store& store, LogPins& pins)
    : options_(options),
      fs_(fs),
      store_(store),
      // Whoever begins to save after a write may need a copy that nobody has.
      copies_({.copies_max = options.saves_max,
               .age_max = options.age_max,
               .pin_after = milliseconds(0),
               .has_checksums = false,
               .is_disk_low = options.is_disk_low,
               .low_disk_age_max = options.low_disk_age_max,
               .now = options.now},
              fs, states, store, pins),
      sending_thread_([this] { RunSending(); }),
      copies_thread_([this] { RunCopies(); }) {}

SnapshotSaver::~SnapshotSaver() { Stop(); }

void SnapshotSaver::Stop() {
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.SignalAll();
    wake_copies_.SignalAll();
  }
  if (sending_thread_.joinable()) sending_thread_.join();
  if (copies_thread_.joinable()) copies_thread_.join();
  // Neither thread has any of them now; what a transport still says changes nothing.
  std::vector<std::shared_ptr<Transfer>> rest;
  {
    base::MutexLock lock(mutex_);
    rest = transfers_;
    ready_.clear();
    for_copies_.clear();
  }
  for (const std::shared_ptr<Transfer>& transfer : rest) {
    transfer->Release();
    // Who only waits for its client to take the rest has all of it.
    End(transfer, transfer->ending().value_or(api::ToStatus(api::Error::kServerStopped)));
  }
}

void SnapshotSaver::Save(std::shared_ptr<rpc::StreamCall> call, std::string version) {
  call->SetHighWaterBytes(options_.queue_bytes);
  auto transfer = std::make_shared<Transfer>(call, std::move(version), store_.applied().index);
  absl::Status refused;
  {
    base::MutexLock lock(mutex_);
    if (stopping_) {
      refused = api::ToStatus(api::Error::kServerStopped);
    } else if (transfers_.size() >= options_.saves_max) {
      std::vector<std::string_view> peers;
      for (const auto& other : transfers_) peers.push_back(other->call()->peer());
      refused = base::Error(absl::StatusCode::kResourceExhausted,
                            "{} snapshots are being saved from this member already, by {}; wait "
                            "for one to end, or save from another member",
                            transfers_.size(), fmt::join(peers, ", "));
    } else {
      transfers_.push_back(transfer);
      for_copies_.push_back(std::move(transfer));
      wake_copies_.SignalAll();
    }
  }
  if (!refused.ok()) call->Finish(std::move(refused));
}

void SnapshotSaver::RunSending() {
  base::NameThread("snapshot-save");
  // Never less than the process was given. A refusal costs nothing but the courtesy.
  const auto thread = static_cast<id_t>(gettid());
  setpriority(PRIO_PROCESS, thread, std::max(getpriority(PRIO_PROCESS, thread), kNiceness));
  while (const std::shared_ptr<Transfer> transfer = Next()) Advance(transfer);
}

void SnapshotSaver::RunCopies() {
  base::NameThread("snapshot-copy");
  while (true) {
    const std::vector<std::shared_ptr<Transfer>> batch = NextForCopies();
    if (batch.empty()) return;
    const steady_clock::time_point start = steady_clock::now();
    bool has_taken = false;
    absl::Status taken;
    for (const std::shared_ptr<Transfer>& transfer : batch) {
      if (stopping()) return;
      if (!transfer->ending().has_value() && !transfer->call()->cancelled()) {
        has_taken = true;
        // Where it fails for one, it does for the others.
        if (taken.ok()) taken = transfer->TakeCopy(copies_);
        if (!taken.ok()) transfer->SetEnding(taken);
      }
      if (transfer->ending().has_value()) {
        transfer->Release();
        Wait(transfer);
      } else {
        MakeReady(transfer);
      }
    }
    if (!has_taken) continue;
    const steady_clock::time_point end = steady_clock::now();
    const auto pause = std::chrono::duration_cast<milliseconds>(10 * (end - start));
    next_copy_ = end + std::max(options_.copy_pause_min, std::min(pause, options_.copy_pause_max));
  }
}

std::vector<std::shared_ptr<SnapshotSaver::Transfer>> SnapshotSaver::NextForCopies() {
  std::vector<std::shared_ptr<Transfer>> batch;
  base::MutexLock lock(mutex_);
  while (!stopping_) {
    // First those who want none made: what they have is in others' way.
    const auto wanting = std::stable_partition(
        for_copies_.begin(), for_copies_.end(), [](const std::shared_ptr<Transfer>& transfer) {
          return transfer->ending().has_value() || transfer->call()->cancelled();
        });
    const steady_clock::time_point now = steady_clock::now();
    const auto end =
        wanting == for_copies_.begin() && now >= next_copy_ ? for_copies_.end() : wanting;
    if (end != for_copies_.begin()) {
      batch.assign(for_copies_.begin(), end);
      for_copies_.erase(for_copies_.begin(), end);
      break;
    }
    if (for_copies_.empty()) {
      wake_copies_.Wait(mutex_);
    } else {
      wake_copies_.WaitUntil(mutex_, std::min(next_copy_, now + kPoll));
    }
  }
  return batch;
}

std::shared_ptr<SnapshotSaver::Transfer> SnapshotSaver::Next() {
  const milliseconds poll = std::min({kPoll, options_.stall_max, options_.full_stall_max,
                                      options_.age_max, options_.low_disk_age_max});
  while (true) {
    if (const steady_clock::time_point now = options_.now(); now >= next_look_) {
      next_look_ = now + poll;
      GiveUp(now);
    }
    base::MutexLock lock(mutex_);
    if (stopping_) return nullptr;
    if (!ready_.empty()) {
      std::shared_ptr<Transfer> next = std::move(ready_.front());
      ready_.pop_front();
      return next;
    }
    if (transfers_.empty()) {
      wake_.Wait(mutex_);
    } else {
      wake_.WaitUntil(mutex_, steady_clock::now() + poll);
    }
  }
}

void SnapshotSaver::GiveUp(steady_clock::time_point now) {
  const bool is_disk_low = options_.is_disk_low();
  std::vector<std::shared_ptr<Transfer>> given_up;
  {
    base::MutexLock lock(mutex_);
    size_t going_on = 0;
    std::shared_ptr<Transfer> slowest;
    for (const std::shared_ptr<Transfer>& transfer : transfers_) {
      if (transfer->call()->cancelled()) continue;
      if (absl::Status why = JudgeLocked(*transfer, now, is_disk_low); !why.ok()) {
        transfer->SetEnding(std::move(why));
        given_up.push_back(transfer);
        continue;
      }
      ++going_on;
      if (!transfer->waiting.has_value()) continue;
      if (slowest == nullptr || transfer->waiting->since < slowest->waiting->since) {
        slowest = transfer;
      }
    }
    if (going_on >= options_.saves_max && slowest != nullptr &&
        now - slowest->waiting->since > options_.full_stall_max) {
      slowest->SetEnding(StallStatus(options_.full_stall_max));
      given_up.push_back(std::move(slowest));
    }
  }
  // They come back as ready, cancelled, or are ready already.
  for (const std::shared_ptr<Transfer>& transfer : given_up) {
    transfer->call()->AbortNow(*transfer->ending());
  }
}

absl::Status SnapshotSaver::JudgeLocked(Transfer& transfer, steady_clock::time_point now,
                                        bool is_disk_low) const {
  if (transfer.copy_made_at.has_value()) {
    const steady_clock::duration age = now - *transfer.copy_made_at;
    if (age > options_.age_max) {
      return base::MakeStatus(absl::StatusCode::kAborted, "saving this snapshot takes too long");
    }
    if (is_disk_low && age > options_.low_disk_age_max) {
      return base::MakeStatus(absl::StatusCode::kResourceExhausted,
                              "this member's disk wants the room that what is being saved keeps; "
                              "free some, or save from another member");
    }
  }
  std::optional<Transfer::Waiting>& waiting = transfer.waiting;
  if (!waiting.has_value()) return absl::OkStatus();
  const int64_t queued_bytes = transfer.call()->queued_bytes();
  if (queued_bytes != waiting->queued_bytes) {
    waiting = {.since = now, .queued_bytes = queued_bytes};
    return absl::OkStatus();
  }
  return now - waiting->since > options_.stall_max ? StallStatus(options_.stall_max)
                                                   : absl::OkStatus();
}

size_t SnapshotSaver::MessageBytes() {
  const steady_clock::time_point now = options_.now();
  const uint64_t calls = options_.calls_begun();
  const Index applied = store_.applied().index;
  if (calls != calls_seen_ || applied != applied_seen_) {
    calls_seen_ = calls;
    applied_seen_ = applied;
    busy_until_ = now + kBusyAfter;
  }
  return now < busy_until_ ? options_.busy_message_bytes : options_.message_bytes;
}

void SnapshotSaver::Advance(const std::shared_ptr<Transfer>& transfer) {
  rpc::StreamCall& call = *transfer->call();
  for (int64_t sent_bytes = 0; sent_bytes < options_.queue_bytes;) {
    if (stopping()) return;
    absl::Status ending = transfer->ending().value_or(absl::OkStatus());
    // Who was given up has the reason.
    if (call.cancelled() && ending.ok()) ending = api::ToStatus(api::Error::kRequestCanceled);
    if (!ending.ok() && transfer->has_copy()) return Drain(transfer, std::move(ending));
    if (!ending.ok() || transfer->ending().has_value()) return End(transfer, std::move(ending));
    if (!transfer->has_begun()) {
      if (absl::Status begun = transfer->Begin(fs_); !begun.ok()) {
        return Drain(transfer, std::move(begun));
      }
    }
    absl::StatusOr<rpc::SliceList> message = transfer->NextMessage(MessageBytes());
    if (!message.ok()) return Drain(transfer, std::move(message).status());
    sent_bytes += static_cast<int64_t>(message->size_bytes());
    const bool has_room = call.Write(*std::move(message));
    if (transfer->is_done()) return Drain(transfer, absl::OkStatus());
    if (!has_room) return Wait(transfer);
  }
  MakeReady(transfer);
}

void SnapshotSaver::PassToCopies(const std::shared_ptr<Transfer>& transfer) {
  base::MutexLock lock(mutex_);
  transfer->copy_made_at.reset();
  if (stopping_) return;
  for_copies_.push_back(transfer);
  wake_copies_.SignalAll();
}

void SnapshotSaver::Drain(const std::shared_ptr<Transfer>& transfer, absl::Status status) {
  transfer->SetEnding(std::move(status));
  // Half of it is nothing: there is room when all is gone.
  transfer->call()->SetHighWaterBytes(1);
  PassToCopies(transfer);
}

void SnapshotSaver::Wait(const std::shared_ptr<Transfer>& transfer) {
  {
    base::MutexLock lock(mutex_);
    transfer->waiting = {.since = options_.now(), .queued_bytes = transfer->call()->queued_bytes()};
  }
  transfer->call()->OnWritable([this, transfer] { MakeReady(transfer); });
}

void SnapshotSaver::MakeReady(const std::shared_ptr<Transfer>& transfer) {
  base::MutexLock lock(mutex_);
  // From then on it is Stop's alone.
  if (stopping_) return;
  transfer->waiting.reset();
  if (transfer->has_copy()) transfer->copy_made_at = transfer->copy().made_at;
  ready_.push_back(transfer);
  wake_.SignalAll();
}

void SnapshotSaver::End(const std::shared_ptr<Transfer>& transfer, absl::Status status) {
  if (!status.ok()) {
    LOG(WARNING) << fmt::format("the snapshot for {} ends: {}", transfer->call()->peer(),
                                base::Message(status));
  }
  {
    base::MutexLock lock(mutex_);
    std::erase(transfers_, transfer);
  }
  transfer->call()->Finish(std::move(status));
}

}  // namespace cairn::server
