// What a row of the state says, by the name of the row, for people and for programs.
//
// Pure: no thread, clock, file or socket. mvcc/SCHEMA.md lists the rows. Any bytes are described:
// what cannot be decoded says so.
#ifndef CAIRN_CMD_CAIRNUTL_ROW_TEXT_H_
#define CAIRN_CMD_CAIRNUTL_ROW_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "cmd/cairnutl/text.h"
#include "mvcc/backend.h"

namespace cairn::cairnutl {

struct RowText {
  // "key", "tombstone"; "creation", "update", "deletion"; "format", "state", "alarm", "member",
  // "removed-member", "configuration", "installed", "lease", "lease-key", "cluster-version",
  // "downgrade", "user", "role", "fence"; "unknown" for a row that this program does not know.
  std::string name;
  // One line; values shortened.
  std::string text;
  // The same in full.
  Json json;
  // The bytes are not what such a row holds; `text` says so.
  bool is_unreadable = false;
};

RowText DescribeRow(mvcc::Family family, std::string_view key, std::string_view value);

// All that RowText::name can be.
const std::vector<std::string>& RowNames();

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_ROW_TEXT_H_
