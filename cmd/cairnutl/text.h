// Bytes for people and for programs: quoted and shortened in text, exact in JSON.
//
// Pure: no thread, clock, file or socket. Keys and values are any bytes.
#ifndef CAIRN_CMD_CAIRNUTL_TEXT_H_
#define CAIRN_CMD_CAIRNUTL_TEXT_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace cairn::cairnutl {

// Fields stay in the order in which they were put.
using Json = nlohmann::ordered_json;

// What a line of text shows of a key or a value.
inline constexpr size_t kShownBytesMax = 64;

bool IsUtf8(std::string_view bytes);

// In double quotes; what is not printable ASCII as \xNN. Behind the first `max_bytes` bytes says
// how many there are: "abc"... (1000 bytes).
std::string Quote(std::string_view bytes, size_t max_bytes = kShownBytesMax);
// "text" as it is if it is printable, else as Quote does.
std::string Shorten(std::string_view text, size_t max_bytes);

// Bytes as UTF-8 under `name`, or in base64 under `name`_base64 if they are none.
void PutBytes(Json& object, const std::string& name, std::string_view bytes);
std::string Base64(std::string_view bytes);

// The bytes that an even number of hexadecimal digits says. INVALID_ARGUMENT for other text.
absl::StatusOr<std::string> FromHex(std::string_view digits);

// One line of JSON with its end. Never fails: what is no UTF-8 is replaced.
std::string JsonLine(const Json& json);

// As etcdctl writes an id.
std::string Hex(uint64_t id);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_TEXT_H_
