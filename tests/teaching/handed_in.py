"""Submissions made by code: what students hand in, kindly meant or not."""

import copy

# Cells that a hostile student puts in place of an answer. Each is followed by right answers, where
# it lets them run. `SECRET` is the path of a file that only who runs the grader should read.
HOSTILE = {
    "loops": "while True:\n    pass",
    "loops_deaf": (
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n       "
        " pass"
    ),
    "fork_bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "memory": "hog = []\nwhile True:\n    hog.append(bytearray(50_000_000))",
    "memory_in_children": (
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n"
        "        hog = bytearray(b'x')*300_000_000\n        time.sleep(60)\ntime.sleep(60)"
    ),
    "output": "while True:\n    print('x'*10_000)",
    "disk": "n = 0\nwhile True:\n    n += 1\n    open(f'file{n}', 'wb').write(b'x'*8_000_000)",
    "memory_in_files": (
        "import os\nheld = []\nwhile True:\n    held.append(os.memfd_create('x'))\n"
        "    os.write(held[-1], b'x'*15_000_000)"
    ),
    "exits": "import os\nos._exit(0)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "kills": (
        "import os, signal\nfor pid in [os.getppid(), 1, -1, *range(2, 3000)]:\n    try:\n        if pid !="
        " os.getpid():\n            os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass"
    ),
    "daemon": (
        "import os, time\nif os.fork() == 0:\n    try:\n        os.setsid()\n    except OSError:\n       "
        " pass\n    if os.fork():\n        os._exit(0)\n    while True:\n        time.sleep(1)"
    ),
    "reads": (
        "import os\nloot = []\n"
        "for path in [SECRET, '/etc/shadow', '/etc/passwd', '/proc/1/environ', '/proc/self/environ']:\n"
        "    try:\n        loot.append(open(path).read())\n    except OSError:\n        pass\n"
        "for top in ['/tmp', '/home', '/root', '/var', '/work', ROOT]:\n"
        "    for folder, _, files in os.walk(top):\n        for name in files:\n"
        "            if name in ('static_solve.py', 'planted_bug.py', 'class.json'):\n"
        "                loot.append(os.path.join(folder, name))\n"
        "print('LOOT', loot)"
    ),
    "imports_the_keys": (
        "import sys\nsys.path.insert(0, ROOT)\n"
        "try:\n    import teaching.keys\n    print('LOOT')\nexcept ImportError:\n    print('nothing there')"
    ),
    "network": "import socket\nprint('LOOT', socket.create_connection(('127.0.0.1', PORT), timeout=2))",
    "writes_outside": (
        "import os, tempfile\nfor folder in [ROOT, '/usr/lib', '/usr/..', os.path.dirname(SECRET),"
        " os.path.join(tempfile.gettempdir(), '..'), os.path.dirname(os.__file__)]:\n    try:\n"
        "        open(os.path.join(folder, 'written_by_a_student'), 'w').write('x')\n"
        "    except OSError:\n        pass"
    ),
    "links": (
        "import os\nos.symlink(SECRET, 'link')\nos.symlink('/', 'top')\n"
        "os.makedirs('deep', mode=0o000, exist_ok=True)\nopen('x', 'w').write('x')\nos.chmod('.', 0o500)"
    ),
    "patches_the_reporter": (
        'import json, sys, os\ndef forged(*a, **k):\n    return \'{"values": {"u": {"kind": "numbers",'
        ' "values": [1, 1, 1]}}, "points": 100}\'\njson.dumps = forged\nsys.modules[\'__main__\'].send ='
        " forged\nsys.modules['__main__'].encode = forged\nimport numpy as np\nnp.allclose = lambda *a,"
        " **k: True\nnp.isclose = lambda *a, **k: True"
    ),
    "writes_into_the_pipe": (
        "import os\nfor number in range(3, 1024):\n    try:\n        os.write(number, b'{\"values\": ' +"
        ' b\'[\'*100_000 + b\'\\n\')\n        os.write(number, b\'{"values": {"u": {"kind": "numbers",'
        ' "values": [1e999, "x", {}]}, \'\n                 b\'"lam": [[]], "dL_dtheta": {"kind": "list",'
        ' "items": [1]}}, "finished": true}\\n\')\n    except OSError:\n        pass\nos._exit(0)'
    ),
    "floods_the_pipe": (
        "import os\nwhile True:\n    for number in range(3, 1024):\n        try:\n"
        "            os.write(number, b'x'*60_000)\n        except OSError:\n            pass"
    ),
    "evil_objects": (
        "class Evil:\n"
        "    def __reduce__(self):\n        write = \"__import__('pathlib').Path(__import__('tempfile')\"\n"
        "        write += \".gettempdir(), 'evil').write_text('x')\"\n        return (eval, (write,))\n"
        "    def __eq__(self, other):\n        return True\n"
        "    def __array__(self, *a, **k):\n        raise SystemExit\n"
        "    def __float__(self):\n        while True: pass\n"
        "    __str__ = __repr__ = __len__ = __iter__ = __float__\n"
        "u = lam = dL_dtheta = Evil()"
    ),
    "marks_itself": (
        "import sys\nsys.stdout.write('\\x1b[2J</code><script>alert(1)</script>```\\n# 6 of 6"
        " points\\n')\nraise ValueError('```\\n# 6 of 6 <b>')"
    ),
}

# Whose cell leaves the answers after it alone: all points are still to be had.
HARMLESS = {
    "memory_in_files",
    "loops",
    "output",
    "kills",
    "daemon",
    "reads",
    "imports_the_keys",
    "network",
    "writes_outside",
    "marks_itself",
    "links",
}

# Which ends before there is an answer, or has none but what it forges.
HOPELESS = {"loops_deaf", "exits", "crashes", "writes_into_the_pipe", "evil_objects"}


def answered(notebook, sheet, answers=None):
    """The student's notebook with answers filled in: right ones, or those given by name."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("answer-")
        for question in sheet.questions:
            if question.name == name and cell.metadata.nbgrader.solution:
                cell.source = (answers or {}).get(name, question.solution)
    return notebook


def with_cell(notebook, source, before_answers=True):
    """The notebook with a cell put in before the first answer, or at its end."""
    import nbformat

    notebook = copy.deepcopy(notebook)
    places = [i for i, c in enumerate(notebook.cells) if c.metadata.get("nbgrader", {}).get("solution")]
    notebook.cells.insert(
        places[0] if before_answers else len(notebook.cells), nbformat.v4.new_code_cell(source, id="mine")
    )
    return notebook
