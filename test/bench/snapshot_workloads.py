"""The workload of snapshots (O3): a scenario, as in workloads.py.

A state of a given size is saved by the distribution's etcdctl with nobody else there; then it is
read beside puts at a fixed rate.
"""

import os
import subprocess
import time

from processes import Failure

_ETCDCTL = "/usr/bin/etcdctl"
_MIB = 1 << 20
# So that a fast stream is not hidden by what precedes and follows it, it is repeated for at least
# the measured time.
_STREAMS_MAX = 20

SAVE = "O3 snapshot save"
STREAM = "O3 snapshot read and dropped"
PUTS = "O3 puts while it is read"


def _save(run):
    """Saves once; returns the seconds it took and the size of the file in MiB."""
    path = os.path.join(run.settings.save_directory or run.settings.directory, "saved")
    # Where the driver runs.
    command = ["taskset", "--cpu-list", run.settings.client_cpus]
    command += [_ETCDCTL, f"--endpoints={run.server.endpoint}", "snapshot", "save", path]
    started = time.monotonic()
    answer = subprocess.run(
        command, env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )
    seconds = time.monotonic() - started
    if answer.returncode != 0:
        raise Failure(f"etcdctl snapshot save: {answer.stdout.strip()}")
    size = os.path.getsize(path) / _MIB
    os.remove(path)
    return seconds, size


def save(run):
    value_bytes = run.settings.snapshot_value_bytes
    keys = max(1000, run.settings.snapshot_mib * _MIB // value_bytes)
    run.load(operation="put", total=keys, key_space=keys, key_size=64, value_size=value_bytes,
             clients=50, connections=10)
    time.sleep(3)
    cpu_before = run.server.cpu_seconds()
    seconds, size = _save(run)
    cpu = run.server.cpu_seconds() - cpu_before
    run.record(SAVE, "seconds", seconds)
    run.record(SAVE, "bandwidth", keys * value_bytes / seconds / 1e6)
    run.record(SAVE, "server_cpu_us", cpu * 1e6 / keys)
    run.record(SAVE, "disk_mib", size)
    # What of it is the server's: etcdctl also checks, writes and syncs.
    streamed = run.load(operation="snapshot", total=1)
    run.record(STREAM, "seconds", streamed["seconds"])
    run.record(STREAM, "bandwidth", keys * value_bytes / streamed["seconds"] / 1e6)
    run.record(STREAM, "server_cpu_us", streamed["server_cpu_us"] / keys)
    puts = {
        "operation": "put", "key_prefix": "p/", "key_size": 24, "key_space": 100000,
        "rate": run.settings.snapshot_put_rate, "clients": 100, "connections": 10,
        # The snapshot is read on the same core: its reader's turns are not to count as the server's
        # delay.
        "sleeps": "true", "goes_first": True,
    }
    before = run.load(**run.measured(**puts))
    load = run.start_load(**{**puts, "warmup_ms": 500, "duration_ms": 3600000})
    time.sleep(1)
    started = time.monotonic()
    for _ in range(_STREAMS_MAX):
        # Not etcdctl: that it syncs gigabytes to the disk that the server's log is on would be all
        # that the puts show.
        run.load(operation="snapshot", total=1)
        if time.monotonic() - started >= run.settings.seconds:
            break
    load.terminate()
    during = run.finish_load(load)
    run.record_load(PUTS, during)
    run.record(PUTS, "p99_ratio", during["p99_us"] / before["p99_us"])
    run.record_memory(PUTS)


SCENARIOS = [
    ({"O3"}, True, save),
]
