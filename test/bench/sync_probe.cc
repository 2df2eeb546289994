#include "test/bench/sync_probe.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "base/status.h"
#include "wal/format.h"
#include "wal/segment_file.h"

namespace cairn::bench {
namespace {

constexpr char kGrowingName[] = "growing";

double MedianUs(std::vector<int64_t>& times_ns) {
  const auto middle = times_ns.begin() + static_cast<ptrdiff_t>(times_ns.size() / 2);
  std::nth_element(times_ns.begin(), middle, times_ns.end());
  return static_cast<double>(*middle) / 1000;
}

absl::Status WriteAndSync(wal::File& file, uint64_t offset, std::string_view bytes,
                          std::vector<int64_t>& times_ns) {
  const auto begin = std::chrono::steady_clock::now();
  CAIRN_RETURN_IF_ERROR(file.Write(offset, bytes));
  CAIRN_RETURN_IF_ERROR(file.Sync());
  times_ns.push_back((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SyncTimes> CompareSyncs(wal::Fs& fs, const std::string& directory,
                                       size_t batch_bytes, uint32_t pairs) {
  if (batch_bytes == 0 || batch_bytes % wal::kSectorBytes != 0 || pairs == 0) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "{} batches of {} bytes: some of whole sectors of {} are needed", pairs,
                       batch_bytes, wal::kSectorBytes);
  }
  // Fills and syncs it as the log does. It is never written behind its end.
  const uint64_t size_bytes = std::max<uint64_t>(wal::kSegmentBytesMin, batch_bytes * pairs);
  CAIRN_ASSIGN_OR_RETURN(auto maker, wal::SegmentMaker::Begin(fs, directory, 1, size_bytes));
  CAIRN_RETURN_IF_ERROR(maker.Fill({}));
  const std::string growing_path = wal::PathOf(directory, kGrowingName);
  CAIRN_ASSIGN_OR_RETURN(const auto growing, fs.Create(growing_path));
  CAIRN_ASSIGN_OR_RETURN(const wal::SegmentFile segment, maker.Finish());

  std::string batch(batch_bytes, '\0');
  std::mt19937_64 random(1);
  std::generate(batch.begin(), batch.end(), [&random] { return static_cast<char>(random()); });
  std::vector<int64_t> filled_ns;
  std::vector<int64_t> append_ns;
  for (uint32_t i = 0; i < pairs; ++i) {
    const uint64_t offset = uint64_t{i} * batch_bytes;
    if (i % 2 == 0) {
      CAIRN_RETURN_IF_ERROR(WriteAndSync(*segment.file, offset, batch, filled_ns));
    }
    CAIRN_RETURN_IF_ERROR(WriteAndSync(*growing, offset, batch, append_ns));
    if (i % 2 != 0) {
      CAIRN_RETURN_IF_ERROR(WriteAndSync(*segment.file, offset, batch, filled_ns));
    }
  }
  CAIRN_RETURN_IF_ERROR(fs.Remove(growing_path));
  CAIRN_RETURN_IF_ERROR(fs.Remove(wal::PathOf(directory, wal::SegmentName(segment.sequence))));
  return SyncTimes{.filled_us = MedianUs(filled_ns), .append_us = MedianUs(append_ns)};
}

}  // namespace cairn::bench
