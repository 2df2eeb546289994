#include "test/bench/log_filler.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/status.h"
#include "raft/types.h"
#include "server/command.h"
#include "test/bench/wire.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::bench {
namespace {

// What a batch of a server under the load of 100 clients holds.
constexpr uint64_t kBatchEntries = 100;

absl::Status WriteAndSync(wal::Wal& wal, const wal::Append& append) {
  CAIRN_RETURN_IF_ERROR(wal.Write({&append, 1}));
  return wal.Sync();
}

}  // namespace

absl::StatusOr<LogFill> FillLog(wal::Fs& fs, const std::string& directory, const Options& options) {
  if (options.operation != Operation::kPut || options.total == 0) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "a log is filled with --operation=put and a --total");
  }
  CAIRN_ASSIGN_OR_RETURN(const auto lock, fs.LockFile(directory + "/lock"));
  CAIRN_ASSIGN_OR_RETURN(const wal::Wal::Opened opened,
                         wal::Wal::Open(fs, directory, {}, std::nullopt));
  wal::Wal& wal = *opened.wal;
  const wal::Recovered& recovered = opened.recovered;
  const Term term = std::max(recovered.last.term, recovered.hard_state.term);
  server::CommandHeader header{.kind = server::CommandKind::kPut,
                               .proposer = recovered.identity.member,
                               // Of no process there ever was: nobody waits for these.
                               .nonce = 1};
  RequestSource source(options);
  std::string request;
  Index last = recovered.last.index;
  for (uint64_t number = 0; number < options.total;) {
    wal::Append append;
    append.commit = last;
    const uint64_t limit = std::min(options.total, number + kBatchEntries);
    for (; number < limit; ++number) {
      source.Encode(number, request);
      header.sequence = number;
      last = last + 1;
      append.entries.push_back(
          {.term = term,
           .index = last,
           .kind = raft::EntryKind::kCommand,
           .data = std::make_shared<const std::string>(server::EncodeCommand(header, request))});
    }
    CAIRN_RETURN_IF_ERROR(WriteAndSync(wal, append));
  }
  wal::Append committed;
  committed.commit = last;
  CAIRN_RETURN_IF_ERROR(WriteAndSync(wal, committed));
  CAIRN_RETURN_IF_ERROR(wal.WriteDurableThrough());
  CAIRN_RETURN_IF_ERROR(wal.Sync());
  return LogFill{.entries = options.total, .bytes = wal.figures().appended_bytes};
}

}  // namespace cairn::bench
