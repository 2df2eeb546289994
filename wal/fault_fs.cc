#include "wal/fault_fs.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace cairn::wal {

namespace {

std::pair<std::string_view, std::string_view> Split(std::string_view path) {
  const size_t slash = path.rfind('/');
  CAIRN_CHECK(slash != std::string_view::npos, std::string(path));
  return {path.substr(0, slash), path.substr(slash + 1)};
}

absl::Status NotFound(std::string_view path) {
  return base::Error(absl::StatusCode::kNotFound, "{}: no such file", path);
}

}  // namespace

class FaultFile : public File {
 public:
  FaultFile(FaultFs& fs, std::shared_ptr<FaultFs::Node> node, uint64_t generation,
            std::string_view path)
      : fs_(fs), node_(std::move(node)), generation_(generation), path_(path) {}

  absl::StatusOr<size_t> Read(uint64_t offset_bytes, char* to, size_t size_bytes) const override {
    return fs_.ReadNode(*node_, generation_, path_, offset_bytes, to, size_bytes);
  }
  absl::Status Write(uint64_t offset_bytes, std::string_view bytes) override {
    return fs_.WriteNode(*node_, generation_, path_, offset_bytes, bytes);
  }
  absl::Status Sync() override { return fs_.SyncNode(*node_, generation_, path_); }
  absl::StatusOr<uint64_t> SizeBytes() const override {
    base::MutexLock lock(fs_.mutex_);
    return node_->now.size();
  }

 private:
  FaultFs& fs_;
  const std::shared_ptr<FaultFs::Node> node_;
  const uint64_t generation_;
  const std::string path_;
};

class FaultLock : public FileLock {
 public:
  FaultLock(FaultFs& fs, std::string path) : fs_(fs), path_(std::move(path)) {}
  ~FaultLock() override {
    base::MutexLock lock(fs_.mutex_);
    fs_.locks_.erase(path_);
  }

 private:
  FaultFs& fs_;
  const std::string path_;
};

absl::Status FaultFs::Enter(const FaultStep& step) {
  if (operations_ >= power_off_at_) {
    return base::Error(absl::StatusCode::kInternal, "{}: the power is off", step.path);
  }
  const auto fault = faults_.find(step.operation);
  if (fault != faults_.end() && fault->second.after-- == 0) {
    const absl::StatusCode code = fault->second.code;
    faults_.erase(fault);
    return base::Error(code, "{}: failed on cue", step.path);
  }
  if (step.operation == FaultOperation::kRead || step.operation == FaultOperation::kOpen) {
    return absl::OkStatus();
  }
  if (step_observer_) step_observer_(step, disk_);
  ++operations_;
  if (operations_ >= power_off_at_ && step.operation != FaultOperation::kWrite) {
    return base::Error(absl::StatusCode::kInternal, "{}: the power fails", step.path);
  }
  return absl::OkStatus();
}

FaultFs::Directory* FaultFs::FindDirectory(std::string_view file) {
  const auto directory = disk_.directories().find(Split(file).first);
  return directory == disk_.directories().end() ? nullptr : &directory->second;
}

std::string FaultFs::NameNow(const Node& node, std::string_view path) const {
  if (!step_observer_) return std::string(path);
  const auto directory = disk_.directories().find(Split(path).first);
  if (directory == disk_.directories().end()) return std::string(path);
  for (const auto& [name, entry] : directory->second.now) {
    if (entry.get() == &node) return fmt::format("{}/{}", directory->first, name);
  }
  return std::string(path);
}

std::shared_ptr<FaultFs::Node> FaultFs::FindNode(std::string_view file) const {
  const auto [parent, name] = Split(file);
  const auto directory = disk_.directories().find(parent);
  if (directory == disk_.directories().end()) return nullptr;
  const auto node = directory->second.now.find(name);
  return node == directory->second.now.end() ? nullptr : node->second;
}

absl::Status FaultFs::CreateDirectory(std::string_view path) {
  base::MutexLock lock(mutex_);
  disk_.directories().try_emplace(std::string(path));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultFs::ListDirectory(std::string_view path) {
  base::MutexLock lock(mutex_);
  const auto directory = disk_.directories().find(path);
  if (directory == disk_.directories().end()) return NotFound(path);
  std::vector<std::string> names;
  for (const auto& [name, node] : directory->second.now) names.push_back(name);
  return names;
}

absl::Status FaultFs::SyncDirectory(std::string_view path) {
  base::MutexLock lock(mutex_);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kSyncDirectory, .path = path}));
  const auto directory = disk_.directories().find(path);
  // Parents are durable at once.
  if (directory == disk_.directories().end()) return absl::OkStatus();
  directory->second.durable = directory->second.now;
  directory->second.changes.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<File>> FaultFs::Create(std::string_view path) {
  base::MutexLock lock(mutex_);
  Directory* directory = FindDirectory(path);
  if (directory == nullptr) return NotFound(path);
  if (FindNode(path) != nullptr) {
    return base::Error(absl::StatusCode::kAlreadyExists, "{}: exists", path);
  }
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kCreate, .path = path}));
  const Change change{
      .from = "", .to = std::string(Split(path).second), .node = std::make_shared<Node>()};
  FaultDisk::Apply(change, directory->now);
  directory->changes.push_back(change);
  return std::make_unique<FaultFile>(*this, change.node, generation_, path);
}

absl::StatusOr<std::unique_ptr<File>> FaultFs::Open(std::string_view path) {
  base::MutexLock lock(mutex_);
  std::shared_ptr<Node> node = FindNode(path);
  if (node == nullptr) return NotFound(path);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kOpen, .path = path}));
  return std::make_unique<FaultFile>(*this, std::move(node), generation_, path);
}

absl::StatusOr<std::unique_ptr<File>> FaultFs::OpenForWriting(std::string_view path) {
  return Open(path);
}

absl::StatusOr<std::unique_ptr<File>> FaultFs::OpenForReading(std::string_view path) {
  return Open(path);
}

absl::Status FaultFs::Rename(std::string_view from, std::string_view to) {
  base::MutexLock lock(mutex_);
  return RenameLocked(from, to);
}

absl::Status FaultFs::RenameNew(std::string_view from, std::string_view to) {
  base::MutexLock lock(mutex_);
  if (FindNode(to) != nullptr) {
    return base::Error(absl::StatusCode::kAlreadyExists, "{}: exists", to);
  }
  return RenameLocked(from, to);
}

absl::Status FaultFs::RenameLocked(std::string_view from, std::string_view to) {
  CAIRN_CHECK(Split(from).first == Split(to).first, "only within one directory");
  std::shared_ptr<Node> node = FindNode(from);
  if (node == nullptr) return NotFound(from);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kRename, .path = from, .to = to}));
  Directory* directory = FindDirectory(from);
  const Change change{.from = std::string(Split(from).second),
                      .to = std::string(Split(to).second),
                      .node = std::move(node)};
  FaultDisk::Apply(change, directory->now);
  directory->changes.push_back(change);
  return absl::OkStatus();
}

absl::Status FaultFs::Remove(std::string_view path) {
  base::MutexLock lock(mutex_);
  std::shared_ptr<Node> node = FindNode(path);
  if (node == nullptr) return NotFound(path);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kRemove, .path = path}));
  Directory* directory = FindDirectory(path);
  const Change change{.from = std::string(Split(path).second), .to = "", .node = std::move(node)};
  FaultDisk::Apply(change, directory->now);
  directory->changes.push_back(change);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultFs::LockFile(std::string_view path) {
  base::MutexLock lock(mutex_);
  if (!locks_.insert(std::string(path)).second) {
    return base::Error(absl::StatusCode::kUnavailable, "{}: another process holds the lock", path);
  }
  return std::make_unique<FaultLock>(*this, std::string(path));
}

absl::StatusOr<size_t> FaultFs::ReadNode(const Node& node, uint64_t generation,
                                         std::string_view path, uint64_t offset_bytes, char* to,
                                         size_t size_bytes) {
  base::MutexLock lock(mutex_);
  CAIRN_CHECK_EQ(generation, generation_);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kRead, .path = path}));
  if (const auto spoiled = spoiled_.find(path); spoiled != spoiled_.end()) {
    const auto at = spoiled->second.lower_bound(offset_bytes);
    if (at != spoiled->second.end() && *at < offset_bytes + size_bytes) {
      return base::Error(absl::StatusCode::kDataLoss, "{}: a sector is spoiled", path);
    }
  }
  if (offset_bytes >= node.now.size()) return size_t{0};
  const size_t bytes = std::min<size_t>(size_bytes, node.now.size() - offset_bytes);
  std::memcpy(to, node.now.data() + offset_bytes, bytes);
  return bytes;
}

absl::Status FaultFs::WriteNode(Node& node, uint64_t generation, std::string_view path,
                                uint64_t offset_bytes, std::string_view bytes) {
  base::MutexLock lock(mutex_);
  CAIRN_CHECK_EQ(generation, generation_);
  const std::string name = NameNow(node, path);
  CAIRN_RETURN_IF_ERROR(Enter({.operation = FaultOperation::kWrite,
                               .path = name,
                               .offset_bytes = offset_bytes,
                               .bytes = bytes}));
  const uint64_t limit = offset_bytes + bytes.size();
  if (limit > node.now.size()) {
    if (UsedBytes() + limit - node.now.size() > capacity_bytes_) {
      return base::Error(absl::StatusCode::kResourceExhausted, "{}: the disk is full", path);
    }
    node.now.resize(limit, '\0');
  }
  node.now.replace(offset_bytes, bytes.size(), bytes);
  for (uint64_t at = offset_bytes / kSectorBytes; at * kSectorBytes < limit; ++at) {
    node.dirty.insert(at);
  }
  if (operations_ >= power_off_at_) {
    return base::Error(absl::StatusCode::kInternal, "{}: the power fails", path);
  }
  return absl::OkStatus();
}

absl::Status FaultFs::SyncNode(Node& node, uint64_t generation, std::string_view path) {
  base::MutexLock lock(mutex_);
  CAIRN_CHECK_EQ(generation, generation_);
  const std::string name = NameNow(node, path);
  absl::Status entered = Enter({.operation = FaultOperation::kSync, .path = name});
  if (!entered.ok()) {
    if (operations_ < power_off_at_) node.dirty.clear();
    return entered;
  }
  node.durable.resize(std::max(node.durable.size(), node.now.size()), '\0');
  for (const uint64_t sector : node.dirty) {
    const uint64_t at = sector * kSectorBytes;
    const size_t bytes = std::min<size_t>(kSectorBytes, node.now.size() - at);
    node.durable.replace(at, bytes, node.now, at, bytes);
  }
  node.dirty.clear();
  return absl::OkStatus();
}

void FaultFs::PowerOff() {
  base::MutexLock lock(mutex_);
  power_off_at_ = operations_;
}

void FaultFs::PowerOffAfter(uint64_t operations) {
  base::MutexLock lock(mutex_);
  power_off_at_ = operations_ + operations;
}

uint64_t FaultFs::operations() const {
  base::MutexLock lock(mutex_);
  return operations_;
}

void FaultFs::Crash(uint64_t seed) {
  base::MutexLock lock(mutex_);
  std::mt19937_64 random(seed);
  // Some crashes keep nearly all, some nearly nothing: both find other mistakes than a fair coin.
  const uint64_t keep_of_16 = random() % 17;
  const auto keep = [&] { return random() % 16 < keep_of_16; };
  disk_.Crash(keep);
  ComeBack();
}

void FaultFs::CrashKeeping(const std::vector<bool>& kept) {
  base::MutexLock lock(mutex_);
  disk_.CrashKeeping(kept);
  ComeBack();
}

void FaultFs::CrashKeepingNothing() {
  base::MutexLock lock(mutex_);
  disk_.Crash([] { return false; });
  ComeBack();
}

void FaultFs::Restart() {
  base::MutexLock lock(mutex_);
  ComeBack();
}

void FaultFs::ComeBack() {
  locks_.clear();
  faults_.clear();
  power_off_at_ = std::numeric_limits<uint64_t>::max();
  ++generation_;
}

void FaultFs::FailOnce(FaultOperation operation, absl::StatusCode code, uint64_t after) {
  base::MutexLock lock(mutex_);
  faults_[operation] = {.code = code, .after = after};
}

bool FaultFs::has_fault() const {
  base::MutexLock lock(mutex_);
  return !faults_.empty();
}

void FaultFs::set_step_observer(StepObserver observer) {
  base::MutexLock lock(mutex_);
  step_observer_ = std::move(observer);
}

FaultDisk FaultFs::disk() const {
  base::MutexLock lock(mutex_);
  return disk_;
}

void FaultFs::set_capacity_bytes(uint64_t bytes) {
  base::MutexLock lock(mutex_);
  capacity_bytes_ = bytes;
}

std::string FaultFs::Content(std::string_view path) const {
  base::MutexLock lock(mutex_);
  const std::shared_ptr<Node> node = FindNode(path);
  return node == nullptr ? std::string() : node->now;
}

std::map<std::string, std::string> FaultFs::Contents() const {
  base::MutexLock lock(mutex_);
  return disk_.Contents();
}

bool FaultFs::Exists(std::string_view path) const {
  base::MutexLock lock(mutex_);
  return FindNode(path) != nullptr;
}

void FaultFs::SetContent(std::string_view path, std::string content) {
  base::MutexLock lock(mutex_);
  std::shared_ptr<Node> node = FindNode(path);
  if (node == nullptr) {
    node = std::make_shared<Node>();
    Directory& directory = disk_.directories()[std::string(Split(path).first)];
    directory.now[std::string(Split(path).second)] = node;
    directory.durable[std::string(Split(path).second)] = node;
  }
  node->dirty.clear();
  node->durable = content;
  node->now = std::move(content);
}

void FaultFs::SpoilByte(std::string_view path, uint64_t offset_bytes) {
  base::MutexLock lock(mutex_);
  spoiled_[std::string(path)].insert(offset_bytes);
}

void FaultFs::FlipBit(std::string_view path, uint64_t offset_bytes, int bit) {
  std::string content = Content(path);
  CAIRN_CHECK_LT(offset_bytes, content.size());
  content[offset_bytes] = static_cast<char>(content[offset_bytes] ^ (1 << bit));
  SetContent(path, std::move(content));
}

uint64_t FaultFs::used_bytes() const {
  base::MutexLock lock(mutex_);
  return UsedBytes();
}

std::vector<FaultFs::SectorPlace> FaultFs::UnsyncedSectors() const {
  base::MutexLock lock(mutex_);
  std::vector<SectorPlace> places;
  for (const auto& [path, directory] : disk_.directories()) {
    for (const auto& [name, node] : directory.now) {
      for (const uint64_t sector : node->dirty) {
        places.push_back({fmt::format("{}/{}", path, name), sector * kSectorBytes});
      }
    }
  }
  return places;
}

uint64_t FaultFs::UsedBytes() const {
  uint64_t bytes = 0;
  for (const auto& [path, directory] : disk_.directories()) {
    for (const auto& [name, node] : directory.now) bytes += node->now.size();
  }
  return bytes;
}

}  // namespace cairn::wal
