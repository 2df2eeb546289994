"""The workloads of the log (D, O2): scenarios, as in workloads.py.

D1 is what the log's zero-filled segments are worth on this disk, D2 what puts lose to a snapshot
that is taken and to segments that are removed, O2 how fast a restart applies what the state lacks.
"""

import os
import statistics
import time

from processes import Failure

_MIB = 1 << 20
_KEY_BYTES = 24

# --- D1 ---

# A lone put, and a batch of a hundred of 256 B.
_BATCHES = ((512, "512 B"), (32 << 10, "32 KiB"))
_SYNC_PAIRS = 1000


def sync_name(size):
    return f"D1 sync of a batch of {size}"


def syncs(run):
    """On the disk of the data directories; no server runs."""
    directory = os.path.join(run.settings.directory, "syncs")
    os.makedirs(directory, exist_ok=True)
    try:
        for batch_bytes, size in _BATCHES:
            # Waking up late would count on both sides, and hide what they differ in.
            times = run.log_tool("sync", directory, batch_bytes, _SYNC_PAIRS, goes_first=True)
            name = sync_name(size)
            run.record(name, "filled_us", times["filled_us"])
            run.record(name, "append_us", times["append_us"])
            run.record(name, "of_append", times["filled_us"] / times["append_us"])
    finally:
        os.rmdir(directory)


# --- D2 ---

D2_SNAPSHOT = "D2 puts, 100 / 10, a snapshot taken"
D2_SNAPSHOT_QUIET = "D2 puts, 100 / 10, before and after"
D2_REMOVAL = "D2 puts, 100 / 10, segments removed"
D2_REMOVAL_QUIET = "D2 puts, 100 / 10, none removed"

_STATE_VALUE_BYTES = 4096
# Before the snapshot begins in its window.
_LEAD_SECONDS = 0.5
# Several are removed in the least window that says anything.
_SMALL_SEGMENT_BYTES = 8 * _MIB
_REMOVED_LEAST = 3
# More than puts of 256 B from one core write.
_LOG_BYTES_PER_SECOND = 20 * _MIB
_SPARE_SECONDS_MAX = 300


def _window_flags(run):
    # Overwritten, so that the state grows by history alone and the windows stay alike.
    return run.measured(
        operation="put", clients=100, connections=10, key_prefix="p/", key_size=_KEY_BYTES,
        key_space=100000, duration_ms=int(run.settings.window_seconds * 1000),
    )


def _record_lost(run, name, disturbed, quiet_name, quiet):
    run.record_load(name, disturbed)
    throughput = statistics.mean(result["throughput"] for result in quiet)
    run.record(quiet_name, "throughput", throughput)
    run.record(name, "lost", 1 - disturbed["throughput"] / throughput)
    # The steadier one where the server's core is full, for then a put's rate is its cost's inverse.
    quiet_cpu_us = statistics.mean(result["server_cpu_us"] for result in quiet)
    run.record(name, "cpu_ratio", disturbed["server_cpu_us"] / quiet_cpu_us)


def beside_snapshot(run):
    """One snapshot of a state of fixed size in a window of fixed length, against the windows around
    it. It is read by the driver, which drops it: a client that writes it down is not the server's.
    """
    keys = max(1000, run.settings.window_state_mib * _MIB // _STATE_VALUE_BYTES)
    run.load(operation="put", total=keys, key_space=keys, key_size=_KEY_BYTES, key_prefix="s/",
             value_size=_STATE_VALUE_BYTES, clients=50, connections=10)
    time.sleep(3)
    before = run.load(**_window_flags(run))
    load = run.start_load(**_window_flags(run))
    time.sleep(run.settings.warmup_seconds + _LEAD_SECONDS)
    saved = run.load(operation="snapshot", total=1)
    if load.poll() is not None:
        raise Failure("the window ended before the snapshot: it needs more --window-seconds")
    during = run.finish_load(load)
    after = run.load(**_window_flags(run))
    _record_lost(run, D2_SNAPSHOT, during, D2_SNAPSHOT_QUIET, (before, after))
    run.record(D2_SNAPSHOT, "seconds", saved["seconds"])
    run.record(D2_SNAPSHOT, "snapshot_mib", saved["response_bytes"] / _MIB)


def _with_segments(run, segment_bytes):
    """A window of a fresh server whose log has segments of that size; its result, and how many
    segments were removed in it."""
    run.server.renew([f"--wal-segment-bytes={segment_bytes}"])
    limit = time.monotonic() + _SPARE_SECONDS_MAX
    # Made beside the first puts otherwise, which is what is to be left out or is in no hurry.
    while run.log_figures()["spares_made"] == 0:
        if time.monotonic() > limit:
            raise Failure(f"no spare segment after {_SPARE_SECONDS_MAX} s")
        time.sleep(0.1)
    result = run.load(**_window_flags(run))
    return result, run.log_figures()["segments_removed"]


def while_removed(run):
    """Small segments, of which many are removed, against one that holds everything. The state is
    flushed alike: that depends on the bytes logged, not on their segments."""
    seconds = run.settings.warmup_seconds + run.settings.window_seconds
    large = max(64, int(_LOG_BYTES_PER_SECOND * seconds) // _MIB) * _MIB
    quiet = []
    for segment_bytes in (large, _SMALL_SEGMENT_BYTES, large):
        result, removed = _with_segments(run, segment_bytes)
        if segment_bytes == large:
            if removed:
                raise Failure(f"{removed} segments of {large // _MIB} MiB were removed")
            quiet.append(result)
        else:
            if removed < _REMOVED_LEAST:
                raise Failure(f"only {removed} segments were removed: more --window-seconds")
            during = result
            run.record(D2_REMOVAL, "segments", removed)
    _record_lost(run, D2_REMOVAL, during, D2_REMOVAL_QUIET, quiet)


# --- O2 ---

O2_LARGE = "O2 replay of values of 4 KiB"
O2_SMALL = "O2 replay of small entries"
_ONE_CORE = ", one core"
_SMALL_VALUE_BYTES = 32
_REPLAY_SECONDS_MAX = 600


def _replay(run, name, entries, value_bytes, cpus):
    puts = {"key_size": _KEY_BYTES, "key_space": entries}
    run.server.terminate()
    run.server.pin(cpus)
    filled = run.log_tool("fill", run.server.wal_directory, *(
        f"--{flag.replace('_', '-')}={value}" for flag, value in {
            **puts, "operation": "put", "total": entries, "value_size": value_bytes}.items()))
    seconds = run.server.start(limit_seconds=_REPLAY_SECONDS_MAX, expect_count=1, **puts)
    cpu = run.server.cpu_seconds()
    figures = run.log_figures()
    if figures["replayed_entries"] < entries:
        raise Failure(f"{figures['replayed_entries']} of {entries} entries were replayed")
    run.load(operation="get", total=1, first_key=entries - 1, key_size=_KEY_BYTES, expect_count=1)
    # All that a restart does with a log: it is read and checked, then applied.
    log_seconds = (figures["open_us"] + figures["replay_us"]) / 1e6
    run.record(name, "seconds", seconds)
    run.record(name, "open_seconds", figures["open_us"] / 1e6)
    run.record(name, "apply_seconds", figures["replay_us"] / 1e6)
    run.record(name, "log_mib", filled["bytes"] / _MIB)
    run.record(name, "bandwidth", filled["bytes"] / log_seconds / 1e6)
    run.record(name, "entry_rate", figures["replayed_entries"] / log_seconds)
    run.record(name, "server_cpu_us", cpu * 1e6 / figures["replayed_entries"])


def _replay_large(run, name, cpus):
    _replay(run, name, run.settings.replay_mib * _MIB // _STATE_VALUE_BYTES, _STATE_VALUE_BYTES,
            cpus)


def _replay_small(run, name, cpus):
    _replay(run, name, run.settings.replay_entries, _SMALL_VALUE_BYTES, cpus)


# Nobody asks while a member replays, so it has the client's core as well.
def _all_cpus(run):
    return f"{run.settings.server_cpus},{run.settings.client_cpus}"


def replay_large(run):
    _replay_large(run, O2_LARGE, _all_cpus(run))


def replay_small(run):
    _replay_small(run, O2_SMALL, _all_cpus(run))


def replay_large_one_core(run):
    _replay_large(run, O2_LARGE + _ONE_CORE, run.settings.server_cpus)


def replay_small_one_core(run):
    _replay_small(run, O2_SMALL + _ONE_CORE, run.settings.server_cpus)


# As workloads.SCENARIOS.
SCENARIOS = [
    ({"D1"}, False, syncs),
    ({"D2"}, True, beside_snapshot),
    ({"D2"}, True, while_removed),
    ({"O2"}, True, replay_large),
    ({"O2"}, True, replay_small),
    ({"O2"}, True, replay_large_one_core),
    ({"O2"}, True, replay_small_one_core),
]
# Those that ask nothing of the reference: what they are about is Cairn's alone.
CAIRN_ALONE = (syncs, while_removed, replay_large, replay_small, replay_large_one_core,
               replay_small_one_core)
# Of these, those that need no server.
WITHOUT_SERVER = (syncs,)
