"""A shell completes names without loading what is slow to load."""

import json
import subprocess
import sys

from portal.cli.options import one_of, some_of

LINES = {
    "portal sweep run pap": "paper",
    "portal eval --base mini-gem": "mini-gemma3",
    "portal eval --base mini-gemma3 --tasks fact_qa,coun": "fact_qa,counting",
    "portal tasks --suite portal": "portal14",
    "portal eval --split va": "validation",
    "portal train --modules q,ga": "q,gate",
    "portal train --precision 8": "8bit",
    "portal train --activations re": "recompute",
    "portal train --device cu": "cuda",
    "portal train --recipe pa": "paper",
    "portal sweep run demo --executor lo": "local",
    "portal sweep run demo --tracker tens": "tensorboard",
    "portal cluster template sl": "slurm",
    "portal sweep plan demo --device h2": "h200",
    "portal swe": "sweep",
}
SCRIPT = """
import contextlib, io, json, os, sys
from portal.cli import main
found = {}
for line in json.loads(sys.argv[1]):
    os.environ |= {
        "_PORTAL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([])
    found[line] = printed.getvalue().split()
slow = [name for name in ("torch", "ray", "transformers") if name in sys.modules]
print(json.dumps({"found": found, "slow": slow}))
"""


def test_names_are_completed_without_loading_torch() -> None:
    command = [sys.executable, "-c", SCRIPT, json.dumps(list(LINES))]

    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    printed = json.loads(ended.stdout)
    assert {line: found[:1] for line, found in printed["found"].items()} == {
        line: [name] for line, name in LINES.items()
    }
    assert printed["slow"] == []


def test_a_list_is_completed_by_names_that_are_not_in_it() -> None:
    complete = some_of(("fact_qa", "fact_two", "counting"))

    assert complete("") == ["fact_qa", "fact_two", "counting"]
    assert complete("fact") == ["fact_qa", "fact_two"]
    assert complete("fact_qa,fact") == ["fact_qa,fact_two"]
    assert one_of(("cpu", "cuda"))("cu") == ["cuda"]
