// Kills a server with SIGKILL at random moments under load and checks, after every restart, that
// every acknowledged write is there, that every other one is there as a whole or not at all, and
// that no revision is lost or issued twice. Exit codes: 0 no loss, 1 a violation, 2 usage.
//
// SIGKILL leaves the page cache alone: loss of power is the matter of the log's own tests.
#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/status.h"
#include "test/crash/ledger.h"
#include "test/crash/workload.h"
#include "test/harness/server.h"
#include "test/harness/target.h"

DEFINE_string(server, "", "the server under test: a path, or `reference` for a real etcd");
DEFINE_int64(kills, 10, "how often to kill it");
DEFINE_uint64(seed, 1, "the seed of the load and of the moments");

namespace cairn::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A kill comes after so many acknowledged writes at most, at a random one of them.
constexpr int64_t kAcknowledgedMax = 400;
// One restart in so many is killed again while it recovers.
constexpr int64_t kKillsInRecovery = 5;
constexpr int64_t kRecoveryMs = 400;
// Old revisions read after each restart.
constexpr int kOldReads = 12;

absl::StatusOr<std::vector<mvccpb::KeyValue>> ReadAll(Client& client, int64_t revision,
                                                      int64_t* current) {
  etcdserverpb::RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(std::string(1, '\0'));
  request.set_revision(revision);
  etcdserverpb::RangeResponse response;
  const grpc::Status status = client.Range(request, &response);
  if (status.error_code() == grpc::OUT_OF_RANGE) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange, status.error_message());
  }
  if (!status.ok()) {
    return base::Error(absl::StatusCode::kUnavailable, "a read failed with {} {}",
                       static_cast<int>(status.error_code()), status.error_message());
  }
  *current = response.header().revision();
  return std::vector<mvccpb::KeyValue>(response.kvs().begin(), response.kvs().end());
}

absl::Status CheckOldRevision(Client& client, const Ledger& ledger, int64_t revision) {
  int64_t current = 0;
  const auto rows = ReadAll(client, revision, &current);
  if (rows.ok()) {
    if (revision < ledger.compacted()) {
      return base::Error(absl::StatusCode::kInternal, "revision {} is readable below {}", revision,
                         ledger.compacted());
    }
    return ledger.CheckAt(revision, *rows);
  }
  if (rows.status().code() == absl::StatusCode::kOutOfRange) {
    if (revision < ledger.perhaps_compacted()) return absl::OkStatus();
    return base::Error(absl::StatusCode::kInternal, "revision {} cannot be read: {}", revision,
                       base::Message(rows.status()));
  }
  return rows.status();
}

absl::Status CheckAfterRestart(Server& server, Random& random, Ledger& ledger) {
  Client client(server.address());
  int64_t current = 0;
  CAIRN_ASSIGN_OR_RETURN(const auto rows, ReadAll(client, 0, &current));
  CAIRN_RETURN_IF_ERROR(ledger.Recover(current, rows));
  const std::vector<int64_t> known(ledger.revisions().begin(), ledger.revisions().end());
  // Mostly the newest ones: the older are compacted.
  const size_t recent = std::min<size_t>(known.size(), 300);
  for (int i = 0; i < kOldReads && recent > 0; ++i) {
    const int64_t back = random.Below(static_cast<int64_t>(recent));
    const int64_t revision = known[known.size() - 1 - static_cast<size_t>(back)];
    CAIRN_RETURN_IF_ERROR(CheckOldRevision(client, ledger, revision));
  }
  return absl::OkStatus();
}

absl::Status RunKills(const Target& target) {
  Server server(OptionsFor(target, "crash"));
  Ledger ledger;
  Random random(FLAGS_seed);
  CAIRN_RETURN_IF_ERROR(server.Start());
  for (int64_t kill = 1; kill <= FLAGS_kills; ++kill) {
    const int64_t before = ledger.acknowledged();
    const int64_t open_before = ledger.open();
    Workload workload(server.address(), FLAGS_seed * 1'000'000 + static_cast<uint64_t>(kill), kill,
                      ledger);
    workload.Start();
    workload.AwaitAcknowledged(random.Between(1, kAcknowledgedMax));
    const bool still_ran = server.IsRunning();
    server.Kill();
    CAIRN_RETURN_IF_ERROR(workload.Finish(ledger));
    if (!still_ran) {
      return base::Error(absl::StatusCode::kInternal, "the server ended by itself:\n{}",
                         LastLines(server.Log(), 30));
    }
    if (random.OneIn(kKillsInRecovery)) {
      CAIRN_RETURN_IF_ERROR(server.Launch());
      server.LetRun(milliseconds(random.Below(kRecoveryMs)));
      server.Kill();
    }
    const auto restarted = steady_clock::now();
    CAIRN_RETURN_IF_ERROR(server.Start());
    const double seconds = std::chrono::duration<double>(steady_clock::now() - restarted).count();
    CAIRN_RETURN_IF_ERROR(CheckAfterRestart(server, random, ledger));
    std::printf(
        "kill %lld: %lld acknowledged, %lld open, revision %lld, compacted %lld, up after %.2f s\n",
        static_cast<long long>(kill), static_cast<long long>(ledger.acknowledged() - before),
        static_cast<long long>(ledger.open() - open_before),
        static_cast<long long>(ledger.revision()), static_cast<long long>(ledger.compacted()),
        seconds);
    std::fflush(stdout);
  }
  const absl::StatusOr<ExitState> exit = server.Terminate();
  CAIRN_RETURN_IF_ERROR(exit.status());
  std::printf(
      "%lld kills: %lld writes acknowledged and found, %lld left open (%lld of them applied), no "
      "violation\n",
      static_cast<long long>(FLAGS_kills), static_cast<long long>(ledger.acknowledged()),
      static_cast<long long>(ledger.open()), static_cast<long long>(ledger.open_applied()));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  const absl::StatusOr<Target> target = ResolveTarget(FLAGS_server);
  if (!target.ok()) {
    std::fprintf(stderr, "%s\n", std::string(base::Message(target.status())).c_str());
    return 2;
  }
  const absl::Status status = RunKills(*target);
  if (status.ok()) return 0;
  std::printf("VIOLATION with --seed=%llu: %s\n", static_cast<unsigned long long>(FLAGS_seed),
              std::string(base::Message(status)).c_str());
  return 1;
}

}  // namespace
}  // namespace cairn::test

int main(int argc, char** argv) { return cairn::test::Main(argc, argv); }
