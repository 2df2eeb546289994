#include "cmd/cairnutl/report.h"

#include <gtest/gtest.h>

namespace cairn::cairnutl {
namespace {

Report MakeReport() {
  Report report({"name", "hash revision", "urls"});
  report.AddRow({"a", 7, Json::array({"x", "y"})});
  report.AddRow({"long name", 12345, nullptr});
  return report;
}

TEST(ReportTest, PrintsEveryFormat) {
  const Report report = MakeReport();
  EXPECT_EQ(report.InSimple(Simple::kValues), "a, 7, x, y\nlong name, 12345, -\n");
  EXPECT_EQ(report.InSimple(Simple::kColumns),
            "name       hash revision  urls\n"
            "a          7              x, y\n"
            "long name  12345          -\n");
  EXPECT_EQ(report.InSimple(Simple::kLines),
            "name           a\n"
            "hash revision  7\n"
            "urls           x, y\n"
            "\n"
            "name           long name\n"
            "hash revision  12345\n"
            "urls           -\n");
  EXPECT_EQ(report.InTable(),
            "+-----------+---------------+------+\n"
            "|      NAME | HASH REVISION | URLS |\n"
            "+-----------+---------------+------+\n"
            "|         a |             7 | x, y |\n"
            "| long name |         12345 |    - |\n"
            "+-----------+---------------+------+\n");
  EXPECT_EQ(report.InFields(),
            "\"Name\" : \"a\"\n"
            "\"Hash revision\" : 7\n"
            "\"Urls\" : x, y\n"
            "\n"
            "\"Name\" : \"long name\"\n"
            "\"Hash revision\" : 12345\n"
            "\"Urls\" : -\n");
  EXPECT_EQ(Render(report, Format::kJson, Simple::kLines, /*is_one=*/false),
            R"([{"name":"a","hashRevision":7,"urls":["x","y"]},)"
            R"({"name":"long name","hashRevision":12345,"urls":null}])"
            "\n");
}

TEST(ReportTest, OneRowIsAnObject) {
  Facts facts;
  facts.Add("hash", 5);
  facts.Add("compact revision", -1);
  EXPECT_EQ(Render(facts.ToReport(), Format::kJson, Simple::kValues, /*is_one=*/true),
            R"({"hash":5,"compactRevision":-1})"
            "\n");
  EXPECT_EQ(Render(facts.ToReport(), Format::kSimple, Simple::kValues, /*is_one=*/true), "5, -1\n");
}

}  // namespace
}  // namespace cairn::cairnutl
