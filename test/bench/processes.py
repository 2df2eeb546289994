"""The processes of a run: servers under test, the echo server, the load driver.

Each is pinned to its cores, dies with this script, and is ended by its own process id.
"""

import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS_MAX = 120
_MIB = 1 << 20


def _die_with_parent():
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _pinned(cpus, command):
    return ["taskset", "--cpu-list", cpus] + command


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Failure(Exception):
    """A measurement that could not be made; the message says why."""


_REAL_TIME = ["chrt", "--fifo", "1"]


@functools.lru_cache(maxsize=None)
def may_go_first():
    """Whether processes of ours may have real-time priority: root's, as a rule."""
    return subprocess.run(
        _REAL_TIME + ["true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


class Driver:
    """Calls of the load driver, always on the client's cores."""

    def __init__(self, path, cpus):
        self._path = path
        self._cpus = cpus

    def start(self, goes_first=False, **flags):
        """`goes_first`: before everything else on its core, as far as it may."""
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        priority = _REAL_TIME if goes_first and may_go_first() else []
        return subprocess.Popen(
            _pinned(self._cpus, priority + [self._path] + arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,
        )

    @staticmethod
    def finish(process):
        out, err = process.communicate()
        if process.returncode != 0:
            raise Failure(err.strip() or f"driver ended with code {process.returncode}")
        return json.loads(out)

    def run(self, **flags):
        return self.finish(self.start(**flags))


class LogTool:
    """Calls of the log tool, always on the client's cores."""

    def __init__(self, path, cpus):
        self._path = path
        self._cpus = cpus

    def __call__(self, *arguments, goes_first=False):
        """`goes_first` as in Driver.start."""
        priority = _REAL_TIME if goes_first and may_go_first() else []
        command = priority + [self._path] + [str(argument) for argument in arguments]
        answer = subprocess.run(
            _pinned(self._cpus, command),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
            preexec_fn=_die_with_parent,
        )
        if answer.returncode != 0:
            raise Failure(answer.stderr.strip())
        return json.loads(answer.stdout)


class EchoServer:
    """The limits probe's server."""

    def __init__(self, path, cpus):
        self.endpoint = f"127.0.0.1:{_free_port()}"
        self._process = subprocess.Popen(
            _pinned(cpus, [path, self.endpoint]), preexec_fn=_die_with_parent,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def wait(self, driver):
        """Until it answers."""
        driver.run(endpoint=self.endpoint, operation="wait", limit_seconds=20)

    def stop(self):
        self._process.kill()
        self._process.wait()


class Server:
    """One etcd-compatible server with a data directory of its own, fresh unless restarted."""

    def __init__(self, side, path, directory, cpus, driver, quota_bytes, name="bench"):
        self.side = side
        self.name = name
        self._path = path
        self._directory = directory
        self._cpus = cpus
        self._driver = driver
        self._quota_bytes = quota_bytes
        self._ports = _free_port(), _free_port()
        self.endpoint = f"127.0.0.1:{self._ports[0]}"
        self.peer_url = f"http://127.0.0.1:{self._ports[1]}"
        self.initial_cluster = f"{name}={self.peer_url}"
        self.extra_flags = []
        self._process = None
        self._make_directory()

    def _make_directory(self):
        shutil.rmtree(self._directory, ignore_errors=True)
        os.makedirs(self._directory, mode=0o700)

    @property
    def pid(self):
        return self._process.pid

    @property
    def wal_directory(self):
        """Of Cairn."""
        return f"{self._directory}/data/wal"

    def renew(self, extra_flags):
        """In its place another one with a fresh data directory and these flags, which answers."""
        self.kill()
        self._make_directory()
        self.extra_flags = extra_flags
        self.start()

    def pin(self, cpus):
        """To these, from its next start on."""
        self._cpus = cpus

    def launch(self):
        """Starts it without waiting for it; returns the monotonic clock's time in ns."""
        client = f"http://{self.endpoint}"
        command = [
            self._path,
            f"--name={self.name}",
            f"--data-dir={self._directory}/data",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.initial_cluster}",
            f"--quota-backend-bytes={self._quota_bytes}",
            "--log-level=warn",
        ] + self.extra_flags
        with open(f"{self._directory}/log", "ab") as log:
            started = time.monotonic_ns()
            # A session of its own, as a service has (README.md).
            self._process = subprocess.Popen(
                _pinned(self._cpus, command), stdout=log, stderr=log, preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        return started

    def _start_waiting(self, limit_seconds=60, **wait_flags):
        return self._driver.start(
            endpoint=self.endpoint, operation="wait", limit_seconds=limit_seconds, **wait_flags
        )

    def wait(self):
        """Until it answers a linearizable read."""
        self._finish_waiting(self._start_waiting())

    def start(self, limit_seconds=60, **wait_flags):
        """Starts it; returns the seconds until it answered its first linearizable read."""
        waiting = self._start_waiting(limit_seconds, **wait_flags)
        # The driver polls from before the start, so its own start-up is not part of the figure.
        time.sleep(0.2)
        started = self.launch()
        return (self._finish_waiting(waiting) - started) / 1e9

    def _finish_waiting(self, waiting):
        while waiting.poll() is None:
            if self._process.poll() is not None:
                waiting.kill()
                waiting.communicate()
                raise Failure(f"{self._path} ended at once: {self._last_words()}")
            time.sleep(0.05)
        return self._driver.finish(waiting)["monotonic_ns"]

    def _last_words(self):
        with open(f"{self._directory}/log", encoding="utf-8", errors="replace") as log:
            lines = log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def terminate(self):
        """A clean stop."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise Failure(f"{self.side} did not stop within {_STOP_SECONDS_MAX} s") from late

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number):
        self._process.send_signal(number)

    def remove(self):
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def memory(self):
        """Resident memory in MiB, now and at its peak."""
        figures = {}
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name in ("VmRSS", "VmHWM"):
                    figures[name] = int(value.split()[0]) / 1024
        return figures["VmRSS"], figures["VmHWM"]

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def disk_mib(self):
        """Allocated blocks of the data directory."""
        blocks = 0
        for folder, _, names in os.walk(self._directory):
            for name in names:
                try:
                    blocks += os.lstat(os.path.join(folder, name)).st_blocks
                except FileNotFoundError:
                    pass  # removed while we looked
        return blocks * 512 / _MIB


_ETCDCTL = "/usr/bin/etcdctl"


class Cluster:
    """Members of one side on one machine, seen as one server: its endpoints and processes are
    lists, as the driver takes them."""

    def __init__(self, side, path, directory, cpus, driver, quota_bytes, size, client_cpus):
        self.side = side
        self._client_cpus = client_cpus
        self.members = [
            Server(side, path, f"{directory}/m{i}", cpus, driver, quota_bytes, f"m{i}")
            for i in range(1, size + 1)
        ]
        initial = ",".join(member.initial_cluster for member in self.members)
        for member in self.members:
            member.initial_cluster = initial
            member.extra_flags = ["--heartbeat-interval=100", "--election-timeout=1000"]

    @property
    def endpoint(self):
        return ",".join(member.endpoint for member in self.members)

    @property
    def pid(self):
        return ",".join(str(member.pid) for member in self.members)

    def start(self):
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait()

    def _ctl(self, endpoint, *arguments):
        # Beside a load on the same core: it is not to be measured.
        command = ["nice", "-n", "19", _ETCDCTL, f"--endpoints={endpoint}", *arguments]
        answer = subprocess.run(
            _pinned(self._client_cpus, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "ETCDCTL_API": "3"}, check=False, timeout=60,
        )
        if answer.returncode != 0:
            raise Failure(f"etcdctl {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout

    def leader(self):
        """Who leads: a member."""
        limit = time.monotonic() + _STOP_SECONDS_MAX
        while time.monotonic() < limit:
            try:
                leaders = [member for member in self.members if self._leads(member)]
            except Failure:
                leaders = []  # one has just started
            if len(leaders) == 1:
                return leaders[0]
            time.sleep(0.1)
        raise Failure(f"{self.side}: no leader")

    def _status(self, member):
        return json.loads(self._ctl(member.endpoint, "endpoint", "status", "-w", "json"))[0]

    def _leads(self, member):
        status = self._status(member)["Status"]
        return status["leader"] == status["header"]["member_id"]

    def move_leader(self):
        """Hands the leadership to another member, which is returned."""
        leader = self.leader()
        target = self.members[(self.members.index(leader) + 1) % len(self.members)]
        target_id = self._status(target)["Status"]["header"]["member_id"]
        self._ctl(leader.endpoint, "move-leader", f"{target_id:x}")
        return target

    def remove(self):
        for member in self.members:
            member.remove()


def version_of(path):
    """What a server says about itself."""
    answer = subprocess.run(
        [path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=20, check=False,
    )
    lines = answer.stdout.strip().splitlines()
    return lines[0] if lines else "unknown version"


def filesystem_of(directory):
    answer = subprocess.run(
        ["stat", "--file-system", "--format=%T", directory], stdout=subprocess.PIPE, text=True,
        check=True,
    )
    return answer.stdout.strip()


def probe_sync(directory, seconds):
    """fdatasync of 4 KiB at a time into a file filled with zeros beforehand: us each, median."""
    path = os.path.join(directory, "probe")
    block = os.urandom(4096)
    blocks = 4096
    times = []
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
    try:
        for _ in range(blocks):
            os.write(file, bytes(4096))
        os.fsync(file)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic_ns()
            os.pwrite(file, block, len(times) % blocks * 4096)
            os.fdatasync(file)
            times.append(time.monotonic_ns() - before)
    finally:
        os.close(file)
        os.unlink(path)
    times.sort()
    return times[len(times) // 2] / 1000
