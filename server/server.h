// Builds the member once, from its configuration, and takes it apart again.
//
// Main thread only.
#ifndef CAIRN_SERVER_SERVER_H_
#define CAIRN_SERVER_SERVER_H_

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>

#include "server/config.h"

namespace cairn::server {

class Server {
 public:
  // Starts a member and returns once it answers clients. Every error says which flag or file is at
  // fault and what to do. `on_fatal` is called, on any thread, when log or state fail for good
  // later: the process must end then, and what was acknowledged is safe. `on_removed` is called, on
  // any thread, once the cluster has removed this member: stop it then.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const Config& config, std::function<void(const absl::Status&)> on_fatal,
      std::function<void()> on_removed);
  // Stops.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A few lines for a human: who this is, where it listens, where data lies, what to type next.
  std::string Banner() const;

  // Answers what is under way, makes the state durable, closes everything. Idempotent.
  absl::Status Stop();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace cairn::server

#endif  // CAIRN_SERVER_SERVER_H_
