#include "base/utf8.h"

#include <cstddef>
#include <cstdint>

namespace cairn::base {

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    int continuation_bytes = 0;
    uint8_t second_min = 0x80;
    uint8_t second_max = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
      continuation_bytes = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      continuation_bytes = 2;
      if (lead == 0xe0) second_min = 0xa0;
      if (lead == 0xed) second_max = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      continuation_bytes = 3;
      if (lead == 0xf0) second_min = 0x90;
      if (lead == 0xf4) second_max = 0x8f;
    } else {
      return false;
    }
    for (int n = 0; n < continuation_bytes; ++n, ++i) {
      if (i == text.size()) return false;
      const auto byte = static_cast<uint8_t>(text[i]);
      if (byte < (n == 0 ? second_min : 0x80) || byte > (n == 0 ? second_max : 0xbf)) return false;
    }
  }
  return true;
}

}  // namespace cairn::base
