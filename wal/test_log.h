// Short ways to say what a test writes into a log.
#ifndef CAIRN_WAL_TEST_LOG_H_
#define CAIRN_WAL_TEST_LOG_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::wal {

inline constexpr Identity kTestIdentity{.cluster = ClusterId(0xc1), .member = MemberId(0x3e)};
inline const std::string kTestDirectory = "/data/wal";

inline raft::Entry MakeEntry(uint64_t index, uint64_t term, std::string data) {
  return {.term = Term(term),
          .index = Index(index),
          .kind = raft::EntryKind::kCommand,
          .data = std::make_shared<const std::string>(std::move(data))};
}

// Entries first..last of one term, each with data that names it, `data_bytes` long.
inline Append EntriesOf(uint64_t first, uint64_t last, uint64_t term, size_t data_bytes = 20) {
  Append append;
  for (uint64_t index = first; index <= last; ++index) {
    std::string data = "entry " + std::to_string(index) + " of " + std::to_string(term);
    data.resize(std::max(data_bytes, data.size()), '.');
    append.entries.push_back(MakeEntry(index, term, std::move(data)));
  }
  return append;
}

inline Append MarkerAt(uint64_t index, uint64_t term) {
  Append append;
  append.marker = Marker{.id = {.term = Term(term), .index = Index(index)}};
  return append;
}

inline absl::Status WriteAndSync(Wal& wal, const Append& append) {
  const absl::Status written = wal.Write({&append, 1});
  return written.ok() ? wal.Sync() : written;
}

// "index/term" of each, separated by spaces.
inline std::string Describe(const std::vector<raft::Entry>& entries) {
  std::string text;
  for (const raft::Entry& entry : entries) {
    if (!text.empty()) text += ' ';
    text += std::to_string(entry.index.value()) + '/' + std::to_string(entry.term.value());
  }
  return text;
}

}  // namespace cairn::wal

#endif  // CAIRN_WAL_TEST_LOG_H_
