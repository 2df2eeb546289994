// A directory that a restore fills: empty before, complete or empty afterwards.
//
//   <root>/restoring/...   what is being made; everything in <root> while this is there is a
//                          restore's and nobody else's
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
  // anything; what an interrupted restore has left does not count.
  static absl::Status Check(wal::Fs& fs, std::string_view flag, const std::string& root);

  // Makes the directory, its missing parents and the folder below it, takes its lock, and clears
  // away what an interrupted restore has left. `fs` outlives this object.
  static absl::StatusOr<std::unique_ptr<RestoreSite>> Begin(wal::Fs& fs, std::string_view flag,
                                                            const std::string& root);
  // Unless it is kept, removes everything that was made, the directories too.
  ~RestoreSite();
  RestoreSite(const RestoreSite&) = delete;
  RestoreSite& operator=(const RestoreSite&) = delete;

  // Where to build.
  std::string folder() const;
  // Puts what was built and is durable in its place.
  absl::Status Place();
  // Removes the folder, durably: from here on a server takes the directory. After Place.
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
  bool is_kept_ = false;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SNAPSHOT_RESTORE_SITE_H_
