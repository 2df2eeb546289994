"""Fuzz targets: one source, two programs.

fuzz_target(name = "wal_fuzz") compiles wal_fuzz.cc once and makes

  :wal_fuzz_test  plays the seeds and a fixed run of mutations; part of every test run
  :wal_fuzz       for libFuzzer, with --config=fuzz (README.md)
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, deps):
    """A function over bytes, from NAME.cc.

    Args:
      name: of the source and of the program.
      deps: what the source includes besides fuzz.h and base/check.h.
    """
    cc_library(
        name = name + "_code",
        testonly = True,
        srcs = [name + ".cc"],
        alwayslink = True,
        deps = deps + [
            ":fuzz",
            "//base:check",
        ],
    )
    cc_test(
        name = name + "_test",
        size = "small",
        srcs = ["short_run.cc"],
        data = ["//third_party:tsan.supp"],
        deps = [
            ":" + name + "_code",
            ":fuzz",
        ],
    )
    cc_binary(
        name = name,
        testonly = True,
        srcs = ["libfuzzer.cc"],
        # Links with --config=fuzz alone, which brings main().
        tags = ["manual"],
        deps = [
            ":" + name + "_code",
            ":fuzz",
        ],
    )
