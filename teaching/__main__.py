"""``python -m teaching editions|grade|guide``; the Makefile has a target for each."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m teaching", description=__doc__)
    parts = parser.add_subparsers(dest="command", required=True)
    one = parts.add_parser("editions", help="write the notebooks for students and instructors")
    one.add_argument("--out", default=ROOT / "_build" / "editions", type=Path)
    one.add_argument("--students", type=Path, help="a file with a name in each line: a sheet for each")
    one = parts.add_parser("grade", help="grade a folder of submitted notebooks")
    one.add_argument("folder", type=Path)
    one.add_argument("--out", type=Path, help="default: FOLDER-graded")
    one.add_argument(
        "--class", dest="course", type=Path, help="the class.json that `editions --students` made"
    )
    one.add_argument("--assignment", help="grade this one, whatever the files are called")
    parts.add_parser("guide", help="write the tables of the teaching guide again")
    asked = parser.parse_args(arguments)
    try:
        return run(asked)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{asked.command}: {error}", file=sys.stderr)
        return 1


def run(asked):
    if asked.command == "editions":
        from teaching.editions import write

        write(asked.out, asked.students)
    elif asked.command == "grade":
        from teaching.grade import grade

        out = asked.out or asked.folder.parent / f"{asked.folder.resolve().name}-graded"
        results = grade(asked.folder, out, asked.course, asked.assignment)
        print(f"{len(results)} lines in {out / 'points.csv'}; the reports are in {out / 'reports'}")
    else:
        from teaching.guide import write_pages

        write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main())
