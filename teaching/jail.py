"""Shut a submission in, and start it: run as a program of its own, by `sandbox.py` alone.

``python -I jail.py CONFIG`` with CONFIG a JSON object. It imports the standard library only, holds
nothing worth reading, and prepares, as far as the machine allows, a place where there is nothing
else: then it starts ``runner.py`` there, waits for it, and takes everything down.

Modes
-----
``namespaces``: new mount, process, network and IPC namespaces, made by root or, for everyone else,
inside a user namespace. The root is an empty file system in memory, with Python and its packages
bound in, read-only. Nothing of this project, of other submissions or of the home folders is there.

``rules``: where namespaces are refused. Landlock admits reading Python and its packages and writing
the empty folder; a seccomp filter refuses sockets, signals to other processes and tracing.

``limits``: neither. A process of its own with limits, and that is all. So it is on macOS, and on a
Linux of an architecture whose system calls are not listed below.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

CLONE = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
         "pid": 0x20000000, "net": 0x40000000}  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
PR_SET_KEEPCAPS, PR_CAP_AMBIENT, CAP_DAC_READ_SEARCH = 8, 47, 2
CAPSET = {"x86_64": 126, "aarch64": 91}
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
HOME = "/home/student"


def call(name, *args):
    """Call a function of the C library; an error is an OSError."""
    ctypes.set_errno(0)
    result = getattr(libc, name)(*args)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def mount(source, target, kind=None, flags=0, data=None):
    encoded = [None if x is None else os.fsencode(x) for x in (source, target, kind)]
    call("mount", *encoded, ctypes.c_ulong(flags), None if data is None else data.encode())


# Namespaces


def become(uid, reads=False):
    """Give up every privilege of root for a user that owns nothing here.

    ``reads``: keep the one of reading past the rights of files, where Landlock says which files:
    root's own Python often lies where nobody else may look.
    """
    if reads:
        call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(uid)  # from root, these change the saved one, too
    os.setuid(uid)
    if reads:
        header, one = struct.pack("II", 0x20080522, 0), 1 << CAP_DAC_READ_SEARCH
        call("syscall", CAPSET[platform.machine()], header, struct.pack("6I", one, one, one, 0, 0, 0))
        call("prctl", PR_CAP_AMBIENT, 2, CAP_DAC_READ_SEARCH, 0, 0)


def enter_namespaces(config):
    """New namespaces for all that follows; root needs no user namespace for them."""
    flags = sum(CLONE[name] for name in ("mount", "uts", "ipc", "pid", "net"))
    if os.geteuid() == 0 and not config.get("user_namespace"):
        call("unshare", flags)
        return
    # Inside it is user 1000, who owns the privileges of the new namespaces until the submission is
    # executed, and none after that.
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", flags | CLONE["user"])
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")


def bind(source, root):
    """Show a folder or a file of the machine at the same place below the new root, read-only."""
    target = root + source
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    mount(source, target, flags=MS_BIND | MS_REC)
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [p for p in (line[4] for line in lines) if p == target or p.startswith(target + "/")]
    for place in below or [target]:
        # What the machine has forbidden there stays forbidden: a remount must name it again.
        kept = os.statvfs(place).f_flag & (MS_NOSUID | MS_NODEV | 8 | 1024 | 2048)
        mount(None, place, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def furnish(config):
    """An empty file system in memory with Python in it, and nothing else, as the new root."""
    root = config["root"]
    os.umask(0o022)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    for link in ("/bin", "/lib", "/lib64", "/lib32", "/sbin"):
        if os.path.islink(link):
            os.symlink(os.readlink(link), root + link)
    for source in config["readable"]:
        bind(source, root)
    for device in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        os.makedirs(root + "/dev", exist_ok=True)
        Path(root + device).touch()
        mount(device, root + device, flags=MS_BIND)
    for name, source in config["packages"].items():
        target = f"{root}/course/{name}"
        os.makedirs(target)
        mount(source, target, flags=MS_BIND)
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | 8 | 1024 | 2048)
        mount(None, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    Path(root, "course", "runner.py").write_text(config["runner"])
    os.makedirs(root + HOME)
    size = config["limits"]["disk"]
    mount("tmpfs", root + HOME, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},nr_inodes=4096,mode=777")
    if not os.path.exists(root + "/tmp"):
        os.makedirs(root + "/tmp")
        mount(root + HOME, root + "/tmp", flags=MS_BIND)
    mount(None, root, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    call("syscall", PIVOT_ROOT[platform.machine()], b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir(HOME)


# Rules, where namespaces are refused


def landlock(readable, writable):
    """Admit reading and writing below these folders alone. Returns the version of Landlock."""
    create, add, restrict = 444, 445, 446  # the same numbers on every architecture
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise OSError("no Landlock here")
    read = 1 << 0 | 1 << 2 | 1 << 3  # run a file, read a file, list a folder
    every = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    attributes = struct.pack("Q", every)
    rules = call("syscall", create, attributes, ctypes.c_size_t(len(attributes)), 0)
    for path, rights in [(p, read) for p in readable] + [(p, every) for p in writable]:
        if not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            rights &= 1 << 0 | 1 << 1 | 1 << 2 | (1 << 14 if version > 2 else 0)
        place = os.open(path, os.O_PATH)
        call("syscall", add, rules, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    call("syscall", restrict, rules, 0)
    os.close(rules)
    return version


# Numbers of system calls. Never needed by a notebook: keys, tracing, mounts and namespaces, memory that no
# limit counts, and what the kernel has had most holes in.
NEVER = {
    "x86_64": [101, 155, 165, 166, 248, 249, 250, 272, 298, 304, 308, 310, 311, 319, 321, 323, 425, 426, 427,
               428, 429, 430, 431, 432, 433, 438, 442, 447],
    "aarch64": [39, 40, 41, 97, 117, 217, 218, 219, 241, 265, 268, 270, 271, 279, 280, 282, 425, 426, 427,
                428, 429, 430, 431, 432, 433, 438, 442, 447],
}  # fmt: skip
# What reaches another process or the network, where no namespace keeps these away: sockets, signals,
# groups of processes, shared memory and queues; how other processes are scheduled; and what Landlock
# leaves to the rights of the user: rights, owners, times and attributes of files, and cutting them short.
OUTSIDE = {
    "x86_64": [29, 41, 42, 44, 46, 49, 50, 53, 62, 64, 68, 109, 112, 129, 200, 234, 240, 297, 424, 434,
               141, 142, 144, 203, 251, 256, 279, 314,
               76, 90, 91, 92, 93, 94, 132, 188, 189, 190, 197, 198, 199, 235, 260, 261, 268, 280, 437, 452,
               463, 466],
    "aarch64": [129, 130, 131, 138, 154, 157, 180, 186, 190, 194, 198, 199, 200, 201, 203, 206, 211, 240, 424,
                434,
                30, 118, 119, 122, 140, 238, 239, 274,
                5, 6, 7, 14, 15, 16, 45, 52, 53, 54, 55, 88, 437, 452, 463, 466],
}  # fmt: skip
# Calls that are refused for some values of an argument: (call, place of the argument, mask, values).
# fcntl with F_SETOWN, F_SETSIG and F_SETOWN_EX has the kernel send any signal to any process of the user;
# opening a file to read, with O_TRUNC, empties it, and Landlock before version 3 lets it.
OUTSIDE_IF = {
    "x86_64": [(72, 1, 0xFFFFFFFF, (8, 10, 15)), (2, 1, 0o1003, (0o1000,)), (257, 2, 0o1003, (0o1000,))],
    "aarch64": [(25, 1, 0xFFFFFFFF, (8, 10, 15)), (56, 2, 0o1003, (0o1000,))],
}
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def refuse_calls(numbers, some=()):
    """A seccomp filter: these calls fail with "not permitted"; so does another architecture's table.

    ``some``: rows as in `OUTSIDE_IF`.
    """
    arch = ARCHITECTURE[platform.machine()]

    def instruction(code, yes, no, value):
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, above, both, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    refused, good = 0x00050001, 0x7FFF0000
    program = [instruction(load, 0, 0, 4), instruction(equal, 1, 0, arch), instruction(answer, 0, 0, refused),
               instruction(load, 0, 0, 0)]  # fmt: skip
    if platform.machine() == "x86_64":  # its second table, x32
        program += [instruction(above, 0, 1, 0x40000000), instruction(answer, 0, 0, refused)]
    # Its own limits may be asked for and lowered; those of others may not.
    prlimit = {"x86_64": 302, "aarch64": 261}[platform.machine()]
    program += [instruction(equal, 0, 3, prlimit), instruction(load, 0, 0, 16),
                instruction(equal, 1, 0, 0), instruction(answer, 0, 0, refused),
                instruction(load, 0, 0, 0)]  # fmt: skip
    for number, place, mask, values in some:
        program += [instruction(equal, 0, 3 + 2 * len(values), number),
                    instruction(load, 0, 0, 16 + 8 * place), instruction(both, 0, 0, mask)]  # fmt: skip
        for value in values:
            program += [instruction(equal, 0, 1, value), instruction(answer, 0, 0, refused)]
        program.append(instruction(load, 0, 0, 0))
    for number in numbers:
        program += [instruction(equal, 0, 1, number), instruction(answer, 0, 0, refused)]
    program.append(instruction(answer, 0, 0, good))
    filters = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_void_p)]

    whole = Program(len(program), ctypes.addressof(filters))
    call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(whole), 0, 0)


def refuse(mode):
    """Refuse the calls of a mode; where namespaces stand, without them if the machine has no filters."""
    machine = platform.machine()
    if mode == "rules":
        refuse_calls(NEVER[machine] + OUTSIDE[machine], OUTSIDE_IF[machine])
    elif mode == "namespaces":
        with contextlib.suppress(OSError):
            refuse_calls(NEVER[machine])


# The submission


def set_limits(limits):
    """Limits that hold for the submission and for all that it starts."""
    for name, value in [
        ("RLIMIT_AS", limits["memory"]), ("RLIMIT_FSIZE", limits["file"]), ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 128), ("RLIMIT_NPROC", limits["processes"]), ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0), ("RLIMIT_CPU", limits["cpu"]),
    ]:  # fmt: skip
        if hasattr(resource, name):
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            if hard != resource.RLIM_INFINITY:
                value = min(value, hard)
            more = 2 if name == "RLIMIT_CPU" and (hard == resource.RLIM_INFINITY or value + 2 <= hard) else 0
            try:
                resource.setrlimit(number, (value, value + more))
            except ValueError:
                if sys.platform == "linux":
                    raise
                # macOS takes no limit below the size of its shared libraries: `sandbox.py` watches.


def start(config, home, runner, packages):
    """Become the submission. Never returns."""
    try:
        os.setpgid(0, 0)
        os.chdir(home)
        os.umask(0o077)
        if os.geteuid() == 0:
            if config["mode"] != "namespaces":
                os.chown(home, config["uid"], config["uid"])
            become(config["uid"], reads=config["mode"] == "rules")
        set_limits(config["limits"])
        if sys.platform == "linux":
            call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if config["mode"] == "rules":
            landlock([*config["readable"], packages, *DEVICES], [home, "/dev/null"])
        refuse(config["mode"])
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8",
                       "MPLBACKEND": "agg", "MPLCONFIGDIR": f"{home}/.matplotlib",
                       "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
        source = ["-c", config["runner"]] if runner is None else [runner]
        python = config["python"]
        os.execve(python, [python, "-I", "-B", *source, str(config["result"]), packages], environment)
    except BaseException as error:
        os.write(2, f"The submission could not be started: {error}\n".encode())
        os._exit(97)


DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/etc/ld.so.cache"]


def wait_for(child):
    """Wait for the submission, and bury what it leaves behind. Returns its exit code."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def end_descendants():
    """Where no namespace ends with its first process: end what came of the submission."""
    for _ in range(200):
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(stat.parent.name))
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not found:
            return


def exit_like(code):
    """End as the submission did: a shell's 128 + signal."""
    os._exit(code if code >= 0 else 128 - code)


def in_namespaces(config):
    enter_namespaces(config)
    furnish(config)
    first = os.fork()  # the first process of the new process namespace: all others end with it
    if first:
        os.close(config["result"])
        exit_like(wait_for(first))
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    child = os.fork()
    if child == 0:
        start(config, HOME, "/course/runner.py", "/course")
    os.close(config["result"])
    exit_like(wait_for(child))


def without_namespaces(config):
    if sys.platform == "linux":
        call("prctl", PR_SET_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        start(config, config["root"], None, str(Path(next(iter(config["packages"].values()))).parent))
    os.close(config["result"])
    code = wait_for(child)
    if sys.platform == "linux":
        end_descendants()
    else:
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)
    exit_like(code)


if __name__ == "__main__":
    CONFIG = json.loads(sys.argv[1])
    (in_namespaces if CONFIG["mode"] == "namespaces" else without_namespaces)(CONFIG)
