// Whether bytes are text. Protobuf refuses to parse a string that is none, so what goes into one is
// looked at before.
//
// Pure; any thread.
#ifndef CAIRN_BASE_UTF8_H_
#define CAIRN_BASE_UTF8_H_

#include <string_view>

namespace cairn::base {

// Whether `text` is well-formed UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF).
bool IsUtf8(std::string_view text);

}  // namespace cairn::base

#endif  // CAIRN_BASE_UTF8_H_
