"""Mutants: production code with one rule broken, which tests must catch.

A mutant is a production source with texts replaced at build time (mutate.py); production code
knows nothing of it. Each becomes a test that passes when what should catch it does: a simulation
that finds a violation, a test that fails, or a check of the mutant's own. If a text is not there
any more, the build says so.
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
            "//base:check",
            "//base:random",
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

def mutant_tests(mutants, main):
    """Declares mutant_<name>_test for each mutant, in which it is linked ahead of what it replaces.

    The linker then leaves out the library that holds the unbroken one.

    Args:
      mutants: name to (source, headers that only its own library sees, libraries whose headers it
        includes, replacements: pairs of a text and what takes its place), or to a list of these
        for one that takes several sources.
      main: a library with a main that exits with 0 when the mutant is caught.
    """
    for name, sources in mutants.items():
        objects = []
        if type(sources) != "list":
            sources = [sources]
        for source, headers, deps, replacements in sources:
            file = source.split(":")[1]
            mutant = "mutant_%s_%s" % (name, file.split(".")[0])
            output = "mutants/%s/%s" % (name, file)
            arguments = " ".join(["'%s' '%s'" % (old, new) for old, new in replacements])
            native.genrule(
                name = mutant + "_source",
                testonly = True,
                srcs = [source],
                outs = [output],
                cmd = "/usr/bin/python3 -B $(location //raft:mutate.py) $< $@ " + arguments,
                tools = ["//raft:mutate.py"],
                visibility = ["//visibility:private"],
            )
            cc_library(
                name = mutant + "_object",
                testonly = True,
                srcs = [output] + headers,
                visibility = ["//visibility:private"],
                deps = deps,
                alwayslink = True,
            )
            objects.append(":" + mutant + "_object")
        cc_test(
            name = "mutant_%s_test" % name,
            size = "medium",
            data = ["//third_party:tsan.supp"],
            # Left out under sanitizers: what is wrong there is wrong on purpose.
            tags = ["mutant"],
            # First: ahead of what they replace.
            deps = objects + [main],
        )
