#include "test/harness/proxy.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/check.h"

namespace cairn::test {

namespace {

// So often it looks whether it should end.
constexpr int kPollMs = 50;
// A receiver that takes nothing for so long is gone.
constexpr timeval kSendTimeout{.tv_sec = 30, .tv_usec = 0};
constexpr size_t kPieceBytes = 65536;

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool SendAll(int to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace

Proxy::Proxy(int port, int to_port) : to_port_(to_port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CAIRN_CHECK_GE(listener_, 0);
  const int yes = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const sockaddr_in address = Loopback(port);
  CAIRN_CHECK_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  CAIRN_CHECK_EQ(listen(listener_, 64), 0);
  thread_ = std::thread([this] { Run(); });
}

Proxy::~Proxy() {
  ends_ = true;
  thread_.join();
  for (const Link& link : links_) Close(link);
  close(listener_);
}

void Proxy::CutEvery(uint64_t bytes, int times) {
  cut_every_bytes_ = bytes;
  next_cut_bytes_ = forwarded_bytes_ + bytes;
  cuts_left_ = times;
}

void Proxy::Close(const Link& link) {
  close(link.from);
  close(link.to);
}

void Proxy::Accept() {
  Link link;
  link.from = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (link.from < 0) return;
  link.to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CAIRN_CHECK_GE(link.to, 0);
  const sockaddr_in address = Loopback(to_port_);
  // Nobody there: whoever connected hears so.
  if (connect(link.to, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Close(link);
  }
  for (const int end : {link.from, link.to}) {
    setsockopt(end, SOL_SOCKET, SO_SNDTIMEO, &kSendTimeout, sizeof(kSendTimeout));
  }
  links_.push_back(link);
}

bool Proxy::Forward(int from, int to, bool counts) {
  std::string piece(kPieceBytes, '\0');
  const ssize_t got = recv(from, piece.data(), piece.size(), 0);
  if (got <= 0) return false;
  if (counts) forwarded_bytes_ += static_cast<uint64_t>(got);
  return SendAll(to, std::string_view(piece).substr(0, static_cast<size_t>(got)));
}

void Proxy::Run() {
  while (!ends_) {
    std::vector<pollfd> wanted = {{.fd = listener_, .events = POLLIN, .revents = 0}};
    for (const Link& link : links_) {
      wanted.push_back({.fd = link.from, .events = POLLIN, .revents = 0});
      wanted.push_back({.fd = link.to, .events = POLLIN, .revents = 0});
    }
    if (poll(wanted.data(), wanted.size(), kPollMs) <= 0) continue;
    std::vector<Link> kept;
    for (size_t i = 0; i < links_.size(); ++i) {
      const Link& link = links_[i];
      const bool is_open = (wanted[1 + 2 * i].revents == 0 || Forward(link.from, link.to, true)) &&
                           (wanted[2 + 2 * i].revents == 0 || Forward(link.to, link.from, false));
      if (is_open) {
        kept.push_back(link);
      } else {
        Close(link);
      }
    }
    links_ = std::move(kept);
    if (wanted[0].revents != 0) Accept();
    if (cuts_left_ > 0 && forwarded_bytes_ >= next_cut_bytes_) {
      for (const Link& link : links_) Close(link);
      links_.clear();
      --cuts_left_;
      ++cuts_;
      next_cut_bytes_ = forwarded_bytes_ + cut_every_bytes_;
    }
  }
}

}  // namespace cairn::test
