"""The workloads of three members on one machine (N): scenarios, as in workloads.py, whose server is
a processes.Cluster.

N1 is speed. N2 is what clients see while members die, stop, hand over and restart.
"""

import signal
import statistics
import time

from processes import Failure

MEMBERS = 3
# Four to each member.
_CONNECTIONS = 12

N1_PUT = "N1 put, 100 / 12, all members"
N1_GET = "N1 get linearizable, 100 / 12, all members"


def _leader_flags(run):
    """For a load on the leader alone; the CPU of all members counts."""
    return {"endpoint": run.server.leader().endpoint}


def put(name, clients, connections, is_to_leader):
    def scenario(run):
        where = _leader_flags(run) if is_to_leader else {}
        run.record_load(name, run.load(**run.measured(
            operation="put", clients=clients, connections=connections, key_space=1000000, **where,
        )))

    return scenario


def get(name, is_serializable, is_to_leader):
    def scenario(run):
        run.load(operation="put", total=1)
        where = _leader_flags(run) if is_to_leader else {}
        run.record_load(name, run.load(**run.measured(
            operation="get", serializable=str(is_serializable).lower(), clients=100,
            connections=_CONNECTIONS, expect_count=1, **where,
        )))

    return scenario


def fan_out(run):
    name = "N1 watch, 99 streams x 100 watchers of one key, all members"
    result = run.load(
        operation="watch", streams=99, watchers=100, connections=_CONNECTIONS, clients=99,
        warmup_total=50, total=run.settings.watch_puts,
    )
    run.record_load(name, result)


# --- While members come and go ---

# Half of what the slower side manages on one core, and far below that: answers come every 5 ms.
_RATE = 200
_CLIENTS = 200
# Longer than any election with these timers, and three unlucky ones.
_RECOVERY_SECONDS = 5
_LEAD_SECONDS = 1

N2_KILL = "N2 leader killed"
N2_STOP = "N2 leader stands still"
N2_MOVE = "N2 move-leader"
N2_TERMINATE = "N2 SIGTERM of the leader"
N2_ROLLING = "N2 rolling restart"


def _start_failover(run, seconds):
    # Each load finds its keys as it left them: it has some of its own.
    run.failovers = getattr(run, "failovers", 0) + 1
    return run.start_load(
        key_prefix=f"{run.failovers}/", key_size=16,
        operation="failover", clients=_CLIENTS, rate=_RATE, warmup_ms=500,
        duration_ms=int(seconds * 1000), attempt_ms=500, give_up_ms=10000,
        # Members die.
        server_pid=run.server.members[0].pid,
    )


def _finish_failover(run, load):
    result = run.finish_load(load)
    if result["lost"] or result["stale"]:
        raise Failure(f"{result['lost']:.0f} acknowledged puts are lost, "
                      f"{result['stale']:.0f} gets found less than was acknowledged")
    return result


def _p90(values):
    """The least value that nine of ten do not exceed."""
    ordered = sorted(values)
    return ordered[-(-9 * len(ordered) // 10) - 1]


def _record_gaps(run, name, gaps):
    run.record(name, "gap_p50_ms", statistics.median(gaps))
    run.record(name, "gap_p90_ms", _p90(gaps))
    run.record(name, "gap_ms", max(gaps))


def _unplanned(name, count, strike, heal):
    """`count(settings)` times: `strike(leader)` under load, then `heal(leader)`."""
    def scenario(run):
        put_gaps = []
        get_gaps = []
        for _ in range(count(run.settings)):
            leader = run.server.leader()
            load = _start_failover(run, _LEAD_SECONDS + _RECOVERY_SECONDS)
            time.sleep(0.5 + _LEAD_SECONDS)
            struck_ns = time.monotonic_ns()
            strike(leader)
            try:
                result = _finish_failover(run, load)
            finally:
                heal(leader)
            if result["put_gap_begin_ns"] + result["put_gap_ms"] * 1e6 < struck_ns:
                raise Failure("the longest gap was before the leader went")
            put_gaps.append(result["put_gap_ms"])
            get_gaps.append(result["get_gap_ms"])
            leader.wait()
        _record_gaps(run, name, put_gaps)
        _record_gaps(run, name + ", gets", get_gaps)

    return scenario


def _restart(member):
    member.launch()


kill = _unplanned(
    N2_KILL, lambda settings: settings.kills, lambda leader: leader.kill(), _restart)
stop = _unplanned(
    N2_STOP, lambda settings: max(1, settings.kills // 3),
    lambda leader: leader.signal(signal.SIGSTOP), lambda leader: leader.signal(signal.SIGCONT))


def _record_planned(run, name, result):
    run.record(name, "gap_ms", result["put_gap_ms"])
    run.record(name, "p999_us", result["p999_us"])
    run.record(name, "failed", result["failed_puts"] + result["failed_gets"])
    run.record(name, "failed_gets", result["failed_gets"])
    run.record(name, "retried", result["retried"])


def move_leader(run):
    """Ten hand-overs; the gap is the longest of all."""
    load = _start_failover(run, 600)
    time.sleep(0.5 + _LEAD_SECONDS)
    for _ in range(10):
        run.server.move_leader()
        time.sleep(0.2)
    load.terminate()
    _record_planned(run, N2_MOVE, _finish_failover(run, load))


def terminate(run):
    """Each member in turn while it leads."""
    load = _start_failover(run, 600)
    time.sleep(0.5 + _LEAD_SECONDS)
    for _ in range(MEMBERS):
        leader = run.server.leader()
        leader.terminate()
        time.sleep(0.5)
        leader.launch()
        leader.wait()
    load.terminate()
    _record_planned(run, N2_TERMINATE, _finish_failover(run, load))


def rolling(run):
    load = _start_failover(run, 600)
    time.sleep(0.5 + _LEAD_SECONDS)
    for member in run.server.members:
        member.terminate()
        member.launch()
        member.wait()
        # Its peers connect again, as anybody who restarts one by one would wait for.
        time.sleep(1)
    load.terminate()
    _record_planned(run, N2_ROLLING, _finish_failover(run, load))


# As workloads.SCENARIOS.
SCENARIOS = [
    ({"N1"}, False, put("N1 put, 1 client, leader", 1, 1, True)),
    ({"N1"}, False, put(N1_PUT, 100, _CONNECTIONS, False)),
    ({"N1"}, False, put("N1 put, 100 / 12, leader", 100, _CONNECTIONS, True)),
    ({"N1"}, False, put("N1 put, 999 / 99, all members", 999, 99, False)),
    ({"N1"}, False, get(N1_GET, False, False)),
    ({"N1"}, False, get("N1 get linearizable, 100 / 12, leader", False, True)),
    ({"N1"}, False, get("N1 get serializable, 100 / 12, all members", True, False)),
    ({"N1"}, False, fan_out),
    ({"N2"}, True, kill),
    ({"N2"}, True, stop),
    ({"N2"}, True, move_leader),
    ({"N2"}, True, terminate),
    ({"N2"}, True, rolling),
]
# Those that gather by themselves what a figure needs: one round is all.
ONCE = (kill, stop)
