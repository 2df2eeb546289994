#include "test/crash_points/report.h"

#include <fmt/format.h>

#include <random>

#include "wal/format.h"

namespace cairn::crash_points {

namespace {

using wal::FaultOperation;

std::string_view Verb(FaultOperation operation) {
  switch (operation) {
    case FaultOperation::kCreate:
      return "create";
    case FaultOperation::kWrite:
      return "write";
    case FaultOperation::kSync:
      return "sync";
    case FaultOperation::kRename:
      return "rename";
    case FaultOperation::kRemove:
      return "remove";
    case FaultOperation::kSyncDirectory:
      return "sync directory";
    case FaultOperation::kRead:
    case FaultOperation::kOpen:
      break;
  }
  return "read";
}

// What kind of file it is: "*.wal", "*.wal.broken", "CURRENT.new".
std::string KindOf(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  if (const size_t wal = name.find(".wal"); wal != std::string_view::npos) {
    name.remove_prefix(wal);
    if (name.starts_with(".wal.broken")) name = ".wal.broken";
    return "*" + std::string(name);
  }
  return std::string(name);
}

std::vector<bool> Random(size_t count, std::mt19937_64& random) {
  // Some keep nearly all, some nearly nothing.
  const uint64_t keep_of_8 = 1 + random() % 7;
  std::vector<bool> kept(count);
  for (size_t i = 0; i < count; ++i) kept[i] = random() % 8 < keep_of_8;
  return kept;
}

}  // namespace

std::vector<std::vector<bool>> Subsets(size_t count, const Bounds& bounds, uint64_t seed) {
  std::vector<std::vector<bool>> subsets;
  if (count <= bounds.exhaustive_max) {
    for (uint64_t bits = 0; bits < uint64_t{1} << count; ++bits) {
      std::vector<bool>& kept = subsets.emplace_back(count);
      for (size_t i = 0; i < count; ++i) kept[i] = ((bits >> i) & 1) != 0;
    }
    return subsets;
  }
  for (const bool rest : {false, true}) {
    subsets.emplace_back(count, rest);
    for (size_t i = 0; i < count; ++i) subsets.emplace_back(count, rest)[i] = !rest;
  }
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < bounds.random_subsets; ++i) subsets.push_back(Random(count, random));
  return subsets;
}

std::vector<std::vector<bool>> FewSubsets(size_t count, size_t few, uint64_t seed) {
  std::vector<std::vector<bool>> subsets = {std::vector<bool>(count, false)};
  if (count == 0) return subsets;
  subsets.emplace_back(count, true);
  std::mt19937_64 random(seed);
  while (subsets.size() < few) subsets.push_back(Random(count, random));
  return subsets;
}

std::string DescribeStep(const wal::FaultStep& step) {
  std::string words(Verb(step.operation));
  if (step.operation == FaultOperation::kSyncDirectory) {
    return fmt::format("{} {}", words, step.path);
  }
  if (step.operation == FaultOperation::kWrite) {
    if (wal::IsAllZero(step.bytes)) {
      words += " zeros to";
    } else if (step.offset_bytes == 0 && step.path.ends_with(".wal")) {
      words += " header of";
    }
  }
  words += " " + KindOf(step.path);
  if (step.operation == FaultOperation::kRename) words += " to " + KindOf(step.to);
  return words;
}

Report::Row Report::Total() const {
  Row total;
  for (const auto& [name, row] : rows_) {
    total.points += row.points;
    total.outcomes += row.outcomes;
    total.images += row.images;
    total.recoveries += row.recoveries;
  }
  return total;
}

void Report::Print() const {
  fmt::print("{:<58} {:>7} {:>9} {:>8} {:>10}\n", "before this step", "points", "outcomes",
             "images", "recoveries");
  const auto print = [](std::string_view name, const Row& row) {
    fmt::print("{:<58} {:>7} {:>9} {:>8} {:>10}\n", name, row.points, row.outcomes, row.images,
               row.recoveries);
  };
  for (const auto& [name, row] : rows_) print(name, row);
  print("total", Total());
}

std::vector<std::string> Report::Missing(std::span<const std::string_view> expected) const {
  std::vector<std::string> missing;
  for (const std::string_view name : expected) {
    if (!rows_.contains(std::string(name))) missing.emplace_back(name);
  }
  return missing;
}

}  // namespace cairn::crash_points
