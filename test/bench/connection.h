// A gRPC channel that is exactly one TCP connection, with as little of gRPC around it as there can
// be.
//
// Name resolution, load balancing, reconnection, deadlines, compression and retries are left out of
// the channel: a load generator needs none of them, and together they cost more than half of a
// call. A channel whose connection is lost stays lost; its calls fail.
#ifndef CAIRN_TEST_BENCH_CONNECTION_H_
#define CAIRN_TEST_BENCH_CONNECTION_H_

#include <absl/status/statusor.h>
#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cairn::bench {

// How far gRPC reads ahead of who reads a stream.
enum class ReadAhead {
  kAdaptive,  // as it finds best for throughput: up to megabytes
  kLeast,     // HTTP/2's initial window, so that who stops reading stops the server
};

// Connects to HOST:PORT. InvalidArgument if it does not read so or HOST has no address, Unavailable
// if nobody accepts there.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& endpoint,
                                                       ReadAhead read_ahead = ReadAhead::kAdaptive);

// HOST:PORT[,HOST:PORT...], one by one.
std::vector<std::string> SplitEndpoints(const std::string& endpoints);

// The same `count` times, each with a stub of its own; several endpoints in turn.
absl::StatusOr<std::vector<std::unique_ptr<grpc::GenericStub>>> ConnectStubs(
    const std::string& endpoints, uint32_t count, ReadAhead read_ahead = ReadAhead::kAdaptive);

// For servers that come and go: an ordinary channel to each endpoint, which connects again soon.
std::vector<std::unique_ptr<grpc::GenericStub>> ReconnectingStubs(const std::string& endpoints);

// Switches off the lock-order check that the distribution's Abseil runs under gRPC's mutexes. Once,
// before any channel exists.
void DisableLockOrderCheck();

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_CONNECTION_H_
