#include "test/harness/small_disk.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/status.h"

namespace cairn::test {

namespace {

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

absl::Status Enter() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return base::Error(absl::StatusCode::kUnavailable, "no mount namespace here: {}",
                       strerror(errno));
  }
  if (user != 0) {
    WriteFile("/proc/self/setgroups", "deny");
    WriteFile("/proc/self/uid_map", fmt::format("0 {} 1", user));
    WriteFile("/proc/self/gid_map", fmt::format("0 {} 1", group));
  }
  mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return absl::OkStatus();
}

}  // namespace

absl::Status EnterMountNamespace() {
  static const absl::Status* const entered = new absl::Status(Enter());
  return *entered;
}

SmallDisk::~SmallDisk() {
  if (is_mounted_) umount2(path_.c_str(), MNT_DETACH);
}

absl::Status SmallDisk::SetSize(int mib) {
  const std::string size = fmt::format("size={}m", mib);
  if (mount("tmpfs", path_.c_str(), "tmpfs", is_mounted_ ? MS_REMOUNT : 0, size.c_str()) != 0) {
    return base::Error(absl::StatusCode::kUnavailable, "no tmpfs here: {}", strerror(errno));
  }
  is_mounted_ = true;
  return absl::OkStatus();
}

}  // namespace cairn::test
