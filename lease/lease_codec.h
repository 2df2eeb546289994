// The rows of leases as bytes: their facts, and the names by which the state keeps them.
//
// What stands here stands on disk: never change it, raise the state's format version instead. The
// prefixes of the rows are mvcc/schema.h's. Pure functions.
#ifndef CAIRN_LEASE_LEASE_CODEC_H_
#define CAIRN_LEASE_LEASE_CODEC_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "lease/types.h"

namespace cairn::lease {

// What an id takes in the name of a row.
inline constexpr size_t kLeaseIdBytes = 8;

// Appends an id so that the order of bytes is the order of the (signed) ids.
void AppendLeaseId(std::string& to, LeaseId id);
// Takes an id off the front of `from`; false when it is too short.
[[nodiscard]] bool TakeLeaseId(std::string_view& from, LeaseId& id);

std::string EncodeLeaseRow(const LeaseFacts& facts);
// False for bytes that EncodeLeaseRow does not make.
[[nodiscard]] bool DecodeLeaseRow(std::string_view bytes, LeaseFacts& facts);

}  // namespace cairn::lease

#endif  // CAIRN_LEASE_LEASE_CODEC_H_
