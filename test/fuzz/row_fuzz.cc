// The rows of the state. The first byte chooses the decoder.
#include "base/check.h"
#include "mvcc/key_value.h"
#include "mvcc/row_codec.h"
#include "mvcc/schema.h"
#include "test/fuzz/fuzz.h"

namespace cairn::test {
namespace {

using namespace mvcc;  // The target is about nothing else.

enum Decoder : char { kKeyValue, kLatestRow, kRevisionRow, kStateRow, kFormatRow, kRevisionKey };

std::string Encoded(const KeyValueView& kv) {
  std::string bytes;
  AppendKeyValue(bytes, kv);
  return bytes;
}

bool IsInside(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void FuzzRow(char decoder, std::string_view bytes) {
  KeyValueView kv;
  LatestRow latest;
  RevisionRow revision;
  StateRow state;
  FormatRow format;
  RowRevision row;
  switch (decoder) {
    case kKeyValue:
      // There is one encoding only.
      if (ParseKeyValue(bytes, kv)) CAIRN_CHECK(Encoded(kv) == bytes);
      break;
    case kLatestRow:
      if (DecodeLatestRow(bytes, latest)) {
        CAIRN_CHECK(IsInside(latest.value, bytes));
        ChainPlace place;
        if (DecodeChainPlace(latest, place)) {
          CAIRN_CHECK_EQ(place.position, latest.position);
          std::string again(LatestRowBytesMax(latest.value.size()), '\0');
          again.resize(
              static_cast<size_t>(StoreLatestRow(again.data(), latest, place) - again.data()));
          LatestRow second;
          CAIRN_CHECK(DecodeLatestRow(again, second));
          CAIRN_CHECK(second.revision == latest.revision && second.value == latest.value);
        }
      }
      break;
    case kRevisionRow:
      if (DecodeRevisionRow(bytes, revision)) {
        CAIRN_CHECK(IsInside(revision.key_value, bytes));
        std::string again(kRevisionRowHeadBytesMax, '\0');
        again.resize(
            static_cast<size_t>(StoreRevisionRowHead(again.data(), revision) - again.data()));
        again += revision.key_value;
        RevisionRow second;
        CAIRN_CHECK(DecodeRevisionRow(again, second));
        CAIRN_CHECK(second.previous == revision.previous && second.skip == revision.skip);
      }
      break;
    case kStateRow:
      if (DecodeStateRow(bytes, state)) CAIRN_CHECK(EncodeStateRow(state) == bytes);
      break;
    case kFormatRow:
      if (DecodeFormatRow(bytes, format) && format.version == kFormatVersion) {
        CAIRN_CHECK(EncodeFormatRow(format) == bytes);
      }
      break;
    case kRevisionKey:
      if (ParseRevisionKey(bytes, row)) CAIRN_CHECK(RevisionKey(row).view() == bytes);
      break;
  }
}

}  // namespace

void Fuzz(std::string_view input) {
  if (!input.empty()) FuzzRow(static_cast<char>(input[0] % 6), input.substr(1));
}

std::vector<std::string> FuzzSeeds() {
  const KeyValueView kv = {.key = "key",
                           .create_revision = Revision(200),
                           .mod_revision = Revision(70'000),
                           .version = 3,
                           .value = "value",
                           .lease = LeaseId(0x7fff)};
  ChainPlace place;
  RowRevision previous = {Revision(2), 0};
  for (int64_t i = 3; i < 40; ++i) {
    const RowRevision next = {Revision(i), 1};
    AdvanceChain(place, previous, next);
    previous = next;
  }
  const LatestRow latest = {.live = true,
                            .has_value = true,
                            .revision = previous,
                            .create_revision = Revision(2),
                            .version = 38,
                            .lease = LeaseId(5),
                            .revision_row_bytes = 99,
                            .position = place.position,
                            .value = "value",
                            .landmarks = {}};
  std::string latest_bytes(LatestRowBytesMax(latest.value.size()), '\0');
  latest_bytes.resize(static_cast<size_t>(StoreLatestRow(latest_bytes.data(), latest, place) -
                                          latest_bytes.data()));
  const RevisionRow revision = {.kind = ChangeKind::kUpdate,
                                .previous = {Revision(300), 2},
                                .previous_bytes = 80,
                                .skip = {Revision(16), 0},
                                .key_value = {}};
  std::string revision_bytes(kRevisionRowHeadBytesMax, '\0');
  revision_bytes.resize(static_cast<size_t>(StoreRevisionRowHead(revision_bytes.data(), revision) -
                                            revision_bytes.data()));
  const auto seed = [](Decoder decoder, std::string_view bytes) {
    return std::string(1, decoder) + std::string(bytes);
  };
  return {seed(kKeyValue, Encoded(kv)),
          seed(kLatestRow, latest_bytes),
          seed(kRevisionRow, revision_bytes + Encoded(kv)),
          seed(kStateRow, EncodeStateRow({})),
          seed(kFormatRow, EncodeFormatRow({})),
          seed(kRevisionKey, RevisionKey({Revision(5), 6}).view())};
}

}  // namespace cairn::test
