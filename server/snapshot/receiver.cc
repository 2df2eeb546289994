#include "server/snapshot/receiver.h"

#include <glog/logging.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "base/thread.h"
#include "server/disk_room.h"
#include "server/peer/codec.h"
#include "server/rpc/proto.h"
#include "wal/types.h"

namespace cairn::server {

namespace {

using std::chrono::steady_clock;

constexpr std::string_view kServiceName = "cairn.peer.Peer";
// Stays free for the log and for flushes, as the trimmer keeps it where nobody has said otherwise
// (log_trimmer.h).
constexpr uint64_t kRoomReserveBytes = wal::kSegmentBytes + kFlushReserveBytes;
// Senders try again within seconds.
constexpr std::chrono::minutes kLacksRoomAfter{1};

peer::SnapshotPosition ToMessage(const SnapshotPosition& position) {
  peer::SnapshotPosition message;
  message.set_file(static_cast<uint32_t>(position.file));
  message.set_offset_bytes(position.offset_bytes);
  return message;
}

// A disk that is too full is found before it is filled: no member stops for a snapshot that does
// not fit. `directory` is where it is to lie.
absl::Status CheckRoom(const std::string& directory, std::span<const SnapshotFile> files) {
  const std::optional<uint64_t> available = FreeDiskBytes(directory);
  if (!available.has_value()) return absl::OkStatus();
  uint64_t needed = kRoomReserveBytes;
  for (const SnapshotFile& file : files) {
    // Sizes are a peer's word, and may be nonsense that overflows.
    needed += std::min<uint64_t>(file.size_bytes, *available);
    if (needed <= *available) continue;
    return base::Error(absl::StatusCode::kResourceExhausted,
                       "the disk has no room for the snapshot in {}: {} MiB free; free some, "
                       "and it will be sent again",
                       directory, *available >> 20);
  }
  return absl::OkStatus();
}

// A sender that hears this begins again.
absl::Status UnknownSnapshot() {
  return base::MakeStatus(absl::StatusCode::kNotFound, "no such snapshot is arriving");
}

}  // namespace

SnapshotReceiver::SnapshotReceiver(SnapshotReceiverOptions options, wal::Fs& fs, StateHome& states,
                                   mvcc::Store& live)
    : options_(std::move(options)), fs_(fs), states_(states), live_(live) {}

SnapshotReceiver::~SnapshotReceiver() { Stop(); }

template <typename Request, typename Response>
void SnapshotReceiver::Add(rpc::ServiceTable& table, std::string_view method,
                           absl::StatusOr<Response> (SnapshotReceiver::*handle)(const Request&)) {
  table.AddUnary(kServiceName, method,
                 rpc::TypedUnary<Request>(
                     [this, handle](std::unique_ptr<rpc::UnaryCall> call, Request request) {
                       Queue([this, handle, call = std::move(call),
                              request = std::move(request)](const absl::Status& status) mutable {
                         if (!status.ok()) {
                           call->Finish(status);
                           return;
                         }
                         const absl::StatusOr<Response> response = (this->*handle)(request);
                         if (response.ok()) {
                           call->Finish(rpc::SliceList(rpc::Encode(*response)));
                         } else {
                           call->Finish(response.status());
                         }
                       });
                     }));
}

void SnapshotReceiver::Register(rpc::ServiceTable& table) {
  Add(table, "BeginSnapshot", &SnapshotReceiver::Begin);
  Add(table, "SendSnapshotPart", &SnapshotReceiver::Take);
  Add(table, "FinishSnapshot", &SnapshotReceiver::Finish);
}

void SnapshotReceiver::Queue(Task task) {
  absl::Status refusal;
  {
    base::MutexLock lock(mutex_);
    if (!running_) {
      refusal = base::MakeStatus(absl::StatusCode::kUnavailable, "not ready for snapshots");
    } else if (tasks_.size() >= kWaitingCallsMax) {
      refusal = base::MakeStatus(absl::StatusCode::kResourceExhausted, "busy with a snapshot");
    } else {
      tasks_.push_back(std::move(task));
      wake_.Signal();
      return;
    }
  }
  task(refusal);
}

void SnapshotReceiver::Start(InstallHost& host) {
  host_ = &host;
  base::MutexLock lock(mutex_);
  CAIRN_CHECK(!running_);
  running_ = true;
  thread_ = std::thread([this] { Run(); });
}

void SnapshotReceiver::Stop() {
  std::deque<Task> tasks;
  {
    base::MutexLock lock(mutex_);
    running_ = false;
    tasks.swap(tasks_);
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
  for (Task& task : tasks) {
    task(base::MakeStatus(absl::StatusCode::kUnavailable, "the server is stopping"));
  }
}

bool SnapshotReceiver::lacks_room() const {
  base::MutexLock lock(mutex_);
  return lacked_room_at_.has_value() && steady_clock::now() - *lacked_room_at_ < kLacksRoomAfter;
}

void SnapshotReceiver::Run() {
  base::NameThread("snapshot-in");
  while (true) {
    std::optional<Task> task;
    {
      const auto idle_until = steady_clock::now() + options_.idle_max;
      base::MutexLock lock(mutex_);
      while (running_ && tasks_.empty() && wake_.WaitUntil(mutex_, idle_until)) {
      }
      if (!running_) return;
      if (!tasks_.empty()) {
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
    }
    if (task.has_value()) {
      (*task)(absl::OkStatus());
      CleanUp();
    } else if (transfer_.has_value()) {
      LOG(WARNING) << "a snapshot stopped arriving; what is there of it is removed: "
                   << DropTransfer();
    }
  }
}

void SnapshotReceiver::CleanUp() {
  if (!std::exchange(has_previous_, false)) return;
  live_.CloseReplaced();
  const absl::Status removed = states_.RemovePrevious();
  if (!removed.ok()) LOG(WARNING) << "the state before the snapshot: " << removed;
}

absl::Status SnapshotReceiver::DropTransfer() {
  transfer_.reset();
  const absl::StatusOr<std::string> pointed = states_.PointedPath();
  if (!pointed.ok() || *pointed != states_.current_path()) {
    return base::MakeStatus(absl::StatusCode::kInternal, "an installation has failed half way");
  }
  return states_.Remove(states_.fresh_path());
}

absl::StatusOr<peer::SnapshotPosition> SnapshotReceiver::Begin(
    const peer::BeginSnapshotRequest& request) {
  CAIRN_RETURN_IF_ERROR(CheckGreeting(options_.identity, request.greeting()));
  const MemberId from(request.greeting().from_member_id());
  if (options_.is_removed(from)) return RemovedStatus(from, options_.identity.cluster);
  CAIRN_RETURN_IF_ERROR(CheckTermOrIndex(request.term()));
  CAIRN_RETURN_IF_ERROR(CheckTermOrIndex(request.applied().term()));
  CAIRN_RETURN_IF_ERROR(CheckTermOrIndex(request.applied().index()));
  const uint64_t id = request.snapshot_id();
  if (finished_.has_value() && finished_->id == id) return ToMessage({finished_->files, 0});
  if (transfer_.has_value() && transfer_->id == id) {
    return ToMessage(transfer_->incoming->position());
  }
  if (transfer_.has_value() && Term(request.term()) < transfer_->term) {
    return base::Error(absl::StatusCode::kFailedPrecondition,
                       "a snapshot of term {} is arriving, later than term {}", transfer_->term,
                       request.term());
  }
  std::vector<SnapshotFile> files;
  files.reserve(static_cast<size_t>(request.files_size()));
  for (const peer::SnapshotFile& file : request.files()) {
    files.push_back({file.name(), file.size_bytes(), file.checksum()});
  }
  CAIRN_RETURN_IF_ERROR(CheckFiles(files));
  CAIRN_RETURN_IF_ERROR(DropTransfer());
  if (absl::Status room = CheckRoom(states_.directory(), files); !room.ok()) {
    base::MutexLock lock(mutex_);
    lacked_room_at_ = steady_clock::now();
    return room;
  }
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<IncomingSnapshot> incoming,
                         IncomingSnapshot::Begin(fs_, states_.fresh_path(), std::move(files)));
  LOG(INFO) << fmt::format(
      "a snapshot through index {} or later begins to arrive from {:x}: {} "
      "files of {} bytes",
      request.applied().index(), from, incoming->files().size(), incoming->size_bytes());
  transfer_ = {id, Term(request.term()), std::move(incoming)};
  return ToMessage(transfer_->incoming->position());
}

absl::StatusOr<peer::SnapshotPosition> SnapshotReceiver::Take(const peer::SnapshotPart& part) {
  if (!transfer_.has_value() || transfer_->id != part.snapshot_id()) return UnknownSnapshot();
  IncomingSnapshot& incoming = *transfer_->incoming;
  if (base::Crc32c(part.data()) != part.checksum()) {
    return base::MakeStatus(absl::StatusCode::kDataLoss,
                            "a part of a snapshot does not match its checksum");
  }
  const SnapshotPosition at = {part.position().file(), part.position().offset_bytes()};
  // One that was sent again, or after one that was lost: the answer says where to go on.
  if (at != incoming.position()) return ToMessage(incoming.position());
  if (absl::Status status = incoming.Take(part.data()); !status.ok()) {
    DropTransfer().IgnoreError();
    return status;
  }
  return ToMessage(incoming.position());
}

absl::StatusOr<peer::FinishSnapshotResponse> SnapshotReceiver::Finish(
    const peer::FinishSnapshotRequest& request) {
  const uint64_t id = request.snapshot_id();
  if (!finished_.has_value() || finished_->id != id) {
    if (!transfer_.has_value() || transfer_->id != id || !transfer_->incoming->is_complete()) {
      return UnknownSnapshot();
    }
    const Transfer transfer = *std::exchange(transfer_, std::nullopt);
    const std::vector<SnapshotFile>& files = transfer.incoming->files();
    const auto verify = [&] { return VerifyFiles(fs_, states_.fresh_path(), files); };
    const absl::StatusOr<InstallOutcome> outcome =
        InstallSnapshot({{options_.identity.cluster, options_.identity.self}, transfer.term},
                        states_, verify, *host_);
    if (!outcome.ok()) {
      LOG(WARNING) << "a snapshot was not installed: " << outcome.status();
      return outcome.status();
    }
    LOG(INFO) << fmt::format("the snapshot through index {} of term {} {}", outcome->id.index,
                             outcome->id.term,
                             outcome->is_installed ? "is in force" : "was not needed any more");
    finished_ = {id, files.size(), outcome->id};
    has_previous_ = outcome->is_installed;
  }
  peer::FinishSnapshotResponse response;
  response.mutable_applied()->set_term(finished_->applied.term.value());
  response.mutable_applied()->set_index(finished_->applied.index.value());
  return response;
}

}  // namespace cairn::server
