#!/bin/sh
# Runs compare.py with the distribution's Python; `bazel run` starts in the runfiles.
exec /usr/bin/python3 -B test/bench/compare.py "$@"
