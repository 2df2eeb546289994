"""Mutants: the core with one rule broken, which the simulation must catch.

A mutant is the production source with one text replaced at build time; production code knows
nothing of it. Each becomes a test that passes when the simulation finds a violation (or a check of
the core stops it) within its seeds. If the text is not there any more, the build says so.
"""

load("@rules_cc//cc:defs.bzl", "cc_library", "cc_test")

# Every source whose rules can be broken. Each is compiled once for all mutants of the others.
SOURCES = [
    "core",
    "election",
    "inflights",
    "log",
    "progress",
    "quorum",
    "read_index",
    "reads",
    "replication",
    "snapshot",
    "transfer",
]

def _object(name, source):
    cc_library(
        name = name,
        testonly = True,
        srcs = [
            source,
            "core_impl.h",
        ],
        visibility = ["//visibility:private"],
        deps = [
            ":interface",
            ":random",
            "//base:check",
        ],
        # The users of these symbols know only the interface.
        alwayslink = True,
    )

def core_mutants(mutants):
    """Declares mutant_<name>_test for each mutant.

    Args:
      mutants: name to (source without ending, text, its replacement).
    """
    for source in SOURCES:
        _object("unbroken_" + source, source + ".cc")
    for name, (source, old, new) in mutants.items():
        native.genrule(
            name = "mutant_%s_source" % name,
            testonly = True,
            srcs = [source + ".cc"],
            outs = ["mutants/%s/%s.cc" % (name, source)],
            cmd = "/usr/bin/python3 -B $(location mutate.py) $< $@ '%s' '%s'" % (old, new),
            tools = ["mutate.py"],
            visibility = ["//visibility:private"],
        )
        _object("mutant_%s_object" % name, "mutants/%s/%s.cc" % (name, source))
        cc_test(
            name = "mutant_%s_test" % name,
            size = "small",
            data = ["//third_party:tsan.supp"],
            # Left out under sanitizers: what is wrong there is wrong on purpose.
            tags = ["mutant"],
            deps = [
                ":mutant_%s_object" % name,
                ":mutant_main",
            ] + [":unbroken_" + other for other in SOURCES if other != source],
        )
