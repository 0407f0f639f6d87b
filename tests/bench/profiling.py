"""Where the time of a room goes, under the load of the measurements: py-spy, else cProfile.

py-spy looks at the running process from outside and slows it little, but needs ptrace(2). Where
that is not permitted, the room runs under cProfile, which slows calls of Python functions more than
all else: its shares are then coarser.
"""

import pstats
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import psutil
from rich.table import Table

from tests.bench.draining import drain, fill
from tests.bench.load import Load
from tests.bench.payloads import MEDIAN, REDACTED, Payloads
from tests.bench.sending import send
from tests.bench.services import Services

PY_SPY: Final = str(Path(sys.executable).with_name("py-spy"))
_RATE: Final = 250
_IDLE_SHARE: Final = 0.97
_TOP: Final = 40
_MORE_SECONDS: Final = 3.0
_CONSUMER_RATE: Final = {"py-spy": 4_000, "cProfile": 1_500}
"""Callbacks to prepare for each second of looking. A faster drain ends the look before its time."""


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


@dataclass
class Shares:
    """Samples, or seconds, by function: with what it calls, and in the function itself."""

    total: defaultdict[str, float] = field(default_factory=_zeros)
    own: defaultdict[str, float] = field(default_factory=_zeros)
    samples: float = 0

    @property
    def idle(self) -> bool:
        """Whether the thread did one thing only, which is to wait."""
        return max(self.own.values(), default=0) > _IDLE_SHARE * self.samples


@dataclass
class Profile:
    """What each thread was seen at, waiting included, by the thread's name.

    `processor` is CPU seconds by thread, native threads included, for each second of looking.
    """

    threads: dict[str, Shares] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    how: str = "py-spy"


Look: TypeAlias = Callable[[Services, float], Profile]


def may_trace() -> bool:
    """Whether py-spy may look at a process of ours."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as sleeper:
        asked = [PY_SPY, "dump", "--pid", str(sleeper.pid)]
        try:
            done = subprocess.run(asked, capture_output=True, check=False, timeout=20)
        except FileNotFoundError:
            return False
        finally:
            sleeper.kill()
    return done.returncode == 0


def collapsed(text: str) -> dict[str, Shares]:
    """Read py-spy's raw output: a line a stack, thread and frames from the outermost, samples."""
    found: dict[str, Shares] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        # The threads of a pool are numbered, and do the same.
        name = re.sub(r"_\d+$", "", thread.partition(": ")[2])
        shares = found.setdefault(name, Shares())
        places = [_place(frame) for frame in frames] or ["(no Python)"]
        shares.samples += int(count)
        shares.own[places[-1]] += int(count)
        for place in set(places):
            shares.total[place] += int(count)
    return found


def counted(stats: pstats.Stats) -> Profile:
    """Read cProfile's figures, seconds of the main thread."""
    shares = Shares()
    entries: Mapping[tuple[str, int, str], tuple[int, int, float, float, object]]
    entries = stats.stats  # type: ignore[attr-defined]
    for (file, _, function), (_, _, own, total, _) in entries.items():
        place = f"{function} ({_short(file)})"
        shares.own[place] += own
        shares.total[place] = max(shares.total[place], total)
        shares.samples += own
    return Profile({"MainThread": shares}, how="cProfile")


def watched(pid: int, seconds: float) -> Profile:
    """Look at a running process."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as out:
        command = [PY_SPY, "record", "--pid", str(pid), "--rate", str(_RATE), "--format", "raw"]
        command += ["--duration", str(round(seconds)), "--output", out.name]
        command += ["--function", "--full-filenames", "--threads", "--idle"]
        before = _processor(pid)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + 60
        )
        after = _processor(pid)
        if done.returncode != 0:
            raise RuntimeError(f"py-spy failed: {done.stderr[-1_000:]}")
        threads = collapsed(Path(out.name).read_text("utf-8"))
    used = {name: (total - before.get(name, 0)) / seconds for name, total in after.items()}
    return Profile(threads, used)


def _processor(pid: int) -> dict[str, float]:
    """CPU seconds by thread, under the name that the thread gave itself."""
    used = _zeros()
    try:
        threads = psutil.Process(pid).threads()
    except psutil.NoSuchProcess:
        return {}
    for thread in threads:
        try:
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text("utf-8").strip()
        except FileNotFoundError:
            name = "ended"
        used[name] += thread.user_time + thread.system_time
    return dict(used)


def _place(frame: str) -> str:
    function, _, file = frame.strip().rpartition(" (")
    return f"{function} ({_short(file.rstrip(')').rpartition(':')[0])})"


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


class _Sight:
    """Looks at a room while it is loaded: from outside, or by running it under cProfile."""

    def __init__(self, stack: ExitStack, seconds: float) -> None:
        self.seconds = seconds
        self._tracing = may_trace()
        self.how = "py-spy" if self._tracing else "cProfile"
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._found: list[Profile] = []
        self._thread: threading.Thread | None = None

    @property
    def launcher(self) -> tuple[str, ...]:
        """The command line under which the room has to run."""
        if self._tracing:
            return ()
        return (sys.executable, "-m", "cProfile", "-o", str(self._directory / "profile"))

    def begin(self, pid: int) -> None:
        """Begin to look."""
        if self._tracing:
            work = partial(self._look, pid)
            self._thread = threading.Thread(target=work, daemon=True)
            self._thread.start()

    def _look(self, pid: int) -> None:
        self._found.append(watched(pid, self.seconds))

    def end(self) -> Profile:
        """What was seen; the room has ended."""
        if not self._tracing:
            return counted(pstats.Stats(str(self._directory / "profile")))
        if self._thread is not None:
            self._thread.join(120)
        if not self._found:
            raise RuntimeError("nothing was seen: the room ended too early")
        return self._found[0]


def gateway(
    per_post: int, connections: int, each: int, services: Services, seconds: float
) -> Profile:
    """Look at a gateway that takes as much as it can."""
    with ExitStack() as stack:
        sight = _Sight(stack, seconds)
        with services.topics() as prefix, services.gateway(prefix, sight.launcher) as served:
            pool = max(4_000 // per_post, 40)
            load = Load(
                served.port,
                served.token,
                connections,
                seconds + _MORE_SECONDS,
                each,
                per_post,
                pool=pool,
                warm_up=_MORE_SECONDS,
            )
            began = threading.Timer(_MORE_SECONDS * 2, sight.begin, (served.process.pid,))
            began.start()
            send(load)
            began.join()
        return sight.end()


def consumer(each: int, services: Services, seconds: float) -> Profile:
    """Look at a consumer that drains a full topic."""
    with ExitStack() as stack:
        sight = _Sight(stack, seconds)
        count = round(_CONSUMER_RATE[sight.how] * seconds)
        with services.topics() as prefix, services.database() as url:
            fill(services, prefix, Payloads("profile", each), count)
            drain(
                services,
                prefix,
                url,
                count,
                launcher=sight.launcher,
                watch=lambda process: sight.begin(process.pid),
            )
        return sight.end()


PROFILES: Final[dict[str, dict[str, Look]]] = {
    "gateway": {
        "batches of 100, 14 kB": partial(gateway, 100, 8, MEDIAN),
        "batches of 1, 4 kB": partial(gateway, 1, 256, REDACTED),
    },
    "consumer": {
        "14 kB": partial(consumer, MEDIAN),
        "4 kB": partial(consumer, REDACTED),
    },
}


def tables(title: str, found: Profile) -> list[Table]:
    """The functions that take most, alone and with what they call; CPU by thread."""
    made = []
    for thread, shares in found.threads.items():
        if shares.idle:
            continue
        sides = (("with what it calls", shares.total), ("in the function itself", shares.own))
        for heading, counts in sides:
            table = Table(title=f"{title}: share of {thread}'s time, {heading} ({found.how})")
            table.add_column("share", justify="right")
            table.add_column("function")
            # What is on every stack, such as `main`, tells nothing.
            told = [pair for pair in counts.items() if pair[1] < shares.samples]
            for place, count in sorted(told, key=lambda pair: -pair[1])[:_TOP]:
                table.add_row(f"{count / shares.samples:.1%}", place)
            made.append(table)
    if found.processor:
        table = Table(title=f"{title}: CPU seconds a second, by thread")
        table.add_column("CPU", justify="right")
        table.add_column("thread")
        for name, used in sorted(found.processor.items(), key=lambda pair: -pair[1]):
            table.add_row(f"{used:.2f}", name)
        made.append(table)
    return made
