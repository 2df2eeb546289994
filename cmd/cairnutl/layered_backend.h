// Rows in memory above rows that are only read: a state that can be written without touching a
// disk.
//
// For a replay of the log by a tool. Owns what lies below and never writes to it. Holds every row
// that was written, so it is for the stretch of log that a start would replay, which is bounded
// (64 MiB of log or 400,000 entries). One thread at a time.
#ifndef CAIRN_CMD_CAIRNUTL_LAYERED_BACKEND_H_
#define CAIRN_CMD_CAIRNUTL_LAYERED_BACKEND_H_

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mvcc/backend.h"

namespace cairn::cairnutl {

class LayeredBackend final : public mvcc::Backend {
 public:
  explicit LayeredBackend(std::unique_ptr<mvcc::Backend> below) : below_(std::move(below)) {}

  absl::StatusOr<bool> Get(mvcc::Family family, std::string_view key,
                           absl::FunctionRef<void(std::string_view)> found) const override;
  std::unique_ptr<mvcc::RowIterator> NewIterator(mvcc::Family family, std::string_view limit,
                                                 mvcc::CacheUse cache_use) const override;
  std::unique_ptr<mvcc::RowBatch> NewBatch() const override;
  absl::Status Write(mvcc::RowBatch& batch) override;
  // Nothing here is ever durable.
  absl::Status Flush() override;
  absl::Status Checkpoint(const std::string& path) override;
  int64_t PhysicalSizeBytes() const override { return below_->PhysicalSizeBytes(); }
  int64_t BufferedBytes() const override { return 0; }  // A flush has nothing to write to.

 private:
  // Nothing for a row that was deleted.
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;
  class Batch;
  class Iterator;

  const Rows& rows(mvcc::Family family) const { return rows_[static_cast<size_t>(family)]; }

  const std::unique_ptr<mvcc::Backend> below_;
  std::array<Rows, mvcc::kFamilies> rows_;
};

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_LAYERED_BACKEND_H_
