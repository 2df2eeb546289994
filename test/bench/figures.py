"""What the figures of a run mean: bars, ratios, spread, verdicts, and the tables made of them.

Pure: takes numbers, gives text and data. compare.py measures, this judges.
"""

import dataclasses
import statistics

# The two sides of every comparison.
REFERENCE = "etcd"
CAIRN = "cairn"


@dataclasses.dataclass(frozen=True)
class Unit:
    """How a figure reads: its unit, its decimals, and whether more of it is better."""

    name: str
    decimals: int
    higher_is_better: bool


UNITS = {
    "throughput": Unit("1/s", 0, True),
    "p50_us": Unit("us", 0, False),
    "p99_us": Unit("us", 0, False),
    "p999_us": Unit("us", 0, False),
    "server_cpu_us": Unit("us/op", 1, False),
    "client_cpu_us": Unit("us/op", 1, False),
    "bandwidth": Unit("MB/s", 0, True),
    "rss_mib": Unit("MiB", 0, False),
    "rss_peak_mib": Unit("MiB", 0, False),
    "disk_mib": Unit("MiB", 0, False),
    "seconds": Unit("s", 3, False),
    "cpu_us_per_row": Unit("us/row", 2, False),
    # With the watchers over without them.
    "kept": Unit("x unwatched", 2, True),
    # Disturbed over undisturbed.
    "p99_ratio": Unit("x quiet", 2, False),
    "grown_mib": Unit("MiB", 0, False),
    "watcher_bytes": Unit("B", 0, False),
    # The longest time in which nothing was answered: at its longest, and over several events.
    "gap_ms": Unit("ms", 1, False),
    "gap_p50_ms": Unit("ms", 1, False),
    "gap_p90_ms": Unit("ms", 1, False),
    # A batch into a zero-filled segment, and at the end of a file, each with its sync.
    "filled_us": Unit("us", 1, False),
    "append_us": Unit("us", 1, False),
    "of_append": Unit("x append", 2, False),
    # Of the throughput that the same puts have undisturbed.
    "lost": Unit("of quiet", 3, False),
    # Server CPU of a put, disturbed over undisturbed.
    "cpu_ratio": Unit("x quiet", 3, False),
    "snapshot_mib": Unit("MiB", 0, False),
    "segments": Unit("removed", 0, True),
    # What a restart does with its log, in two parts, and how fast.
    "open_seconds": Unit("s", 3, False),
    "apply_seconds": Unit("s", 3, False),
    "log_mib": Unit("MiB", 0, False),
    "entry_rate": Unit("entries/s", 0, True),
    # Requests that were answered nowhere, gets among them, and attempts that had to be repeated.
    "failed": Unit("requests", 0, False),
    "failed_gets": Unit("requests", 0, False),
    "retried": Unit("attempts", 0, False),
}


@dataclasses.dataclass(frozen=True)
class Bar:
    """A promise. `of` is "ratio" (Cairn's figure over etcd's), "cairn" (the figure itself) or
    "limit" (the figure over what a bare gRPC server does)."""

    workload: str
    figure: str
    of: str
    at_least: float = None
    at_most: float = None
    # Fewer rounds than this do not show a spread, so they decide nothing.
    rounds_least: int = 3

    def text(self):
        whats = {"ratio": "x etcd", "limit": "x bare gRPC", "cairn": UNITS[self.figure].name}
        what = whats[self.of]
        if self.at_least is not None:
            return f">= {self.at_least:g} {what}"
        return f"<= {self.at_most:g} {what}"

    def holds(self, value):
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most


# The bars that were agreed on; every other figure is printed without a verdict.
BARS = [
    # "No slower" with a margin of 5 %.
    Bar("W1 put, 1 client", "throughput", "ratio", at_least=0.95),
    Bar("W2 put, 100 clients / 10 connections", "server_cpu_us", "ratio", at_most=0.65),
    Bar("W2 put, 100 clients / 10 connections", "throughput", "ratio", at_least=1.5),
    Bar("R3 get linearizable, 100 / 10", "server_cpu_us", "ratio", at_most=0.75),
    Bar("R4 get serializable, 100 / 10", "server_cpu_us", "ratio", at_most=0.75),
    Bar("R5 range 100k x 100 B, 1 client", "throughput", "ratio", at_least=2),
    Bar("R5 range 100k x 1 KiB, 1 client", "throughput", "ratio", at_least=2),
    Bar("M1 memory, 1 version a key", "rss_mib", "ratio", at_most=1),
    Bar("O1 first read after SIGTERM", "seconds", "cairn", at_most=1),
    Bar("O1 first read after SIGKILL", "seconds", "cairn", at_most=5),
    Bar("O2 replay of values of 4 KiB", "bandwidth", "cairn", at_least=200),
    Bar("O2 replay of small entries", "entry_rate", "cairn", at_least=150000),
    Bar("O3 snapshot save", "seconds", "ratio", at_most=1 / 3),
    Bar("O3 puts while it is read", "p99_ratio", "cairn", at_most=1.5),
    Bar("A1 watch, 100 streams x 100 watchers of one key", "throughput", "ratio", at_least=3),
    Bar("A1 watch, 100 streams x 100 watchers of one key", "server_cpu_us", "ratio",
        at_most=1 / 3),
    Bar("A5 puts, 1,000 prefixes watched, one match a put", "kept", "cairn", at_least=0.85),
    # No more lost than etcd loses.
    Bar("A5 puts, 1,000 watchers match each", "kept", "ratio", at_least=1),
    Bar("A6 1,000,000 idle watchers on 100 streams", "watcher_bytes", "cairn", at_most=300),
    Bar("A7 100 of 1,000 consumers stopped", "p99_ratio", "cairn", at_most=1.5),
    Bar("A7 100 of 1,000 consumers stopped", "grown_mib", "cairn", at_most=100),
    Bar("K2 keepalive on 100 held streams, 100k leases", "throughput", "ratio", at_least=3),
    Bar("K4 100,000 leases of one key end at once", "seconds", "cairn", at_most=5),
    Bar("K4 100,000 leases of one key end at once, puts meanwhile", "p99_ratio", "cairn",
        at_most=5),
    Bar("D1 sync of a batch of 512 B", "of_append", "cairn", at_most=0.85),
    Bar("D1 sync of a batch of 32 KiB", "of_append", "cairn", at_most=0.85),
    Bar("D2 puts, 100 / 10, a snapshot taken", "lost", "cairn", at_most=0.05),
    Bar("D2 puts, 100 / 10, segments removed", "lost", "cairn", at_most=0.05),
    Bar("N1 put, 100 / 12, all members", "throughput", "ratio", at_least=1.5),
    Bar("N1 put, 100 / 12, all members", "server_cpu_us", "ratio", at_most=0.6),
    Bar("N1 get linearizable, 100 / 12, all members", "throughput", "ratio", at_least=1.5),
    Bar("N1 get linearizable, 100 / 12, all members", "server_cpu_us", "ratio", at_most=0.7),
    # Over all kills of one round. "No longer" with a margin of 5 %.
    Bar("N2 leader killed", "gap_p50_ms", "ratio", at_most=1.05, rounds_least=1),
    Bar("N2 leader killed", "gap_p90_ms", "ratio", at_most=1.05, rounds_least=1),
    Bar("N2 move-leader", "gap_ms", "cairn", at_most=50),
    Bar("N2 move-leader", "retried", "cairn", at_most=0),
    Bar("N2 SIGTERM of the leader", "gap_ms", "cairn", at_most=50),
    Bar("N2 SIGTERM of the leader", "failed", "cairn", at_most=0),
    Bar("N2 rolling restart", "failed", "cairn", at_most=0),
    Bar("N2 rolling restart", "failed_gets", "cairn", at_most=0),
]


@dataclasses.dataclass
class Row:
    """One figure of one workload over all rounds."""

    workload: str
    figure: str
    etcd: list  # one value a round; empty where that side could not do it
    cairn: list
    ratios: list  # of the rounds that have both
    limit: float  # what this machine can do at best; None: no probe says
    client_bound: bool  # in any round, on any side
    bar: Bar  # None: printed without a verdict
    verdict: str  # "", "met", "missed", "undecided", "client-bound"

    def of_limit(self):
        if self.limit is None or not self.cairn:
            return None
        return statistics.median(self.cairn) / self.limit


def find_bar(workload, figure):
    for bar in BARS:
        if (bar.workload, bar.figure) == (workload, figure):
            return bar
    return None


# Of the rate of a server that does nothing, so much can be asked and not more.
LIMIT_SHARE = 0.8


def attainable(bar, etcd, limit):
    """`bar`, or what takes its place where it asks for more than the engine below can do."""
    if bar is None or bar.of != "ratio" or bar.at_least is None or not etcd or limit is None:
        return bar
    if bar.at_least * statistics.median(etcd) <= LIMIT_SHARE * limit:
        return bar
    return Bar(bar.workload, bar.figure, "limit", at_least=LIMIT_SHARE)


def judge(bar, values, client_bound):
    """A verdict holds for every round or for none; where the rounds disagree it is undecided."""
    if bar is None or not values:
        return ""
    if client_bound:
        return "client-bound"
    if len(values) < bar.rounds_least:
        return "undecided"
    holding = [bar.holds(value) for value in values]
    if all(holding):
        return "met"
    return "undecided" if any(holding) else "missed"


def make_row(workload, figure, samples, limit=None, client_bound=False):
    """`samples` has one dict {side: value} for each round."""
    etcd = [sample[REFERENCE] for sample in samples if REFERENCE in sample]
    cairn = [sample[CAIRN] for sample in samples if CAIRN in sample]
    ratios = [
        sample[CAIRN] / sample[REFERENCE]
        for sample in samples
        if CAIRN in sample and sample.get(REFERENCE, 0) > 0
    ]
    bar = attainable(find_bar(workload, figure), etcd, limit)
    judged = ratios
    if bar is not None and bar.of == "cairn":
        judged = cairn
    elif bar is not None and bar.of == "limit":
        judged = [value / limit for value in cairn]
    verdict = judge(bar, judged, client_bound)
    return Row(workload, figure, etcd, cairn, ratios, limit, client_bound, bar, verdict)


def spread_text(values, decimals):
    """Median, and least to greatest when there is more than one value."""
    if not values:
        return "-"
    median = f"{statistics.median(values):,.{decimals}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{decimals}f}-{max(values):,.{decimals}f})"


HEADINGS = ["workload", "figure", "etcd", "Cairn", "Cairn / etcd", "of limit", "bar", "verdict"]


def cells(row):
    unit = UNITS[row.figure]
    name = row.figure
    for suffix in ("_us_per_row", "_us", "_mib", "_ms"):
        name = name.removesuffix(suffix)
    of_limit = row.of_limit()
    verdict = row.verdict or ("client-bound" if row.client_bound else "")
    return [
        row.workload,
        f"{name} [{unit.name}]",
        spread_text(row.etcd, unit.decimals),
        spread_text(row.cairn, unit.decimals),
        spread_text(row.ratios, 2),
        "" if of_limit is None else f"{of_limit:.0%}",
        "" if row.bar is None else row.bar.text(),
        verdict,
    ]


def markdown(rows):
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plain(rows):
    table = [HEADINGS] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n"
        for line in table
    )


def as_data(rows):
    """For the JSON file: everything that was measured, and what was made of it."""
    return [
        {
            "workload": row.workload,
            "figure": row.figure,
            "unit": UNITS[row.figure].name,
            "etcd": row.etcd,
            "cairn": row.cairn,
            "ratios": row.ratios,
            "ratio_median": statistics.median(row.ratios) if row.ratios else None,
            "limit": row.limit,
            "bar": row.bar.text() if row.bar else None,
            "verdict": row.verdict or None,
            "client_bound": row.client_bound,
        }
        for row in rows
    ]
