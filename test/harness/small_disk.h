// Small disks for tests: a tmpfs in a mount namespace of this process, which vanishes with it.
//
// Main thread only, and the first one before anything has made a second thread (gRPC does): only
// then may a process move into a namespace.
#ifndef CAIRN_TEST_HARNESS_SMALL_DISK_H_
#define CAIRN_TEST_HARNESS_SMALL_DISK_H_

#include <absl/status/status.h>

#include <string>
#include <utility>

namespace cairn::test {

// Moves this process into a mount namespace of its own, once; later calls repeat the answer.
// UNAVAILABLE where that is not allowed: skip the test.
absl::Status EnterMountNamespace();

class SmallDisk {
 public:
  // Nothing is mounted yet.
  explicit SmallDisk(std::string path) : path_(std::move(path)) {}
  // Unmounts.
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // Makes it, or changes its size; `mib` more than it holds. UNAVAILABLE where that is not allowed.
  absl::Status SetSize(int mib);
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  bool is_mounted_ = false;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_SMALL_DISK_H_
