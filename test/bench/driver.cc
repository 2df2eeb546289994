// Drives load into one etcd-compatible cluster and prints what it saw as one line of JSON.
//
// Exit codes: 0 with a result (which may count errors), 1 without one, 2 for a bad command line,
// 3 when the run exceeded --limit-seconds.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "test/bench/connection.h"
#include "test/bench/failover_load.h"
#include "test/bench/lease_load.h"
#include "test/bench/load.h"
#include "test/bench/options.h"
#include "test/bench/watch_load.h"

namespace cairn::bench {
namespace {

// Quotes text for JSON. Bytes that are not printable ASCII become '?': it is for reading only.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c >= 0x20 && c < 0x7f ? c : '?');
  }
  return out + "\"";
}

double PerRequestUs(int64_t ns, uint64_t requests) {
  return requests == 0 ? 0 : static_cast<double>(ns) / 1000 / static_cast<double>(requests);
}

void Print(const Report& report) {
  const auto quantile_us = [&](double fraction) {
    return static_cast<double>(report.latency_ns.Quantile(fraction)) / 1000;
  };
  const double wall_ns = report.seconds * 1e9;
  fmt::print(
      "{{\"requests\": {}, \"errors\": {}, \"first_error\": {}, \"seconds\": {:.6f}, "
      "\"throughput\": {:.3f}, \"mean_us\": {:.3f}, \"p50_us\": {:.3f}, \"p90_us\": {:.3f}, "
      "\"p99_us\": {:.3f}, \"p999_us\": {:.3f}, \"max_us\": {:.3f}, \"response_bytes\": {}, "
      "\"client_cpu_us\": {:.3f}, \"client_core\": {:.4f}, ",
      report.requests, report.errors, Quoted(report.first_error), report.seconds,
      report.seconds > 0 ? static_cast<double>(report.requests) / report.seconds : 0,
      report.latency_ns.Mean() / 1000, quantile_us(0.5), quantile_us(0.9), quantile_us(0.99),
      quantile_us(0.999), static_cast<double>(report.latency_ns.max()) / 1000,
      report.response_bytes, PerRequestUs(report.client_cpu_ns, report.requests),
      wall_ns > 0 ? static_cast<double>(report.client_cpu_ns) / wall_ns : 0);
  if (report.server_cpu_ns.has_value()) {
    fmt::print("\"server_cpu_us\": {:.3f}, \"server_core\": {:.4f}, ",
               PerRequestUs(*report.server_cpu_ns, report.requests),
               wall_ns > 0 ? static_cast<double>(*report.server_cpu_ns) / wall_ns : 0);
  }
  for (const auto& [name, value] : report.extra) fmt::print("\"{}\": {:.3f}, ", name, value);
  fmt::print("\"revision\": {}, \"count\": {}, \"hash\": {}}}\n", report.answer.revision,
             report.answer.count, report.answer.hash);
}

void OnAlarm(int) {
  constexpr std::string_view kMessage = "driver: the run exceeded --limit-seconds\n";
  // Nothing is left to do about a failed write here.
  if (write(STDERR_FILENO, kMessage.data(), kMessage.size()) < 0) _exit(4);
  _exit(3);
}

void OnTerminate(int) { RequestStop(); }

int Fail(const absl::Status& status, int code) {
  fmt::print(stderr, "driver: {}\n", base::Message(status));
  return code;
}

absl::StatusOr<Report> Run(const Options& options) {
  switch (options.operation) {
    case Operation::kWatch:
      return RunWatch(options);
    case Operation::kHeldKeepAlive:
      return RunHeldKeepAlive(options);
    case Operation::kExpiry:
      return RunExpiry(options);
    case Operation::kFailover:
      return RunFailover(options);
    default:
      return RunLoad(options);
  }
}

int Main(const std::vector<std::string_view>& arguments) {
  // Whoever started the driver takes it along when it dies.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!arguments.empty() && arguments.front() == "--help") {
    fmt::print("{}", Usage());
    return 0;
  }
  const auto options = ParseOptions(arguments);
  if (!options.ok()) return Fail(options.status(), 2);
  signal(SIGALRM, OnAlarm);
  signal(SIGTERM, OnTerminate);
  DisableLockOrderCheck();
  alarm(static_cast<unsigned>(options->limit_seconds));
  if (options->operation == Operation::kWait) {
    const auto time_ns = WaitForFirstRead(*options);
    if (!time_ns.ok()) return Fail(time_ns.status(), 1);
    fmt::print("{{\"monotonic_ns\": {}}}\n", *time_ns);
    return 0;
  }
  const auto report = Run(*options);
  if (!report.ok()) return Fail(report.status(), 1);
  Print(*report);
  return 0;
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  return cairn::bench::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
