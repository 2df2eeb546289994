// `wal dump`: every record of a log, one line each.
//
// Pure: no thread, clock, file or socket. Fed batch by batch by an inspection; keeps nothing but
// the place where it is.
#ifndef CAIRN_CMD_CAIRNUTL_WAL_DUMP_H_
#define CAIRN_CMD_CAIRNUTL_WAL_DUMP_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cmd/cairnutl/text.h"
#include "cmd/cairnutl/tool.h"
#include "raft/types.h"
#include "wal/inspector.h"

namespace cairn::cairnutl {

// What to show. A record that does not have what a filter asks about (a hard state has no index) is
// left out by it.
struct DumpFilter {
  std::optional<uint64_t> first_index;  // Inclusive, both.
  std::optional<uint64_t> last_index;
  std::optional<uint64_t> term;
  // Names of RecordTypeName; empty: all.
  std::vector<std::string> types;
  // Headers of batches too.
  bool with_batches = false;

  bool Admits(const wal::Record& record) const;
};

class WalDump {
 public:
  // `out` gets whole lines. Format::kJson: one object a line; else text.
  WalDump(DumpFilter filter, Format format, std::function<void(std::string_view)> out)
      : filter_(std::move(filter)), format_(format), out_(std::move(out)) {}

  // The inspection's visitor.
  bool Add(const wal::SeenBatch& batch);

 private:
  void ShowHeading(const wal::SeenBatch& batch);
  void ShowBatch(const wal::SeenBatch& batch);
  void ShowRecord(const wal::SeenBatch& batch, const wal::Record& record);

  const DumpFilter filter_;
  const Format format_;
  const std::function<void(std::string_view)> out_;
  std::optional<uint64_t> sequence_;
  bool is_behind_damage_ = false;
};

// One applied request as a line of JSON: index, term and what PutEntry adds.
std::string RequestLine(const raft::Entry& entry);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_WAL_DUMP_H_
