// Events as bytes: what a client's Protobuf reads back is what was put in.
#include "watch/event_batch.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "api/rpc.pb.h"
#include "mvcc/key_value.h"

namespace cairn::watch {
namespace {

using mvcc::ChangeKind;

std::string KeyValue(std::string_view key, int64_t revision, std::string_view value) {
  std::string bytes;
  mvcc::AppendKeyValue(bytes, {.key = key,
                               .create_revision = Revision(revision),
                               .mod_revision = Revision(revision),
                               .version = revision == 0 ? 0 : 1,
                               .value = value});
  return bytes;
}

std::string Show(std::string_view bytes) {
  etcdserverpb::WatchResponse response;
  EXPECT_TRUE(response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(response.SerializeAsString(), bytes);  // Canonical: fields in order, zeros absent.
  std::string text;
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  printer.PrintToString(response, &text);
  return text;
}

mvcc::Event EventOf(ChangeKind kind, int64_t revision, int64_t sub, std::string_view key,
                    std::string_view key_value) {
  return {.kind = kind, .revision = {Revision(revision), sub}, .key = key, .key_value = key_value};
}

TEST(EventBatch, PutsAndDeletionsInBothEncodings) {
  const std::string put = KeyValue("a", 300, "one");
  const std::string deletion = KeyValue("b", 0, "");
  const std::string replaced = KeyValue("b", 7, "old");
  EventBatch batch;
  batch.Add(EventOf(ChangeKind::kCreation, 300, 0, "a", put), true, true, std::nullopt);
  batch.Add(EventOf(ChangeKind::kDeletion, 301, 0, "b", deletion), true, true, replaced);
  batch.Add(EventOf(ChangeKind::kDeletion, 301, 1, "b", deletion), true, false, std::nullopt);
  ASSERT_EQ(batch.size(), 3u);
  EXPECT_EQ(batch.revision(2), Revision(301));
  EXPECT_EQ(Show(batch.Bytes(Encoding::kPlain, {0, 3})),
            "events { kv { key: \"a\" create_revision: 300 mod_revision: 300 version: 1 value: "
            "\"one\" } } "
            "events { type: DELETE kv { key: \"b\" mod_revision: 301 } } "
            "events { type: DELETE kv { key: \"b\" mod_revision: 301 } } ");
  EXPECT_EQ(Show(batch.Bytes(Encoding::kWithPrevious, {1, 2})),
            "events { type: DELETE kv { key: \"b\" mod_revision: 301 } prev_kv { key: \"b\" "
            "create_revision: 7 mod_revision: 7 version: 1 value: \"old\" } } ");
  EXPECT_EQ(Show(batch.Bytes(Encoding::kWithPrevious, {0, 1})),
            "events { kv { key: \"a\" create_revision: 300 mod_revision: 300 version: 1 value: "
            "\"one\" } } ");
}

}  // namespace
}  // namespace cairn::watch
