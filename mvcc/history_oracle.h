// What a store must hold, in the most obvious way: every record that ever was, asked from the
// start.
//
// For tests that compare it with the real thing; it is copied whole to roll back, and nothing here
// is clever. Values only; one thread.
#ifndef CAIRN_MVCC_HISTORY_ORACLE_H_
#define CAIRN_MVCC_HISTORY_ORACLE_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "mvcc/key_value.h"
#include "mvcc/types.h"

namespace cairn::mvcc {

// A key-value that owns its bytes.
struct Owned {
  std::string key;
  int64_t create = 0;
  int64_t mod = 0;
  int64_t version = 0;
  std::string value;
  int64_t lease = 0;

  friend bool operator==(const Owned&, const Owned&) = default;
};

inline Owned Own(const KeyValueView& kv) {
  return {std::string(kv.key), kv.create_revision.value(), kv.mod_revision.value(),
          kv.version,          std::string(kv.value),      kv.lease.value()};
}

inline std::string Bytes(const Owned& kv) {
  std::string bytes;
  AppendKeyValue(bytes, {.key = kv.key,
                         .create_revision = Revision(kv.create),
                         .mod_revision = Revision(kv.mod),
                         .version = kv.version,
                         .value = kv.value,
                         .lease = LeaseId(kv.lease)});
  return bytes;
}

inline void PrintTo(const Owned& kv, std::ostream* out) {
  *out << kv.key << "=" << kv.value.substr(0, 8) << "@" << kv.create << "." << kv.mod << "."
       << kv.version << ":" << kv.lease;
}

using Keys = std::map<std::string, Owned>;

// Everything that ever happened.
struct Oracle {
  struct Record {
    int64_t main;
    int64_t sub;
    bool is_deletion;
    Owned kv;
  };

  int64_t revision = 1;
  int64_t watermark = -1;
  Keys now;
  std::vector<Record> records;

  Keys At(int64_t at) const {
    Keys keys;
    for (const Record& record : records) {
      if (record.main > at) break;
      if (record.is_deletion) {
        keys.erase(record.kv.key);
      } else {
        keys[record.kv.key] = record.kv;
      }
    }
    return keys;
  }

  // etcd-semantics.md section 19, read line by line.
  uint32_t HashKv(int64_t at) const {
    std::map<std::string, const Record*> newest;            // Per key, at or below `at`.
    std::map<std::string, const Record*> newest_compacted;  // Per key, at or below the watermark.
    for (const Record& record : records) {
      if (record.main <= at) newest[record.kv.key] = &record;
      if (record.main <= watermark) newest_compacted[record.kv.key] = &record;
    }
    const bool any_needed = std::any_of(newest.begin(), newest.end(),
                                        [](const auto& it) { return !it.second->is_deletion; });
    uint32_t hash = base::Crc32c("key");
    for (const Record& record : records) {
      if (record.main > at) break;
      if (record.main <= watermark) {
        const Record* keeper = any_needed ? newest[record.kv.key] : newest_compacted[record.kv.key];
        if (keeper != &record) continue;
        if (record.is_deletion && (any_needed || record.main != watermark)) continue;
      }
      std::string key;
      base::AppendBig64(key, static_cast<uint64_t>(record.main));
      key += '_';
      base::AppendBig64(key, static_cast<uint64_t>(record.sub));
      if (record.is_deletion) key += 't';
      hash = base::ExtendCrc32c(hash, key);
      hash = base::ExtendCrc32c(hash, Bytes(record.kv));
    }
    return hash;
  }
};

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_HISTORY_ORACLE_H_
