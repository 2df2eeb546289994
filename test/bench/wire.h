// The few messages of the etcd API that the load driver speaks, as bytes.
//
// Requests are encoded by hand and responses are never parsed as a whole, so that a request costs
// the client a copy and an answer nothing: the server is to be the limit. Field numbers are etcd's
// rpc.proto. Pure; any thread.
#ifndef CAIRN_TEST_BENCH_WIRE_H_
#define CAIRN_TEST_BENCH_WIRE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "test/bench/options.h"

namespace cairn::bench {

// The gRPC path that `operation` calls.
const char* MethodOf(Operation operation);

// Makes the request number 0, 1, 2, ... of a run. One thread.
class RequestSource {
 public:
  explicit RequestSource(const Options& options);

  // Replaces `out` by the encoded request `number`. The same number gives the same bytes.
  void Encode(uint64_t number, std::string& out);

  // Key number `number` of the key space: the prefix, the number padded with zeros so that keys
  // sort by it, and a tail that differs from key to key.
  void AppendKey(uint64_t number, std::string& out) const;

  // The number of a key that AppendKey made; absent for any other.
  std::optional<uint64_t> NumberOf(std::string_view key) const;

  // Appends the put that is request `number`, its value beginning with the time that it is sent.
  void AppendStampedPut(uint64_t number, int64_t time_ns, std::string& out);

  // The key that request `number` is about.
  uint64_t KeyNumber(uint64_t request) const;

 private:
  void AppendPut(uint64_t key_number, uint64_t request, std::string& out);
  void AppendTxn(uint64_t request, std::string& out);
  void AppendRange(std::string_view key, bool to_prefix_end, std::string& out) const;

  const Options options_;
  // How many digits a key number is padded to.
  const size_t digits_;
  // Values are cut from here at varying places: they differ and do not compress.
  std::string value_pool_;
  std::string put_scratch_;
  std::string key_scratch_;
};

// What the driver reads of an answer.
struct Answer {
  int64_t revision = 0;  // of the header
  int64_t count = 0;     // of a RangeResponse
  uint32_t hash = 0;     // of a HashKVResponse
};

// Reads the answer to `operation` from its bytes; absent if they are not a message. A stream is
// read message by message: the count stands in one of them.
std::optional<Answer> ReadAnswer(Operation operation, std::string_view bytes);

}  // namespace cairn::bench

#endif  // CAIRN_TEST_BENCH_WIRE_H_
