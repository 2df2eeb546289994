"""The workloads, grouped into scenarios: one scenario is one life of a fresh server.

A scenario is a function of a Run. It drives the server and records figures under a workload's name;
figures.py knows which of them have a bar.
"""

import time

import log_workloads
import snapshot_workloads
import stream_workloads
from processes import Failure

_GRPC_UNIMPLEMENTED = "12:"
# A percentile of fewer requests than this is just one of the slowest few.
_REQUESTS_LEAST = {"p50_us": 1, "p99_us": 100, "p999_us": 1000}
# The kernel counts CPU time in steps of 10 ms: below this the figure is noise.
_CPU_SECONDS_LEAST = 0.1
# Load that fills a store and is not measured: transactions of this many puts.
_FILL_PUTS = 100
# Go's collector and RocksDB's compactions come to rest before memory is read.
_SETTLE_SECONDS = 3
_START_SECONDS_MAX = 600


class Run:
    """One server in one round, and what was measured on it."""

    def __init__(self, server, driver, settings, selected, log_tool):
        self.server = server
        self.settings = settings
        self.selected = selected  # names of workloads
        self.values = {}  # (workload, figure) -> value
        self.client_bound = set()  # workloads
        self.log_tool = log_tool
        self._driver = driver

    def record(self, workload, figure, value):
        self.values[workload, figure] = value

    def start_load(self, **flags):
        return self._driver.start(**{
            "endpoint": self.server.endpoint, "server_pid": self.server.pid, "limit_seconds": 3600,
            **flags,
        })

    def finish_load(self, process):
        result = self._driver.finish(process)
        if result["errors"] and not result["first_error"].startswith(_GRPC_UNIMPLEMENTED):
            raise Failure(f"{result['errors']} errors, first {result['first_error']}")
        return result

    def load(self, **flags):
        return self.finish_load(self.start_load(**flags))

    def measured(self, **flags):
        """Flags of a load that warms up and is then measured for the settings' time."""
        bounds = {
            "warmup_ms": int(self.settings.warmup_seconds * 1000),
            "duration_ms": int(self.settings.seconds * 1000),
        }
        return {**bounds, **flags}

    def record_load(self, workload, result, is_bandwidth=False):
        """Records a result of the driver; nothing if the server lacks the rpc."""
        if result["errors"]:
            return
        self.record(workload, "throughput", result["throughput"])
        for figure, requests_least in _REQUESTS_LEAST.items():
            if result["requests"] >= requests_least:
                self.record(workload, figure, result[figure])
        if result["server_core"] * result["seconds"] >= _CPU_SECONDS_LEAST:
            self.record(workload, "server_cpu_us", result["server_cpu_us"])
        if is_bandwidth:
            self.record(workload, "bandwidth", result["response_bytes"] / result["seconds"] / 1e6)
        else:
            self.record(workload, "client_cpu_us", result["client_cpu_us"])
        if result["client_core"] > 0.9 and result["server_core"] < 0.9:
            self.client_bound.add(workload)

    def record_memory(self, workload):
        rss, peak = self.server.memory()
        self.record(workload, "rss_mib", rss)
        self.record(workload, "rss_peak_mib", peak)

    def log_figures(self):
        """What a Cairn says of its log."""
        return self.log_tool("figures", self.server.endpoint)

    def revision(self):
        return self.load(operation="get", total=1)["revision"]

    def fill(self, keys, **flags):
        """Puts `keys` keys once, fast."""
        puts = min(_FILL_PUTS, keys)
        self.load(
            operation="txn", txn_puts=puts, total=keys // puts, key_space=keys, clients=20,
            connections=4, **flags,
        )


def _put_1(run):
    name = "W1 put, 1 client"
    run.record_load(name, run.load(**run.measured(operation="put", key_space=10000)))
    run.record_memory(name)


def _put_load(clients, connections):
    def scenario(run):
        name = f"W2 put, {clients} clients / {connections} connections"
        result = run.load(**run.measured(
            operation="put", clients=clients, connections=connections, key_space=1000000,
        ))
        run.record_load(name, result)
        run.record_memory(name)

    return scenario


def _put_hot(run):
    name = "W5 put of one key, 100 / 10"
    run.record_load(
        name, run.load(**run.measured(operation="put", clients=100, connections=10))
    )


def _get(name, serializable, clients, connections):
    def scenario(run):
        run.load(operation="put", total=1)
        run.record_load(name, run.load(**run.measured(
            operation="get", serializable=str(serializable).lower(), clients=clients,
            connections=connections, expect_count=1,
        )))

    return scenario


def _range(run):
    for value_size, size in ((100, "100 B"), (1024, "1 KiB")):
        for keys, count in ((10000, "10k"), (100000, "100k")):
            if keys > run.settings.range_keys_max:
                continue
            prefix = f"{count}x{value_size}/"
            shape = {"key_prefix": prefix, "key_size": 24, "value_size": value_size}
            run.fill(keys, **shape)
            name = f"R5 range {count} x {size}"

            def measure(label, keys=keys, shape=shape, **flags):
                flags = {"operation": "range", "expect_count": keys, **flags}
                result = run.load(**run.measured(warmup_ms=0, warmup_total=1, **shape, **flags))
                run.record_load(label, result, is_bandwidth=True)

            measure(f"{name}, 1 client")
            measure(f"{name}, 8 clients", clients=8, connections=8)
            measure(f"{name}, streamed", operation="range-stream")
            measure(f"{name}, keys only", keys_only="true")
            measure(f"{name}, limit 500", range_limit=500)
            measure(f"{name}, count only", count_only="true")
    run.record_memory("R5 range, memory after")


def _txn(puts):
    def scenario(run):
        name = f"T1 txn of {puts} puts, 100 / 10"
        keys = 100000 // puts * puts
        run.record_load(name, run.load(**run.measured(
            operation="txn", txn_puts=puts, clients=100, connections=10, key_space=keys,
        )))

    return scenario


def _million(run):
    keys = run.settings.keys
    shape = {"key_size": 64, "value_size": 256, "key_space": keys}
    fast = {**shape, "clients": 100, "connections": 10}
    label = f"{keys:,} keys"
    if run.selected & {"M1", "O1"}:
        # One put a request: the reference keeps its last 10,000 requests in memory, and batches
        # there would count against it.
        run.record_load(f"M1 load, {label}", run.load(operation="put", total=keys, **fast))
        time.sleep(_SETTLE_SECONDS)
        run.record_memory("M1 memory, 1 version a key")
        run.record("M1 memory, 1 version a key", "disk_mib", run.server.disk_mib())
    else:
        run.fill(keys, key_size=64, value_size=256)
    if "O1" in run.selected:
        wait = {**shape, "expect_count": 1, "limit_seconds": _START_SECONDS_MAX}
        run.server.kill()
        run.record("O1 first read after SIGKILL", "seconds", run.server.start(**wait))
        run.server.terminate()
        run.record("O1 first read after SIGTERM", "seconds", run.server.start(**wait))
        run.record_memory("O1 memory after the start")
    once = {"warmup_ms": 0, "warmup_total": 1}
    if "S1" in run.selected:
        scans = {**shape, "operation": "range", "expect_count": keys}
        run.record_load(f"S1 count only, {label}", run.load(
            **run.measured(**once, **scans, count_only="true")))
        run.record_load(f"S1 limit 500, {label}", run.load(
            **run.measured(**once, **scans, range_limit=500)))
        run.record_load(f"S1 get of random keys, {label}, 100 / 10", run.load(
            **run.measured(operation="get", random_keys="true", **fast)))
    if "H1" in run.selected:
        run.record_load(f"H1 HashKV, {label}", run.load(
            **run.measured(**once, operation="hashkv")))
    if "M5" in run.selected:
        run.load(operation="put", total=4 * keys, **fast)
        time.sleep(_SETTLE_SECONDS)
        run.record_memory("M5 memory, 5 versions a key")
        run.record("M5 memory, 5 versions a key", "disk_mib", run.server.disk_mib())


def _versions(run):
    keys = min(100000, run.settings.range_keys_max)
    label = f"{keys // 1000}k keys"
    shape = {"key_prefix": "v/", "key_size": 24, "value_size": 256}
    for version in range(10):
        run.fill(keys, seed=version + 1, **shape)
        if version == 4:
            old_revision = run.revision()
    ranges = {**shape, "operation": "range", "expect_count": keys, "warmup_ms": 0,
              "warmup_total": 1}
    run.record_load(
        f"V1 latest range, {label}, 10 versions each", run.load(**run.measured(**ranges)), True)
    run.record_load(
        f"V1 range at an old revision, {label}",
        run.load(**run.measured(**ranges, revision=old_revision)), True)


def _compaction(run):
    rows = run.settings.compaction_rows
    keys = max(_FILL_PUTS, rows // 10)
    for version in range(11):
        run.fill(keys, key_prefix="c/", key_size=24, seed=version + 1)
    puts = {
        "operation": "put", "key_prefix": "p/", "key_size": 24, "key_space": 100000,
        "rate": run.settings.compaction_put_rate, "clients": 100, "connections": 10,
    }
    before = run.load(**run.measured(**puts))
    run.record_load("C1 puts at a fixed rate before", before)
    revision = run.revision()
    load = run.start_load(**{**puts, "warmup_ms": 500, "duration_ms": 600000})
    time.sleep(1)
    cpu_before = run.server.cpu_seconds()
    started = time.monotonic()
    run.load(operation="compact", revision=revision, total=1)
    seconds = time.monotonic() - started
    cpu = run.server.cpu_seconds() - cpu_before
    load.terminate()
    during = run.finish_load(load)
    run.record_load("C1 puts at a fixed rate during", during)
    name = "C1 compaction of superseded rows"
    run.record(name, "seconds", seconds)
    # What the puts cost without a compaction is not the compaction's.
    puts_cpu = during["throughput"] * seconds * before["server_cpu_us"] / 1e6
    run.record(name, "cpu_us_per_row", max(0, cpu - puts_cpu) * 1e6 / (10 * keys))


# Workloads of a scenario, whether it takes minutes, and the scenario.
SCENARIOS = [
    ({"W1"}, False, _put_1),
    ({"W2"}, False, _put_load(100, 10)),
    ({"W2"}, False, _put_load(1000, 100)),
    ({"W5"}, False, _put_hot),
    ({"R1"}, False, _get("R1 get linearizable, 1 client", False, 1, 1)),
    ({"R2"}, False, _get("R2 get serializable, 1 client", True, 1, 1)),
    ({"R3"}, False, _get("R3 get linearizable, 100 / 10", False, 100, 10)),
    ({"R3"}, False, _get("R3 get linearizable, 1000 / 100", False, 1000, 100)),
    ({"R4"}, False, _get("R4 get serializable, 100 / 10", True, 100, 10)),
    ({"R4"}, False, _get("R4 get serializable, 1000 / 100", True, 1000, 100)),
    ({"R5"}, True, _range),
    ({"T1"}, False, _txn(1)),
    ({"T1"}, False, _txn(8)),
    ({"T1"}, False, _txn(64)),
    ({"M1", "O1", "S1", "H1", "M5"}, True, _million),
    ({"V1"}, True, _versions),
    ({"C1"}, True, _compaction),
] + stream_workloads.SCENARIOS + snapshot_workloads.SCENARIOS + log_workloads.SCENARIOS
