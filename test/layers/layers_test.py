"""Plants each kind of violation in a small tree and demands that it is found, and nothing else."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # pylint: disable=wrong-import-position

GUARD = "#ifndef CAIRN_{0}_H_\n#define CAIRN_{0}_H_\n"


def header(path, body, opening="// What it is for."):
    guard = path[:-2].replace("/", "_").upper()
    return opening + "\n" + GUARD.format(guard) + body + "\n#endif\n"


class Layers(unittest.TestCase):
    def violations(self, **extra):
        """Checks a sound tree with the given files put into it."""
        files = {
            "base/ids.h": header("base/ids.h", "#include <cstdint>"),
            "base/mutex.h": header("base/mutex.h", "#include <mutex>"),
            "raft/types.h": header("raft/types.h", '#include "base/ids.h"'),
            "raft/core.h": header("raft/core.h", '#include "raft/types.h"'),
            "wal/wal.h": header("wal/wal.h", '#include <thread>\n#include "raft/types.h"'),
            "mvcc/store.h": header("mvcc/store.h", '#include "api/kv.pb.h"'),
            "server/node.h": header("server/node.h",
                                    '#include "wal/wal.h"\n#include "raft/core.h"'),
            "cmd/main.cc": '#include "server/node.h"\n#include "mvcc/store.h"\n',
            "test/sim/sim.h": header("test/sim/sim.h", '#include "raft/core.h"'),
            "raft/core_test.cc": '#include "test/sim/sim.h"\n#include <thread>\n',
        }
        files.update(extra)
        sources = {path: layers.Source(path, text) for path, text in files.items()}
        return layers.check(sources)

    def expect(self, path, text, files):
        found = self.violations(**files)
        self.assertEqual(1, len(found), found)
        self.assertEqual(path, found[0][0])
        self.assertIn(text, found[0][2])

    def test_sound_tree_is_clean(self):
        self.assertEqual([], self.violations())

    def test_upward_include(self):
        self.expect("mvcc/x.cc", "mvcc may not include server/node.h",
                    {"mvcc/x.cc": '#include "server/node.h"\n'})

    def test_sideways_include(self):
        self.expect("mvcc/x.cc", "mvcc may not include raft/types.h",
                    {"mvcc/x.cc": '#include "raft/types.h"\n'})

    def test_log_sees_only_the_types_of_consensus(self):
        self.expect("wal/x.cc", "wal may not include raft/core.h",
                    {"wal/x.cc": '#include "raft/core.h"\n'})

    def test_generated_headers_count_too(self):
        self.expect("wal/x.cc", "wal may not include api/kv.pb.h",
                    {"wal/x.cc": '#include "api/kv.pb.h"\n'})

    def test_a_folder_that_nobody_drew(self):
        self.expect("misc/x.cc", "no layer is named misc", {"misc/x.cc": "int x;\n"})

    def test_production_includes_test(self):
        self.expect("server/x.cc", "production code includes test/sim/sim.h",
                    {"server/x.cc": '#include "test/sim/sim.h"\n'})

    def test_pure_folder_includes_clock(self):
        self.expect("raft/x.cc", "pure code reaches <chrono>", {"raft/x.cc": "#include <chrono>\n"})

    def test_pure_folder_reaches_a_file_through_another(self):
        self.expect("raft/x.cc", "pure code reaches <fstream> (raft/x.cc -> base/log.h)", {
            "base/log.h": header("base/log.h", "#include <fstream>"),
            "raft/x.cc": '#include "base/log.h"\n',
        })

    def test_consensus_includes_protobuf(self):
        self.expect("raft/x.cc", "consensus reaches <google/protobuf/message.h>",
                    {"raft/x.cc": "#include <google/protobuf/message.h>\n"})

    def test_file_that_calls_itself_pure(self):
        pure = header("wal/plan.h", "#include <string>", "// Plans.\n//\n// Pure: no thread.")
        self.assertEqual([], self.violations(**{"wal/plan.h": pure}))
        self.expect("wal/plan.cc", "pure code reaches <sys/stat.h>", {
            "wal/plan.h": pure,
            "wal/plan.cc": '#include "wal/plan.h"\n#include <sys/stat.h>\n',
        })

    def test_file_that_must_be_pure(self):
        self.expect("server/node_core.cc", "pure code reaches <thread>", {
            "server/node_core.h": header("server/node_core.h", ""),
            "server/node_core.cc": "#include <thread>\n",
        })

    def test_long_file(self):
        self.expect("base/x.cc", "651 lines", {"base/x.cc": "int x;\n" * 651})

    def test_long_line(self):
        self.expect("base/x.cc", "101 columns", {"base/x.cc": "x" * 101 + "\n"})

    def test_long_function(self):
        body = "  x();\n" * 99
        short = "void F() {\n" + "  x();\n" * 98 + "}\n"
        self.assertEqual([], self.violations(**{"base/x.cc": short}))
        self.expect("base/x.cc", "a function of 101 lines",
                    {"base/x.cc": "void F() {\n" + body + "}\n"})
        member = "namespace a {\nclass B {\n void F(int x,\n  int y) const {\n%s}\n};\n}\n" % body
        self.expect("base/x.cc", "a function of 102 lines", {"base/x.cc": member})

    def test_braces_in_text_do_not_count(self):
        text = 'void F() {\n  f("{", \'{\');  // {\n  g(R"({ \n {)");\n}\n'
        self.assertEqual([(1, 5)], list(layers.functions(text.splitlines())))

    def test_table_is_no_function(self):
        text = "constexpr Row kRows[] = {\n" + "    {f(1), 2},\n" * 200 + "};\n"
        self.assertEqual([], list(layers.functions(text.splitlines())))

    def test_banned_words_and_includes(self):
        self.expect("wal/x.cc", "use base/mutex.h",
                    {"wal/x.cc": "absl::Mutex mutex;\n"})
        self.expect("wal/x.cc", "use {fmt}", {"wal/x.cc": "#include <absl/strings/str_cat.h>\n"})
        self.expect("raft/x.cc", "seeds come in as values",
                    {"raft/x.cc": "std::random_device device;\n"})
        self.expect("wal/x_test.cc", "wait on a condition", {"wal/x_test.cc": "sleep_for(1);\n"})

    def test_header_without_opening_or_guard(self):
        self.expect("base/x.h", "opens with what it is for",
                    {"base/x.h": GUARD.format("BASE_X") + "#endif\n"})
        self.expect("base/x.h", "CAIRN_BASE_X_H_", {"base/x.h": "// X.\n#pragma once\n"})


if __name__ == "__main__":
    unittest.main()
