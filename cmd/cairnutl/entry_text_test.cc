#include "cmd/cairnutl/entry_text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "cmd/cairnutl/test_directory.h"
#include "server/membership_change.h"

namespace cairn::cairnutl {
namespace {

std::string Describe(const raft::Entry& entry) {
  return DescribeEntry(entry.kind, entry.data == nullptr ? std::string_view() : *entry.data);
}

std::string InJson(const raft::Entry& entry) {
  Json json;
  PutEntry(json, entry.kind, entry.data == nullptr ? std::string_view() : *entry.data);
  return JsonLine(json);
}

TEST(EntryTextTest, SaysWhatEachEntryAsks) {
  const std::string by = fmt::format(", by {:x} #", TestSelf());
  const std::vector<std::string> expected = {
      fmt::format("add voter {:x} at http://localhost:2380", TestSelf()),
      "",
      fmt::format("publish-member member_id: {} name: \"n1\" client_urls: "
                  "\"http://localhost:2379\"{}3",
                  TestSelf(), by),
      "put \"foo\" = 3 bytes" + by + "4",
      "lease-grant TTL: 60 ID: 7" + by + "5",
      "put \"leased\" = 1 bytes lease 7" + by + "6",
      "txn if 1 conditions then put \"a\" = 0 bytes, delete \"foo\" else range \"foo\"" + by + "7",
      "",
      "put \"big\" = 5000 bytes" + by + "9",
      "compact revision: 3" + by + "10",
  };
  const std::vector<raft::Entry> entries = TestEntries();
  ASSERT_EQ(entries.size(), expected.size());
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(Describe(entries[i]), expected[i]);
}

TEST(EntryTextTest, RequestsAreInJsonAsProtobufHasThem) {
  const std::vector<raft::Entry> entries = TestEntries();
  EXPECT_EQ(InJson(entries[3]),
            fmt::format(R"({{"kind":"command","command":"put","proposer":"{:x}","nonce":"abc",)"
                        R"("sequence":4,"request":{{"key":"Zm9v","value":"YmFy"}}}})"
                        "\n",
                        TestSelf()));
  EXPECT_EQ(InJson(entries[4]),
            fmt::format(R"({{"kind":"command","command":"lease-grant","proposer":"{:x}",)"
                        R"("nonce":"abc","sequence":5,"request":{{"TTL":"60","ID":"7"}}}})"
                        "\n",
                        TestSelf()));
  EXPECT_EQ(InJson(entries[0]),
            fmt::format(R"({{"kind":"configuration","change":[{{"kind":"add voter","id":"{:x}",)"
                        R"("peerUrls":["http://localhost:2380"]}}]}})"
                        "\n",
                        TestSelf()));
  EXPECT_EQ(InJson(entries[1]), "{\"kind\":\"empty\"}\n");
}

// The line stays a line.
TEST(EntryTextTest, LongAndStrangeKeysAreShortened) {
  EXPECT_EQ(Describe(PutEntryAt(1, 1, std::string(1000, 'k'), "")),
            fmt::format("put \"{}\"... (1000 bytes) = 0 bytes, by {:x} #1", std::string(64, 'k'),
                        TestSelf()));
  EXPECT_EQ(Describe(PutEntryAt(1, 1, "a\n\xff", "")),
            fmt::format("put \"a\\x0a\\xff\" = 0 bytes, by {:x} #1", TestSelf()));
  etcdserverpb::TxnRequest txn;
  for (int i = 0; i < 100; ++i) txn.add_success()->mutable_request_put()->set_key("k");
  const std::string text = Describe(CommandEntry(1, 1, server::CommandKind::kTxn, txn));
  EXPECT_NE(text.find("96 more"), std::string::npos);
  EXPECT_LT(text.size(), 200U);
}

TEST(EntryTextTest, SaysWhatItCannotRead) {
  EXPECT_EQ(DescribeEntry(raft::EntryKind::kCommand, "x"),
            "unreadable (1 bytes): a command of 1 bytes is too short");
  Json json;
  PutEntry(json, raft::EntryKind::kCommand, "x");
  EXPECT_EQ(json["unreadable"], "a command of 1 bytes is too short");
  EXPECT_EQ(json["data_base64"], "eA==");
  EXPECT_EQ(DescribeEntry(raft::EntryKind::kConfiguration, "\xff").substr(0, 10), "unreadable");
  EXPECT_EQ(DescribeConfiguration("\xff").substr(0, 10), "unreadable");
}

// Whatever the bytes, there is a line and there is JSON that can be read.
TEST(EntryTextTest, DescribesAnyBytes) {
  std::mt19937_64 random(11);
  for (const raft::Entry& entry : TestEntries()) {
    if (entry.data == nullptr) continue;
    std::string data = *entry.data;
    data.resize(std::min<size_t>(data.size(), 200));
    for (size_t round = 0; round < 400; ++round) {
      std::string harmed = data;
      if (round < data.size()) {
        harmed.resize(round);
      } else {
        for (int flips = 0; flips < 3; ++flips) {
          harmed[random() % harmed.size()] ^= static_cast<char>(1 << (random() % 8));
        }
      }
      const std::string line = DescribeEntry(entry.kind, harmed);
      EXPECT_EQ(line.find('\n'), std::string::npos);
      Json json;
      PutEntry(json, entry.kind, harmed);
      EXPECT_FALSE(Json::parse(JsonLine(json), nullptr, false).is_discarded());
      DescribeConfiguration(harmed);
    }
  }
}

}  // namespace
}  // namespace cairn::cairnutl
