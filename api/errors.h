// Every error that a client can meet, once: its code and text on the wire.
//
// Go clients tell errors apart by the exact text, others by the code, so both are part of the
// contract (etcd 3.6 and later). Services and the applier name a reason; nobody else spells a text.
// Pure values: no state, any thread.
#ifndef CAIRN_API_ERRORS_H_
#define CAIRN_API_ERRORS_H_

#include <absl/status/status.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace cairn::api {

// The reasons. Their numbers are not stored and not sent.
enum class Error {
  // Requests that make no sense as they stand.
  kKeyNotProvided,
  kKeyNotFound,  // Also a transaction's operation that says nothing.
  kValueProvided,
  kLeaseProvided,
  kTooManyOperations,
  kDuplicateKey,
  kInvalidSortOption,
  kInvalidClientApiVersion,
  kInvalidMemberUrls,
  kRequestTooLarge,
  kInvalidDowngradeTargetFormat,
  kInvalidDowngradeTarget,

  // Revisions.
  kCompacted,
  kFutureRevision,

  // Leases.
  kLeaseNotFound,
  kLeaseExists,
  kLeaseTtlTooLarge,
  kNotPrimaryLessor,  // Lease work that reached a member which has just lost the lead.

  // Room, load and damage.
  kNoSpace,          // Always means: not applied.
  kTooMuchAtOnce,    // What one command may change; nothing was.
  kTooManyRequests,  // etcd declares RESOURCE_EXHAUSTED and sends UNKNOWN; clients know the latter.
  kCorrupt,

  // Time, leaders and connections.
  kDeadlineExceeded,
  kRequestCanceled,
  kWatchCanceled,
  kNoLeader,
  kLeaderChanged,  // Reads only.
  kNotLeader,      // Ask the leader instead.
  kBadLeaderTransferee,
  kServerStopped,
  kTimeout,
  kTimeoutLeaderFailure,
  kTimeoutConnectionLost,
  kTimeoutWaitAppliedIndex,
  kTimeoutLeaderTransfer,
  kProposalDropped,  // While the leader hands its office over.
  kUnhealthyCluster,

  // Membership.
  kMemberNotFound,
  kMemberExists,
  kPeerUrlExists,
  kNotEnoughStartedMembers,  // etcd declares FAILED_PRECONDITION and sends UNKNOWN.
  kMemberNotLearner,
  kLearnerNotReady,
  kTooManyLearners,
  kClusterIdMismatch,
  kNotSupportedForLearner,  // Ask a voter instead.
  kClusterVersionUnavailable,
  kNotCapable,
  kDowngradeInProgress,
  kNoInflightDowngrade,

  // Users, roles and permissions.
  kUserEmpty,  // Also a guarded call without credentials.
  kRoleEmpty,
  kAuthenticationFailed,
  kPermissionNotGiven,
  kInvalidAuthManagement,
  kAuthOldRevision,  // Worth another try after authenticating again.
  kPermissionDenied,
  kRootUserNotExist,
  kRootRoleNotExist,
  kUserExists,
  kUserNotFound,
  kRoleExists,
  kRoleNotFound,
  kRoleNotGranted,
  kPermissionNotGranted,
  kAuthNotEnabled,
  kInvalidAuthToken,  // Worth another try after authenticating again.
  kNoPasswordUser,
  kPasswordTooLong,
  kVerifyOnlyKey,

  // What this server does not do.
  kUnknownMethod,  // A forwarded request of a kind that the receiver does not know.
  kRangeStreamSortOrder,
  kRangeStreamRevisionFilter,

  // The lock and election services, whose errors are all UNKNOWN.
  kSessionExpired,
  kElectionNotLeader,
  kElectionNoLeader,
  kLeaderFieldMissing,
};

// Whether the same request, sent again unchanged, may succeed without anyone else's doing.
enum class Retry : bool { kNo, kYes };

// Whether a write that was answered with the error can have been applied. kNone is a promise.
enum class Effect : bool { kNone, kMaybe };

struct ErrorInfo {
  Error error;
  absl::StatusCode code;  // As sent, which is not always what etcd's sources declare.
  std::string_view text;  // Static.
  Retry retry;
  Effect effect;
};

// All reasons in the order of the enum.
std::span<const ErrorInfo> AllErrors();

// What is known of `error`.
const ErrorInfo& Info(Error error);

// The status that a service answers with. Never OK.
absl::Status ToStatus(Error error);

// The reason whose text is `text`, none if no reason has it. For clients and for tests.
std::optional<Error> FindError(std::string_view text);

// The same for a status: its code must agree too, and OK has no reason.
std::optional<Error> FindError(const absl::Status& status);

// UNIMPLEMENTED in gRPC's own words, naming both: `method` without path, `service` with its
// package.
absl::Status UnknownMethod(std::string_view service, std::string_view method);

// RESOURCE_EXHAUSTED in gRPC's own words: a message of `size_bytes` where `limit_bytes` is the
// most.
absl::Status MessageTooLarge(size_t size_bytes, size_t limit_bytes);

}  // namespace cairn::api

#endif  // CAIRN_API_ERRORS_H_
