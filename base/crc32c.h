// CRC-32C (Castagnoli), by the processor's instruction where it has one.
//
// Written here because no package of the distribution offers it as a library.
#ifndef CAIRN_BASE_CRC32C_H_
#define CAIRN_BASE_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace cairn::base {

// The checksum of what `crc` is the checksum of, followed by `bytes`. Start with 0.
uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes);

inline uint32_t Crc32c(std::string_view bytes) { return ExtendCrc32c(0, bytes); }

namespace internal {
// The table-driven version, public for the test that compares the two.
uint32_t ExtendCrc32cPortable(uint32_t crc, std::string_view bytes);
}  // namespace internal

}  // namespace cairn::base

#endif  // CAIRN_BASE_CRC32C_H_
