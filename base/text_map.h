// One transparent hash for maps keyed by text, so that lookups by std::string_view copy nothing.
//
//   absl::flat_hash_map<std::string, T, base::TextHash, std::equal_to<>>
#ifndef CAIRN_BASE_TEXT_MAP_H_
#define CAIRN_BASE_TEXT_MAP_H_

#include <cstddef>
#include <functional>
#include <string_view>

namespace cairn::base {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};

}  // namespace cairn::base

#endif  // CAIRN_BASE_TEXT_MAP_H_
