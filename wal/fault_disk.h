// What a disk holds at one moment: what a power cut leaves, and beside it what it may take.
//
// A value: a copy shares nothing with the original, so that a test can try every outcome of one
// moment. FaultFs stands on one. Test only, unsynchronised.
//
// What may be lost is a list of effects, each kept or lost apart from all others:
//   - a 512-byte sector written since the last sync of its file,
//   - the growth of a file since then (its new sectors read as zeros where they are lost),
//   - a creation, rename or removal in a directory since its last sync; those that are kept happen
//     in order, and one whose file a lost one should have brought does nothing.
// A sector that was written twice since the last sync has its oldest or its newest content.
#ifndef CAIRN_WAL_FAULT_DISK_H_
#define CAIRN_WAL_FAULT_DISK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::wal {

class FaultDisk {
 public:
  FaultDisk() = default;
  FaultDisk(const FaultDisk& other) { CopyFrom(other); }
  FaultDisk& operator=(const FaultDisk& other);
  FaultDisk(FaultDisk&&) = default;
  FaultDisk& operator=(FaultDisk&&) = default;

  // A file's content; it may have several names, or none any more.
  struct Node {
    std::string now;           // What readers see.
    std::string durable;       // What is on the disk.
    std::set<uint64_t> dirty;  // Sectors of `now` that the next sync brings to the disk.
  };
  using Entries = std::map<std::string, std::shared_ptr<Node>, std::less<>>;

  // A change of a directory that is not synced yet.
  struct Change {
    std::string from;  // Empty: creation.
    std::string to;    // Empty: removal.
    std::shared_ptr<Node> node;
  };
  struct Directory {
    Entries now;
    Entries durable;
    std::vector<Change> changes;
  };

  // A power cut keeps those effects for which `keep` is true, asked in a fixed order. The growth of
  // a file is not asked for by itself: it comes with its sectors.
  void Crash(const std::function<bool()>& keep);

  // What a power cut may lose now, in words, one each; the order is that of CrashKeeping.
  std::vector<std::string> Unsynced() const;
  // A power cut that keeps effect i of Unsynced() if kept[i].
  void CrashKeeping(const std::vector<bool>& kept);

  // Names and contents, as readers see them, for comparing; `path` to content.
  std::map<std::string, std::string> Contents() const;
  // Equal for disks on which a power cut leaves the same whatever it takes: nothing is unsynced in
  // either, and contents are the same (but for collisions).
  uint64_t Fingerprint() const;

  // The parts that FaultFs works on.
  std::map<std::string, Directory, std::less<>>& directories() { return directories_; }
  const std::map<std::string, Directory, std::less<>>& directories() const { return directories_; }
  static void Apply(const Change& change, Entries& entries);

 private:
  struct Effect {
    Directory* directory = nullptr;  // Of a change,
    size_t change = 0;               // and its place there; or
    Node* node = nullptr;            // of a sector or of growth.
    uint64_t sector = kGrowth;
    std::string path;
  };
  static constexpr uint64_t kGrowth = ~uint64_t{0};

  void CopyFrom(const FaultDisk& other);
  std::vector<Effect> Effects();
  static void KeepSector(Node& node, uint64_t sector);
  static void Settle(Directory& directory);

  std::map<std::string, Directory, std::less<>> directories_;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_FAULT_DISK_H_
