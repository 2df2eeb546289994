// A result as rows of named cells, printed in each of the formats.
//
// Pure: no thread, clock, file or socket. For results of a few rows; what may be long is printed
// line by line by its command.
#ifndef CAIRN_CMD_CAIRNUTL_REPORT_H_
#define CAIRN_CMD_CAIRNUTL_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "cmd/cairnutl/text.h"
#include "cmd/cairnutl/tool.h"

namespace cairn::cairnutl {

// How Format::kSimple shows a report.
enum class Simple : uint8_t {
  kValues,   // One line a row, cells separated by ", " and no names, as etcdutl.
  kColumns,  // Names above, cells below each other.
  kLines,    // One line a cell, with its name.
};

class Report {
 public:
  // `titles` are lower case, words separated by spaces: "hash revision" is "hashRevision" in JSON
  // and "Hash revision" among fields.
  explicit Report(std::vector<std::string> titles) : titles_(std::move(titles)) {}

  // As many cells as there are titles.
  void AddRow(std::vector<Json> cells);

  std::string InSimple(Simple simple) const;
  std::string InTable() const;
  std::string InFields() const;
  // One object for each row.
  std::vector<Json> InJson() const;

 private:
  std::vector<std::vector<std::string>> Texts() const;

  std::vector<std::string> titles_;
  std::vector<std::vector<Json>> rows_;
};

// One row, made cell by cell.
class Facts {
 public:
  void Add(std::string title, Json value) {
    titles_.push_back(std::move(title));
    cells_.push_back(std::move(value));
  }
  Report ToReport() const;

 private:
  std::vector<std::string> titles_;
  std::vector<Json> cells_;
};

// A cell as text: "-" for null, lists separated by ", ", objects as JSON.
std::string CellText(const Json& cell);

// The report in `format`. JSON: an array, or the object itself if `is_one` says that there is
// always exactly one row.
std::string Render(const Report& report, Format format, Simple simple, bool is_one);

}  // namespace cairn::cairnutl

#endif  // CAIRN_CMD_CAIRNUTL_REPORT_H_
