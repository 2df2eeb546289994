#include "wal/fault_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "wal/fs.h"

namespace cairn::wal {

namespace {

std::string DescribeChange(const std::string& directory, const FaultDisk::Change& change) {
  if (change.from.empty()) return fmt::format("create {}/{}", directory, change.to);
  if (change.to.empty()) return fmt::format("remove {}/{}", directory, change.from);
  return fmt::format("rename {}/{} to {}", directory, change.from, change.to);
}

}  // namespace

FaultDisk& FaultDisk::operator=(const FaultDisk& other) {
  if (this != &other) {
    directories_.clear();
    CopyFrom(other);
  }
  return *this;
}

void FaultDisk::CopyFrom(const FaultDisk& other) {
  std::map<const Node*, std::shared_ptr<Node>> copies;
  const auto copy_of = [&copies](const std::shared_ptr<Node>& node) {
    std::shared_ptr<Node>& copy = copies[node.get()];
    if (copy == nullptr) copy = std::make_shared<Node>(*node);
    return copy;
  };
  for (const auto& [path, from] : other.directories_) {
    Directory& to = directories_[path];
    for (const auto& [name, node] : from.now) to.now.emplace(name, copy_of(node));
    for (const auto& [name, node] : from.durable) to.durable.emplace(name, copy_of(node));
    for (const Change& change : from.changes) {
      to.changes.push_back({change.from, change.to, copy_of(change.node)});
    }
  }
}

void FaultDisk::Apply(const Change& change, Entries& entries) {
  if (!change.from.empty()) {
    const auto from = entries.find(change.from);
    // What a lost change should have brought cannot be renamed or removed.
    if (from == entries.end() || from->second != change.node) return;
    entries.erase(from);
  }
  if (!change.to.empty()) entries[change.to] = change.node;
}

void FaultDisk::KeepSector(Node& node, uint64_t sector) {
  const uint64_t at = sector * kSectorBytes;
  const size_t bytes = std::min<size_t>(kSectorBytes, node.now.size() - at);
  if (node.durable.size() < at + bytes) node.durable.resize(at + bytes, '\0');
  node.durable.replace(at, bytes, node.now, at, bytes);
}

// What the disk holds is what readers see.
void FaultDisk::Settle(Directory& directory) {
  directory.changes.clear();
  directory.now = directory.durable;
  for (auto& [name, node] : directory.now) {
    node->dirty.clear();
    node->now = node->durable;
  }
}

void FaultDisk::Crash(const std::function<bool()>& keep) {
  std::set<Node*> seen;
  for (auto& [path, directory] : directories_) {
    for (const Change& change : directory.changes) {
      if (keep()) Apply(change, directory.durable);
    }
    for (auto& [name, node] : directory.durable) {
      if (!seen.insert(node.get()).second) continue;
      for (const uint64_t sector : node->dirty) {
        if (keep()) KeepSector(*node, sector);
      }
    }
    Settle(directory);
  }
}

std::vector<FaultDisk::Effect> FaultDisk::Effects() {
  std::vector<Effect> effects;
  std::set<Node*> seen;
  const auto add_node = [&](const std::string& path, const std::shared_ptr<Node>& node) {
    if (!seen.insert(node.get()).second) return;
    for (const uint64_t sector : node->dirty) {
      effects.push_back({.node = node.get(), .sector = sector, .path = path});
    }
    if (node->now.size() > node->durable.size()) {
      effects.push_back({.node = node.get(), .path = path});
    }
  };
  for (auto& [path, directory] : directories_) {
    for (size_t i = 0; i < directory.changes.size(); ++i) {
      effects.push_back({.directory = &directory,
                         .change = i,
                         .path = DescribeChange(path, directory.changes[i])});
    }
    for (const auto& [name, node] : directory.now) add_node(fmt::format("{}/{}", path, name), node);
    for (const auto& [name, node] : directory.durable) {
      add_node(fmt::format("{}/{}", path, name), node);
    }
    for (const Change& change : directory.changes) {
      add_node(fmt::format("{}/{}", path, change.to), change.node);
    }
  }
  return effects;
}

std::vector<std::string> FaultDisk::Unsynced() const {
  // Effects only points at what it lists.
  const std::vector<Effect> effects = const_cast<FaultDisk*>(this)->Effects();
  std::vector<std::string> words;
  for (const Effect& effect : effects) {
    if (effect.directory != nullptr) {
      words.push_back(effect.path);
    } else if (effect.sector == kGrowth) {
      words.push_back(fmt::format("growth of {}", effect.path));
    } else {
      words.push_back(fmt::format("{} at {}", effect.path, effect.sector * kSectorBytes));
    }
  }
  return words;
}

void FaultDisk::CrashKeeping(const std::vector<bool>& kept) {
  const std::vector<Effect> effects = Effects();
  CAIRN_CHECK_EQ(effects.size(), kept.size());
  for (size_t i = 0; i < effects.size(); ++i) {
    if (!kept[i]) continue;
    const Effect& effect = effects[i];
    if (effect.directory != nullptr) {
      Apply(effect.directory->changes[effect.change], effect.directory->durable);
    } else if (effect.sector == kGrowth) {
      const size_t bytes = std::max(effect.node->durable.size(), effect.node->now.size());
      effect.node->durable.resize(bytes, '\0');
    } else {
      KeepSector(*effect.node, effect.sector);
    }
  }
  for (auto& [path, directory] : directories_) Settle(directory);
}

std::map<std::string, std::string> FaultDisk::Contents() const {
  std::map<std::string, std::string> contents;
  for (const auto& [path, directory] : directories_) {
    for (const auto& [name, node] : directory.now) {
      contents[fmt::format("{}/{}", path, name)] = node->now;
    }
  }
  return contents;
}

uint64_t FaultDisk::Fingerprint() const {
  // FNV over the hashes of names and contents.
  uint64_t print = 14695981039346656037U;
  const auto add = [&print](std::string_view bytes) {
    print = (print ^ std::hash<std::string_view>()(bytes)) * 1099511628211U;
  };
  for (const auto& [path, directory] : directories_) {
    add(path);
    for (const auto& [name, node] : directory.now) {
      add(name);
      add(node->now);
    }
  }
  return print;
}

}  // namespace cairn::wal
