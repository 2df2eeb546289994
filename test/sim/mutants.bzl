"""Mutants: a member with one rule broken, which the simulation must catch within its seeds."""

load("//raft:mutants.bzl", "mutant_tests")

def sim_mutants(mutants):
    """Declares mutant_<name>_test for each of `mutants` (see mutant_tests)."""
    mutant_tests(mutants, ":mutant_main")
