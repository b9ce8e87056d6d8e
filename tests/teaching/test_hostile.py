"""Submissions that hang, crash, flood, steal or cheat: each gets its report, and harms nothing."""

import os
import platform
import socket
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import pytest
from handed_in import HARMLESS, HOPELESS, HOSTILE, answered, with_cell
from teaching import notebooks, sandbox
from teaching.grade import grade
from teaching.sheets import EVERYONE, assignment, seed_of

ROOT = notebooks.ROOT
NAME = "static_solve"
# Long enough for the imports of a harmless one on a busy machine.
LIMITS = sandbox.Limits(seconds=15, cell_seconds=5, cpu=12, memory=1 << 30, disk=32 << 20)

# What only a wall keeps out: without one, a submission may do what the user may.
WALLS = {"kills", "reads", "imports_the_keys", "network", "writes_outside", "daemon"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions run on Linux and macOS alone")


def ways():
    """Ways of shutting in that work here: the strongest, and each weaker one."""
    for mode in ("namespaces", "rules", "limits"):
        try:
            yield sandbox.protection(mode)
        except RuntimeError:
            continue


def tried(how):
    """Everything under the strongest protection; under a weaker one its walls, or its limits.

    With HOSTILE=all in the environment: everything that a protection is for, under each.
    """
    everything = how == sandbox.protection() or os.environ.get("HOSTILE") == "all"
    if how.mode == "limits":
        return set(HOSTILE) - WALLS if everything else {"loops_deaf", "disk", "crashes"}
    return set(HOSTILE) if everything else WALLS | {"disk"}


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "secret.txt"
    path.write_text("THE ANSWERS")
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def server():
    """Something on this machine that would answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [listener.accept() for _ in range(9)], daemon=True).start()
    yield listener.getsockname()[1]


def handed_in(folder, secret, port):
    """One submission of each kind; the rest of each is right."""
    seed = seed_of(EVERYONE, NAME, EVERYONE)
    sheet = assignment(NAME).sheet(seed)
    right = answered(notebooks.build(assignment(NAME), sheet, "student", seed), sheet)
    for kind, source in HOSTILE.items():
        source = source.replace("SECRET", repr(str(secret))).replace("PORT", str(port))
        nbformat.write(
            with_cell(right, source.replace("ROOT", repr(str(ROOT))), kind != "evil_objects"),
            folder / f"{kind}-{NAME}.ipynb",
        )


def leftovers():
    """Processes of submissions that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"/course/runner.py" in words or b"def main():\n    out = os.fdopen" in words:
            found.append(path.parent.name)
    return found


@pytest.fixture(scope="module", params=list(ways()), ids=lambda how: how.mode)
def graded(request, tmp_path_factory, secret, server):
    """All of them, graded under the strongest protection; some under each weaker one."""
    how = request.param
    folder = tmp_path_factory.mktemp("submitted")
    handed_in(folder, secret, server)
    for kind in set(HOSTILE) - tried(how):
        (folder / f"{kind}-{NAME}.ipynb").unlink()
    before = set(os.listdir("/tmp"))
    results = grade(
        folder, folder.parent / f"{folder.name}-graded", limits=LIMITS, how=how, say=lambda *_: None
    )
    time.sleep(0.3)
    return {r["student"]: r for r in results}, folder.parent / f"{folder.name}-graded", before, how.mode


def test_each_gets_a_report_and_a_line(graded):
    results, out, _, _ = graded
    lines = (out / "points.csv").read_text().splitlines()
    assert len(lines) == len(results) + 1
    for kind, result in results.items():
        assert (out / "reports" / f"{kind}-{NAME}.md").is_file()
        assert len(result["marks"]) == 3


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_none_gets_points_for_it(graded, kind):
    """Full points where the right answers behind it still ran, and none where they did not."""
    results, *_ = graded
    if kind not in results:
        return  # see the fixture
    points = sum(m["points"] for m in results[kind]["marks"])
    if kind in HARMLESS:
        assert points == 6, results[kind]["outcome"]
    elif kind in HOPELESS:
        assert points == 0, results[kind]["marks"]
    else:
        assert points in (0, 6)  # as far as what it did to itself lets it answer


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_each_ends_in_time(graded, kind):
    results, *_ = graded
    if kind in results:
        assert results[kind]["outcome"].seconds < 2 * LIMITS.seconds


@pytest.mark.parametrize("kind", ["loops_deaf", "crashes"])
def test_the_report_says_why_it_was_ended(graded, kind):
    results, out, *_ = graded
    if kind not in results:
        return
    assert results[kind]["outcome"].ended
    assert "cut short" in (out / "reports" / f"{kind}-{NAME}.md").read_text()


def test_nothing_is_stolen(graded):
    results, *_ = graded
    for kind in {"reads", "imports_the_keys", "network"} & set(results):
        outcome = results[kind]["outcome"]
        assert "THE ANSWERS" not in outcome.output
        assert not any(n in outcome.output for n in ("static_solve.py", "planted_bug.py", "class.json"))
        assert "root:" not in outcome.output
        assert kind == "reads" or "LOOT" not in outcome.output


def test_nothing_is_left_behind(graded, secret):
    _, _, before, _ = graded
    assert leftovers() == []
    left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("submission-")}
    assert left == set()
    assert not Path(tempfile.gettempdir(), "evil").exists()
    for folder in [ROOT, Path("/usr/lib"), Path("/"), secret.parent, Path(os.__file__).parent]:
        assert not (folder / "written_by_a_student").exists()


def test_a_report_shows_what_a_student_wrote_as_text_alone(graded):
    results, out, *_ = graded
    if "marks_itself" not in results:
        return
    text = (out / "reports" / f"marks_itself-{NAME}.md").read_text()
    assert "\x1b" not in text
    outside, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fence = line.removesuffix("text")
            inside = not inside if not inside or line == fence else inside
            continue
        if not inside:
            outside.append(line)
    prose = "\n".join(outside)
    assert "<script>" not in prose
    assert "\n# 6 of 6" not in prose


def test_what_is_kept_of_output_is_bounded(graded):
    results, *_ = graded
    if "output" not in results:
        return
    assert len(results["output"]["outcome"].output) <= LIMITS.output
    assert results["output"]["outcome"].output_cut


def test_the_walls_are_tried_out_and_named():
    how = sandbox.protection()
    assert how.words.startswith("It ran ")
    assert how in list(ways())


# What a submission can do where it runs; looked at from inside.
INSIDE = """
import ctypes, os
libc = ctypes.CDLL(None)
def can(what):
    try:
        return what() not in (-1, None)
    except (OSError, ValueError):
        return False
found = ",".join(name for name, yes in {
    "is root": os.getuid() == 0 or os.geteuid() == 0,
    "becomes root": can(lambda: os.setuid(0) or 0),
    "mounts": can(lambda: libc.mount(b"none", b".", b"tmpfs", 0, None)),
    "leaves": can(lambda: os.chroot(".") or 0),
    "new namespaces": can(lambda: libc.unshare(0x10000000)),
    "keys": can(lambda: libc.syscall(KEYS, 0, -3, 0)),
    "hidden memory": can(lambda: os.memfd_create("x")),
    "traces": can(lambda: libc.ptrace(0, 0, 0, 0)),
    "writes /": can(lambda: open("/x", "w")),
    "writes Python": can(lambda: open(os.__file__, "a")),
    "writes packages": can(lambda: open(__import__("adjode").__file__, "a")),
    "writes home": can(lambda: open("x", "w")),
    "raises its limits": can(lambda: __import__("resource").setrlimit(0, (-1, -1)) or 0),
}.items() if yes)
"""


def walls():
    return [how for how in sandbox.candidates() if how.mode != "limits"]


@pytest.mark.parametrize("how", walls(), ids=lambda how: f"{how.mode}{'-of-a-user' * how.user_namespace}")
def test_inside_there_is_nothing_to_be_done(how):
    keys = {"x86_64": "250", "aarch64": "219"}.get(platform.machine(), "0")
    outcome = sandbox.run([INSIDE.replace("KEYS", keys)], ["found"], {}, how=how)
    if outcome.ended:
        pytest.skip(f"refused here: {outcome.output[-200:]}")
    assert outcome.values["found"]["text"] == "writes home", outcome


# What Landlock leaves to the user's own rights, and a pipe that has the kernel send a signal.
OTHER_WAYS = """
import fcntl, os
open("own", "w").write("x")
here, there = os.pipe()
def can(what):
    try:
        what()
    except PermissionError:
        return False
    return True
found = ",".join(name for name, yes in {
    "rights": can(lambda: os.chmod("own", 0o600)),
    "rights of what is open": can(lambda: os.fchmod(here, 0o600)),
    "owners": can(lambda: os.chown("own", -1, -1)),
    "times": can(lambda: os.utime("own", (1, 1))),
    "attributes": can(lambda: os.setxattr("own", "user.x", b"1")),
    "cuts": can(lambda: os.truncate("own", 0)),
    "empties": can(lambda: os.open("own", os.O_RDONLY | os.O_TRUNC)),
    "whose signals": can(lambda: fcntl.fcntl(here, fcntl.F_SETOWN, os.getpid())),
    "which signal": can(lambda: fcntl.fcntl(here, 10, 9)),
    "slows": can(lambda: os.setpriority(os.PRIO_PROCESS, 0, 19)),
    "writes": can(lambda: open("own", "w").write("y")),
    "flags of its pipes": can(lambda: fcntl.fcntl(here, fcntl.F_GETFL)),
}.items() if yes)
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="rules of the Linux kernel")
def test_rules_leave_no_way_around_them():
    try:
        how = sandbox.protection("rules")
    except RuntimeError as reason:
        pytest.skip(str(reason))
    outcome = sandbox.run([OTHER_WAYS], ["found"], {}, how=how)
    assert outcome.values["found"]["text"] == "writes,flags of its pipes", outcome


@pytest.mark.skipif(platform.system() != "Linux", reason="rules of the Linux kernel")
def test_rules_are_used_where_the_kernel_has_them():
    import ctypes

    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1:
        pytest.skip("no Landlock here")
    assert sandbox.protection("rules").mode == "rules"


def test_what_was_answered_before_a_crash_counts():
    cells = ["u = [1.0, 2.0]", "import os\nos._exit(3)", "u = 3"]
    outcome = sandbox.run(cells, ["u"], {}, LIMITS)
    assert outcome.values["u"]["values"] == [1.0, 2.0]
    assert not outcome.finished and "exit code 3" in outcome.ended


@pytest.mark.parametrize(
    ("ranges", "there"),
    [("0 0 4294967295", True), ("0 1000 1\n1 100000 65536", True), ("0 1000 1", False)],
)
def test_a_user_that_exists_and_owns_nothing(ranges, there):
    users = {sandbox.unused_user(ranges) for _ in range(50)}
    assert (users != {0}) == there
    if there:
        assert len(users) > 20 and min(users) > 10_000 and max(users) < 760_000
