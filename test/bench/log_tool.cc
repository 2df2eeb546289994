// What the workloads of the log need beside a load: prints one line of JSON.
//
//   log_tool sync DIRECTORY BATCH_BYTES PAIRS   times syncs there (sync_probe.h)
//   log_tool fill WAL_DIRECTORY FLAGS...        fills the log there (log_filler.h); the flags are
//                                               the driver's
//   log_tool figures HOST:PORT                  what a running Cairn says of its log
//
// Exit codes: 0 with a result, 1 without one, 2 for a bad command line.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "api/admin.grpc.pb.h"
#include "base/status.h"
#include "test/bench/log_filler.h"
#include "test/bench/options.h"
#include "test/bench/sync_probe.h"
#include "wal/posix_fs.h"

namespace cairn::bench {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{20};

absl::StatusOr<uint64_t> ParseNumber(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number <= UINT32_MAX) {
    return number;
  }
  return base::Error(absl::StatusCode::kInvalidArgument, "{}: not a number in range", text);
}

absl::Status Sync(const std::string& directory, std::string_view batch, std::string_view pairs) {
  CAIRN_ASSIGN_OR_RETURN(const uint64_t batch_bytes, ParseNumber(batch));
  CAIRN_ASSIGN_OR_RETURN(const uint64_t pair_count, ParseNumber(pairs));
  CAIRN_ASSIGN_OR_RETURN(const SyncTimes times, CompareSyncs(wal::PosixFs(), directory, batch_bytes,
                                                             static_cast<uint32_t>(pair_count)));
  fmt::print("{{\"filled_us\": {:.3f}, \"append_us\": {:.3f}}}\n", times.filled_us,
             times.append_us);
  return absl::OkStatus();
}

absl::Status Fill(const std::string& directory, const std::vector<std::string_view>& flags) {
  CAIRN_ASSIGN_OR_RETURN(const Options options, ParseOptions(flags));
  CAIRN_ASSIGN_OR_RETURN(const LogFill fill, FillLog(wal::PosixFs(), directory, options));
  fmt::print("{{\"entries\": {}, \"bytes\": {}}}\n", fill.entries, fill.bytes);
  return absl::OkStatus();
}

absl::Status Figures(const std::string& endpoint) {
  const auto channel = grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials());
  const auto stub = admin::v1::Admin::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kAnswerTimeout);
  admin::v1::LogResponse log;
  const grpc::Status status = stub->Log(&context, admin::v1::LogRequest(), &log);
  if (!status.ok()) return base::MakeStatus(absl::StatusCode::kUnavailable, status.error_message());
  fmt::print(
      "{{\"segments\": {}, \"used_bytes\": {}, \"disk_bytes\": {}, \"last_index\": {}, "
      "\"marker_index\": {}, \"spares_made\": {}, \"segments_removed\": {}, \"open_us\": {}, "
      "\"open_bytes\": {}, \"replayed_entries\": {}, \"replay_us\": {}}}\n",
      log.segments(), log.used_bytes(), log.disk_bytes(), log.last_index(), log.marker_index(),
      log.spares_made(), log.segments_removed(), log.open_us(), log.open_bytes(),
      log.replayed_entries(), log.replay_us());
  return absl::OkStatus();
}

int Main(const std::vector<std::string_view>& arguments) {
  absl::Status status = absl::InvalidArgumentError(
      "log_tool sync DIRECTORY BATCH_BYTES PAIRS | fill WAL_DIRECTORY FLAGS... | "
      "figures HOST:PORT");
  if (arguments.size() == 4 && arguments[0] == "sync") {
    status = Sync(std::string(arguments[1]), arguments[2], arguments[3]);
  } else if (arguments.size() > 2 && arguments[0] == "fill") {
    status = Fill(std::string(arguments[1]), {arguments.begin() + 2, arguments.end()});
  } else if (arguments.size() == 2 && arguments[0] == "figures") {
    status = Figures(std::string(arguments[1]));
  }
  if (status.ok()) return 0;
  fmt::print(stderr, "log_tool: {}\n", base::Message(status));
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  return cairn::bench::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
