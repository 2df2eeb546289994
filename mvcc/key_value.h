// One version of a key, and its bytes as etcd serializes them.
//
// mvccpb.KeyValue is encoded here by hand: fields in number order, zero fields absent. Rows of
// history hold exactly these bytes, HashKV hashes them, and responses are built from them without a
// Protobuf object. Pure functions; nothing here knows of rows, revisions of the store, or files.
#ifndef CAIRN_MVCC_KEY_VALUE_H_
#define CAIRN_MVCC_KEY_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace cairn::mvcc {

// A key-value whose bytes belong to someone else: whoever hands one out says for how long.
struct KeyValueView {
  std::string_view key;
  Revision create_revision;
  Revision mod_revision;
  int64_t version = 0;
  std::string_view value;
  LeaseId lease;

  friend bool operator==(const KeyValueView&, const KeyValueView&) = default;
};

// The exact number of bytes that the two functions below write.
size_t EncodedKeyValueBytes(const KeyValueView& kv);

// Writes the encoding at `to`, which has room for EncodedKeyValueBytes(kv), and returns the end.
char* StoreKeyValue(char* to, const KeyValueView& kv);

// Where the key, which is not empty, begins in an encoding.
size_t EncodedKeyOffset(size_t key_bytes);

// Appends the encoding to `to`.
void AppendKeyValue(std::string& to, const KeyValueView& kv);

// Reads an encoding; the views point into `bytes`. False, with `kv` unspecified, unless `bytes` is
// exactly what StoreKeyValue writes: a field out of order, repeated, unknown, zero or cut is
// refused.
[[nodiscard]] bool ParseKeyValue(std::string_view bytes, KeyValueView& kv);

}  // namespace cairn::mvcc

#endif  // CAIRN_MVCC_KEY_VALUE_H_
