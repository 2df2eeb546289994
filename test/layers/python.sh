#!/bin/sh
# Runs a script under the distribution's Python, which is the one that has its modules.
exec /usr/bin/python3 -B "$@"
