// A TCP proxy on a loopback port that can cut what it carries.
//
// One thread of its own, from construction to destruction; the other functions are for any thread.
// It forwards bytes as they come and never looks into them.
#ifndef CAIRN_TEST_HARNESS_PROXY_H_
#define CAIRN_TEST_HARNESS_PROXY_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace cairn::test {

class Proxy {
 public:
  // Listens on `port` of 127.0.0.1 and forwards to `to_port` of it.
  Proxy(int port, int to_port);
  // Closes everything.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // Closes every connection, now and again, each time when so many bytes more have gone towards
  // `to_port`; `times` in all.
  void CutEvery(uint64_t bytes, int times);
  int cuts() const { return cuts_; }
  // What has gone towards `to_port`.
  uint64_t forwarded_bytes() const { return forwarded_bytes_; }

 private:
  // The two ends of one connection.
  struct Link {
    int from = -1;
    int to = -1;
  };

  void Run();
  void Accept();
  // False when the connection is to be closed.
  bool Forward(int from, int to, bool counts);
  static void Close(const Link& link);

  const int to_port_;
  int listener_ = -1;
  std::vector<Link> links_;  // The thread's.
  std::atomic<bool> ends_ = false;
  std::atomic<uint64_t> forwarded_bytes_ = 0;
  std::atomic<uint64_t> cut_every_bytes_ = 0;
  std::atomic<uint64_t> next_cut_bytes_ = 0;
  std::atomic<int> cuts_left_ = 0;
  std::atomic<int> cuts_ = 0;
  std::thread thread_;
};

}  // namespace cairn::test

#endif  // CAIRN_TEST_HARNESS_PROXY_H_
