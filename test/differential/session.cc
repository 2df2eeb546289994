#include "test/differential/session.h"

#include <fmt/format.h>

#include <cstdio>
#include <future>

#include "base/status.h"
#include "test/differential/normalise.h"

namespace cairn::test {
namespace {

using etcdserverpb::CompactionRequest;
using etcdserverpb::CompactionResponse;
using etcdserverpb::DeleteRangeRequest;
using etcdserverpb::DeleteRangeResponse;
using etcdserverpb::HashKVRequest;
using etcdserverpb::HashKVResponse;
using etcdserverpb::LeaseGrantRequest;
using etcdserverpb::LeaseGrantResponse;
using etcdserverpb::LeaseRevokeRequest;
using etcdserverpb::LeaseRevokeResponse;
using etcdserverpb::PutRequest;
using etcdserverpb::PutResponse;
using etcdserverpb::RangeRequest;
using etcdserverpb::RangeResponse;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;

bool HasFilters(const RangeRequest& request) {
  return request.min_mod_revision() != 0 || request.max_mod_revision() != 0 ||
         request.min_create_revision() != 0 || request.max_create_revision() != 0;
}

bool HasTargetWithoutOrder(const RangeRequest& request) {
  return request.sort_order() == RangeRequest::NONE && request.sort_target() != RangeRequest::KEY &&
         RangeRequest::SortTarget_IsValid(request.sort_target()) && !HasFilters(request);
}

// After the first difference the stores may differ; a few more tell whether they do.
constexpr int64_t kDifferencesMax = 5;
constexpr int kInvalidArgument = 3;
// Operations between two comparisons of all watchers.
constexpr int64_t kBurstMax = 6;
// Some seconds each, so not often.
constexpr int64_t kBurstsPerExpiry = 80;
constexpr int64_t kBurstsPerLarge = 80;
// Beyond the ids of the generator, which never end by themselves.
constexpr int64_t kExpiringLease = 1'000'000;
// Three of them fit a request; with what they replaced they are more than a response may hold
// without fragments.
constexpr size_t kLargeValueBytes = 450'000;
constexpr char kInvalidSort[] = "etcdserver: invalid sort option";

template <typename ResponseType>
Outcome ToOutcome(const grpc::Status& status, ResponseType response) {
  Outcome outcome{.code = status.error_code(), .text = status.error_message(), .response = {}};
  if (status.ok()) outcome.response = std::move(response);
  return outcome;
}

Outcome Call(Client& client, const RangeRequest& request) {
  RangeResponse response;
  const grpc::Status status = client.Range(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const RangeStream& stream) {
  RangeResponse response;
  const grpc::Status status = client.RangeStream(stream.request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const PutRequest& request) {
  PutResponse response;
  const grpc::Status status = client.Put(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const DeleteRangeRequest& request) {
  DeleteRangeResponse response;
  const grpc::Status status = client.DeleteRange(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const TxnRequest& request) {
  TxnResponse response;
  const grpc::Status status = client.Txn(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const CompactionRequest& request) {
  CompactionResponse response;
  const grpc::Status status = client.Compact(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const HashKVRequest& request) {
  HashKVResponse response;
  const grpc::Status status = client.HashKV(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const LeaseGrantRequest& request) {
  LeaseGrantResponse response;
  const grpc::Status status = client.LeaseGrant(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const LeaseRevokeRequest& request) {
  LeaseRevokeResponse response;
  const grpc::Status status = client.LeaseRevoke(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const etcdserverpb::LeaseKeepAliveRequest& request) {
  etcdserverpb::LeaseKeepAliveResponse response;
  const grpc::Status status = client.LeaseKeepAlive(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const etcdserverpb::LeaseTimeToLiveRequest& request) {
  etcdserverpb::LeaseTimeToLiveResponse response;
  const grpc::Status status = client.LeaseTimeToLive(request, &response);
  return ToOutcome(status, std::move(response));
}

Outcome Call(Client& client, const etcdserverpb::LeaseLeasesRequest& request) {
  etcdserverpb::LeaseLeasesResponse response;
  const grpc::Status status = client.LeaseLeases(request, &response);
  return ToOutcome(status, std::move(response));
}

// The two sides, what is known of their stores, and the count of what happened.
class Session {
 public:
  Session(const Target& reference, const Target& under_test, const SessionOptions& options)
      : options_(options),
        reference_(reference, "reference"),
        under_test_(under_test, "under-test"),
        generator_(options.seed, &knowledge_),
        watches_(
            options.seed, &knowledge_, [this](const std::string& text) { Report(text); },
            options.trace) {}

  absl::StatusOr<SessionReport> Run();

 private:
  absl::Status Start();
  void Step(const Operation& operation);
  // Sends to the reference what it is to be asked: the operation or the one it stands in for.
  void StepBoth(const Operation& operation, const Operation& for_reference);
  // An operation that the reference would take wrongly: the answer is known.
  void StepWithKnownError(const Operation& operation, int code, std::string_view text);
  void Learn(const Operation& operation, const Outcome& outcome);
  void Report(const Operation& operation, const Outcome& expected, const Outcome& actual);
  void Report(const std::string& text);
  absl::Status EndRound();
  // And both answer as before.
  absl::Status RestartBoth(const HashKVRequest& hash, const RangeRequest& all);
  // A burst of operations with watchers beside them, and what may follow in quiet.
  void WatchBurst();
  void ConnectWatches();
  // A write that all streams hear of, and the comparison of all watchers.
  void Settle();
  // A lease that ends by itself, with its keys.
  void ExpireLease();
  // Revisions so large that their responses are sent in fragments.
  void WriteLarge();
  void CompareLeases();
  bool MayHashHere(int64_t revision) const;

  const SessionOptions options_;
  Side reference_;
  Side under_test_;
  ReferenceRules rules_;
  Knowledge knowledge_;
  Generator generator_;
  WatchSession watches_;
  int64_t expired_leases_ = 0;
  int64_t sentinels_ = 0;
  SessionReport report_;
};

absl::Status Session::Start() {
  CAIRN_RETURN_IF_ERROR(reference_.Start());
  CAIRN_RETURN_IF_ERROR(under_test_.Start());
  // The server under test follows the newest rules unless it is itself an older etcd.
  rules_ = RulesOf(std::min(reference_.version(), under_test_.version()));
  knowledge_.with_leases = reference_.has_leases() && under_test_.has_leases();
  return absl::OkStatus();
}

bool Session::MayHashHere(int64_t revision) const {
  return MayHash(knowledge_, revision) &&
         (rules_.keeps_deletion_at_compaction || knowledge_.compacted < 0);
}

void Session::Step(const Operation& operation) {
  ++report_.operations;
  if (!rules_.refuses_unknown_sort && HasUnknownSort(operation)) {
    ++report_.allowed;
    return StepWithKnownError(operation, kInvalidArgument, kInvalidSort);
  }
  if (const auto* stream = std::get_if<RangeStream>(&operation);
      stream != nullptr && !rules_.has_range_stream) {
    ++report_.allowed;
    const RangeRequest& request = stream->request;
    const bool is_plain = request.sort_order() == RangeRequest::NONE &&
                          request.sort_target() == RangeRequest::KEY && !HasFilters(request);
    // The texts of the refusals are pinned by the tests of wrong input.
    StepBoth(is_plain ? operation : Operation(request), request);
    return;
  }
  if (const auto* stream = std::get_if<RangeStream>(&operation);
      stream != nullptr && rules_.sorts_stream_chunks && HasTargetWithoutOrder(stream->request)) {
    ++report_.allowed;
    RangeRequest request = stream->request;
    request.clear_sort_target();
    return StepBoth(operation, request);
  }
  if (const auto* txn = std::get_if<TxnRequest>(&operation);
      txn != nullptr && MayDeleteThenKeep(*txn)) {
    ++report_.allowed;
    return;
  }
  if (const auto* hash = std::get_if<HashKVRequest>(&operation)) {
    if (!MayHashHere(hash->revision())) return;
  }
  StepBoth(operation, operation);
}

void Session::StepBoth(const Operation& operation, const Operation& for_reference) {
  auto expected_future =
      std::async(std::launch::async, [&] { return reference_.Play(for_reference); });
  Outcome actual = under_test_.Play(operation);
  Outcome expected = expected_future.get();
  if (options_.trace) {
    std::printf("%s\n  -> %s\n", Describe(operation).c_str(), Describe(expected).c_str());
  }
  ++report_.counts[std::string(NameOf(operation))][expected.code == 0 ? 0 : 1];
  if (expected.code != 0) ++report_.errors;
  Learn(operation, expected);
  Normalise(for_reference, rules_, expected);
  Normalise(for_reference, rules_, actual);
  if (Encode(expected) == Encode(actual)) return;
  if (!rules_.checks_txn_in_order && std::holds_alternative<TxnRequest>(operation) &&
      AreFaultsOfOneTxn(expected, actual)) {
    ++report_.allowed;
    return;
  }
  Report(operation, expected, actual);
}

void Session::StepWithKnownError(const Operation& operation, int code, std::string_view text) {
  const Outcome actual = under_test_.Play(operation);
  const Outcome expected{.code = code, .text = std::string(text), .response = {}};
  ++report_.counts[std::string(NameOf(operation))][1];
  if (Encode(expected) != Encode(actual)) Report(operation, expected, actual);
}

void Session::Learn(const Operation& operation, const Outcome& outcome) {
  if (outcome.code != 0) return;
  const int64_t revision = HeaderOf(outcome.response).revision();
  if (const auto* txn = std::get_if<TxnRequest>(&operation)) {
    if (revision > knowledge_.revision && MayDeleteThenPut(*txn)) {
      knowledge_.delete_then_put.insert(revision);
    }
  }
  knowledge_.revision = std::max(knowledge_.revision, revision);
  if (const auto* compaction = std::get_if<CompactionRequest>(&operation)) {
    knowledge_.compacted = compaction->revision();
    knowledge_.compaction_is_finished = compaction->physical();
  }
  if (std::holds_alternative<HashKVRequest>(operation)) ++report_.hashes;
  if (const auto* grant = std::get_if<LeaseGrantRequest>(&operation)) {
    knowledge_.leases.insert(grant->id());
  }
  if (const auto* revoke = std::get_if<LeaseRevokeRequest>(&operation)) {
    knowledge_.leases.erase(revoke->id());
  }
}

void Session::Report(const Operation& operation, const Outcome& expected, const Outcome& actual) {
  Report(fmt::format("\n  request:    {}\n  reference:  {}\n  under test: {}", Describe(operation),
                     Describe(expected), Describe(actual)));
}

void Session::Report(const std::string& text) {
  ++report_.differences;
  std::printf("DIFFERENCE at seed %llu, operation %lld (revision %lld, compacted %lld): %s\n",
              static_cast<unsigned long long>(options_.seed),
              static_cast<long long>(report_.operations),
              static_cast<long long>(knowledge_.revision),
              static_cast<long long>(knowledge_.compacted), text.c_str());
  std::fflush(stdout);
}

// Which leases there are, and the keys of each.
void Session::CompareLeases() {
  if (!knowledge_.with_leases) return;
  const etcdserverpb::LeaseLeasesRequest all;
  StepBoth(all, all);
  for (const int64_t id : knowledge_.leases) {
    etcdserverpb::LeaseTimeToLiveRequest one;
    one.set_id(id);
    one.set_keys(true);
    StepBoth(one, one);
  }
}

void Session::ConnectWatches() {
  watches_.Connect(reference_.address(), under_test_.address(), rules_);
}

void Session::Settle() {
  PutRequest sentinel;
  sentinel.set_key(WatchSession::kSentinelKey);
  sentinel.set_value(std::to_string(++sentinels_));
  StepBoth(sentinel, sentinel);
  watches_.Settle();
}

void Session::WatchBurst() {
  Random& random = watches_.random();
  for (int64_t i = random.Between(1, kBurstMax); i > 0; --i) {
    if (random.Chance(25)) watches_.Create();
    const Operation operation = generator_.Next();
    if (const auto* compaction = std::get_if<CompactionRequest>(&operation)) {
      // Whether it overtakes a watcher on its way through history depends on time.
      Settle();
      if (compaction->revision() > watches_.CompactionLimit()) continue;
    }
    Step(operation);
  }
  Settle();
  if (random.Chance(60)) watches_.Act();
  if (random.OneIn(kBurstsPerExpiry) && knowledge_.with_leases) ExpireLease();
  if (random.OneIn(kBurstsPerLarge)) WriteLarge();
}

void Session::ExpireLease() {
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(kExpiringLease + ++expired_leases_);
  grant.set_ttl(1);
  StepBoth(grant, grant);
  knowledge_.leases.erase(grant.id());
  for (const char* key : {"k03", "b", "expiring"}) {
    PutRequest put;
    put.set_key(key);
    put.set_lease(grant.id());
    StepBoth(put, put);
  }
  // All its keys end in one revision.
  if (!watches_.WaitForRevision(knowledge_.revision + 1)) return;
  ++knowledge_.revision;
  Settle();
}

void Session::WriteLarge() {
  const std::string prefix = "large";
  watches_.CreateForLarge(prefix);
  for (const char fill : {'1', '2'}) {
    TxnRequest txn;
    for (const char* name : {"a", "b", "c"}) {
      PutRequest& put = *txn.add_success()->mutable_request_put();
      put.set_key(prefix + name);
      put.set_value(std::string(kLargeValueBytes, fill));
    }
    StepBoth(txn, txn);
    Settle();
  }
  DeleteRangeRequest remove;
  remove.set_key(prefix);
  remove.set_range_end(PrefixEnd(prefix));
  StepBoth(remove, remove);
  Settle();
}

// All keys, all leases, and the whole history as one number.
absl::Status Session::EndRound() {
  if (options_.watches) {
    Settle();
    watches_.Disconnect();
  }
  RangeRequest all;
  all.set_key(std::string(1, '\0'));
  all.set_range_end(std::string(1, '\0'));
  StepBoth(all, all);
  CompareLeases();
  // Whatever stands in the way of a hash ends with a put and a finished compaction below it.
  PutRequest put;
  put.set_key("end of round");
  StepBoth(put, put);
  if (!knowledge_.compaction_is_finished) {
    CompactionRequest compaction;
    int64_t revision = knowledge_.revision - 1;
    while (!MayCompact(knowledge_, revision)) --revision;
    if (revision > knowledge_.compacted) {
      compaction.set_revision(revision);
      compaction.set_physical(true);
      StepBoth(compaction, compaction);
    }
  }
  HashKVRequest hash;
  hash.set_revision(knowledge_.revision);
  if (MayHashHere(hash.revision())) StepBoth(hash, hash);

  if (options_.restart) CAIRN_RETURN_IF_ERROR(RestartBoth(hash, all));
  if (options_.watches) ConnectWatches();
  return absl::OkStatus();
}

absl::Status Session::RestartBoth(const HashKVRequest& hash, const RangeRequest& all) {
  const bool gracefully = ++report_.restarts % 2 == 1;
  CAIRN_RETURN_IF_ERROR(reference_.Restart(gracefully));
  CAIRN_RETURN_IF_ERROR(under_test_.Restart(gracefully));
  StepBoth(all, all);
  CompareLeases();
  if (MayHashHere(hash.revision())) StepBoth(hash, hash);
  return absl::OkStatus();
}

absl::StatusOr<SessionReport> Session::Run() {
  CAIRN_RETURN_IF_ERROR(Start());
  const auto start = std::chrono::steady_clock::now();
  if (options_.watches) ConnectWatches();
  int64_t round_end = options_.round_operations;
  while (report_.operations < options_.operations && report_.differences < kDifferencesMax) {
    if (options_.watches) {
      WatchBurst();
    } else {
      Step(generator_.Next());
    }
    if (report_.operations < round_end) continue;
    round_end += options_.round_operations;
    CAIRN_RETURN_IF_ERROR(EndRound());
  }
  if (report_.differences < kDifferencesMax) CAIRN_RETURN_IF_ERROR(EndRound());
  watches_.Disconnect();
  report_.watches = watches_.counts();
  report_.last_revision = knowledge_.revision;
  report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report_;
}

}  // namespace

Side::Side(const Target& target, std::string label)
    : server_([&] {
        ServerOptions options = OptionsFor(target, std::move(label));
        options.extra_flags.push_back(NotifyIntervalFlag(target, kNotifyInterval));
        return options;
      }()) {}

absl::Status Side::Start() {
  CAIRN_RETURN_IF_ERROR(server_.Start());
  client_ = std::make_unique<Client>(server_.address());
  etcdserverpb::StatusResponse status;
  const grpc::Status asked = client_->StatusOf(&status);
  if (!asked.ok()) {
    return base::Error(absl::StatusCode::kUnavailable, "{} does not tell its version: {}",
                       server_.label(), asked.error_message());
  }
  version_ = ParseVersion(status.version());
  LeaseRevokeRequest revoke;
  revoke.set_id(1);
  LeaseRevokeResponse response;
  has_leases_ = client_->LeaseRevoke(revoke, &response).error_code() == grpc::NOT_FOUND;
  return absl::OkStatus();
}

absl::Status Side::Restart(bool gracefully) {
  if (gracefully) {
    CAIRN_RETURN_IF_ERROR(server_.Terminate().status());
  } else {
    server_.Kill();
  }
  CAIRN_RETURN_IF_ERROR(server_.Start());
  client_ = std::make_unique<Client>(server_.address());
  return absl::OkStatus();
}

Outcome Side::Play(const Operation& operation) {
  return std::visit([&](const auto& request) { return Call(*client_, request); }, operation);
}

absl::StatusOr<SessionReport> PlaySeed(const Target& reference, const Target& under_test,
                                       const SessionOptions& options) {
  return Session(reference, under_test, options).Run();
}

}  // namespace cairn::test
