#include "server/range_reader.h"

#include <gtest/gtest.h>

#include <chrono>

#include "api/errors.h"
#include "api/rpc.pb.h"
#include "server/kv_source.h"
#include "server/response_buffer.h"

namespace cairn::server {
namespace {

// Two keys, and a compaction that passes between the first scan and the second.
class OvertakenSource final : public KvSource {
 public:
  absl::StatusOr<mvcc::ReadPoint> Get(std::string_view, Revision, mvcc::KeyValueVisitor,
                                      mvcc::Values) const override {
    return api::ToStatus(api::Error::kKeyNotFound);
  }
  absl::StatusOr<mvcc::ScanResult> Scan(const mvcc::ScanOptions&, mvcc::KeyValueVisitor visit,
                                        absl::FunctionRef<void()>) const override {
    if (++scans_ > 1) return api::ToStatus(api::Error::kCompacted);
    for (const std::string_view key : {"a", "b"}) {
      mvcc::KeyValueView kv;
      kv.key = key;
      if (!visit(kv)) break;
    }
    return mvcc::ScanResult{{Revision(7), Revision(7)}, 2};
  }
  absl::StatusOr<mvcc::ScanResult> Count(const mvcc::KeyRange&, Revision) const override {
    return api::ToStatus(api::Error::kCompacted);
  }

 private:
  mutable int scans_ = 0;
};

// A read at the present, which 0 and every negative revision mean, is never told of a compaction:
// it begins again where there is time. One at a revision is.
TEST(RangeReader, OnlyReadsOfThePastHearOfACompactionThatOvertakesThem) {
  etcdserverpb::RangeRequest request;
  request.set_key("a");
  request.set_range_end("z");
  request.set_limit(1);
  for (const int64_t revision : {0, -1, -5, 7}) {
    SCOPED_TRACE(revision);
    request.set_revision(revision);
    ResponseBudget budget;
    ResponseBuffer out(budget, std::chrono::milliseconds(0));
    const auto point = TryReadRange(OvertakenSource(), request, kSmallRead, out);
    if (revision > 0) {
      EXPECT_EQ(api::FindError(point.status()), api::Error::kCompacted);
    } else {
      ASSERT_TRUE(point.ok()) << point.status();
      EXPECT_FALSE(point->has_value());
    }
  }
}

}  // namespace
}  // namespace cairn::server
