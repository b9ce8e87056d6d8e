"""Run one submission shut in, and bring back what it says its answers are.

`run` starts ``jail.py`` as a process of its own, hands the cells to it through a pipe, and reads
what comes back through two others, never more than a given amount. It watches the clock and the
memory of everything that the submission started, and ends it all when one of them is used up.
"""

import contextlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ["adjode", "receipts", "movable"]  # those of src, as far as they are there
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Bytes and seconds."""

    seconds: float = 90.0
    cell_seconds: float = 20.0
    cpu: int = 60
    memory: int = 2 << 30
    disk: int = 64 << 20
    file: int = 16 << 20
    processes: int = 24
    output: int = 64 << 10
    result: int = 1 << 20
    items: int = 20_000  # in what it returns: read, each takes many times the bytes that it was sent as


@dataclass(frozen=True)
class Protection:
    """How a submission is shut in on this machine, in words for a report."""

    mode: str
    user_namespace: bool = False
    other_user: bool = False
    words: str = ""

    @property
    def strong(self):
        return self.mode != "limits"


@dataclass
class Outcome:
    """What came of a run. ``values`` and ``calls`` are claims, not to be trusted with anything."""

    values: dict = field(default_factory=dict)
    calls: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)
    finished: bool = False
    ended: str = ""
    output: str = ""
    output_cut: bool = False
    seconds: float = 0.0


WORDS = {
    "namespaces": "It ran alone: an empty file system with Python in it, no network, no other processes in "
    "sight, limits of time, memory, files and output.",
    "rules": "It ran under rules of the kernel (Landlock and seccomp): it could read Python's own files "
    "alone and write in an empty folder alone; no network, no signals to other processes; limits of time, "
    "memory, files and output.",
    "limits": "It ran in a process of its own with limits of time, memory, files and output. This machine "
    "offers no way to shut it in: it could have read files that whoever ran the grader can read.",
}


def readable():
    """Folders and files that Python needs, and that hold nothing else."""
    wanted = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/nix/store", "/etc/ld.so.cache",
              sys.base_prefix, sys.base_exec_prefix, sys.prefix]  # fmt: skip
    interpreter = Path(sys.executable).resolve()
    places = []
    for place in [p for p in wanted if os.path.exists(p) and not os.path.islink(p)]:
        if not any(place == p or place.startswith(p + "/") for p in places):
            places.append(place)
    if not any(interpreter.is_relative_to(p) for p in places):
        places.append(str(interpreter.parents[1]))
    return places


def packages():
    """The book's packages, by name: the only part of the project that a submission sees."""
    found = {name: find_spec(name) for name in PACKAGES}
    return {name: str(Path(spec.origin).parent) for name, spec in found.items() if spec}


def candidates():
    """Ways to shut a submission in, the strongest first."""
    from teaching.jail import ARCHITECTURE  # here: its modules are those of POSIX

    root = os.geteuid() == 0
    other = " It ran as a user of its own." if root else ""
    if sys.platform == "linux" and platform.machine() in ARCHITECTURE:
        if root and unused_user():
            yield Protection("namespaces", words=WORDS["namespaces"] + other, other_user=True)
        yield Protection("namespaces", True, False, WORDS["namespaces"])
        if not root or unused_user():
            yield Protection("rules", False, root, WORDS["rules"] + other)
    if not root or unused_user():
        yield Protection("limits", False, root, WORDS["limits"] + other)


def unused_user(ranges=None):
    """A number of a user who owns nothing, drawn anew each time; 0 where there is none but root.

    ``ranges``: the users that exist here, as the kernel lists them. In a container they may be few.
    """
    if ranges is None:
        place = Path("/proc/self/uid_map")
        ranges = place.read_text() if place.exists() else "0 0 4294967295"
    first, _, count = max((tuple(map(int, line.split())) for line in ranges.splitlines()), key=lambda r: r[2])
    last = min(first + count - 1, 760_000) - 10
    return last - random.SystemRandom().randrange(min(count // 2, 50_000)) if count > 1000 else 0


# Whether the walls stand: what this prints is looked at, not that nothing was raised.
PROBE = """
import os, socket
seen = ["the rights of root"] if os.getuid() == 0 else []
for path in SECRETS:
    try:
        open(path).read(1)
        seen.append(path)
    except OSError:
        pass
try:
    socket.socket().close()
    seen.append("a socket")
except OSError:
    pass
try:
    os.kill(GRADER, 0)
    seen.append("the grader")
except OSError:
    pass
import numpy, autograd, scipy.integrate, adjode
open("own", "w").write("x")
found = ",".join(seen) or "nothing"
"""


@cache
def protection(only=None):
    """The strongest protection that works here; tried out, not guessed. ``only``: a mode's name.

    Raises
    ------
    RuntimeError
        When a submission cannot be run here at all.
    """
    if os.name != "posix":
        raise RuntimeError("submissions can be run on Linux and macOS alone: on Windows, grade in WSL")
    reason = "a test run brought nothing back"
    with tempfile.NamedTemporaryFile("w", suffix=".secret") as secret:
        secret.write("x")
        secret.flush()
        os.chmod(secret.name, 0o644)
        secrets = [secret.name, str(HERE / "keys.py")]
        probe = PROBE.replace("SECRETS", repr(secrets)).replace("GRADER", str(os.getpid()))
        for candidate in candidates():
            if only and candidate.mode != only:
                continue
            outcome = run([probe], ["found"], {}, Limits(seconds=60), candidate)
            found = outcome.values.get("found", {}).get("text")
            # In a network namespace one may open a socket: there is nothing at its other end.
            harmless = {"namespaces": {"nothing", "a socket"}, "rules": {"nothing"}}
            if found is not None and found in harmless.get(candidate.mode, {found}):
                return candidate
            reason = f"{outcome.ended} {outcome.output[-300:]}".strip() or reason
    if os.geteuid() == 0:
        reason += (
            ". As root, each runs as a user without rights, who may not be able to read this folder or"
            " Python's: grade as an ordinary user, or from a folder that everyone may read"
        )
    raise RuntimeError(f"no submission can be run here: {reason}")


def run(cells, names, calls, limits=None, how=None):
    """Run the cells of a submission and return an `Outcome`. Never raises for what it does.

    Parameters
    ----------
    cells : list of str
        Sources of its code cells, in order.
    names : list of str
        Names whose values are asked for.
    calls : dict of str to list of lists
        For each function, the argument lists on which the submission evaluates it.
    limits : Limits
    how : Protection
        Default: the strongest that works here.
    """
    limits, how = limits or Limits(), how or protection()
    job = json.dumps({"cells": cells, "names": names, "calls": calls, "cell_seconds": limits.cell_seconds})
    home = tempfile.mkdtemp(prefix="submission-")
    uid = unused_user() if os.geteuid() == 0 else 0
    if how.other_user:
        os.chown(home, uid, uid)
    result, result_in = os.pipe()
    config = {
        "mode": how.mode, "user_namespace": how.user_namespace, "root": home, "uid": uid,
        "readable": readable(), "packages": packages(), "python": sys.executable,
        "runner": (HERE / "runner.py").read_text(), "limits": asdict(limits), "result": result_in,
    }  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(HERE / "jail.py"), json.dumps(config)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        pass_fds=[result_in], start_new_session=True, cwd="/",
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    os.close(result_in)
    said, answered = Reader(process.stdout.fileno(), limits.output), Reader(result, limits.result, last=True)
    feeder = threading.Thread(target=feed, args=(process.stdin, job), daemon=True)
    for thread in (said, answered, feeder):
        thread.start()
    ended = watch(process, limits, began, home, how)
    for thread in (said, answered):
        thread.join(5)
    process.stdout.close()
    os.close(result)
    remove(home)
    outcome = Outcome(ended=ended, output=said.text(), output_cut=said.cut, seconds=time.monotonic() - began)
    too_much = fill(outcome, answered, limits.items)
    outcome.values = {name: outcome.values[name] for name in names if name in outcome.values}
    outcome.calls = {name: outcome.calls[name] for name in calls if name in outcome.calls}
    if (too_much or answered.cut) and not outcome.finished:
        outcome.ended = outcome.ended or "what it sent back was too much to read"
    return outcome


class Reader(threading.Thread):
    """Read a pipe to its end, and keep at most so many bytes: the first, or the last whole lines."""

    def __init__(self, number, most, last=False):
        super().__init__(daemon=True)
        self.number, self.most, self.last = number, most, last
        self.kept, self.cut = bytearray(), False

    def run(self):
        while True:
            try:
                block = os.read(self.number, 1 << 16)
            except OSError:
                return
            if not block:
                return
            if self.last:
                self.kept += block
                if len(self.kept) > 2 * self.most:
                    self.cut = True
                    del self.kept[: -self.most]
            else:
                self.cut |= len(self.kept) + len(block) > self.most
                self.kept += block[: max(self.most - len(self.kept), 0)]

    def text(self):
        return bytes(self.kept).decode("utf-8", "replace")


def feed(pipe, job):
    try:
        pipe.write(job.encode())
        pipe.close()
    except OSError:
        pass


def fill(outcome, answered, most):
    """Take the last line that reads as answers; it was written by the submission, so look twice.

    Returns whether something was too much to read.
    """
    too_much = False
    for line in reversed(bytes(answered.kept).split(b"\n")):
        if len(line) > answered.most:
            too_much = True
            continue
        if not line:
            continue
        try:
            found = json.loads(line, parse_int=float)
        except (ValueError, RecursionError):
            continue
        if not modest(found, most):
            too_much = True
        elif isinstance(found, dict) and isinstance(found.get("values"), dict):
            outcome.values = found["values"]
            outcome.calls = found.get("calls") if isinstance(found.get("calls"), dict) else {}
            errors = found.get("errors") if isinstance(found.get("errors"), list) else []
            outcome.errors = [e for e in errors if isinstance(e, dict)][:50]
            outcome.finished = found.get("finished") is True
            break
    return too_much


def modest(value, most, deepest=30):
    """Whether there are at most so many things, not too deep in each other: whoever is next can read them."""
    level, count = [value], 0
    for _ in range(deepest):
        inside = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list))]
        count += sum(map(len, inside))
        if count > most or not inside:
            return not inside
        level = [x for things in inside for x in things]
    return False


def processes():
    """Each process of the machine: its parent, and the memory that it holds in bytes."""
    if sys.platform != "linux":
        command = ["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "rss="]
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        rows = [list(map(int, line.split())) for line in listed.splitlines()]
        return {number: (parent, size << 10) for number, parent, size in rows}
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = int(fields[1]), int(fields[21]) * PAGE
    return found


def family(top):
    """The process and all that came of it: numbers, and the memory that they hold in bytes."""
    there = processes()
    parents = {number: parent for number, (parent, _) in there.items()}
    found, grown = {top}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found, sum(there[p][1] for p in found if p in there)


def too_large(top, limits):
    """Why the processes of a submission are too many or too big; empty if they are not."""
    found, memory = family(top)
    if len(found) > limits.processes + 3:
        return f"it started more than {limits.processes} processes"
    if memory > limits.memory:
        return f"it used more than {limits.memory >> 20} MB of memory"
    return ""


def disk_use(folder):
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                continue
    return total


def watch(process, limits, began, home, how):
    """Wait for the end, or make it. Returns why it was ended early, in words; empty if it was not."""
    why, pause = "", 0.05 if sys.platform == "linux" else 0.25  # elsewhere a program lists the processes
    while process.poll() is None:
        if time.monotonic() - began > limits.seconds:
            why = f"it was still running after {limits.seconds:g} seconds"
        elif grown := too_large(process.pid, limits):
            why = grown
        elif how.mode != "namespaces" and disk_use(home) > limits.disk:
            why = f"it wrote more than {limits.disk >> 20} MB of files"
        if why:
            end(process)
            return why
        time.sleep(pause)
    code = process.returncode
    if code == 128 + signal.SIGXCPU or (code == 128 + signal.SIGKILL):
        return f"it was ended by a limit (of {limits.cpu} seconds of computing, or of memory)"
    if code > 128 or code < 0:
        number = code - 128 if code > 128 else -code
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"Python itself crashed ({name})"
    if code:
        return f"Python ended with the exit code {code}"
    return ""


def end(process):
    """End everything that came of the submission, and then the jail.

    The jail stays until nothing else is left, since on Linux what loses its parent becomes its child; a
    process that starts others faster than they are ended is stopped first, and so are these.
    """
    deadline = time.monotonic() + 3
    while process.poll() is None and time.monotonic() < deadline:
        others = family(process.pid)[0] - {process.pid}
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for number in others:
                kill(number, how)
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    process.wait()


def kill(number, how=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(number, how)


def remove(folder):
    """Remove what a submission left, whatever rights it gave its folders; links are never followed."""
    for top, folders, _ in os.walk(folder):
        for path in [top] + [os.path.join(top, name) for name in folders]:
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
