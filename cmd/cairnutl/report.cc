#include "cmd/cairnutl/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/check.h"

namespace cairn::cairnutl {

namespace {

// "hash revision" as "hashRevision".
std::string JsonName(std::string_view title) {
  std::string name;
  bool begins_word = false;
  for (const char c : title) {
    if (c == ' ') {
      begins_word = true;
      continue;
    }
    name += begins_word ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    begins_word = false;
  }
  return name;
}

std::string Capitalised(std::string title) {
  if (!title.empty()) {
    title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
  }
  return title;
}

// A line that ends in spaces looks like one that does not.
void AppendLine(std::string& to, std::string_view line) {
  while (line.ends_with(' ')) line.remove_suffix(1);
  to.append(line);
  to += '\n';
}

}  // namespace

std::string CellText(const Json& cell) {
  if (cell.is_null()) return "-";
  if (cell.is_string()) return cell.get<std::string>();
  if (cell.is_array()) {
    std::vector<std::string> parts;
    for (const Json& part : cell) parts.push_back(CellText(part));
    return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, ", "));
  }
  return cell.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Report::AddRow(std::vector<Json> cells) {
  CAIRN_CHECK_EQ(cells.size(), titles_.size());
  rows_.push_back(std::move(cells));
}

Report Facts::ToReport() const {
  Report report(titles_);
  report.AddRow(cells_);
  return report;
}

std::vector<std::vector<std::string>> Report::Texts() const {
  std::vector<std::vector<std::string>> texts;
  for (const std::vector<Json>& row : rows_) {
    std::vector<std::string>& line = texts.emplace_back();
    for (const Json& cell : row) line.push_back(CellText(cell));
  }
  return texts;
}

std::string Report::InSimple(Simple simple) const {
  std::vector<std::vector<std::string>> lines = Texts();
  std::string text;
  if (simple == Simple::kValues) {
    for (const auto& line : lines) text += fmt::format("{}\n", fmt::join(line, ", "));
    return text;
  }
  if (simple == Simple::kLines) {
    size_t width = 0;
    for (const std::string& title : titles_) width = std::max(width, title.size());
    for (const auto& line : lines) {
      if (!text.empty()) text += '\n';
      for (size_t i = 0; i < line.size(); ++i) {
        AppendLine(text, fmt::format("{:<{}}  {}", titles_[i], width, line[i]));
      }
    }
    return text;
  }
  lines.insert(lines.begin(), titles_);
  std::vector<size_t> widths(titles_.size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const auto& line : lines) {
    std::string columns;
    for (size_t i = 0; i < line.size(); ++i) {
      columns += fmt::format("{}{:<{}}", i == 0 ? "" : "  ", line[i], widths[i]);
    }
    AppendLine(text, columns);
  }
  return text;
}

std::string Report::InTable() const {
  std::vector<std::vector<std::string>> lines = Texts();
  std::vector<std::string> head = titles_;
  for (std::string& title : head) {
    for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  lines.insert(lines.begin(), head);
  std::vector<size_t> widths(titles_.size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string rule = "+";
  for (const size_t width : widths) rule += std::string(width + 2, '-') + '+';
  std::string text = rule + '\n';
  for (size_t row = 0; row < lines.size(); ++row) {
    text += '|';
    for (size_t i = 0; i < widths.size(); ++i) {
      text += fmt::format(" {:>{}} |", lines[row][i], widths[i]);
    }
    text += '\n';
    if (row == 0) text += rule + '\n';
  }
  if (lines.size() > 1) text += rule + '\n';
  return text;
}

std::string Report::InFields() const {
  std::string text;
  for (const std::vector<Json>& row : rows_) {
    if (!text.empty()) text += '\n';
    for (size_t i = 0; i < row.size(); ++i) {
      // Texts in quotes, as etcdctl has them.
      const std::string value = row[i].is_string()
                                    ? Quote(row[i].get_ref<const std::string&>(), std::string::npos)
                                    : CellText(row[i]);
      text += fmt::format("\"{}\" : {}\n", Capitalised(titles_[i]), value);
    }
  }
  return text;
}

std::vector<Json> Report::InJson() const {
  std::vector<Json> objects;
  for (const std::vector<Json>& row : rows_) {
    Json& object = objects.emplace_back(Json::object());
    for (size_t i = 0; i < row.size(); ++i) object[JsonName(titles_[i])] = row[i];
  }
  return objects;
}

std::string Render(const Report& report, Format format, Simple simple, bool is_one) {
  switch (format) {
    case Format::kSimple:
      return report.InSimple(simple);
    case Format::kTable:
      return report.InTable();
    case Format::kFields:
      return report.InFields();
    case Format::kJson:
      break;
  }
  const std::vector<Json> objects = report.InJson();
  if (!is_one) return JsonLine(objects);
  CAIRN_CHECK_EQ(objects.size(), size_t{1});
  return JsonLine(objects.front());
}

}  // namespace cairn::cairnutl
