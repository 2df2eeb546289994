#!/bin/sh
exec /usr/bin/python3 -B test/bench/figures_test.py
