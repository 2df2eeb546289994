"""Tests of figures.py: verdicts, ratios and tables from numbers made up here."""

import collections
import unittest
import unittest.mock

import cluster_workloads
import figures
import log_workloads
import processes
import snapshot_workloads
import stream_workloads


def samples(pairs):
    return [{figures.REFERENCE: etcd, figures.CAIRN: cairn} for etcd, cairn in pairs]


W2 = "W2 put, 100 clients / 10 connections"


class Verdict(unittest.TestCase):
    def test_holds_in_every_round(self):
        row = figures.make_row(W2, "throughput", samples([(10, 16), (10, 20), (10, 18)]))
        self.assertEqual(row.verdict, "met")
        self.assertEqual(row.ratios, [1.6, 2.0, 1.8])

    def test_fails_in_every_round(self):
        row = figures.make_row(W2, "server_cpu_us", samples([(30, 20)] * 3))
        self.assertEqual(row.verdict, "missed")

    def test_spread_across_the_bar_is_undecided(self):
        row = figures.make_row(W2, "throughput", samples([(10, 14.9), (10, 20), (10, 20)]))
        self.assertEqual(row.verdict, "undecided")

    def test_a_client_at_its_limit_decides_nothing(self):
        row = figures.make_row(W2, "throughput", samples([(10, 20)]), client_bound=True)
        self.assertEqual(row.verdict, "client-bound")

    def test_no_bar_no_verdict(self):
        row = figures.make_row(W2, "p99_us", samples([(10, 20)]))
        self.assertEqual(row.verdict, "")
        self.assertIsNone(row.bar)

    def test_an_absolute_bar_ignores_etcd(self):
        workload = "O1 first read after SIGTERM"
        self.assertEqual(
            figures.make_row(workload, "seconds", samples([(0.1, 0.9)] * 3)).verdict, "met"
        )
        self.assertEqual(
            figures.make_row(workload, "seconds", samples([(9, 1.1)] * 3)).verdict, "missed"
        )

    def test_the_edge_of_a_bar_holds(self):
        row = figures.make_row(W2, "throughput", samples([(10, 15)] * 3))
        self.assertEqual(row.verdict, "met")

    def test_no_more_is_asked_than_bare_grpc_can_do(self):
        slow = figures.make_row(W2, "throughput", samples([(10, 13)] * 3), limit=16)
        self.assertEqual((slow.bar.text(), slow.verdict), (">= 0.8 x bare gRPC", "met"))
        slow = figures.make_row(W2, "throughput", samples([(10, 12)] * 3), limit=16)
        self.assertEqual(slow.verdict, "missed")
        fast = figures.make_row(W2, "throughput", samples([(10, 13)] * 3), limit=19)
        self.assertEqual((fast.bar.text(), fast.verdict), (">= 1.5 x etcd", "missed"))

    def test_few_rounds_decide_nothing(self):
        row = figures.make_row(W2, "throughput", samples([(10, 20), (10, 20)]))
        self.assertEqual(row.verdict, "undecided")

    def test_one_round_decides_what_it_gathers_by_itself(self):
        row = figures.make_row("N2 leader killed", "gap_p90_ms", samples([(1900, 1910)]))
        self.assertEqual(row.verdict, "met")


class Sides(unittest.TestCase):
    def test_a_side_that_cannot_leaves_no_ratio(self):
        row = figures.make_row(W2, "throughput", [{figures.CAIRN: 5}])
        self.assertEqual(row.etcd, [])
        self.assertEqual(row.ratios, [])
        self.assertEqual(row.verdict, "")
        self.assertIn("| - | 5 | - |", figures.markdown([row]))

    def test_zero_is_not_divided_by(self):
        row = figures.make_row(W2, "p50_us", samples([(0, 1)]))
        self.assertEqual(row.ratios, [])


class Tables(unittest.TestCase):
    def test_median_and_spread(self):
        self.assertEqual(figures.spread_text([3, 1, 1000], 0), "3 (1-1,000)")
        self.assertEqual(figures.spread_text([2.345], 2), "2.35")

    def test_markdown_row(self):
        row = figures.make_row(W2, "throughput", samples([(10, 16), (10, 20), (10, 18)]), limit=36)
        self.assertEqual(
            figures.markdown([row]).splitlines()[-1],
            f"| {W2} | throughput [1/s] | 10 (10-10) | 18 (16-20) | 1.80 (1.60-2.00)"
            " | 50% | >= 1.5 x etcd | met |",
        )

    def test_every_bar_has_a_unit_and_one_side(self):
        for bar in figures.BARS:
            with self.subTest(bar):
                self.assertIn(bar.figure, figures.UNITS)
                self.assertEqual((bar.at_least is None) + (bar.at_most is None), 1)
                self.assertIn(bar.of, ("ratio", "cairn"))


class FakeRun:
    """Stands in for workloads.Run: every load answers with the same figures."""

    class Settings:
        seconds, warmup_seconds, stop_seconds = 5, 2, 60
        watch_puts, matching_puts = 400, 4000
        expiry_ttl_seconds, expiry_put_rate = 25, 1000

    def __init__(self):
        self.settings = self.Settings()
        self.values = {}
        self.loads = []

    def measured(self, **flags):
        return {"warmup_ms": 2000, "duration_ms": 5000, **flags}

    def load(self, **flags):
        self.loads.append(flags)
        return collections.defaultdict(lambda: 1.0)

    def record(self, workload, figure, value):
        self.values[workload, figure] = value

    def record_load(self, workload, result):
        for figure in ("throughput", "p50_us", "p99_us", "server_cpu_us"):
            self.record(workload, figure, result[figure])


class StreamWorkloads(unittest.TestCase):
    def setUp(self):
        self.run_of_all = FakeRun()
        for _, _, scenario in stream_workloads.SCENARIOS:
            scenario(self.run_of_all)

    def test_every_figure_has_a_unit(self):
        for workload, figure in self.run_of_all.values:
            with self.subTest(workload):
                self.assertIn(figure, figures.UNITS)

    def test_every_bar_of_streams_has_its_figure(self):
        for bar in figures.BARS:
            if bar.workload[:1] in "AK":
                with self.subTest(bar):
                    self.assertIn((bar.workload, bar.figure), self.run_of_all.values)

    def test_every_load_is_bounded(self):
        for flags in self.run_of_all.loads:
            with self.subTest(flags):
                bounds = {"total", "duration_ms", "history", "settle_ms", "leases"}
                self.assertTrue(bounds & set(flags))


class FakeMember:
    pid = 1
    endpoint = "127.0.0.1:1"

    def __init__(self, events):
        self._events = events

    def launch(self):
        self._events.append("launch")

    def wait(self):
        self._events.append("wait")

    def kill(self):
        self._events.append("kill")

    def terminate(self):
        self._events.append("terminate")

    def signal(self, number):
        self._events.append(f"signal {number}")


class FakeLoad:
    def terminate(self):
        pass


class FakeClusterRun(FakeRun):
    """As FakeRun, with three members that do as they are told."""

    class Settings(FakeRun.Settings):
        kills = 4

    def __init__(self, result):
        super().__init__()
        self.events = []
        self.server = self
        self.members = [FakeMember(self.events) for _ in range(cluster_workloads.MEMBERS)]
        self._result = collections.defaultdict(float, result)

    def leader(self):
        return self.members[0]

    def move_leader(self):
        self.events.append("move")

    def start_load(self, **flags):
        self.loads.append(flags)
        return FakeLoad()

    def finish_load(self, _):
        return self._result


class ClusterWorkloads(unittest.TestCase):
    def run_all(self, result):
        run = FakeClusterRun(result)
        with unittest.mock.patch.object(cluster_workloads.time, "sleep"):
            for _, _, scenario in cluster_workloads.SCENARIOS:
                scenario(run)
        return run

    def test_every_figure_has_a_unit_and_every_bar_its_figure(self):
        run = self.run_all({"put_gap_ms": 1e12})
        for workload, figure in run.values:
            with self.subTest(workload):
                self.assertIn(figure, figures.UNITS)
        for bar in figures.BARS:
            if bar.workload[:1] == "N":
                with self.subTest(bar):
                    self.assertIn((bar.workload, bar.figure), run.values)

    def test_each_member_that_went_comes_back(self):
        run = self.run_all({"put_gap_ms": 1e12})
        self.assertEqual(run.events[:3], ["kill", "launch", "wait"])
        self.assertEqual(run.events.count("kill"), 4)
        self.assertEqual(run.events.count("launch"), 4 + 2 * cluster_workloads.MEMBERS)

    def test_what_is_lost_fails_the_run(self):
        run = FakeClusterRun({"put_gap_ms": 1e12, "lost": 1})
        with unittest.mock.patch.object(cluster_workloads.time, "sleep"):
            with self.assertRaises(processes.Failure):
                cluster_workloads.rolling(run)

    def test_a_gap_from_before_the_strike_fails_the_run(self):
        run = FakeClusterRun({})
        with unittest.mock.patch.object(cluster_workloads.time, "sleep"):
            with self.assertRaises(processes.Failure):
                cluster_workloads.kill(run)
        self.assertEqual(run.events, ["kill", "launch"])

    def test_nine_of_ten(self):
        self.assertEqual(cluster_workloads._p90(range(1, 31)), 27)
        self.assertEqual(cluster_workloads._p90([5]), 5)


class FakeLogRun(FakeRun):
    """As FakeRun, with a server of Cairn's and its log tool, which answers `log`."""

    class Settings(FakeRun.Settings):
        directory = ""
        window_seconds, window_state_mib = 20, 256
        replay_mib, replay_entries = 1024, 1000000
        server_cpus, client_cpus = "0", "1"
        snapshot_mib, snapshot_value_bytes, snapshot_put_rate = 2048, 4096, 1000

    def __init__(self, **log):
        super().__init__()
        self.server = self
        self.wal_directory = "wal"
        self.large_segments = False
        self.tool_calls = []
        self.pinned = []
        self._log = collections.defaultdict(lambda: 1e6, log)
        self._polls = None

    def terminate(self):
        pass

    def pin(self, cpus):
        self.pinned.append(cpus)

    def start(self, **_):
        return 2.0

    def record_memory(self, workload):
        pass

    def cpu_seconds(self):
        return 4.0

    def renew(self, extra_flags):
        self.large_segments = not extra_flags[0].endswith(f"={8 << 20}")

    def poll(self):
        return self._polls

    def start_load(self, **flags):
        self.loads.append(flags)
        return self

    def finish_load(self, _):
        return collections.defaultdict(lambda: 0.97)

    def log_tool(self, *arguments, **_):
        self.tool_calls.append(arguments)
        return self._log

    def log_figures(self):
        if self.large_segments and "segments_removed" not in self._log:
            return {**self._log, "spares_made": 1, "segments_removed": 0}
        return {"spares_made": 1, "segments_removed": 3, "open_us": 1e6, "replay_us": 3e6,
                "replayed_entries": 1000000, **self._log}

    def end_window(self):
        self._polls = 0


class SnapshotWorkloads(unittest.TestCase):
    def test_every_figure_has_a_unit_and_every_bar_its_figure(self):
        run = FakeLogRun()
        with unittest.mock.patch.object(snapshot_workloads, "_save", lambda _: (2.0, 100.0)), \
                unittest.mock.patch.object(snapshot_workloads.time, "sleep"), \
                unittest.mock.patch.object(snapshot_workloads.time, "monotonic", lambda: 0):
            for _, _, scenario in snapshot_workloads.SCENARIOS:
                scenario(run)
        for workload, figure in run.values:
            with self.subTest(workload):
                self.assertIn(figure, figures.UNITS)
        for bar in figures.BARS:
            if bar.workload[:2] == "O3":
                with self.subTest(bar):
                    self.assertIn((bar.workload, bar.figure), run.values)
        self.assertEqual(run.values[snapshot_workloads.PUTS, "p99_ratio"], 0.97)


class LogWorkloads(unittest.TestCase):
    def run_scenario(self, scenario, run):
        with unittest.mock.patch.object(log_workloads.time, "sleep"), \
                unittest.mock.patch.object(log_workloads, "os"):
            scenario(run)
        return run.values

    def run_all(self):
        values = {}
        for _, _, scenario in log_workloads.SCENARIOS:
            values.update(self.run_scenario(scenario, FakeLogRun(bytes=8e8)))
        return values

    def test_every_figure_has_a_unit_and_every_bar_its_figure(self):
        values = self.run_all()
        for workload, figure in values:
            with self.subTest(workload):
                self.assertIn(figure, figures.UNITS)
        for bar in figures.BARS:
            if bar.workload[:2] in ("D1", "D2", "O2"):
                with self.subTest(bar):
                    self.assertIn((bar.workload, bar.figure), values)

    def test_what_is_lost_is_a_share_of_the_quiet_windows(self):
        values = self.run_scenario(log_workloads.beside_snapshot, FakeLogRun())
        self.assertAlmostEqual(values[log_workloads.D2_SNAPSHOT, "lost"], 0.03)
        self.assertEqual(values[log_workloads.D2_SNAPSHOT_QUIET, "throughput"], 1)

    def test_a_snapshot_that_outlasts_its_window_fails_the_run(self):
        run = FakeLogRun()
        run.end_window()
        with self.assertRaises(processes.Failure):
            self.run_scenario(log_workloads.beside_snapshot, run)

    def test_windows_with_few_removals_or_unquiet_ones_fail_the_run(self):
        for removed in (0, 2, 3):
            with self.subTest(removed), self.assertRaises(processes.Failure):
                self.run_scenario(log_workloads.while_removed, FakeLogRun(segments_removed=removed))

    def test_the_rates_of_a_replay_count_reading_and_applying(self):
        values = self.run_scenario(log_workloads.replay_large, FakeLogRun(bytes=8e8))
        self.assertEqual(values[log_workloads.O2_LARGE, "bandwidth"], 200)
        self.assertEqual(values[log_workloads.O2_LARGE, "entry_rate"], 250000)

    def test_a_replay_has_the_cores_of_the_client_as_well_unless_it_says_one(self):
        run = FakeLogRun()
        self.run_scenario(log_workloads.replay_small, run)
        values = self.run_scenario(log_workloads.replay_small_one_core, run)
        self.assertEqual(run.pinned, ["0,1", "0"])
        self.assertIn((log_workloads.O2_SMALL + ", one core", "entry_rate"), values)

    def test_a_replay_that_was_not_one_fails_the_run(self):
        with self.assertRaises(processes.Failure):
            self.run_scenario(log_workloads.replay_small, FakeLogRun(replayed_entries=999999))


if __name__ == "__main__":
    unittest.main()
