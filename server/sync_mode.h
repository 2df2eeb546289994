// Members whose log is not synced before every acknowledgement (--wal-sync-mode): when that is
// allowed, and what follows from it at the next start.
//
// Such a member is alone in its cluster, learners counted: nobody else may ever hold what a power
// cut takes from it. Its log says so durably before the first such acknowledgement, and says the
// opposite when it stops in order or before another member is added. A start that finds neither is
// unclean: entries may be missing that clients have seen, so the revision is raised by more than
// may have been issued and lost, in an entry of the log. Main thread only, before the threads
// start.
#ifndef CAIRN_SERVER_SYNC_MODE_H_
#define CAIRN_SERVER_SYNC_MODE_H_

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "server/config.h"
#include "server/membership_change.h"
#include "wal/types.h"
#include "wal/wal.h"

namespace cairn::server {

// By how much an unclean start raises the revision. No more than wal::kUnsyncedBytesMax is ever
// written and not synced, and each revision takes more than a byte of it.
inline constexpr int64_t kRevisionRaise = 10'000'000;
static_assert(kRevisionRaise > static_cast<int64_t>(wal::kUnsyncedBytesMax));

// "always", "interval", "never".
std::string_view SyncModeName(wal::SyncMode mode);

// What a power cut may take, for people; empty in kAlways.
std::string SyncModeRisk(const Config& config);

// FAILED_PRECONDITION when `config` asks for a mode that a cluster of `members` (0: not known yet)
// may not have, or joins one.
absl::Status CheckSyncMode(const Config& config, size_t members);

// After an unclean start (`recovered.sync_mode`) appends the entry that raises the revision, synced
// together with the word that the log is synced always; nothing otherwise. `membership` is that of
// the state. FAILED_PRECONDITION when it does not fit such a log.
absl::Status RaiseRevisionIfUnclean(const Membership& membership, wal::Wal& wal,
                                    wal::Recovered& recovered);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SYNC_MODE_H_
