#include "test/cluster/cluster.h"

#include <absl/base/thread_annotations.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <set>
#include <thread>

#include "base/check.h"
#include "base/mutex.h"
#include "base/status.h"
#include "test/harness/client.h"

namespace cairn::test {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Between two looks at a condition that only the servers can tell of.
constexpr milliseconds kLookAgain{20};
// A member that was cut off answers nothing: go on to the next one.
constexpr milliseconds kWriteTimeout{2000};
constexpr int64_t kWritesPerRead = 8;

}  // namespace

Cluster::Cluster(const Target& target, int members, std::vector<std::string> extra_flags) {
  CAIRN_CHECK(members >= 1 && members <= 7);
  std::vector<ServerOptions> servers;
  for (int i = 0; i < members; ++i) {
    servers.push_back(OptionsFor(target, fmt::format("m{}", i + 1)));
    std::vector<std::string>& flags = servers.back().extra_flags;
    flags.insert(flags.end(), extra_flags.begin(), extra_flags.end());
  }
  Add(std::move(servers));
}

Cluster::Cluster(std::vector<ServerOptions> servers) { Add(std::move(servers)); }

void Cluster::Add(std::vector<ServerOptions> servers) {
  for (ServerOptions& options : servers) {
    servers_.push_back(std::make_unique<Server>(std::move(options)));
  }
  for (const auto& server : servers_) SetCluster(*server, "new");
}

void Cluster::SetCluster(Server& server, const std::string& state) {
  std::string initial;
  for (const auto& member : servers_) {
    initial +=
        fmt::format("{}{}={}", initial.empty() ? "" : ",", member->label(), member->peer_url());
  }
  std::vector<std::string>& flags = server.options().extra_flags;
  flags.push_back("--name=" + server.label());
  flags.push_back("--initial-cluster=" + initial);
  flags.push_back("--initial-cluster-state=" + state);
}

void Cluster::Replace(int i, const Target& target, const std::string& label) {
  auto& place = servers_.at(static_cast<size_t>(i));
  CAIRN_CHECK(!place->IsRunning());
  place = std::make_unique<Server>(OptionsFor(target, label));
  SetCluster(*place, "existing");
}

std::string Cluster::endpoints(const std::function<bool(int)>& is_wanted) const {
  std::string endpoints;
  for (int i = 0; i < size(); ++i) {
    if (is_wanted != nullptr && !is_wanted(i)) continue;
    if (!endpoints.empty()) endpoints += ',';
    endpoints += servers_[static_cast<size_t>(i)]->address();
  }
  return endpoints;
}

absl::Status Cluster::Start() { return StartStopped(); }

absl::Status Cluster::StartStopped() {
  for (const auto& server : servers_) {
    if (!server->IsRunning()) CAIRN_RETURN_IF_ERROR(server->Launch());
  }
  for (const auto& server : servers_) CAIRN_RETURN_IF_ERROR(server->WaitUntilAnswering());
  return absl::OkStatus();
}

absl::StatusOr<int> Cluster::WaitForLeader() {
  const auto deadline = steady_clock::now() + kServerDeadline;
  while (steady_clock::now() < deadline) {
    std::set<uint64_t> leaders;
    int leader = -1;
    for (int i = 0; i < size(); ++i) {
      if (!server(i).IsRunning()) continue;
      etcdserverpb::StatusResponse status;
      const CallOptions options{.timeout = milliseconds(500)};
      if (!Client(server(i).address()).StatusOf(&status, options).ok()) continue;
      leaders.insert(status.leader());
      if (status.leader() == status.header().member_id()) leader = i;
    }
    if (leaders.size() == 1 && *leaders.begin() != 0 && leader >= 0) return leader;
    std::this_thread::sleep_for(kLookAgain);
  }
  return base::Error(absl::StatusCode::kDeadlineExceeded, "no leader after {} s",
                     kServerDeadline.count());
}

absl::Status Cluster::WaitForEqualState() {
  const auto deadline = steady_clock::now() + kServerDeadline;
  std::string seen;
  while (steady_clock::now() < deadline) {
    std::set<std::pair<int64_t, uint32_t>> states;
    seen.clear();
    for (int i = 0; i < size(); ++i) {
      if (!server(i).IsRunning()) continue;
      etcdserverpb::HashKVRequest request;
      etcdserverpb::HashKVResponse response;
      const grpc::Status status = Client(server(i).address()).HashKV(request, &response);
      if (!status.ok()) {
        seen += fmt::format(" {}: {}", server(i).label(), status.error_message());
        states.emplace(-1, 0);
        continue;
      }
      states.emplace(response.header().revision(), response.hash());
      seen += fmt::format(" {}: {:08x} at {}", server(i).label(), response.hash(),
                          response.header().revision());
    }
    if (states.size() == 1 && states.begin()->first > 0) return absl::OkStatus();
    // Members at one revision with different hashes will never agree again.
    std::map<int64_t, int> by_revision;
    for (const auto& [revision, hash] : states) ++by_revision[revision];
    for (const auto& [revision, count] : by_revision) {
      if (revision > 0 && count > 1) {
        return base::Error(absl::StatusCode::kInternal, "the members differ:{}", seen);
      }
    }
    std::this_thread::sleep_for(kLookAgain);
  }
  return base::Error(absl::StatusCode::kDeadlineExceeded, "the members did not agree:{}", seen);
}

struct Writers::Shared {
  struct Writer {
    int64_t acknowledged = -1;    // The number last acknowledged.
    int64_t tried = -1;           // The number last sent.
    int64_t revision = 0;         // The highest that was told.
    std::vector<int64_t> unsure;  // Those that failed: they may be done, also later.
  };

  std::vector<std::string> addresses;
  std::vector<std::thread> threads;
  std::atomic<bool> ends = false;
  base::Mutex mutex;
  base::ConditionVariable changed;
  std::vector<Writer> writers ABSL_GUARDED_BY(mutex);
  int64_t acknowledged ABSL_GUARDED_BY(mutex) = 0;
  steady_clock::time_point last_acknowledged ABSL_GUARDED_BY(mutex) = steady_clock::now();
  milliseconds longest_gap ABSL_GUARDED_BY(mutex) = milliseconds(0);
  std::string violation ABSL_GUARDED_BY(mutex);

  static std::string Key(size_t writer) { return fmt::format("writer {}", writer); }
  void Write(size_t writer);
  // What `response`, read after write `acknowledged` was acknowledged, lacks; empty if nothing.
  static std::string Missing(const etcdserverpb::RangeResponse& response, const Writer& writer);
  void Acknowledged(size_t writer, int64_t number, int64_t revision);
  void Read(Client& client, size_t writer);
};

std::string Writers::Shared::Missing(const etcdserverpb::RangeResponse& response,
                                     const Writer& writer) {
  int64_t found = -1;
  if (response.kvs_size() == 1) {
    const std::string& value = response.kvs(0).value();
    std::from_chars(value.data(), value.data() + value.size(), found);
  }
  // A write that failed may be done late, over later ones that were acknowledged.
  const bool is_late =
      std::find(writer.unsure.begin(), writer.unsure.end(), found) != writer.unsure.end();
  if (!is_late && (found < writer.acknowledged || found > writer.tried)) {
    return fmt::format("write {} was found, but {} was acknowledged and {} the last one sent",
                       found, writer.acknowledged, writer.tried);
  }
  if (response.header().revision() < writer.revision) {
    return fmt::format("revision {} was told, now it is {}", writer.revision,
                       response.header().revision());
  }
  return "";
}

void Writers::Shared::Read(Client& client, size_t writer) {
  etcdserverpb::RangeRequest request;
  request.set_key(Key(writer));
  etcdserverpb::RangeResponse response;
  const CallOptions options{.timeout = kWriteTimeout};
  if (!client.Range(request, &response, options).ok()) return;
  base::MutexLock lock(mutex);
  const std::string missing = Missing(response, writers[writer]);
  if (!missing.empty()) violation = fmt::format("{}: {}", Key(writer), missing);
  writers[writer].revision = std::max(writers[writer].revision, response.header().revision());
}

void Writers::Shared::Write(size_t writer) {
  std::vector<std::unique_ptr<Client>> clients;
  for (const std::string& address : addresses) clients.push_back(std::make_unique<Client>(address));
  size_t at = writer % clients.size();
  for (int64_t number = 0; !ends; ++number) {
    etcdserverpb::PutRequest request;
    request.set_key(Key(writer));
    request.set_value(std::to_string(number));
    {
      base::MutexLock lock(mutex);
      writers[writer].tried = number;
    }
    etcdserverpb::PutResponse response;
    const CallOptions options{.timeout = kWriteTimeout};
    if (!clients[at]->Put(request, &response, options).ok()) {
      at = (at + 1) % clients.size();
      base::MutexLock lock(mutex);
      writers[writer].unsure.push_back(number);
      continue;
    }
    Acknowledged(writer, number, response.header().revision());
    if (number % kWritesPerRead == 0) Read(*clients[(at + 1) % clients.size()], writer);
  }
}

void Writers::Shared::Acknowledged(size_t writer, int64_t number, int64_t revision) {
  base::MutexLock lock(mutex);
  if (revision <= writers[writer].revision) {
    violation = fmt::format("{} was told revision {} after {}", Key(writer), revision,
                            writers[writer].revision);
  }
  writers[writer].revision = revision;
  writers[writer].acknowledged = number;
  ++acknowledged;
  const auto now = steady_clock::now();
  longest_gap =
      std::max(longest_gap, std::chrono::duration_cast<milliseconds>(now - last_acknowledged));
  last_acknowledged = now;
  changed.SignalAll();
}

Writers::Writers(Cluster& cluster, int writers) : shared_(std::make_shared<Shared>()) {
  for (int i = 0; i < cluster.size(); ++i)
    shared_->addresses.push_back(cluster.server(i).address());
  {
    base::MutexLock lock(shared_->mutex);
    shared_->writers.resize(static_cast<size_t>(writers));
  }
  for (size_t i = 0; i < static_cast<size_t>(writers); ++i) {
    shared_->threads.emplace_back([shared = shared_, i] { shared->Write(i); });
  }
}

Writers::~Writers() {
  shared_->ends = true;
  for (std::thread& thread : shared_->threads) {
    if (thread.joinable()) thread.join();
  }
}

int64_t Writers::acknowledged() const {
  base::MutexLock lock(shared_->mutex);
  return shared_->acknowledged;
}

milliseconds Writers::longest_gap() const {
  base::MutexLock lock(shared_->mutex);
  return shared_->longest_gap;
}

absl::Status Writers::AwaitAcknowledged(int64_t count) {
  const auto deadline = steady_clock::now() + kServerDeadline;
  base::MutexLock lock(shared_->mutex);
  while (shared_->acknowledged < count) {
    if (!shared_->changed.WaitUntil(shared_->mutex, deadline)) {
      return base::Error(absl::StatusCode::kDeadlineExceeded, "{} of {} writes were acknowledged",
                         shared_->acknowledged, count);
    }
  }
  return absl::OkStatus();
}

absl::Status Writers::Finish(int reader) {
  shared_->ends = true;
  for (std::thread& thread : shared_->threads) thread.join();
  base::MutexLock lock(shared_->mutex);
  if (!shared_->violation.empty()) {
    return base::MakeStatus(absl::StatusCode::kInternal, shared_->violation);
  }
  Client client(shared_->addresses.at(static_cast<size_t>(reader)));
  for (size_t i = 0; i < shared_->writers.size(); ++i) {
    const Shared::Writer& writer = shared_->writers[i];
    etcdserverpb::RangeRequest request;
    request.set_key(Shared::Key(i));
    etcdserverpb::RangeResponse response;
    const grpc::Status status = client.Range(request, &response);
    if (!status.ok()) {
      return base::Error(absl::StatusCode::kInternal, "{}: {}", request.key(),
                         status.error_message());
    }
    const std::string missing = Shared::Missing(response, writer);
    if (!missing.empty()) {
      return base::Error(absl::StatusCode::kInternal, "{}: {}", request.key(), missing);
    }
  }
  return absl::OkStatus();
}

}  // namespace cairn::test
