#include "cmd/cairnutl/text.h"

#include <absl/strings/escaping.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/status.h"

namespace cairn::cairnutl {

namespace {

bool IsPrintable(char c) { return c >= ' ' && c <= '~'; }

// The length of the sequence that `first` begins, and the smallest code point that may be written
// with so many bytes; 0 for none.
struct Utf8Shape {
  size_t bytes = 0;
  uint32_t least = 0;
  uint32_t bits = 0;
};

Utf8Shape ShapeOf(uint8_t first) {
  if (first < 0x80) return {1, 0, first};
  if ((first & 0xe0) == 0xc0) return {2, 0x80, first & 0x1fU};
  if ((first & 0xf0) == 0xe0) return {3, 0x800, first & 0x0fU};
  if ((first & 0xf8) == 0xf0) return {4, 0x10000, first & 0x07U};
  return {};
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  constexpr uint32_t kLast = 0x10ffff;
  while (!bytes.empty()) {
    const Utf8Shape shape = ShapeOf(static_cast<uint8_t>(bytes[0]));
    if (shape.bytes == 0 || shape.bytes > bytes.size()) return false;
    uint32_t point = shape.bits;
    for (size_t i = 1; i < shape.bytes; ++i) {
      const auto next = static_cast<uint8_t>(bytes[i]);
      if ((next & 0xc0) != 0x80) return false;
      point = (point << 6) | (next & 0x3fU);
    }
    const bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    if (point < shape.least || point > kLast || is_surrogate) return false;
    bytes.remove_prefix(shape.bytes);
  }
  return true;
}

std::string Quote(std::string_view bytes, size_t max_bytes) {
  std::string text = "\"";
  for (const char c : bytes.substr(0, max_bytes)) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (IsPrintable(c)) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  text += '"';
  if (bytes.size() > max_bytes) text += fmt::format("... ({} bytes)", bytes.size());
  return text;
}

std::string Shorten(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes && std::all_of(text.begin(), text.end(), IsPrintable)) {
    return std::string(text);
  }
  return Quote(text, max_bytes);
}

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape({bytes.data(), bytes.size()});
}

void PutBytes(Json& object, const std::string& name, std::string_view bytes) {
  if (IsUtf8(bytes)) {
    object[name] = bytes;
  } else {
    object[name + "_base64"] = Base64(bytes);
  }
}

absl::StatusOr<std::string> FromHex(std::string_view digits) {
  std::string bytes;
  for (size_t at = 0; at + 1 < digits.size(); at += 2) {
    uint8_t byte = 0;
    const char* const first = digits.data() + at;
    const auto [end, problem] = std::from_chars(first, first + 2, byte, 16);
    if (problem != std::errc() || end != first + 2) break;
    bytes.push_back(static_cast<char>(byte));
  }
  if (bytes.size() * 2 == digits.size()) return bytes;
  return base::Error(absl::StatusCode::kInvalidArgument,
                     "{} is not an even number of hexadecimal digits", Quote(digits));
}

std::string JsonLine(const Json& json) {
  constexpr int kOneLine = -1;
  return json.dump(kOneLine, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + '\n';
}

std::string Hex(uint64_t id) { return fmt::format("{:x}", id); }

}  // namespace cairn::cairnutl
