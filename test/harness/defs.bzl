"""End-to-end tests: one program, run against Cairn and against a real etcd.

end_to_end_test(name = "kv_test", ...) compiles the sources once and makes

  :kv_test            drives the Cairn server
  :kv_test_reference  drives the reference etcd: it proves the expectations

The reference is fetched into a cache below the home folder on first use, so its tests run outside
the sandbox (tag `local`). The tag `end-to-end` lets sanitizer configurations skip all of them.
"""

load("@rules_cc//cc:defs.bzl", "cc_library", "cc_test")

CAIRN = "//cmd:cairn"

def end_to_end_test(
        name,
        srcs,
        deps = [],
        data = [],
        size = "medium",
        servers = ["cairn", "reference"]):
    """A gtest program that asks ServerUnderTest() what to drive.

    Args:
      name: the name of the test against Cairn.
      srcs: sources; main() comes from //test/harness:test_main.
      deps: libraries besides gtest and the harness.
      data: files that the test reads.
      size: Bazel's size of each of the tests.
      servers: which servers to drive: `cairn`, `reference`.
    """
    cc_library(
        name = name + "_code",
        testonly = True,
        srcs = srcs,
        alwayslink = True,
        deps = deps + [
            "//base:status",
            "//test/harness:client",
            "//test/harness:process",
            "//test/harness:server",
            "//test/harness:test_main",
            "@system//:gtest",
        ],
    )
    if "cairn" in servers:
        cc_test(
            name = name,
            size = size,
            args = ["--server=$(rootpath %s)" % CAIRN],
            data = data + [CAIRN],
            tags = ["end-to-end"],
            deps = [":" + name + "_code"],
        )
    if "reference" in servers:
        cc_test(
            name = name + "_reference",
            size = size,
            args = ["--server=reference"],
            data = data,
            tags = [
                "end-to-end",
                "local",
            ],
            deps = [":" + name + "_code"],
        )
