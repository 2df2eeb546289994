// A directory that a restore fills: empty before, complete or empty afterwards.
//
//   <root>/unfinished-cairn-restore/...   what is being made; state and log in <root> while this is
//                                         there are a restore's and nobody else's
//
// Two directories cannot be completed at one moment. So the second site (the log's, if it lies
// elsewhere) is completed first, and a note beside the first site's folder, which goes last of all,
// says which files the second then holds, with sizes and times: if the restore is killed in
// between, the next one knows them by that as its own. Whoever has used the directory since, or
// filled it anew, has other files there.
//
// Main thread only.
#ifndef CAIRN_SERVER_SNAPSHOT_RESTORE_SITE_H_
#define CAIRN_SERVER_SNAPSHOT_RESTORE_SITE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wal/fs.h"

namespace cairn::server {

class RestoreSite {
 public:
  // `flag` names the directory in messages. Checks alone: FAILED_PRECONDITION when it holds
  // anything; what an interrupted restore has left does not count, but nothing else may lie beside
  // that, because the next restore clears all of it away.
  // `own` is the component of the second site below `root`, if it lies inside.
  static absl::Status Check(wal::Fs& fs, std::string_view flag, const std::string& root,
                            std::string_view own);
  // The same for the second site of a restore whose first is `first_root`.
  static absl::Status CheckSecond(wal::Fs& fs, std::string_view flag, const std::string& root,
                                  const std::string& first_root);

  // Makes the directory and its missing parents and takes its lock. `fs` outlives this object.
  // `own` as in Check.
  static absl::StatusOr<std::unique_ptr<RestoreSite>> Begin(wal::Fs& fs, std::string_view flag,
                                                            const std::string& root,
                                                            std::string_view own);
  // Unless it is kept, removes everything that was made, the directories too.
  ~RestoreSite();
  RestoreSite(const RestoreSite&) = delete;
  RestoreSite& operator=(const RestoreSite&) = delete;

  // Of the first site: if an interrupted restore completed `second_root` and not this one, marks
  // that as a restore's again. Before Clear, which forgets it.
  absl::Status ReclaimSecond(std::string_view flag, const std::string& second_root);
  // Clears away what an interrupted restore has left, and makes the folder.
  absl::Status Clear();
  // Where to build.
  std::string folder() const;
  // Puts what was built and is durable in its place.
  absl::Status Place();
  // Of the first site: notes durably what `second` holds, which is to be finished next. After Place
  // of both.
  absl::Status RememberSecond(const RestoreSite& second);
  // Removes the folder, and the note behind it, durably: from here on a server takes the directory.
  // After Place.
  absl::Status Finish();
  // All sites of a restore are finished: what was made stays.
  void Keep() { is_kept_ = true; }

 private:
  RestoreSite(wal::Fs& fs, std::string root) : fs_(fs), root_(std::move(root)) {}

  wal::Fs& fs_;
  const std::string root_;
  // The directories that were made, outermost first.
  std::vector<std::string> made_;
  std::unique_ptr<wal::FileLock> lock_;
  // What is in the directory is a restore's.
  bool is_owned_ = false;
  // RememberSecond has left its note.
  bool has_note_ = false;
  bool is_kept_ = false;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_RESTORE_SITE_H_
