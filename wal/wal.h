// The log of one member: a directory of segments, appended to, read back, and forgotten piece by
// piece.
//
// One thread writes (Write, Sync, WriteDurableThrough): server code uses LogThread for that. Every
// other function may run on any thread, beside the writer. FORMAT.md has the bytes, README.md the
// invariants. The log never interprets an entry, never decides what may be removed (the caller says
// what is durable elsewhere), and never goes on after a failed write or sync: the first such error
// is returned by every later call.
#ifndef CAIRN_WAL_WAL_H_
#define CAIRN_WAL_WAL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "raft/types.h"
#include "wal/fs.h"
#include "wal/pins.h"
#include "wal/types.h"

namespace cairn::wal {

class WalImpl;

class Wal {
 public:
  struct Opened;

  // Makes a fresh log in `directory` (created with mode 0700 if need be), durable when this
  // returns. kAlreadyExists when there is a log. Leftovers of a Create that was interrupted are
  // replaced. `fs` must outlive the log. One process at a time: the caller holds a lock
  // (Fs::LockFile).
  static absl::StatusOr<Opened> Create(Fs& fs, std::string directory, Options options,
                                       Identity identity);

  // Opens an existing log: judges it, cuts a torn tail, and makes everything recovered durable
  // before it returns. Errors name the segment file, the offset and the remedy:
  //   kNotFound            no log in the directory (or none that Create had finished),
  //   kFailedPrecondition  the log of another cluster or member than `expected`,
  //   kUnimplemented       written by a newer format,
  //   kDataLoss            damaged: bytes that were durable are missing or changed; nothing was
  //                        touched,
  //   others               from the file system.
  static absl::StatusOr<Opened> Open(Fs& fs, std::string directory, Options options,
                                     std::optional<Identity> expected);

  ~Wal();
  Wal(const Wal&) = delete;
  Wal& operator=(const Wal&) = delete;

  // Writes `appends` as one batch, whole or not at all after a crash. Durable only after Sync.
  // Moves to the next segment when the batch does not fit. An error is final.
  absl::Status Write(std::span<const Append> appends);
  // Makes everything written durable, whatever the log says of its mode (types.h). An error is
  // final: the member must stop, because nobody can know any more what is on the disk.
  absl::Status Sync();
  // Writes an empty batch that proves all earlier ones durable, if the last one does not do so
  // already. Called after idleness and at shutdown, each time followed by Sync.
  absl::Status WriteDurableThrough();

  // Entries from `first` up to before `limit`, at least one and then as many as stay within
  // `max_bytes` of data. A snapshot at the moment of the call: a later Write may supersede it.
  //   kOutOfRange          `first` is not in the log any more (removed, or below a snapshot),
  //   kInvalidArgument     `first` is beyond the last entry, or the range is empty,
  //   kDataLoss            the disk gave back other bytes than were written.
  absl::StatusOr<std::vector<raft::Entry>> ReadEntries(Index first, Index limit,
                                                       size_t max_bytes) const;
  // The term of the entry at `index`, from before_first to the last one. Never reads the disk.
  // kOutOfRange below, kInvalidArgument above.
  absl::StatusOr<Term> TermAt(Index index) const;
  // The entry before the first one that can be read; moves up with CollectCovered.
  raft::EntryId before_first() const;
  // The last entry written.
  raft::EntryId last() const;

  // Removes the oldest segments that hold nothing above `durable_applied`, never more than what the
  // last *synced* marker covers, nothing that `pins` keep, and never unless the current segment's
  // opening batch is synced.
  // Order: plan, delete oldest first, sync the directory; each arrow is a fail point. Returns how
  // many were removed. Call it after the marker's Append has become durable.
  absl::StatusOr<size_t> CollectCovered(Index durable_applied, const Pins& pins = {});
  // What `pins` span and keep of the log as it is now.
  Retention Retained(const Pins& pins) const;

  // Makes the next segment ahead of need: zero-filled, synced, named, directory synced. `pace` is
  // called after each piece of `kSparePieceBytes` (each is synced by itself, so that no large flush
  // stands in the way of the log's own sync) and may wait; false stops there (kCancelled), and the
  // next call, or the writer that needs the segment, goes on. OK when there is a spare already.
  // kResourceExhausted (the disk is full) leaves the log usable: the current segment has room left.
  absl::Status MakeSpare(const std::function<bool()>& pace);
  bool has_spare() const;
  // True while a writer waits for the spare that is being made: `pace` should say false, for the
  // writer makes it faster.
  bool spare_is_urgent() const;

  LogFigures figures() const;
  // Bytes of segments from the one that holds `index` on: what a restart from there replays.
  uint64_t bytes_since(Index index) const;

 private:
  explicit Wal(std::unique_ptr<WalImpl> impl);

  std::unique_ptr<WalImpl> impl_;
};

struct Wal::Opened {
  std::unique_ptr<Wal> wal;
  Recovered recovered;
};

}  // namespace cairn::wal

#endif  // CAIRN_WAL_WAL_H_
