#include "api/errors.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/status.h"

namespace cairn::api {
namespace {

// The contract again, with gRPC's numbers: what Go clients match by text and others by code.
struct Row {
  Error error;
  int code;
  std::string_view text;
};
constexpr Row kContract[] = {
    {Error::kKeyNotProvided, 3, "etcdserver: key is not provided"},
    {Error::kKeyNotFound, 3, "etcdserver: key not found"},
    {Error::kValueProvided, 3, "etcdserver: value is provided"},
    {Error::kLeaseProvided, 3, "etcdserver: lease is provided"},
    {Error::kTooManyOperations, 3, "etcdserver: too many operations in txn request"},
    {Error::kDuplicateKey, 3, "etcdserver: duplicate key given in txn request"},
    {Error::kInvalidSortOption, 3, "etcdserver: invalid sort option"},
    {Error::kInvalidClientApiVersion, 3, "etcdserver: invalid client api version"},
    {Error::kInvalidMemberUrls, 3, "etcdserver: given member URLs are invalid"},
    {Error::kRequestTooLarge, 3, "etcdserver: request is too large"},
    {Error::kInvalidDowngradeTargetFormat, 3, "etcdserver: wrong downgrade target version format"},
    {Error::kInvalidDowngradeTarget, 3, "etcdserver: invalid downgrade target version"},
    {Error::kCompacted, 11, "etcdserver: mvcc: required revision has been compacted"},
    {Error::kFutureRevision, 11, "etcdserver: mvcc: required revision is a future revision"},
    {Error::kLeaseNotFound, 5, "etcdserver: requested lease not found"},
    {Error::kLeaseExists, 9, "etcdserver: lease already exists"},
    {Error::kLeaseTtlTooLarge, 11, "etcdserver: too large lease TTL"},
    {Error::kNotPrimaryLessor, 2, "not a primary lessor"},
    {Error::kNoSpace, 8, "etcdserver: mvcc: database space exceeded"},
    {Error::kTooMuchAtOnce, 8,
     "etcdserver: too much to delete or put in one request, do it in pieces"},
    {Error::kTooManyRequests, 2, "etcdserver: too many requests"},
    {Error::kCorrupt, 15, "etcdserver: corrupt cluster"},
    {Error::kDeadlineExceeded, 4, "context deadline exceeded"},
    {Error::kRequestCanceled, 1, "etcdserver: request canceled"},
    {Error::kWatchCanceled, 1, "etcdserver: watch canceled"},
    {Error::kNoLeader, 14, "etcdserver: no leader"},
    {Error::kLeaderChanged, 14, "etcdserver: leader changed"},
    {Error::kNotLeader, 9, "etcdserver: not leader"},
    {Error::kBadLeaderTransferee, 9, "etcdserver: bad leader transferee"},
    {Error::kServerStopped, 14, "etcdserver: server stopped"},
    {Error::kTimeout, 14, "etcdserver: request timed out"},
    {Error::kTimeoutLeaderFailure, 14,
     "etcdserver: request timed out, possibly due to previous leader failure"},
    {Error::kTimeoutConnectionLost, 14,
     "etcdserver: request timed out, possibly due to connection lost"},
    {Error::kTimeoutWaitAppliedIndex, 14,
     "etcdserver: request timed out, waiting for the applied index took too long"},
    {Error::kTimeoutLeaderTransfer, 2,
     "etcdserver: request timed out, leader transfer took too long"},
    {Error::kProposalDropped, 2, "raft proposal dropped"},
    {Error::kUnhealthyCluster, 14, "etcdserver: unhealthy cluster"},
    {Error::kMemberNotFound, 5, "etcdserver: member not found"},
    {Error::kMemberExists, 9, "etcdserver: member ID already exist"},
    {Error::kPeerUrlExists, 9, "etcdserver: Peer URLs already exists"},
    {Error::kNotEnoughStartedMembers, 2,
     "etcdserver: re-configuration failed due to not enough started members"},
    {Error::kMemberNotLearner, 9, "etcdserver: can only promote a learner member"},
    {Error::kLearnerNotReady, 9,
     "etcdserver: can only promote a learner member which is in sync with leader"},
    {Error::kTooManyLearners, 9, "etcdserver: too many learner members in cluster"},
    {Error::kClusterIdMismatch, 9, "etcdserver: cluster ID mismatch"},
    {Error::kNotSupportedForLearner, 9, "etcdserver: rpc not supported for learner"},
    {Error::kClusterVersionUnavailable, 9,
     "etcdserver: cluster version not found during downgrade"},
    {Error::kNotCapable, 9, "etcdserver: not capable"},
    {Error::kDowngradeInProgress, 9, "etcdserver: cluster has a downgrade job in progress"},
    {Error::kNoInflightDowngrade, 9, "etcdserver: no inflight downgrade job"},
    {Error::kUserEmpty, 3, "etcdserver: user name is empty"},
    {Error::kRoleEmpty, 3, "etcdserver: role name is empty"},
    {Error::kAuthenticationFailed, 3,
     "etcdserver: authentication failed, invalid user ID or password"},
    {Error::kPermissionNotGiven, 3, "etcdserver: permission not given"},
    {Error::kInvalidAuthManagement, 3, "etcdserver: invalid auth management"},
    {Error::kAuthOldRevision, 3, "etcdserver: revision of auth store is old"},
    {Error::kPermissionDenied, 7, "etcdserver: permission denied"},
    {Error::kRootUserNotExist, 9, "etcdserver: root user does not exist"},
    {Error::kRootRoleNotExist, 9, "etcdserver: root user does not have root role"},
    {Error::kUserExists, 9, "etcdserver: user name already exists"},
    {Error::kUserNotFound, 9, "etcdserver: user name not found"},
    {Error::kRoleExists, 9, "etcdserver: role name already exists"},
    {Error::kRoleNotFound, 9, "etcdserver: role name not found"},
    {Error::kRoleNotGranted, 9, "etcdserver: role is not granted to the user"},
    {Error::kPermissionNotGranted, 9, "etcdserver: permission is not granted to the role"},
    {Error::kAuthNotEnabled, 9, "etcdserver: authentication is not enabled"},
    {Error::kInvalidAuthToken, 16, "etcdserver: invalid auth token"},
    {Error::kNoPasswordUser, 2,
     "auth: authentication failed, password was given for no password user"},
    {Error::kPasswordTooLong, 2, "bcrypt: password length exceeds 72 bytes"},
    {Error::kVerifyOnlyKey, 2, "auth: token signing attempted with verify-only key"},
    {Error::kUnknownMethod, 2, "etcdserver: unknown method"},
    {Error::kRangeStreamSortOrder, 12, "RangeStream does not support custom sort orders"},
    {Error::kRangeStreamRevisionFilter, 12, "RangeStream does not support revision filters"},
    {Error::kSessionExpired, 2, "mutex: session is expired"},
    {Error::kElectionNotLeader, 2, "election: not leader"},
    {Error::kElectionNoLeader, 2, "election: no leader"},
    {Error::kLeaderFieldMissing, 2, "\"leader\" field must be provided"},
};

TEST(Errors, CodeAndTextAreTheContract) {
  ASSERT_EQ(AllErrors().size(), std::size(kContract));
  for (const Row& row : kContract) {
    SCOPED_TRACE(row.text);
    const absl::Status status = ToStatus(row.error);
    EXPECT_EQ(static_cast<int>(status.code()), row.code);
    EXPECT_EQ(base::Message(status), row.text);
    EXPECT_FALSE(status.ok());
  }
}

TEST(Errors, TextAndStatusLeadBackToTheReason) {
  for (const Row& row : kContract) {
    SCOPED_TRACE(row.text);
    EXPECT_EQ(FindError(row.text), row.error);
    EXPECT_EQ(FindError(ToStatus(row.error)), row.error);
  }
}

TEST(Errors, NoTextTwice) {
  std::map<std::string_view, int> count;
  for (const ErrorInfo& info : AllErrors()) ++count[info.text];
  for (const auto& [text, times] : count) EXPECT_EQ(times, 1) << text;
}

TEST(Errors, StrangersHaveNoReason) {
  EXPECT_EQ(FindError(""), std::nullopt);
  EXPECT_EQ(FindError("key is not provided"), std::nullopt);
  EXPECT_EQ(FindError("etcdserver: key is not provided "), std::nullopt);
  EXPECT_EQ(FindError(absl::OkStatus()), std::nullopt);
  // The right text under the wrong code: not ours.
  EXPECT_EQ(FindError(absl::ResourceExhaustedError("etcdserver: too many requests")), std::nullopt);
}

// A refusal for want of room is a promise that nothing was written, and so is a refused request.
TEST(Errors, RefusalsPromiseThatNothingWasApplied) {
  EXPECT_EQ(Info(Error::kNoSpace).effect, Effect::kNone);
  EXPECT_EQ(Info(Error::kTooMuchAtOnce).effect, Effect::kNone);
  EXPECT_EQ(Info(Error::kTooManyRequests).effect, Effect::kNone);
  EXPECT_EQ(Info(Error::kTimeout).effect, Effect::kMaybe);
  for (const ErrorInfo& info : AllErrors()) {
    SCOPED_TRACE(info.text);
    if (info.code == absl::StatusCode::kInvalidArgument) {
      EXPECT_EQ(info.effect, Effect::kNone);
      EXPECT_EQ(info.retry, Retry::kNo);
    }
  }
}

TEST(Errors, WordsOfTheTransport) {
  const absl::Status method = UnknownMethod("etcdserverpb.KV", "Frobnicate");
  EXPECT_EQ(method.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(base::Message(method), "unknown method Frobnicate for service etcdserverpb.KV");
  const absl::Status large = MessageTooLarge(2097153, 2097152);
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::Message(large), "grpc: received message larger than max (2097153 vs. 2097152)");
}

}  // namespace
}  // namespace cairn::api
