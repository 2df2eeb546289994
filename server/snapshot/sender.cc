#include "server/snapshot/sender.h"

#include <glog/logging.h>

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "api/peer.pb.h"
#include "base/crc32c.h"
#include "base/fail_point.h"
#include "base/status.h"
#include "base/thread.h"
#include "server/peer/codec.h"
#include "server/rpc/proto.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often a call that waits looks whether it should.
constexpr milliseconds kStopPoll{50};

// Whether the same snapshot may still arrive when it is tried again.
bool IsPassing(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kNotFound:  // The peer has restarted meanwhile.
      return true;
    default:
      return false;
  }
}

}  // namespace

SnapshotSender::SnapshotSender(SnapshotSenderOptions options, wal::Fs& fs, Checkpoints& checkpoints)
    : options_(std::move(options)), fs_(fs), checkpoints_(checkpoints) {}

SnapshotSender::~SnapshotSender() { Stop(); }

void SnapshotSender::Send(const raft::SnapshotWanted& wanted) {
  base::MutexLock lock(mutex_);
  if (stopping_) return;
  Transfer& transfer = transfers_[wanted.peer];
  if (transfer.thread.joinable()) {
    // The end of the one under way is told; then the core knows more, and asks again if it must.
    if (!transfer.is_done) return;
    transfer.thread.join();
  }
  transfer.is_done = false;
  transfer.thread = std::thread([this, wanted] { Run(wanted); });
}

void SnapshotSender::Stop() {
  std::map<MemberId, Transfer> transfers;
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    transfers.swap(transfers_);
    wake_.SignalAll();
  }
  for (auto& [peer, transfer] : transfers) {
    if (transfer.thread.joinable()) transfer.thread.join();
  }
}

void SnapshotSender::Run(const raft::SnapshotWanted& wanted) {
  base::NameThread("snapshot-out");
  const absl::StatusOr<Index> sent = SendSnapshot(wanted);
  if (sent.ok()) {
    LOG(INFO) << fmt::format("member {:x} has the snapshot through index {}", wanted.peer, *sent);
  } else if (!stopping()) {
    LOG(WARNING) << fmt::format("no snapshot for member {:x}: {}", wanted.peer,
                                base::Message(sent.status()));
    Rest(options_.failure_pause);
  }
  {
    base::MutexLock lock(mutex_);
    if (stopping_) return;
    // Before the core is told: it may ask for the next at once.
    transfers_[wanted.peer].is_done = true;
  }
  options_.on_status(wanted.peer, sent.value_or(Index(0)), sent.ok());
}

absl::StatusOr<Index> SnapshotSender::SendSnapshot(const raft::SnapshotWanted& wanted) {
  CAIRN_ASSIGN_OR_RETURN(const std::shared_ptr<const Checkpoint> checkpoint,
                         checkpoints_.Take(wanted.index));
  SnapshotPosition position;
  auto progress_at = steady_clock::now();
  for (size_t tries = 0;; ++tries) {
    const std::vector<std::string> addresses = options_.addresses_of(wanted.peer);
    if (addresses.empty()) {
      return base::MakeStatus(absl::StatusCode::kAborted, "it is no member any more");
    }
    const std::unique_ptr<rpc::ClientConnection> connection =
        options_.connect(addresses[tries % addresses.size()]);
    const SnapshotPosition before = position;
    absl::StatusOr<Index> sent = SendAll(wanted, *checkpoint, *connection, position);
    if (sent.ok() || !IsPassing(sent.status())) return sent;
    const auto now = steady_clock::now();
    if (position != before) progress_at = now;
    if (now - progress_at > options_.stall_max) return sent;
    VLOG(1) << fmt::format("the snapshot for member {:x} stopped at file {}, offset {}: {}",
                           wanted.peer, position.file, position.offset_bytes,
                           base::Message(sent.status()));
    if (!Rest(options_.retry_pause)) return sent;
  }
}

absl::StatusOr<Index> SnapshotSender::SendAll(const raft::SnapshotWanted& wanted,
                                              const Checkpoint& checkpoint,
                                              rpc::ClientConnection& connection,
                                              SnapshotPosition& position) {
  peer::BeginSnapshotRequest begin;
  *begin.mutable_greeting() = MakeGreeting(options_.identity, wanted.peer);
  begin.set_snapshot_id(checkpoint.id);
  begin.set_term(wanted.term.value());
  begin.mutable_applied()->set_term(checkpoint.applied.term.value());
  begin.mutable_applied()->set_index(checkpoint.applied.index.value());
  for (const SnapshotFile& file : checkpoint.files) {
    peer::SnapshotFile& described = *begin.add_files();
    described.set_name(file.name);
    described.set_size_bytes(file.size_bytes);
    described.set_checksum(file.checksum);
  }
  peer::SnapshotPosition at;
  CAIRN_RETURN_IF_ERROR(CallPeer(connection, "BeginSnapshot", begin, at));
  position = {at.file(), at.offset_bytes()};
  while (position.file < checkpoint.files.size()) {
    if (stopping() || !options_.leads_in(wanted.term) || checkpoints_.IsTooOld(checkpoint)) {
      return base::MakeStatus(absl::StatusCode::kAborted,
                              "this member leads no more, is stopping, or the copy is too old");
    }
    CAIRN_RETURN_IF_ERROR(SendPart(checkpoint, connection, position));
    base::FailPoint("server.snapshot.part_sent");
  }
  peer::FinishSnapshotRequest finish;
  finish.set_snapshot_id(checkpoint.id);
  peer::FinishSnapshotResponse finished;
  CAIRN_RETURN_IF_ERROR(CallPeer(connection, "FinishSnapshot", finish, finished));
  CAIRN_RETURN_IF_ERROR(CheckTermOrIndex(finished.applied().index()));
  return Index(finished.applied().index());
}

absl::Status SnapshotSender::SendPart(const Checkpoint& checkpoint,
                                      rpc::ClientConnection& connection,
                                      SnapshotPosition& position) {
  const SnapshotFile& file = checkpoint.files[position.file];
  if (position.offset_bytes >= file.size_bytes) {
    return base::MakeStatus(absl::StatusCode::kInternal, "the peer asks for what is not there");
  }
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<wal::File> from,
                         fs_.OpenForReading(fmt::format("{}/{}", checkpoint.path, file.name)));
  std::string data(std::min<uint64_t>(options_.part_bytes, file.size_bytes - position.offset_bytes),
                   '\0');
  CAIRN_ASSIGN_OR_RETURN(const size_t size,
                         from->Read(position.offset_bytes, data.data(), data.size()));
  if (size < data.size()) {
    return base::Error(absl::StatusCode::kDataLoss, "{}/{} has become shorter", checkpoint.path,
                       file.name);
  }
  Pace(data.size());
  peer::SnapshotPart part;
  part.set_snapshot_id(checkpoint.id);
  part.mutable_position()->set_file(static_cast<uint32_t>(position.file));
  part.mutable_position()->set_offset_bytes(position.offset_bytes);
  part.set_checksum(base::Crc32c(data));
  part.set_data(std::move(data));
  peer::SnapshotPosition at;
  CAIRN_RETURN_IF_ERROR(CallPeer(connection, "SendSnapshotPart", part, at));
  position = {at.file(), at.offset_bytes()};
  return absl::OkStatus();
}

absl::Status SnapshotSender::CallPeer(rpc::ClientConnection& connection, std::string_view method,
                                      const google::protobuf::MessageLite& request,
                                      google::protobuf::MessageLite& response) {
  auto answer = std::make_shared<std::promise<absl::StatusOr<std::string>>>();
  std::future<absl::StatusOr<std::string>> outcome = answer->get_future();
  connection.Call(fmt::format("/cairn.peer.Peer/{}", method), rpc::SliceList(rpc::Encode(request)),
                  options_.call_timeout, [answer](absl::StatusOr<std::string> bytes) {
                    answer->set_value(std::move(bytes));
                  });
  // A stop waits for no peer; the answer then finds nobody.
  while (outcome.wait_for(kStopPoll) != std::future_status::ready) {
    if (stopping()) return base::MakeStatus(absl::StatusCode::kAborted, "stopping");
  }
  const absl::StatusOr<std::string> bytes = outcome.get();
  CAIRN_RETURN_IF_ERROR(bytes.status());
  if (!response.ParseFromString(*bytes)) {
    return base::Error(absl::StatusCode::kInternal, "{}: an answer that is none", method);
  }
  return absl::OkStatus();
}

void SnapshotSender::Pace(size_t bytes) {
  if (options_.bytes_per_second == 0) return;
  base::MutexLock lock(mutex_);
  const auto now = steady_clock::now();
  const auto start = std::max(now, next_byte_);
  next_byte_ = start + std::chrono::nanoseconds(bytes * 1'000'000'000 / options_.bytes_per_second);
  while (!stopping_ && wake_.WaitUntil(mutex_, start)) {
  }
}

bool SnapshotSender::Rest(milliseconds time) {
  const auto end = steady_clock::now() + time;
  base::MutexLock lock(mutex_);
  while (!stopping_ && wake_.WaitUntil(mutex_, end)) {
  }
  return !stopping_;
}

}  // namespace cairn::server
