"""What the grader does on machines that we have not got: simulated, as far as that goes."""

import platform
import re
import resource
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from handed_in import HOSTILE
from teaching import __main__ as program
from teaching import grade, jail, sandbox

LIMITS = sandbox.Limits(seconds=8, cell_seconds=4, cpu=6, memory=400 << 20)


# The filter of system calls, run by hand


def programs(monkeypatch, machine, numbers, some=()):
    """The filter that would be handed to the kernel on such a machine, as rows of numbers."""
    kept = []

    def call(name, *args):
        whole = args[2]._obj
        kept.append(bytes((jail.ctypes.c_char * (8 * whole.length)).from_address(whole.filters)))

    monkeypatch.setattr(jail, "call", call)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    jail.refuse_calls(numbers, some)
    return list(struct.iter_unpack("HBBI", kept[0]))


def admits(rows, arch, number, arguments=(0,) * 6):
    """What the kernel does with a filter: see seccomp(2)."""
    data = struct.pack("iIQ6Q", number, arch, 0, *arguments)
    place, value = 0, 0
    while True:
        code, yes, no, constant = rows[place]
        place += 1
        if code == 0x06:
            return constant == 0x7FFF0000
        if code == 0x20:
            (value,) = struct.unpack_from("I", data, constant)
        elif code == 0x54:
            value &= constant
        else:
            place += yes if {0x15: value == constant, 0x35: value >= constant}[code] else no


AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # of linux/audit.h
# By name, so that a slip in a table shows: from the kernel's own lists of the two architectures.
CALLS = {
    "x86_64": {"read": 0, "openat": 257, "socket": 41, "connect": 42, "kill": 62, "ptrace": 101,
               "unshare": 272, "mount": 165, "bpf": 321, "keyctl": 250, "fchmodat": 268, "prlimit64": 302,
               "fcntl": 72, "io_uring_setup": 425, "memfd_create": 319, "setpriority": 141},
    "aarch64": {"read": 63, "openat": 56, "socket": 198, "connect": 203, "kill": 129, "ptrace": 117,
                "unshare": 97, "mount": 40, "bpf": 280, "keyctl": 219, "fchmodat": 53, "prlimit64": 261,
                "fcntl": 25, "io_uring_setup": 425, "memfd_create": 279, "setpriority": 140},
}  # fmt: skip


@pytest.mark.parametrize("machine", list(CALLS))
def test_the_filter_refuses_what_it_names_on_each_architecture(monkeypatch, machine):
    calls, arch = CALLS[machine], AUDIT[machine]
    numbers = jail.NEVER[machine] + jail.OUTSIDE[machine]
    rows = programs(monkeypatch, machine, numbers, jail.OUTSIDE_IF[machine])
    refused = {name for name, number in calls.items() if not admits(rows, arch, number)}
    assert refused == set(calls) - {"read", "openat", "prlimit64", "fcntl"}
    assert not admits(rows, arch, calls["prlimit64"], (1234, 0, 0, 0, 0, 0))  # of another process
    assert not admits(rows, arch, calls["fcntl"], (3, 8, 1, 0, 0, 0))  # F_SETOWN
    assert not admits(rows, arch, calls["openat"], (0, 0, 0o1000, 0, 0, 0))  # O_RDONLY | O_TRUNC
    assert admits(rows, arch, calls["openat"], (0, 0, 0o1001, 0, 0, 0))
    assert not admits(rows, 0x40000003, calls["read"])  # the table of 32 bits
    assert all(admits(rows, arch, n) == (n not in numbers) for n in range(425) if n != calls["prlimit64"])


# Other systems


def call_it(monkeypatch, module, system):
    """Let one module believe that this is another system."""
    monkeypatch.setattr(module, "sys", SimpleNamespace(**{**vars(sys), "platform": system}))


@pytest.fixture
def macos(monkeypatch):
    """Of macOS: what it is called, and no /proc in use. The jail itself still runs on this system."""
    call_it(monkeypatch, sandbox, "darwin")
    try:
        subprocess.run(["ps"], capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no ps here")
    (how,) = sandbox.candidates()
    if not (tried := sandbox.run(["x = 1"], ["x"], {}, LIMITS, how)).values:
        pytest.skip(f"refused here: {tried.output[-200:]}")
    return how


def test_on_macos_limits_are_all_there_is_and_that_is_said(macos, tmp_path):
    assert macos.mode == "limits" and not macos.strong
    assert "no way to shut it in" in macos.words
    said = []
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada-order.ipynb").write_text('{"cells": [], "metadata": {}}')
    grade.grade(tmp_path / "in", tmp_path / "out", how=macos, say=said.append)
    assert sum("Grade here only those of people whom you trust" in line for line in said) == 1
    assert "no way to shut it in" in (tmp_path / "out" / "reports" / "ada-order.md").read_text()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("loops_deaf", "limit|running after"),
        ("memory_in_children", "MB of memory"),
    ],
)
def test_without_proc_the_limits_hold(macos, kind, words):
    began = time.monotonic()
    outcome = sandbox.run(["x = 1", HOSTILE[kind]], ["x"], {}, LIMITS, macos)
    assert re.search(words, outcome.ended), outcome
    assert outcome.values["x"]["values"] == [1.0]
    assert time.monotonic() - began < LIMITS.seconds + 10


def test_processes_are_listed_alike_without_proc(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        time.sleep(0.5)
        here = sandbox.processes()[child.pid]
        call_it(monkeypatch, sandbox, "darwin")
        there = sandbox.processes()[child.pid]
    finally:
        child.kill()
        child.wait()
    assert here[0] == there[0] > 0
    assert there[1] == pytest.approx(here[1], rel=0.2)


def test_a_limit_that_macos_refuses_does_not_end_the_others(monkeypatch):
    made = {}

    def setrlimit(number, values):
        if number == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")
        made[number] = values

    monkeypatch.setattr(jail.resource, "setrlimit", setrlimit)
    limits = {"memory": 1, "file": 2, "processes": 3, "cpu": 4}
    call_it(monkeypatch, jail, "linux")
    with pytest.raises(ValueError):
        jail.set_limits(limits)
    call_it(monkeypatch, jail, "darwin")
    jail.set_limits(limits)
    assert made[resource.RLIMIT_CPU][0] == 4 and made[resource.RLIMIT_FSIZE][0] == 2


@pytest.mark.parametrize("machine", ["riscv64", "ppc64le", "i686"])
def test_an_architecture_that_is_not_listed_has_limits_alone(monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert [how.mode for how in sandbox.candidates()] == ["limits"]
    jail.refuse("limits")  # asks for no table


def test_aarch64_has_the_walls_of_linux(monkeypatch):
    call_it(monkeypatch, sandbox, "linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert [how.mode for how in sandbox.candidates()][-3:] == ["namespaces", "rules", "limits"]
    tables = (jail.CAPSET, jail.PIVOT_ROOT, jail.NEVER, jail.OUTSIDE, jail.OUTSIDE_IF)
    assert all(set(table) == set(jail.ARCHITECTURE) for table in tables)


def test_windows_is_sent_to_wsl_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sandbox, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(sandbox, "protection", sandbox.protection.__wrapped__)
    assert program.main(["grade", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said == "grade: submissions can be run on Linux and macOS alone: on Windows, grade in WSL\n"


# Walls that do not stand


def pretended(found):
    """A run in which each mode of protection lets the probe find what ``found`` says; None: it is refused."""

    def run(cells, names, calls, limits, how):
        if found[how.mode] is None:
            return sandbox.Outcome(ended="it was refused")
        return sandbox.Outcome(values={"found": {"kind": "text", "text": found[how.mode]}})

    return run


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"namespaces": "a socket", "rules": "nothing", "limits": "a file"}, "namespaces"),
        ({"namespaces": None, "rules": "nothing", "limits": "a file"}, "rules"),
        ({"namespaces": "a file", "rules": "nothing", "limits": "a file"}, "rules"),
        ({"namespaces": None, "rules": "a socket", "limits": "a file"}, "limits"),
        ({"namespaces": "the grader", "rules": "the grader", "limits": "the grader"}, "limits"),
        ({"namespaces": "a file", "rules": None, "limits": None}, None),
    ],
)
def test_a_wall_through_which_the_probe_sees_is_none(monkeypatch, found, chosen):
    monkeypatch.setattr(sandbox, "run", pretended(found))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    call_it(monkeypatch, sandbox, "linux")
    choose = sandbox.protection.__wrapped__
    if chosen is None:
        with pytest.raises(RuntimeError, match="no submission can be run here: it was refused"):
            choose()
    else:
        assert choose().mode == chosen


def test_giving_up_the_rights_of_root_asks_for_nothing_that_macos_lacks(monkeypatch):
    done = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(jail.os, name, lambda x, name=name: done.append((name, x)))
    for name in ("setresuid", "setresgid"):
        monkeypatch.delattr(jail.os, name, raising=False)
    jail.become(700_000)
    assert done == [("setgroups", []), ("setgid", 700_000), ("setuid", 700_000)]
