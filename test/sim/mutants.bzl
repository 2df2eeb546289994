"""Mutants: a member with one rule broken, which the simulation must catch.

A mutant is a production source with texts replaced at build time (//raft:mutate.py); production
code knows nothing of it. Its object is linked ahead of the library that holds the unbroken one,
which the linker then leaves out. Each becomes a test that passes when the simulation finds a
violation, or a check of the member's own stops it, within its seeds. If a text is not there any
more, the build says so. //test/crash_points does the same for what only crashes show: whoever loads
this has a `:mutant_main`.
"""

load("@rules_cc//cc:defs.bzl", "cc_library", "cc_test")

def sim_mutants(mutants):
    """Declares mutant_<name>_test for each mutant.

    Args:
      mutants: name to (source, headers that only its own library sees, libraries whose headers it
        includes, replacements: pairs of a text and what takes its place).
    """
    for name, (source, headers, deps, replacements) in mutants.items():
        output = "mutants/%s/%s" % (name, source.split(":")[1])
        arguments = " ".join(["'%s' '%s'" % (old, new) for old, new in replacements])
        native.genrule(
            name = "mutant_%s_source" % name,
            testonly = True,
            srcs = [source],
            outs = [output],
            cmd = "/usr/bin/python3 -B $(location //raft:mutate.py) $< $@ " + arguments,
            tools = ["//raft:mutate.py"],
        )
        cc_library(
            name = "mutant_%s_object" % name,
            testonly = True,
            srcs = [output] + headers,
            deps = deps,
            alwayslink = True,
        )
        cc_test(
            name = "mutant_%s_test" % name,
            size = "medium",
            data = ["//third_party:tsan.supp"],
            # Left out under sanitizers: what is wrong there is wrong on purpose.
            tags = ["mutant"],
            deps = [
                # First: ahead of what it replaces.
                ":mutant_%s_object" % name,
                ":mutant_main",
            ],
        )
