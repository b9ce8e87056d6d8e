"""``python -m receipts.match LABEL...``: a person compares a formula with its check, and signs.

Shows the formula of the page and what the check says, from the last build, and writes their digests
into the lock file. No build writes that file: a changed formula or check stays stale until
someone has looked.
"""

import json
import sys
from pathlib import Path

from receipts.ledger import check_digest, read_lock, tex_digest

BUILT, LOCK = Path("_build/receipts.json"), Path("book/receipts.lock")
HEAD = "# label, digest of its formula, digest of its check; written by `make match LABEL=...` alone\n"


def main(labels, built=BUILT, lock=LOCK):
    if not labels:
        return "Say which equation: make match LABEL=eq-adjoint (several labels may follow in quotes)"
    if not built.exists():
        return f"{built} is not there: build the book first (make book)"
    data = json.loads(built.read_text())
    equations = {e["label"]: e for e in data["equations"]}
    records = {r["label"]: r for r in data["records"]}
    lines = read_lock(lock)
    for label in labels:
        if label not in equations or label not in records:
            missing = "receipt" if label in equations else "equation"
            return f"{label}: the last build has no {missing} of this name"
        e, r = equations[label], records[label]
        if r["state"] != "holds":
            return f"{label} does not hold ({r['state']}); mend the check first"
        print(f"{label}  ({e['page']})\n  on the page   {' '.join(e['tex'].split())}")
        print(f"  as checked    {r['latex'] or r['message']}\n  in plain text {r['text']}")
        for p in r["premises"]:
            print(f"  using         {p['label']}: {p['text']}")
        lines[label] = (tex_digest(e), check_digest(r))
    rows = [" ".join((k, *v)) for k, v in sorted(lines.items()) if k in equations]
    lock.write_text(HEAD + "\n".join(rows) + "\n")
    print(f"Signed in {lock}: {', '.join(labels)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
