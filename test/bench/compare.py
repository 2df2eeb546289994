"""Runs a reference etcd and Cairn alternately under the same load and prints how they compare.

See README.md for what each figure means. Exit code 1 when a figure could not be measured, when the
client was the limit anywhere, or when a bar is missed or undecided.
"""

import argparse
import collections
import datetime
import json
import os
import platform
import subprocess
import sys

import cluster_workloads
import figures
import log_workloads
import processes
import stream_workloads
import workloads

_HERE = os.path.dirname(os.path.abspath(__file__))
_SCENARIOS = workloads.SCENARIOS + cluster_workloads.SCENARIOS
_WORKLOADS = sorted(set().union(*(names for names, _, _ in _SCENARIOS)))


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--reference", help="etcd to compare with (default: the tests' reference)")
    parser.add_argument("--cairn", help="Cairn to compare (default: bazel-bin/cmd/cairn)")
    parser.add_argument("--workloads", default=",".join(_WORKLOADS),
                        help="comma-separated, of " + ",".join(_WORKLOADS))
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs of each workload")
    parser.add_argument("--long-rounds", type=int, default=3,
                        help="the same for those that take minutes: R5, M1, O1, O2, O3, S1, H1, "
                             "V1, C1, A6, A7, K4, D2, N2")
    parser.add_argument("--seconds", type=float, default=5, help="measured time of one load")
    parser.add_argument("--warmup-seconds", type=float, default=2)
    parser.add_argument("--keys", type=int, default=1000000, help="of M1, O1, S1 and H1")
    parser.add_argument("--range-keys-max", type=int, default=100000, help="for a trial run")
    parser.add_argument("--compaction-rows", type=int, default=1000000, help="superseded, for C1")
    parser.add_argument("--compaction-put-rate", type=int, default=5000,
                        help="puts a second beside the compaction of C1")
    parser.add_argument("--snapshot-mib", type=int, default=2048, help="values in the state of O3")
    parser.add_argument("--snapshot-value-bytes", type=int, default=4096, help="of O3")
    parser.add_argument("--snapshot-put-rate", type=int, default=1000,
                        help="puts a second beside the save of O3")
    parser.add_argument("--save-directory",
                        help="where O3's file is saved, and synced (default: --directory)")
    parser.add_argument("--replay-mib", type=int, default=1024, help="values in the log of O2")
    parser.add_argument("--replay-entries", type=int, default=1000000,
                        help="in the log of small entries of O2")
    parser.add_argument("--window-seconds", type=float, default=20,
                        help="in which puts are counted with and without what disturbs them, in D2")
    parser.add_argument("--window-state-mib", type=int, default=256,
                        help="values in the state whose snapshot is taken in such a window")
    parser.add_argument("--watch-puts", type=int, default=400, help="of A1: each is 10,000 events")
    parser.add_argument("--matching-puts", type=int, default=4000,
                        help="of A5: each is 1,000 events")
    parser.add_argument("--stop-seconds", type=float, default=60, help="of the consumers of A7")
    parser.add_argument("--expiry-ttl-seconds", type=int, default=25,
                        help="of K4: long enough to grant all leases within it")
    parser.add_argument("--expiry-put-rate", type=int, default=1000,
                        help="puts a second beside the expiry of K4")
    parser.add_argument("--kills", type=int, default=30, help="of the leader, in N2")
    parser.add_argument("--server-cpus", default="0")
    parser.add_argument("--client-cpus", default="1")
    parser.add_argument("--quota-bytes", type=int, default=32 << 30)
    parser.add_argument("--directory", default=os.path.expanduser("~/.cache/cairn/bench"),
                        help="data directories and results; a real file system")
    settings = parser.parse_args(arguments)
    settings.selected = {name for name in settings.workloads.split(",") if name}
    unknown = settings.selected - set(_WORKLOADS)
    if unknown:
        parser.error("no such workload: " + ", ".join(sorted(unknown)))
    if settings.rounds < 1 or settings.long_rounds < 1 or settings.kills < 1:
        parser.error("a comparison needs at least one round")
    if settings.keys < 1000 or settings.compaction_rows < 1000:
        parser.error("fewer than 1000 keys measure nothing")
    if settings.replay_mib < 1 or settings.replay_entries < 1000:
        parser.error("--replay-mib is at least 1, --replay-entries 1000")
    if settings.range_keys_max < 10000:
        parser.error("--range-keys-max is at least 10000")
    return settings


def from_caller(path):
    """`bazel run` starts elsewhere: paths are the caller's."""
    return os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), path)


def built(*names):
    """A file of this project: beside us in the runfiles, or in the workspace and its output."""
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY", "")
    for root in (os.path.join(_HERE, "..", ".."), workspace, os.path.join(workspace, "bazel-bin")):
        path = os.path.join(root, *names)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def find_reference(settings):
    if settings.reference:
        return from_caller(settings.reference)
    fetch = built("test", "reference", "fetch_etcd")
    if fetch is not None:
        answer = subprocess.run([fetch], stdout=subprocess.PIPE, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    sys.exit("compare: no reference etcd; give one with --reference=PATH")


def find_cairn(settings):
    path = from_caller(settings.cairn) if settings.cairn else built("cmd", "cairn")
    if path is None or not os.access(path, os.X_OK):
        sys.exit("compare: no Cairn; build //cmd:cairn or give one with --cairn=PATH")
    return path


def say(text):
    print(text, file=sys.stderr, flush=True)


def probe_limits(settings, driver):
    """What this machine can do at best: {workload: puts or gets a second}."""
    sync_us = processes.probe_sync(settings.directory, settings.seconds / 2)
    say(f"limit L1: fdatasync of 4 KiB takes {sync_us:.0f} us")
    echoes = {}
    lines = [f"fdatasync of 4 KiB into zero-filled space: {sync_us:.0f} us (L1)"]
    for operation in ("put", "get"):
        for clients, connections in ((1, 1), (100, 10), (1000, 100)):
            server = processes.EchoServer(os.path.join(_HERE, "echo_server"), settings.server_cpus)
            try:
                server.wait(driver)
                result = driver.run(
                    endpoint=server.endpoint, operation=operation, clients=clients,
                    connections=connections, server_pid=server.pid, key_space=10000,
                    warmup_ms=int(settings.warmup_seconds * 1000),
                    duration_ms=int(settings.seconds * 1000),
                )
            finally:
                server.stop()
            echoes[operation, clients] = result
            lines.append(
                f"bare gRPC echo of {operation}, {clients} clients / {connections} connections: "
                f"{result['throughput']:,.0f}/s, server {result['server_cpu_us']:.1f} us/op, "
                f"client {result['client_cpu_us']:.1f} us/op (L3)"
            )
            say("limit " + lines[-1])

    streams = probe_streams(settings, driver, lines)

    def echo(operation, clients):
        return echoes[operation, clients]["throughput"]

    limits = {
        "W1 put, 1 client": 1e6 / (sync_us + echoes["put", 1]["p50_us"]),
        "W2 put, 100 clients / 10 connections": echo("put", 100),
        "W2 put, 1000 clients / 100 connections": echo("put", 1000),
        "W5 put of one key, 100 / 10": echo("put", 100),
        "R1 get linearizable, 1 client": echo("get", 1),
        "R2 get serializable, 1 client": echo("get", 1),
    }
    for name in ("R3 get linearizable", "R4 get serializable"):
        limits[f"{name}, 100 / 10"] = echo("get", 100)
        limits[f"{name}, 1000 / 100"] = echo("get", 1000)
    limits.update(streams)
    return limits, lines


def probe_streams(settings, driver, lines):
    """The same for streams: messages a second. Adds to `lines`."""
    # One server for each: nothing of one is charged to the other.
    loads = {
        # A bare message for each event; a server that puts several into one may pass it.
        stream_workloads.A1: dict(operation="watch", streams=100, watchers=1, connections=10,
                                  clients=1, start_revision=20000, history=20000),
        stream_workloads.K2: dict(operation="held-keepalive", streams=100, connections=10,
                                  warmup_ms=int(settings.warmup_seconds * 1000),
                                  duration_ms=int(settings.seconds * 1000)),
    }
    limits = {}
    for workload, flags in loads.items():
        server = processes.EchoServer(os.path.join(_HERE, "echo_server"), settings.server_cpus)
        try:
            server.wait(driver)
            result = driver.run(endpoint=server.endpoint, server_pid=server.pid, **flags)
        finally:
            server.stop()
        what = "watch events" if flags["operation"] == "watch" else "keepalives"
        limits[workload] = result["requests"] / result["seconds"]
        lines.append(
            f"bare gRPC streams of {what}, 100 streams / 10 connections: "
            f"{limits[workload]:,.0f} messages/s, server {result['server_cpu_us']:.2f} us each, "
            f"client {result['client_cpu_us']:.2f} us each (L3)"
        )
        say("limit " + lines[-1])
    return limits


class Comparison:
    """All rounds of all selected scenarios, and what failed."""

    def __init__(self, settings, driver, log_tool, paths):
        self.settings = settings
        self.driver = driver
        self.log_tool = log_tool
        self.paths = paths  # side -> program
        self.samples = collections.defaultdict(list)  # (workload, figure) -> [{side: value}]
        self.client_bound = set()
        self.failures = []

    def run(self):
        for names, is_long, scenario in _SCENARIOS:
            if not names & self.settings.selected:
                continue
            rounds = self.settings.long_rounds if is_long else self.settings.rounds
            if scenario in cluster_workloads.ONCE:
                rounds = 1
            for number in range(rounds):
                self._round(number, scenario, names)

    def _round(self, number, scenario, names):
        # A/B, B/A, A/B: neither side always has the warmer machine.
        sides = [figures.REFERENCE, figures.CAIRN]
        if scenario in log_workloads.CAIRN_ALONE:
            sides = [figures.CAIRN]
        if number % 2 == 1:
            sides.reverse()
        results = {side: self._one_side(side, scenario) for side in sides}
        keys = dict.fromkeys(key for side in sides for key in results[side])
        for key in keys:
            self.samples[key].append(
                {side: results[side][key] for side in sides if key in results[side]}
            )
        say(f"{'/'.join(sorted(names & self.settings.selected))}: round {number + 1} done")

    def _server(self, side, scenario):
        settings = self.settings
        common = (
            side, self.paths[side], os.path.join(settings.directory, side),
            settings.server_cpus, self.driver, settings.quota_bytes,
        )
        if any(scenario is known for _, _, known in cluster_workloads.SCENARIOS):
            return processes.Cluster(*common, cluster_workloads.MEMBERS, settings.client_cpus)
        return processes.Server(*common)

    def _one_side(self, side, scenario):
        settings = self.settings
        server = self._server(side, scenario)
        run = workloads.Run(server, self.driver, settings, settings.selected, self.log_tool)
        try:
            if scenario not in log_workloads.WITHOUT_SERVER:
                server.start()
            scenario(run)
        except Exception as failure:  # whatever it is, hours of other figures are kept
            self.failures.append(f"{side}: {type(failure).__name__}: {failure}")
            say("FAILED " + self.failures[-1])
        finally:
            server.remove()
        self.client_bound |= run.client_bound
        return run.values

    def rows(self, limits):
        return [
            figures.make_row(
                workload, figure, samples,
                limits.get(workload) if figure == "throughput" else None,
                workload in self.client_bound and figure in (
                    "throughput", "p50_us", "p99_us", "p999_us", "lost"),
            )
            for (workload, figure), samples in self.samples.items()
        ]


def machine():
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as cpus:
        for line in cpus:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def write_results(settings, heading, rows, failures):
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    stem = os.path.join(settings.directory, f"results-{stamp}")
    with open(stem + ".md", "w", encoding="utf-8") as file:
        file.write("".join(f"- {line}\n" for line in heading) + "\n" + figures.markdown(rows))
        file.write("".join(f"\nFAILED: {failure}\n" for failure in failures))
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(
            {"about": heading, "figures": figures.as_data(rows), "failures": failures}, file,
            indent=1,
        )
    return stem


def main(arguments):
    settings = parse_arguments(arguments)
    settings.directory = from_caller(settings.directory)
    if settings.save_directory:
        settings.save_directory = from_caller(settings.save_directory)
    os.makedirs(settings.directory, exist_ok=True)
    filesystem = processes.filesystem_of(settings.directory)
    if filesystem == "tmpfs":
        sys.exit(f"compare: {settings.directory} is in memory, where syncs cost nothing; "
                 "give a --directory on a disk")
    paths = {figures.REFERENCE: find_reference(settings), figures.CAIRN: find_cairn(settings)}
    driver = processes.Driver(os.path.join(_HERE, "driver"), settings.client_cpus)
    heading = [
        "compare " + " ".join(arguments),
        f"reference: {processes.version_of(paths[figures.REFERENCE])}",
        f"Cairn: {processes.version_of(paths[figures.CAIRN])}",
        f"machine: {machine()}; data on {filesystem}; server on CPU {settings.server_cpus}, "
        f"client on CPU {settings.client_cpus}",
    ]
    if "O3" in settings.selected and not processes.may_go_first():
        heading.append("no real-time priority: O3's puts wait for the reader of the snapshot, too")
    for line in heading:
        say(line)
    try:
        limits, limit_lines = probe_limits(settings, driver)
    except processes.Failure as failure:
        sys.exit(f"compare: the limits probe failed: {failure}")
    heading += limit_lines
    log_tool = processes.LogTool(os.path.join(_HERE, "log_tool"), settings.client_cpus)
    comparison = Comparison(settings, driver, log_tool, paths)
    try:
        comparison.run()
    except KeyboardInterrupt:
        comparison.failures.append("interrupted: later workloads are missing")
    rows = comparison.rows(limits)
    print("\n".join(heading) + "\n\n" + figures.plain(rows))
    for failure in comparison.failures:
        print("FAILED:", failure)
    stem = write_results(settings, heading, rows, comparison.failures)
    print(f"written to {stem}.md and {stem}.json")
    bad = comparison.failures or any(
        row.client_bound or row.verdict in ("missed", "undecided") for row in rows
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
