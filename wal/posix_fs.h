// The file system of this machine behind fs.h: pread, pwrite, fdatasync, flock.
//
// Stateless and free to use from any thread. Directories are made with mode 0700, files with 0600.
#ifndef CAIRN_WAL_POSIX_FS_H_
#define CAIRN_WAL_POSIX_FS_H_

#include "wal/fs.h"

namespace cairn::wal {

// Lives as long as the process.
Fs& PosixFs();

}  // namespace cairn::wal

#endif  // CAIRN_WAL_POSIX_FS_H_
