"""The workloads of watchers (A) and leases (K): scenarios, as in workloads.py.

What the driver checks by itself (every event in order, exactly once, no lease early) fails the run.
"""

# Connections of the watchers' streams: what is measured is streams, and few sockets cost little.
_CONNECTIONS = 10
_VALUE_BYTES = 256
# Longer than any run.
_TTL_SECONDS = 36000


def _record(run, name, result, **figures):
    """A result of the driver and those of its extras that `figures` names."""
    run.record_load(name, result)
    for figure, extra in figures.items():
        run.record(name, figure, result[extra])


def _puts_name(name):
    return name + ", puts meanwhile"


def _record_puts(run, name, result):
    run.record(name, "throughput", result["put_throughput"])
    run.record(name, "p50_us", result["put_p50_us"])
    run.record(name, "p99_us", result["put_p99_us"])
    run.record(name, "server_cpu_us", result["put_server_cpu_us"])


A1 = "A1 watch, 100 streams x 100 watchers of one key"


def fan_out(run):
    """As many puts as come: how fast events leave."""
    result = run.load(
        operation="watch", streams=100, watchers=100, connections=_CONNECTIONS, clients=100,
        warmup_total=50, total=run.settings.watch_puts,
    )
    _record(run, A1, result, rss_peak_mib="rss_peak_mib")
    _record_puts(run, _puts_name(A1), result)


A1_PACED = "A1 the same, 10 puts a second"


def fan_out_paced(run):
    """Each put is delivered before the next: no event shares a message with another."""
    result = run.load(
        operation="watch", streams=100, watchers=100, connections=_CONNECTIONS, clients=10, rate=10,
        warmup_total=5, duration_ms=int(run.settings.seconds * 1000),
    )
    # The rate is given; an open loop spins.
    run.record(A1_PACED, "p50_us", result["p50_us"])
    run.record(A1_PACED, "p99_us", result["p99_us"])
    run.record(A1_PACED, "server_cpu_us", result["server_cpu_us"])


def many_keys(run):
    name = "A2 watch, 100 streams x 100 watchers of 10,000 keys"
    result = run.load(**run.measured(
        operation="watch", streams=100, watchers=100, watched_parts=10000, key_space=10000,
        connections=_CONNECTIONS, clients=100,
    ))
    _record(run, name, result)
    _record_puts(run, _puts_name(name), result)


def delay(streams, watchers, rate, prev_kv=False):
    def scenario(run):
        what = ", with prev_kv" if prev_kv else ""
        name = f"A3 delay, {streams} x {watchers} watchers, {rate:,} puts/s{what}"
        result = run.load(**run.measured(
            operation="watch", streams=streams, watchers=watchers, rate=rate, clients=100,
            connections=min(streams, _CONNECTIONS), prev_kv=str(prev_kv).lower(),
        ))
        for figure in ("p50_us", "p99_us", "server_cpu_us"):
            run.record(name, figure, result[figure])

    return scenario


def catch_up(watchers, events):
    def scenario(run):
        name = f"A4 catch-up, {watchers:,} watchers, {events:,} events each"
        first = run.load(operation="get", total=1)["revision"] + 1
        run.load(operation="put", total=events, clients=10, value_size=_VALUE_BYTES)
        result = run.load(
            operation="watch", streams=10, watchers=watchers // 10, connections=_CONNECTIONS,
            clients=10, start_revision=first, history=events,
        )
        run.record(name, "throughput", result["requests"] / result["seconds"])
        run.record(name, "server_cpu_us", result["server_cpu_us"])
        run.record(name, "rss_peak_mib", result["rss_peak_mib"])

    return scenario


A5_DISJOINT = "A5 puts, 1,000 prefixes watched, one match a put"
A5_MATCHING = "A5 puts, 1,000 watchers match each"
_A5_QUIET = "A5 puts, nobody watches"
_A5_KEYS = 100000


def watched_puts(run):
    """Puts with and without watchers, on one server."""
    def puts(name, **flags):
        flags = {"operation": "watch", "clients": 100, "streams": 10, "connections": _CONNECTIONS,
                 "key_space": _A5_KEYS, **flags}
        result = run.load(**flags)
        _record_puts(run, name, result)
        return result["put_throughput"]

    # A state that is just being made is cheaper to write to than one that is there, and that is
    # no matter of watchers: all windows change keys that exist, the quiet ones lie around the rest.
    run.load(operation="watch", clients=100, streams=10, connections=_CONNECTIONS,
             key_space=_A5_KEYS, watchers=0, total=2 * _A5_KEYS)
    before = puts(_A5_QUIET, **run.measured(watchers=0))
    for watchers in (10, 100):
        puts(f"A5 puts, {watchers} prefixes watched, one match a put",
             **run.measured(watchers=watchers // 10, watched_parts=watchers))
    disjoint = puts(A5_DISJOINT, **run.measured(watchers=100, watched_parts=1000))
    after = puts(f"{_A5_QUIET}, again", **run.measured(watchers=0))
    quiet = (before + after) / 2
    run.record(A5_DISJOINT, "kept", disjoint / quiet)
    matching = puts(A5_MATCHING, watchers=100, warmup_total=100, total=run.settings.matching_puts)
    run.record(A5_MATCHING, "kept", matching / quiet)


A6 = "A6 1,000,000 idle watchers on 100 streams"


def idle_watchers(run):
    result = run.load(
        operation="watch", streams=100, watchers=10000, connections=_CONNECTIONS, key_size=24,
        key_space=1000000, watched_parts=1000000, settle_ms=3000,
    )
    run.record(A6, "watcher_bytes", result["idle_watcher_bytes"])
    run.record(A6, "rss_mib", result["rss_idle_mib"])
    run.record(A6, "seconds", result["created_seconds"])


A7 = "A7 100 of 1,000 consumers stopped"


def stopped_consumers(run):
    result = run.load(
        operation="watch", streams=1000, watchers=1, connections=100, clients=100, rate=20,
        value_size=2048, stopped_streams=100, stop_ms=int(run.settings.stop_seconds * 1000),
        warmup_ms=1000, duration_ms=int(max(run.settings.seconds, 10) * 1000),
    )
    run.record(A7, "p99_us", result["stopped_p99_us"])
    run.record(A7, "p99_ratio", result["stopped_p99_us"] / result["p99_us"])
    run.record(A7, "grown_mib", result["stopped_grown_mib"])
    run.record(A7 + ", then they read", "seconds", result["stopped_catch_up_seconds"])


def _grant(run, leases, ttl_seconds=_TTL_SECONDS):
    run.load(operation="grant", total=leases, key_space=leases, ttl_seconds=ttl_seconds,
             clients=100, connections=10)


def keep_alive(run):
    name = "K1 keepalive, a stream each, 1000 / 100"
    _grant(run, 1)
    run.record_load(name, run.load(**run.measured(
        operation="keepalive", clients=1000, connections=100)))


K2 = "K2 keepalive on 100 held streams, 100k leases"


def held_keep_alive(run):
    leases = 100000
    _grant(run, leases)
    for name, streams in ((K2, 100), ("K2 keepalive on 1,000 held streams, 100k leases", 1000)):
        run.record_load(name, run.load(**run.measured(
            operation="held-keepalive", leases=leases, streams=streams, connections=_CONNECTIONS)))


def grant(run):
    name = "K3 lease grant, 100 / 10"
    run.record_load(name, run.load(**run.measured(
        operation="grant", key_space=100000000, key_size=16, ttl_seconds=_TTL_SECONDS, clients=100,
        connections=10,
    )))


def expiry_name(leases):
    return f"K4 {leases:,} leases of one key end at once"


def expiry(leases):
    def scenario(run):
        name = expiry_name(leases)
        result = run.load(
            operation="expiry", leases=leases, ttl_seconds=run.settings.expiry_ttl_seconds,
            clients=100, connections=10, rate=run.settings.expiry_put_rate, key_prefix="p/",
            key_size=16, key_space=10000,
        )
        # Of the one that was latest, behind its own due time.
        run.record(name, "seconds", result["latest_seconds"])
        run.record(name, "p50_us", result["p50_us"])
        run.record(name, "server_cpu_us", result["server_cpu_us"])
        puts = _puts_name(name)
        run.record(puts, "p50_us", result["put_p50_us"])
        run.record(puts, "p99_us", result["put_p99_us"])
        run.record(puts, "p99_ratio", result["put_p99_us"] / result["quiet_put_p99_us"])

    return scenario


# As workloads.SCENARIOS.
SCENARIOS = [
    ({"A1"}, False, fan_out),
    ({"A1"}, False, fan_out_paced),
    ({"A2"}, False, many_keys),
    ({"A3"}, False, delay(10, 10, 100)),
    ({"A3"}, False, delay(100, 10, 100)),
    ({"A3"}, False, delay(1, 1, 5000)),
    ({"A3"}, False, delay(1, 1, 5000, prev_kv=True)),
    ({"A4"}, False, catch_up(10000, 8)),
    ({"A4"}, False, catch_up(1000, 1000)),
    ({"A5"}, False, watched_puts),
    ({"A6"}, True, idle_watchers),
    ({"A7"}, True, stopped_consumers),
    ({"K1"}, False, keep_alive),
    ({"K2"}, False, held_keep_alive),
    ({"K3"}, False, grant),
    ({"K4"}, True, expiry(10000)),
    ({"K4"}, True, expiry(100000)),
]
