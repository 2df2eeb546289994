#include "server/disk_room.h"

#include <filesystem>
#include <system_error>

namespace cairn::server {

std::optional<uint64_t> FreeDiskBytes(const std::string& path) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(path, error);
  if (error) return std::nullopt;
  return space.available;
}

bool HasDiskRoom(const std::string& path, uint64_t wanted_bytes) {
  return FreeDiskBytes(path).value_or(wanted_bytes) >= wanted_bytes;
}

}  // namespace cairn::server
