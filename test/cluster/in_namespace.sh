#!/bin/sh
# in_namespace.sh PROGRAM ARGUMENTS...: runs a test as root of a network of its own, which the
# kernel takes away with it. Needs no rights where users may make namespaces. Where that cannot be
# it says so and ends with 0.
set -u

skip() {
  echo "SKIPPED: $1"
  # Bazel repeats the lines of this file in its own output.
  if [ -n "${TEST_WARNINGS_OUTPUT_FILE:-}" ]; then
    echo "SKIPPED: $1" >> "$TEST_WARNINGS_OUTPUT_FILE"
  fi
  exit 0
}

for tool in /usr/sbin/ip /usr/bin/nsenter /usr/bin/unshare; do
  [ -x "$tool" ] || skip "no $tool: partitions are not tested"
done
for flags in "--net" "--user --map-root-user --net"; do
  # The links that the test will need.
  # shellcheck disable=SC2086
  if why=$(unshare $flags sh -c '/usr/sbin/ip link add test0 type bridge &&
      /usr/sbin/ip link add test1 type veth peer name test2 && unshare --net true' 2>&1); then
    # shellcheck disable=SC2086
    exec unshare $flags "$@"
  fi
done
skip "no network namespaces here, so partitions are not tested: $why"
