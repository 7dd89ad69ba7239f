"""What this version does, as text that is compared with the files of tests/goldens and written there anew.

`python -m tests.support.goldens` writes all files, so that an intended difference is one that a reader sees.
"""

import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.support.environment import enter_environment

if __name__ == "__main__":
    enter_environment()

import pyarrow as pa
import pytest
import typer

from portal import results
from portal.bases.registry import known_bases
from portal.cli import exit_codes, main
from portal.cli.app import app
from portal.data.suites import NAMED_TASKS, examples_hash, load_suite, outline_suite
from portal.messages import one_line
from portal.tasks.records import RowsNotAtHandError
from sweeps.study.catalogue import shipped_studies
from sweeps.study.expand import load_study
from sweeps.study.study_file import json_schema
from tests.support.command_line import commands

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "goldens"
PLANS = {
    "demo": ("--device", "h100", "--count", "2"),
    "text-cpu": ("--device", "a100"),
    "headroom-ledger": ("--device", "h200"),
    "few-rows": ("--device", "h100"),
    "paper": ("--device", "b200", "--count", "8"),
}
"""Studies whose plan is kept, with the options that make it the same on every machine."""
MISTAKES = (
    ("--help",),
    ("--version",),
    ("swep",),
    ("sweep", "plan", "demo", "--bass", "x"),
    ("sweep", "plan", "demmo", "--out", "{folder}"),
    ("sweep", "plan", "demo", "--device", "b20", "--out", "{folder}"),
    ("sweep", "plan", "demo", "--count", "0", "--out", "{folder}"),
    ("sweep", "plan", "{folder}/none.yaml"),
    ("sweep", "run", "demo", "--executor", "lokal", "--out", "{folder}"),
    ("sweep", "status", "demo", "--out", "{folder}"),
    ("sweep", "collect", "demo", "--out", "{folder}"),
    ("sweep", "fsck", "{folder}"),
    ("report", "{folder}/none"),
    ("report", "{folder}"),
    ("tasks", "--suite", "minni"),
    ("params", "--rank", "0"),
    ("eval", "--base", "mini-qwen4-m"),
    ("export", "{folder}/none", "--task", "sums", "--out", "{folder}/o"),
    ("port", "{folder}/none", "--to", "mini-qwen3-m", "--out", "{folder}/o"),
    ("inspect", "{folder}/none"),
)
"""Commands whose exit codes are kept; `{folder}` is empty."""


def run_keys(study: str) -> str:
    """The keys of a study's runs by label, in their order; or the one line with which it is refused.

    A study of public benchmarks has its keys over rows of known sizes, which stand for them. One with
    precision `auto` has two sets of keys, whatever the CPU here.
    """
    in_fp32, in_bf16 = _keys_of(study, bf16_pays=False), _keys_of(study, bf16_pays=True)
    return in_fp32 if in_fp32 == in_bf16 else f"{in_fp32}  on a CPU that gains from bf16:\n{in_bf16}"


def _keys_of(study: str, *, bf16_pays: bool) -> str:
    with _bases_of_packages():
        try:
            loaded = load_study(_study_file(study), outline=True, bf16_pays=bf16_pays)
        except ValueError as error:
            return f"  {one_line(error).replace(f'{ROOT}/', '')}\n"
    by_label: dict[str, list[str]] = {}
    for run in loaded.runs:
        by_label.setdefault(loaded.labels[run.key], []).append(run.key)
    rows = " (rows of known sizes)" if loaded.suite.is_outline else ""
    lines = [f"  {label}: {' '.join(keys)}\n" for label, keys in by_label.items()]
    return "".join([f"  {len(loaded.runs)} runs{rows}\n", *lines])


def suite_hash(name: str) -> str:
    """The number of a suite's tasks and the hash of all their examples; of each group, kinds and a hash."""
    suite = load_suite(name)
    try:
        found = examples_hash(suite, suite.tasks)
    except RowsNotAtHandError:
        found = f"{examples_hash(outline_suite(suite), suite.tasks)} (rows of known sizes)"
    lines = [f"  {len(suite.tasks)} tasks {found}\n"]
    for group, tasks in suite.groups.items():
        sizes = sorted({*Counter(suite.kinds.get(task, task) for task in tasks).values()})
        named = sha256("\n".join(tasks).encode()).hexdigest()[:16]
        lines.append(f"    {group}: {len(tasks)} tasks, {' or '.join(map(str, sizes))} of a kind, {named}\n")
    return "".join(lines)


def codes() -> str:
    """The exit codes by name, then what `portal` returns for MISTAKES."""
    names = {name: value for name, value in vars(exit_codes).items() if name.isupper()}
    lines = [f"{name} = {value}\n" for name, value in names.items()]
    for arguments in MISTAKES:
        with tempfile.TemporaryDirectory() as folder:
            code, _ = _portal(*(each.format(folder=folder) for each in arguments))
        lines.append(f"{code} portal {' '.join(arguments)}\n")
    return "".join(lines)


def table_schemas() -> str:
    """Versions, files, columns and types of the tables that `portal.results` describes."""
    named = {name: value for name, value in vars(results).items() if name.isupper()}
    lines = [f"SCHEMA_VERSION = {results.SCHEMA_VERSION}\n"]
    lines += [f"{name} = {value!r}\n" for name, value in named.items() if name.endswith("_FILE")]
    for name, schema in named.items():
        if isinstance(schema, pa.Schema):
            lines += [f"\n{name}\n", *(f"  {field.name}: {field.type}\n" for field in schema)]
    lines += ["\nADDED_COLUMNS\n", *(f"  {name}: {each}\n" for name, each in results.ADDED_COLUMNS.items())]
    lines += ["\nStudyInfo\n", *(f"  {name}\n" for name in results.StudyInfo.model_fields)]
    return "".join(lines)


def help_of(command: str) -> str:
    """`COMMAND --help` as a terminal of 100 columns shows it."""
    code, printed = _portal(*command.split()[1:], "--help")
    assert code == exit_codes.DONE
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()]
    return "".join(f"  {line}\n" if line else "\n" for line in lines)


def plan_of(study: str) -> str:
    """`portal sweep plan STUDY --json` in an empty folder, without measurements; six digits of a number."""
    path = str(_study_file(study))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_CACHE", f"{folder}/cache")
        code, printed = _portal("sweep", "plan", path, *PLANS[study], "--out", f"{folder}/out", "--json")
    assert code == exit_codes.DONE
    return json.dumps(_rounded(json.loads(printed)), indent=1) + "\n"


def study_schema() -> str:
    """The JSON schema of study files."""
    return json.dumps(json_schema(), indent=1) + "\n"


def study_names() -> tuple[str, ...]:
    """The kept studies: those shipped when the files were first written, and those shipped since."""
    kept = sections(FOLDER / "keys.txt") if (FOLDER / "keys.txt").is_file() else {}
    return tuple(sorted({*kept, *shipped_studies()}))


def command_names() -> tuple[str, ...]:
    """Every command as it is typed."""
    return tuple(dict(commands(typer.main.get_command(app))))


SECTIONS: dict[str, tuple[Callable[[str], str], Callable[[], tuple[str, ...]]]] = {
    "keys.txt": (run_keys, study_names),
    "suites.txt": (suite_hash, lambda: NAMED_TASKS),
    "help.txt": (help_of, command_names),
}
"""Files with a part for each name."""
WHOLE: dict[str, Callable[[], str]] = {
    "exit_codes.txt": codes,
    "tables.txt": table_schemas,
    "study_schema.json": study_schema,
}
"""Files of one part."""


def sections(path: Path) -> dict[str, str]:
    """The parts of a file of SECTIONS by name: a line without indentation, then what is below it."""
    parts = re.split(r"^(?=\S)", path.read_text(), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def write_all() -> None:
    """Write every file of tests/goldens anew."""
    for file, (text_of, names) in SECTIONS.items():
        (FOLDER / file).write_text("".join(f"{name}\n{text_of(name)}" for name in names()))
    for file, text in WHOLE.items():
        (FOLDER / file).write_text(text())
    for study in PLANS:
        (FOLDER / f"plan_{study}.json").write_text(plan_of(study))


def _study_file(name: str) -> Path:
    """The file of a study that is shipped, or kept beside its results."""
    places = [ROOT / "sweeps" / "study" / "shipped", *sorted((ROOT / "docs").rglob("."))]
    return next((path for place in places if (path := place / f"{name}.yaml").is_file()), places[0] / name)


@contextmanager
def _bases_of_packages() -> Iterator[None]:
    """Bases whose files come with a package have the revision that the files are known to have."""
    packaged = {name: base for name, base in known_bases().items() if base.package is not None}
    known = {
        name: base.model_copy(update={"package": None, "revision": base.package.sha256})
        for name, base in packaged.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, base in known.items():
            patch.setitem(known_bases(), name, base)
        yield


def _portal(*arguments: str) -> tuple[int, str]:
    """The exit code of a command and what it printed on stdout, in a terminal of 100 columns."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(io.StringIO()):
        patch.setenv("COLUMNS", "100")
        code = main(list(arguments))
    return code, out.getvalue()


def _rounded(value: Any) -> Any:
    """The same value with six digits of every number that is not whole."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    write_all()
