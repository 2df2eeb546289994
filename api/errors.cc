#include "api/errors.h"

#include <array>

#include "base/check.h"
#include "base/status.h"

namespace cairn::api {
namespace {

constexpr auto kErrors = std::to_array<ErrorInfo>({
    {Error::kKeyNotProvided, absl::StatusCode::kInvalidArgument, "etcdserver: key is not provided",
     Retry::kNo, Effect::kNone},
    {Error::kKeyNotFound, absl::StatusCode::kInvalidArgument, "etcdserver: key not found",
     Retry::kNo, Effect::kNone},
    {Error::kValueProvided, absl::StatusCode::kInvalidArgument, "etcdserver: value is provided",
     Retry::kNo, Effect::kNone},
    {Error::kLeaseProvided, absl::StatusCode::kInvalidArgument, "etcdserver: lease is provided",
     Retry::kNo, Effect::kNone},
    {Error::kTooManyOperations, absl::StatusCode::kInvalidArgument,
     "etcdserver: too many operations in txn request", Retry::kNo, Effect::kNone},
    {Error::kDuplicateKey, absl::StatusCode::kInvalidArgument,
     "etcdserver: duplicate key given in txn request", Retry::kNo, Effect::kNone},
    {Error::kInvalidSortOption, absl::StatusCode::kInvalidArgument,
     "etcdserver: invalid sort option", Retry::kNo, Effect::kNone},
    {Error::kInvalidClientApiVersion, absl::StatusCode::kInvalidArgument,
     "etcdserver: invalid client api version", Retry::kNo, Effect::kNone},
    {Error::kInvalidMemberUrls, absl::StatusCode::kInvalidArgument,
     "etcdserver: given member URLs are invalid", Retry::kNo, Effect::kNone},
    {Error::kRequestTooLarge, absl::StatusCode::kInvalidArgument,
     "etcdserver: request is too large", Retry::kNo, Effect::kNone},
    {Error::kInvalidDowngradeTargetFormat, absl::StatusCode::kInvalidArgument,
     "etcdserver: wrong downgrade target version format", Retry::kNo, Effect::kNone},
    {Error::kInvalidDowngradeTarget, absl::StatusCode::kInvalidArgument,
     "etcdserver: invalid downgrade target version", Retry::kNo, Effect::kNone},
    {Error::kCompacted, absl::StatusCode::kOutOfRange,
     "etcdserver: mvcc: required revision has been compacted", Retry::kNo, Effect::kNone},
    {Error::kFutureRevision, absl::StatusCode::kOutOfRange,
     "etcdserver: mvcc: required revision is a future revision", Retry::kNo, Effect::kNone},
    {Error::kLeaseNotFound, absl::StatusCode::kNotFound, "etcdserver: requested lease not found",
     Retry::kNo, Effect::kNone},
    {Error::kLeaseExists, absl::StatusCode::kFailedPrecondition, "etcdserver: lease already exists",
     Retry::kNo, Effect::kNone},
    {Error::kLeaseTtlTooLarge, absl::StatusCode::kOutOfRange, "etcdserver: too large lease TTL",
     Retry::kNo, Effect::kNone},
    {Error::kNotPrimaryLessor, absl::StatusCode::kUnknown, "not a primary lessor", Retry::kYes,
     Effect::kNone},
    {Error::kNoSpace, absl::StatusCode::kResourceExhausted,
     "etcdserver: mvcc: database space exceeded", Retry::kNo, Effect::kNone},
    {Error::kTooMuchAtOnce, absl::StatusCode::kResourceExhausted,
     "etcdserver: too much to delete or put in one request, do it in pieces", Retry::kNo,
     Effect::kNone},
    {Error::kTooManyRequests, absl::StatusCode::kUnknown, "etcdserver: too many requests",
     Retry::kYes, Effect::kNone},
    {Error::kCorrupt, absl::StatusCode::kDataLoss, "etcdserver: corrupt cluster", Retry::kNo,
     Effect::kNone},
    {Error::kDeadlineExceeded, absl::StatusCode::kDeadlineExceeded, "context deadline exceeded",
     Retry::kYes, Effect::kMaybe},
    {Error::kRequestCanceled, absl::StatusCode::kCancelled, "etcdserver: request canceled",
     Retry::kNo, Effect::kMaybe},
    {Error::kWatchCanceled, absl::StatusCode::kCancelled, "etcdserver: watch canceled", Retry::kNo,
     Effect::kNone},
    {Error::kNoLeader, absl::StatusCode::kUnavailable, "etcdserver: no leader", Retry::kYes,
     Effect::kNone},
    {Error::kLeaderChanged, absl::StatusCode::kUnavailable, "etcdserver: leader changed",
     Retry::kYes, Effect::kNone},
    {Error::kNotLeader, absl::StatusCode::kFailedPrecondition, "etcdserver: not leader", Retry::kNo,
     Effect::kNone},
    {Error::kBadLeaderTransferee, absl::StatusCode::kFailedPrecondition,
     "etcdserver: bad leader transferee", Retry::kNo, Effect::kNone},
    {Error::kServerStopped, absl::StatusCode::kUnavailable, "etcdserver: server stopped",
     Retry::kYes, Effect::kMaybe},
    {Error::kTimeout, absl::StatusCode::kUnavailable, "etcdserver: request timed out", Retry::kYes,
     Effect::kMaybe},
    {Error::kTimeoutLeaderFailure, absl::StatusCode::kUnavailable,
     "etcdserver: request timed out, possibly due to previous leader failure", Retry::kYes,
     Effect::kMaybe},
    {Error::kTimeoutConnectionLost, absl::StatusCode::kUnavailable,
     "etcdserver: request timed out, possibly due to connection lost", Retry::kYes, Effect::kMaybe},
    {Error::kTimeoutWaitAppliedIndex, absl::StatusCode::kUnavailable,
     "etcdserver: request timed out, waiting for the applied index took too long", Retry::kYes,
     Effect::kNone},
    {Error::kTimeoutLeaderTransfer, absl::StatusCode::kUnknown,
     "etcdserver: request timed out, leader transfer took too long", Retry::kYes, Effect::kMaybe},
    {Error::kProposalDropped, absl::StatusCode::kUnknown, "raft proposal dropped", Retry::kYes,
     Effect::kNone},
    {Error::kUnhealthyCluster, absl::StatusCode::kUnavailable, "etcdserver: unhealthy cluster",
     Retry::kYes, Effect::kNone},
    {Error::kMemberNotFound, absl::StatusCode::kNotFound, "etcdserver: member not found",
     Retry::kNo, Effect::kNone},
    {Error::kMemberExists, absl::StatusCode::kFailedPrecondition,
     "etcdserver: member ID already exist", Retry::kNo, Effect::kNone},
    {Error::kPeerUrlExists, absl::StatusCode::kFailedPrecondition,
     "etcdserver: Peer URLs already exists", Retry::kNo, Effect::kNone},
    {Error::kNotEnoughStartedMembers, absl::StatusCode::kUnknown,
     "etcdserver: re-configuration failed due to not enough started members", Retry::kNo,
     Effect::kNone},
    {Error::kMemberNotLearner, absl::StatusCode::kFailedPrecondition,
     "etcdserver: can only promote a learner member", Retry::kNo, Effect::kNone},
    {Error::kLearnerNotReady, absl::StatusCode::kFailedPrecondition,
     "etcdserver: can only promote a learner member which is in sync with leader", Retry::kYes,
     Effect::kNone},
    {Error::kTooManyLearners, absl::StatusCode::kFailedPrecondition,
     "etcdserver: too many learner members in cluster", Retry::kNo, Effect::kNone},
    {Error::kClusterIdMismatch, absl::StatusCode::kFailedPrecondition,
     "etcdserver: cluster ID mismatch", Retry::kNo, Effect::kNone},
    {Error::kNotSupportedForLearner, absl::StatusCode::kFailedPrecondition,
     "etcdserver: rpc not supported for learner", Retry::kNo, Effect::kNone},
    {Error::kClusterVersionUnavailable, absl::StatusCode::kFailedPrecondition,
     "etcdserver: cluster version not found during downgrade", Retry::kYes, Effect::kNone},
    {Error::kNotCapable, absl::StatusCode::kFailedPrecondition, "etcdserver: not capable",
     Retry::kYes, Effect::kNone},
    {Error::kDowngradeInProgress, absl::StatusCode::kFailedPrecondition,
     "etcdserver: cluster has a downgrade job in progress", Retry::kNo, Effect::kNone},
    {Error::kNoInflightDowngrade, absl::StatusCode::kFailedPrecondition,
     "etcdserver: no inflight downgrade job", Retry::kNo, Effect::kNone},
    {Error::kUserEmpty, absl::StatusCode::kInvalidArgument, "etcdserver: user name is empty",
     Retry::kNo, Effect::kNone},
    {Error::kRoleEmpty, absl::StatusCode::kInvalidArgument, "etcdserver: role name is empty",
     Retry::kNo, Effect::kNone},
    {Error::kAuthenticationFailed, absl::StatusCode::kInvalidArgument,
     "etcdserver: authentication failed, invalid user ID or password", Retry::kNo, Effect::kNone},
    {Error::kPermissionNotGiven, absl::StatusCode::kInvalidArgument,
     "etcdserver: permission not given", Retry::kNo, Effect::kNone},
    {Error::kInvalidAuthManagement, absl::StatusCode::kInvalidArgument,
     "etcdserver: invalid auth management", Retry::kNo, Effect::kNone},
    {Error::kAuthOldRevision, absl::StatusCode::kInvalidArgument,
     "etcdserver: revision of auth store is old", Retry::kNo, Effect::kNone},
    {Error::kPermissionDenied, absl::StatusCode::kPermissionDenied, "etcdserver: permission denied",
     Retry::kNo, Effect::kNone},
    {Error::kRootUserNotExist, absl::StatusCode::kFailedPrecondition,
     "etcdserver: root user does not exist", Retry::kNo, Effect::kNone},
    {Error::kRootRoleNotExist, absl::StatusCode::kFailedPrecondition,
     "etcdserver: root user does not have root role", Retry::kNo, Effect::kNone},
    {Error::kUserExists, absl::StatusCode::kFailedPrecondition,
     "etcdserver: user name already exists", Retry::kNo, Effect::kNone},
    {Error::kUserNotFound, absl::StatusCode::kFailedPrecondition, "etcdserver: user name not found",
     Retry::kNo, Effect::kNone},
    {Error::kRoleExists, absl::StatusCode::kFailedPrecondition,
     "etcdserver: role name already exists", Retry::kNo, Effect::kNone},
    {Error::kRoleNotFound, absl::StatusCode::kFailedPrecondition, "etcdserver: role name not found",
     Retry::kNo, Effect::kNone},
    {Error::kRoleNotGranted, absl::StatusCode::kFailedPrecondition,
     "etcdserver: role is not granted to the user", Retry::kNo, Effect::kNone},
    {Error::kPermissionNotGranted, absl::StatusCode::kFailedPrecondition,
     "etcdserver: permission is not granted to the role", Retry::kNo, Effect::kNone},
    {Error::kAuthNotEnabled, absl::StatusCode::kFailedPrecondition,
     "etcdserver: authentication is not enabled", Retry::kNo, Effect::kNone},
    {Error::kInvalidAuthToken, absl::StatusCode::kUnauthenticated, "etcdserver: invalid auth token",
     Retry::kNo, Effect::kNone},
    {Error::kNoPasswordUser, absl::StatusCode::kUnknown,
     "auth: authentication failed, password was given for no password user", Retry::kNo,
     Effect::kNone},
    {Error::kPasswordTooLong, absl::StatusCode::kUnknown,
     "bcrypt: password length exceeds 72 bytes", Retry::kNo, Effect::kNone},
    {Error::kVerifyOnlyKey, absl::StatusCode::kUnknown,
     "auth: token signing attempted with verify-only key", Retry::kNo, Effect::kNone},
    {Error::kUnknownMethod, absl::StatusCode::kUnknown, "etcdserver: unknown method", Retry::kNo,
     Effect::kNone},
    {Error::kRangeStreamSortOrder, absl::StatusCode::kUnimplemented,
     "RangeStream does not support custom sort orders", Retry::kNo, Effect::kNone},
    {Error::kRangeStreamRevisionFilter, absl::StatusCode::kUnimplemented,
     "RangeStream does not support revision filters", Retry::kNo, Effect::kNone},
    {Error::kSessionExpired, absl::StatusCode::kUnknown, "mutex: session is expired", Retry::kNo,
     Effect::kNone},
    {Error::kElectionNotLeader, absl::StatusCode::kUnknown, "election: not leader", Retry::kNo,
     Effect::kNone},
    {Error::kElectionNoLeader, absl::StatusCode::kUnknown, "election: no leader", Retry::kNo,
     Effect::kNone},
    {Error::kLeaderFieldMissing, absl::StatusCode::kUnknown, "\"leader\" field must be provided",
     Retry::kNo, Effect::kNone},
});

constexpr bool InOrderOfEnum() {
  for (size_t i = 0; i < kErrors.size(); ++i) {
    if (static_cast<size_t>(kErrors[i].error) != i) return false;
  }
  return true;
}
static_assert(InOrderOfEnum(), "Info() indexes the table by the enum");
static_assert(static_cast<size_t>(Error::kLeaderFieldMissing) + 1 == kErrors.size());

}  // namespace

std::span<const ErrorInfo> AllErrors() { return kErrors; }

const ErrorInfo& Info(Error error) {
  const auto index = static_cast<size_t>(error);
  CAIRN_CHECK_LT(index, kErrors.size());
  return kErrors[index];
}

absl::Status ToStatus(Error error) {
  const ErrorInfo& info = Info(error);
  return base::MakeStatus(info.code, info.text);
}

// A walk: errors are the slow way, and the table fits in a few cache lines.
std::optional<Error> FindError(std::string_view text) {
  for (const ErrorInfo& info : kErrors) {
    if (info.text == text) return info.error;
  }
  return std::nullopt;
}

std::optional<Error> FindError(const absl::Status& status) {
  const std::optional<Error> error = FindError(base::Message(status));
  if (!error || Info(*error).code != status.code()) return std::nullopt;
  return error;
}

absl::Status UnknownMethod(std::string_view service, std::string_view method) {
  return base::Error(absl::StatusCode::kUnimplemented, "unknown method {} for service {}", method,
                     service);
}

absl::Status MessageTooLarge(size_t size_bytes, size_t limit_bytes) {
  return base::Error(absl::StatusCode::kResourceExhausted,
                     "grpc: received message larger than max ({} vs. {})", size_bytes, limit_bytes);
}

}  // namespace cairn::api
