#include "server/server.h"

#include <fmt/format.h>
#include <glog/logging.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <optional>
#include <utility>

#include "api/errors.h"
#include "api/version.h"
#include "base/status.h"
#include "server/bootstrap.h"
#include "server/cluster_keeper.h"
#include "server/compactor.h"
#include "server/corruption_checker.h"
#include "server/data_dir.h"
#include "server/disk_room.h"
#include "server/door.h"
#include "server/log_pins.h"
#include "server/log_trimmer.h"
#include "server/membership_rows.h"
#include "server/node_runner.h"
#include "server/peer/hash_calls.h"
#include "server/peer/lease_calls.h"
#include "server/peer/member_service.h"
#include "server/peer/service.h"
#include "server/peer/transport.h"
#include "server/publisher.h"
#include "server/remedy.h"
#include "server/response_buffer.h"
#include "server/rocks_states.h"
#include "server/rpc/grpc_client.h"
#include "server/rpc/grpc_engine.h"
#include "server/rpc/open_calls.h"
#include "server/services.h"
#include "server/snapshot/lane.h"
#include "server/snapshot/saver.h"
#include "server/sync_mode.h"
#include "server/watch_feed.h"
#include "server/watch_service.h"
#include "wal/posix_fs.h"

namespace cairn::server {

namespace {

using std::chrono::milliseconds;

// Replaying the most that a crash can leave takes a few seconds; a disk that needs longer than this
// is better reported than waited for.
constexpr milliseconds kReadyTimeout = std::chrono::minutes(5);
// Calls under way when the server stops get so long; then reads are ended, and what is left cut
// off.
constexpr milliseconds kStopGrace{2000};
// So long a member that starts waits for a quorum before it serves without one (etcd:
// --wait-cluster-ready-timeout).
constexpr milliseconds kClusterReadyTimeout{5000};
// The largest message between members, but for a larger entry: four batches.
constexpr int64_t kPeerMessageBytes = int64_t{4} << 20;
// A member that is asked who the others are knows that without asking anybody else.
constexpr milliseconds kAskTimeout{5000};
// etcd: 5 s for the disk plus two election timeouts.
constexpr milliseconds kProposalBase{5000};

// Streams of one connection. etcd sets no bound; at about 11 KB for an open call this is 110 MB,
// and far more than a client library opens.
constexpr uint32_t kStreamsPerConnectionMax = 10'000;
// etcd splits responses of watchers at --max-request-bytes plus so much.
constexpr size_t kFragmentOverheadBytes = size_t{512} << 10;
// RocksDB does not survive being opened on a full disk, so less than this is refused before.
constexpr uint64_t kStartRoomBytes = uint64_t{16} << 20;

// `spare`: what lies in it beside the state in force, and would be removed after the start.
absl::Status CheckRoomToStart(std::string_view flag, const std::string& directory,
                              const std::vector<std::string>& spare) {
  const uint64_t free_bytes = FreeDiskBytes(directory).value_or(kStartRoomBytes);
  if (free_bytes >= kStartRoomBytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "--{}: the disk of {} is full ({} KiB free); free at least {} MiB and start "
                     "again, nothing that was acknowledged is lost{}",
                     flag, directory, free_bytes >> 10, kStartRoomBytes >> 20,
                     spare.empty() ? ""
                                   : fmt::format("; not in force, and of no use if the rest is "
                                                 "whole: {}",
                                                 fmt::join(spare, ", ")));
}

// A port that is taken is found before anything is written.
absl::Status CheckPortIsFree(std::string_view flag, const Url& url) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem =
      getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (problem != 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "--{}={}: {}", flag, url.text(),
                       gai_strerror(problem));
  }
  absl::Status status;
  for (const addrinfo* address = found; address != nullptr && status.ok();
       address = address->ai_next) {
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6) {
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EADDRNOTAVAIL) {
      status = base::Error(absl::StatusCode::kUnavailable, "--{}={}: {}{}", flag, url.text(),
                           std::strerror(errno),
                           errno == EADDRINUSE ? "; stop the process that listens there, or name "
                                                 "another port"
                                               : "");
    }
    close(fd);
  }
  freeaddrinfo(found);
  return status;
}

// What stays free on the disks of log and state: a segment, and what a flush may write.
uint64_t DiskReserveBytes(const Config& config) {
  return std::max(wal::kSegmentBytes, config.wal_segment_bytes) + kFlushReserveBytes;
}

NodeRunnerOptions RunnerOptions(const Config& config, const Bootstrapped& member) {
  NodeRunnerOptions options;
  options.cluster_id = member.identity.cluster;
  options.tick = config.heartbeat_interval;
  options.proposal_timeout = kProposalBase + 2 * config.election_timeout;
  options.auto_promote_learners = config.auto_promote_learners;
  options.request_bytes_max = config.max_request_bytes;
  options.sync_interval = config.wal_sync_interval;
  options.start_nonce = member.start_nonce;
  options.log_open_us = member.recovered.open_us;
  options.log_open_bytes = member.recovered.read_bytes;
  const auto ticks = [&](milliseconds time) {
    return static_cast<uint32_t>(std::max<int64_t>(1, time / config.heartbeat_interval));
  };
  options.leases.lessor.election_timeout_ms = config.election_timeout.count();
  options.leases.lessor.checkpoint_interval_ms = config.lease_checkpoint_interval.count();
  options.leases.wait = options.proposal_timeout;
  NodeCoreOptions& core = options.core;
  core.raft.id = member.identity.member;
  core.raft.heartbeat_ticks = 1;
  core.raft.election_timeout_ticks = ticks(config.election_timeout);
  // Not a moment less, although what is waited for began between two ticks.
  core.raft.log_stall_ticks =
      ticks(config.log_stall + config.heartbeat_interval - milliseconds(1)) + 1;
  core.raft.random_seed = member.start_nonce;
  core.start_nonce = static_cast<uint32_t>(member.start_nonce);
  core.read_retry_ticks = ticks(milliseconds(500));
  core.proposal_wait_ticks = ticks(options.proposal_timeout);
  core.change_wait_ticks = ticks(NodeRunner::kChangeTimeout);
  return options;
}

// One and a half election timeouts, counted in heartbeats and rounded up to seconds, as etcd does.
int64_t LeaseTtlMinSeconds(const Config& config) {
  const int64_t ticks = config.election_timeout / config.heartbeat_interval;
  const milliseconds least = 3 * ticks / 2 * config.heartbeat_interval;
  return std::chrono::ceil<std::chrono::seconds>(least).count();
}

// Asks a member over a connection of its own, and waits for the answer.
AskMembers AskOverGrpc(rpc::Connector connect) {
  return [connect =
              std::move(connect)](const std::string& peer_url) -> absl::StatusOr<ExistingCluster> {
    CAIRN_ASSIGN_OR_RETURN(const Url url, ParseUrl(peer_url));
    const std::unique_ptr<rpc::ClientConnection> connection = connect(url.authority());
    std::promise<absl::StatusOr<std::string>> answered;
    connection->Call(
        "/cairn.peer.Peer/Members", rpc::SliceList(std::string()), kAskTimeout,
        [&](absl::StatusOr<std::string> answer) { answered.set_value(std::move(answer)); });
    CAIRN_ASSIGN_OR_RETURN(const std::string answer, answered.get_future().get());
    return DecodeMembersResponse(answer);
  };
}

// Lets the state be flushed when the log is synced as far as the state has got. Entries are applied
// only once the log has them, but with another mode than SyncMode::kAlways not synced yet.
std::function<bool()> FlushGate(std::shared_ptr<Door<NodeRunner>> door) {
  const auto has_failed = std::make_shared<std::atomic<bool>>(false);
  return [door = std::move(door), has_failed] {
    // Before the node runs, and after it has stopped in order, all is synced.
    door->Visit([&](NodeRunner& node) {
      if (!node.SyncLog().ok()) has_failed->store(true);
    });
    return !has_failed->load();
  };
}

void LogRecovery(const Bootstrapped& member) {
  const wal::Recovered& recovered = member.recovered;
  LOG(INFO) << fmt::format(
      "{} member {:x} of cluster {:x}: log entries {} to {} in {} segments, state applied through "
      "{}, revision {}",
      member.is_new ? "new" : "restarted", member.identity.member, member.identity.cluster,
      recovered.before_first.index + 1, recovered.last.index, recovered.segments,
      member.store->applied().index, member.store->published().revision);
  if (recovered.torn_tail_cut) {
    LOG(WARNING) << fmt::format(
        "the log's end was torn by a crash: {} bytes of {} from offset {} were cut and kept in {}; "
        "none of it was acknowledged, unless --wal-sync-mode was not always",
        recovered.torn_bytes, recovered.torn_segment, recovered.torn_offset, recovered.broken_file);
  }
}

}  // namespace

// In the order of construction; taken apart in Stop.
struct Server::Parts {
  Config config;
  wal::Fs& fs = wal::PosixFs();
  std::optional<DataDir> directory;
  std::unique_ptr<RocksStates> states;
  Bootstrapped member;
  std::unique_ptr<ResponseBudget> budget;
  std::unique_ptr<WatchFeed> feed;
  // For the streams of other members: they begin before the runner is there and may tell something
  // after it has gone.
  std::shared_ptr<Door<NodeRunner>> door = std::make_shared<Door<NodeRunner>>();
  std::unique_ptr<PeerTransport> transport;
  std::unique_ptr<PeerService> peer_service;
  std::unique_ptr<LogPins> pins;
  std::unique_ptr<SnapshotLane> snapshots;
  std::unique_ptr<PeerMemberService> member_service;
  rpc::ServiceTable peer_table;
  std::unique_ptr<rpc::GrpcEngine> peer_engine;
  std::unique_ptr<NodeRunner> runner;
  std::unique_ptr<Publisher> publisher;
  std::unique_ptr<LogTrimmer> trimmer;
  std::unique_ptr<Compactor> compactor;
  std::unique_ptr<ClusterKeeper> keeper;
  std::unique_ptr<CorruptionChecker> checker;
  std::unique_ptr<WatchService> watch;
  rpc::OpenCalls open_calls;
  std::unique_ptr<SnapshotSaver> saver;
  std::unique_ptr<Services> services;
  std::unique_ptr<rpc::GrpcEngine> engine;
  bool stopped = false;

  PeerIdentity Identity() const;
  void MakeTransport();
  void StartNode(const std::function<void(const absl::Status&)>& on_fatal,
                 const std::function<void()>& on_removed, const AutoCompactionPolicy& automatic);
  absl::Status ListenForPeers();
  void PublishSelf();
  absl::Status Listen(const std::function<void(const absl::Status&)>& on_fatal);
};

void Server::Parts::StartNode(const std::function<void(const absl::Status&)>& on_fatal,
                              const std::function<void()>& on_removed,
                              const AutoCompactionPolicy& automatic) {
  NodeRunnerOptions options = RunnerOptions(config, member);
  options.on_fatal = on_fatal;
  options.on_removed = on_removed;
  options.peers = transport.get();
  options.pins = pins.get();
  options.has_room_for_spare = [path = directory->wal_path(),
                                wanted_bytes = DiskReserveBytes(config)] {
    return HasDiskRoom(path, wanted_bytes);
  };
  options.on_snapshot_wanted = [this](const raft::SnapshotWanted& wanted) {
    snapshots->Send(wanted);
  };
  runner = std::make_unique<NodeRunner>(std::move(options), std::move(member.raft), *member.wal,
                                        *member.store, *member.applier);
  door->Open(runner.get());
  snapshots->Start(*runner);
  LogTrimmerOptions trimming;
  trimming.replay_entries_max = config.snapshot_count;
  trimming.directories = {config.data_dir, directory->wal_path()};
  trimming.disk_reserve_bytes = DiskReserveBytes(config);
  trimming.state_directory = config.data_dir;
  trimming.on_fatal = on_fatal;
  const Index marked =
      member.recovered.marker.has_value() ? member.recovered.marker->id.index : Index(0);
  trimmer = std::make_unique<LogTrimmer>(std::move(trimming), marked, *member.wal, *member.store,
                                         *runner, *pins);
  CompactorOptions compacting;
  compacting.automatic = automatic;
  compacting.on_fatal = on_fatal;
  compactor = std::make_unique<Compactor>(std::move(compacting), *member.store, *runner);
  CorruptionCheckerOptions checking;
  checking.interval = config.corrupt_check_time;
  checker = std::make_unique<CorruptionChecker>(checking, *member.store, *runner);
}

PeerIdentity Server::Parts::Identity() const {
  PeerIdentity identity{member.identity.cluster, member.identity.member, {}};
  for (const Url& url : config.initial_advertise_peer_urls) {
    identity.peer_urls.push_back(url.text());
  }
  return identity;
}

void Server::Parts::MakeTransport() {
  PeerTransportOptions options;
  options.identity = Identity();
  options.connect = rpc::GrpcConnector(kPeerMessageBytes);
  options.on_unreachable = [door = door](MemberId peer) {
    door->Visit([&](NodeRunner& node) { node.ReportUnreachable(peer); });
  };
  options.on_undelivered = [door = door](std::vector<raft::Message> messages) {
    door->Visit([&](NodeRunner& node) { node.Undelivered(std::move(messages)); });
  };
  options.on_refused = [door = door](MemberId peer, const absl::Status& why) {
    LOG(WARNING) << fmt::format("member {:x} refuses to talk to this one: {}", peer,
                                base::Message(why));
    if (IsRemovedStatus(why)) door->Visit([](NodeRunner& node) { node.ToldOfRemoval(); });
  };
  options.random_seed = member.start_nonce;
  transport = std::make_unique<PeerTransport>(std::move(options));

  pins = std::make_unique<LogPins>(
      LogPinsOptions{.tail = {.entries_max = config.snapshot_catchup_entries,
                              .bytes_max = config.snapshot_catchup_bytes}});
  SnapshotLaneOptions lane;
  lane.identity = Identity();
  lane.connect = rpc::GrpcConnector(kPeerMessageBytes);
  lane.send_bytes_per_second = config.snapshot_send_bytes_per_second;
  lane.is_removed = [door = door](MemberId id) {
    bool is_removed = false;
    door->Visit([&](NodeRunner& node) { is_removed = node.IsRemoved(id); });
    return is_removed;
  };
  snapshots = std::make_unique<SnapshotLane>(std::move(lane), fs, *states, *member.store, *pins);
}

absl::Status Server::Parts::ListenForPeers() {
  PeerServiceOptions incoming;
  incoming.identity = Identity();
  incoming.is_removed = [this](MemberId id) { return runner->IsRemoved(id); };
  incoming.on_greeting = [this](MemberId from, const std::vector<std::string>& peer_urls) {
    transport->Greeted(from, peer_urls);
  };
  incoming.deliver = [this](std::vector<raft::Message> messages) {
    runner->Step(std::move(messages));
  };
  peer_service = std::make_unique<PeerService>(std::move(incoming));
  peer_service->Register(peer_table);
  RegisterLeaseCalls(*runner, peer_table);
  RegisterHashCalls(
      member.identity.cluster, [this](Revision at) { return checker->HashAt(at); }, peer_table);
  snapshots->Register(peer_table);
  member_service = std::make_unique<PeerMemberService>(
      *runner, MemberChangerOptions{.strict_reconfig_check = config.strict_reconfig_check,
                                    .learners_max = config.max_learners});
  member_service->Register(peer_table);
  rpc::GrpcEngineOptions options;
  options.max_request_bytes =
      std::max<int64_t>(kPeerMessageBytes, static_cast<int64_t>(2 * config.max_request_bytes));
  options.stopping = api::ToStatus(api::Error::kServerStopped);
  for (const Url& url : config.listen_peer_urls) {
    options.listen.push_back({url.authority(), fmt::format("--listen-peer-urls={}", url.text())});
  }
  CAIRN_ASSIGN_OR_RETURN(peer_engine, rpc::GrpcEngine::Start(peer_table, options));
  return absl::OkStatus();
}

void Server::Parts::PublishSelf() {
  PublishedAttributes attributes{member.identity.member, config.name, {}};
  for (const Url& url : config.advertise_client_urls) attributes.client_urls.push_back(url.text());
  publisher = std::make_unique<Publisher>(*runner, std::move(attributes));
  if (!publisher->Wait(kClusterReadyTimeout)) {
    LOG(WARNING) << "no quorum after " << kClusterReadyTimeout.count()
                 << " ms; serving what can be served without one";
  }
}

absl::Status Server::Parts::Listen(const std::function<void(const absl::Status&)>& on_fatal) {
  ServiceLimits limits;
  limits.txn_ops_max = static_cast<int64_t>(config.max_txn_ops);
  limits.request_bytes_max = config.max_request_bytes;
  limits.quota_backend_bytes = std::max<int64_t>(0, config.quota_backend_bytes);
  limits.lease_ttl_min_s = LeaseTtlMinSeconds(config);
  limits.strict_reconfig_check = config.strict_reconfig_check;
  limits.learners_max = config.max_learners;
  ClusterKeeperOptions keeping;
  keeping.quota_backend_bytes = limits.quota_backend_bytes;
  keeping.version_of = [this](MemberId id) { return transport->ServerVersion(id); };
  keeper = std::make_unique<ClusterKeeper>(std::move(keeping), *member.store, *runner);
  const ServiceContext context{*runner, *member.store, *budget, limits,
                               [this](int64_t bytes) { keeper->RefusedGrowth(bytes); }};
  WatchOptions watching;
  watching.hub.fragment_bytes = config.max_request_bytes + kFragmentOverheadBytes;
  watching.hub.watchers_max = config.max_watchers;
  watching.hub.stream_watchers_max = config.max_watchers_per_stream;
  watching.hub.progress_interval_ms = config.watch_progress_notify_interval.count();
  watching.on_fatal = on_fatal;
  watch = std::make_unique<WatchService>(context, *feed, std::move(watching));
  SnapshotSaverOptions saving;
  saving.calls_begun = [this] { return open_calls.begun(); };
  saving.is_disk_low = [this] { return runner->IsOutOfSpace() || snapshots->lacks_room(); };
  saver = std::make_unique<SnapshotSaver>(std::move(saving), fs, *states, *member.store, *pins);
  services = std::make_unique<Services>(context, watch.get(), &open_calls, saver.get());
  rpc::GrpcEngineOptions options;
  options.max_request_bytes = static_cast<int64_t>(config.max_request_bytes);
  options.max_concurrent_streams = kStreamsPerConnectionMax;
  options.stopping = api::ToStatus(api::Error::kServerStopped);
  options.open_calls = &open_calls;
  for (const Url& url : config.listen_client_urls) {
    options.listen.push_back({url.authority(), fmt::format("--listen-client-urls={}", url.text())});
  }
  CAIRN_ASSIGN_OR_RETURN(engine, rpc::GrpcEngine::Start(services->table(), options));
  return absl::OkStatus();
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Stop().IgnoreError(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const Config& config, std::function<void(const absl::Status&)> on_fatal,
    std::function<void()> on_removed) {
  CAIRN_ASSIGN_OR_RETURN(
      const AutoCompactionPolicy automatic,
      ParseAutoCompaction(
          config.auto_compaction_mode == CompactionMode::kPeriodic ? "periodic" : "revision",
          config.auto_compaction_retention));
  for (const Url& url : config.listen_client_urls) {
    CAIRN_RETURN_IF_ERROR(CheckPortIsFree("listen-client-urls", url));
  }
  for (const Url& url : config.listen_peer_urls) {
    CAIRN_RETURN_IF_ERROR(CheckPortIsFree("listen-peer-urls", url));
  }
  // Whoever finds log or state at fault ends the member this way, and no other.
  const auto fail = [on_fatal = std::move(on_fatal)](const absl::Status& error) {
    on_fatal(WithRemedy(error));
  };
  auto parts = std::make_unique<Parts>();
  parts->config = config;
  CAIRN_ASSIGN_OR_RETURN(parts->directory, DataDir::Open(parts->fs, config));
  CAIRN_RETURN_IF_ERROR(
      CheckRoomToStart("data-dir", config.data_dir, parts->directory->other_states()));
  CAIRN_RETURN_IF_ERROR(CheckRoomToStart("wal-dir", parts->directory->wal_path(), {}));
  parts->states = std::make_unique<RocksStates>(
      parts->fs, parts->directory->states_path(), parts->directory->current_state(),
      static_cast<int64_t>(config.memory_limit_bytes), FlushGate(parts->door));
  CAIRN_ASSIGN_OR_RETURN(parts->member,
                         Bootstrap(parts->fs, *parts->directory, *parts->states, config,
                                   AskOverGrpc(rpc::GrpcConnector(kPeerMessageBytes))));
  CAIRN_RETURN_IF_ERROR(parts->directory->RemoveOtherStates(parts->fs));
  LogRecovery(parts->member);
  // Reads that find damage end the member, whoever reads; before there is one they fail its start.
  parts->member.store->ReportDamage([door = parts->door](const absl::Status& error) {
    door->Visit([&](NodeRunner& node) { node.Fail(error); });
  });
  parts->budget = std::make_unique<ResponseBudget>();
  const auto reclaim = [calls = &parts->open_calls] {
    calls->EndOverdue(std::chrono::steady_clock::now());
  };
  parts->budget->SetReclaim(reclaim);
  parts->member.applier->response_budget().SetReclaim(reclaim);
  parts->feed = std::make_unique<WatchFeed>(parts->member.store->published().revision);
  parts->member.applier->SetChangeSink(parts->feed.get());
  std::unique_ptr<Server> server(new Server(std::move(parts)));
  server->parts_->MakeTransport();
  server->parts_->StartNode(fail, on_removed, automatic);
  CAIRN_RETURN_IF_ERROR(server->parts_->ListenForPeers());
  CAIRN_RETURN_IF_ERROR(WithRemedy(server->parts_->runner->WaitReady(kReadyTimeout)));
  if (config.wal_sync_mode != wal::SyncMode::kAlways) {
    LOG(WARNING) << SyncModeRisk(config);
    CAIRN_RETURN_IF_ERROR(server->parts_->runner->RelaxSync(config.wal_sync_mode));
  }
  if (config.initial_corrupt_check) {
    CAIRN_RETURN_IF_ERROR(server->parts_->checker->CheckAtStart());
  }
  server->parts_->PublishSelf();
  CAIRN_RETURN_IF_ERROR(server->parts_->Listen(fail));
  return server;
}

std::string Server::Banner() const {
  const Config& config = parts_->config;
  std::string urls;
  for (const Url& url : config.listen_client_urls) urls += fmt::format(" {}", url.text());
  std::string risk = SyncModeRisk(config);
  if (!risk.empty()) risk = fmt::format("  careful  {}\n", risk);
  return fmt::format(
      "Cairn {} (answers as etcd {})\n"
      "  member   {:x} \"{}\" of cluster {:x}\n"
      "  clients {}\n"
      "  data     {}\n"
      "{}"
      "Try: etcdctl --endpoints={} put greeting hello\n",
      api::kCairnVersion, api::kEtcdVersion, parts_->member.identity.member, config.name,
      parts_->member.identity.cluster, urls, config.data_dir, risk,
      config.listen_client_urls[0].authority());
}

absl::Status Server::Stop() {
  if (parts_->stopped) return absl::OkStatus();
  parts_->stopped = true;
  // While everything still answers: what comes meanwhile waits for the new leader.
  if (parts_->runner != nullptr) parts_->runner->HandOver();
  // Watches and snapshots have no end of their own that the grace could wait for.
  if (parts_->watch != nullptr) parts_->watch->Stop();
  if (parts_->saver != nullptr) parts_->saver->Stop();
  if (parts_->engine != nullptr) {
    parts_->engine->Stop(kStopGrace, [this] { parts_->runner->EndReads(); });
  }
  if (parts_->compactor != nullptr) parts_->compactor->Stop();
  if (parts_->keeper != nullptr) parts_->keeper->Stop();
  if (parts_->checker != nullptr) parts_->checker->Stop();
  if (parts_->trimmer != nullptr) parts_->trimmer->Stop();
  if (parts_->snapshots != nullptr) parts_->snapshots->Stop();
  absl::Status status = parts_->runner != nullptr ? parts_->runner->Stop() : absl::OkStatus();
  if (parts_->publisher != nullptr) parts_->publisher->Stop();
  parts_->door->Close();
  if (parts_->transport != nullptr) parts_->transport->Stop();
  if (parts_->peer_engine != nullptr) parts_->peer_engine->Stop(milliseconds(0));
  return status;
}

}  // namespace cairn::server
