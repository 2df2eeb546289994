// How much room the disks of a member's files have, and what of it stays free for what.
//
// Asked by whoever is about to take room, and by the trimmer (log_trimmer.h), which refuses growth
// in time. Any thread; one system call.
#ifndef CAIRN_SERVER_DISK_ROOM_H_
#define CAIRN_SERVER_DISK_ROOM_H_

#include <cstdint>
#include <optional>
#include <string>

namespace cairn::server {

// What a flush may need: about what the write buffers hold where --memory-limit is the default. Few
// bytes of log may be many rows, such as a deletion of many keys, so no less would do. RocksDB
// takes no writes any more after a flush for which there was no room, and the member stops.
inline constexpr uint64_t kFlushReserveBytes = uint64_t{64} << 20;

// What is to be free beside what a flush may write now, before one is begun on a disk that is
// nearly full: RocksDB's list of files, a copy's links, and what comes meanwhile.
inline constexpr uint64_t kFlushSpareBytes = uint64_t{16} << 20;

// What may still be written on the disk that `path` lies on; none when that cannot be told, which
// is no reason to refuse anything.
std::optional<uint64_t> FreeDiskBytes(const std::string& path);
// Whether that is at least `wanted_bytes`, as far as can be told.
bool HasDiskRoom(const std::string& path, uint64_t wanted_bytes);

}  // namespace cairn::server

#endif  // CAIRN_SERVER_DISK_ROOM_H_
