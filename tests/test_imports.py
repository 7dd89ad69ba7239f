"""Imports run one way (the table FLOORS), and analysis needs neither torch nor Ray."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.directions import FLOORS, RAY_ONLY_IN

ROOT = Path(__file__).parents[1]
PACKAGES = ("portal", "sweeps", "analysis", "cluster")
COMMAND_LINE = ROOT / "portal" / "cli"


def room_of(module: str) -> str | None:
    """The row of FLOORS that the module belongs to; None for the `__init__` of a whole package."""
    return next((room for room in FLOORS if module == room or module.startswith(f"{room}.")), None)


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the four packages, but the command line's, by its dotted name."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if COMMAND_LINE not in path.parents:
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def test_every_module_has_a_row_in_the_table_and_every_row_a_module() -> None:
    rooms = {name: room_of(name) for name, _ in modules()}

    assert [name for name, room in rooms.items() if room is None] == [
        "portal", "portal.__main__", "sweeps", "analysis",
    ]  # fmt: skip
    assert set(FLOORS) == set(rooms.values()) - {None}


@pytest.mark.parametrize("room", FLOORS)
def test_a_package_imports_only_what_the_table_allows(room: str) -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if room_of(name) == room
        for imported in ours(path)
        if not any(
            imported == allowed or imported.startswith(f"{allowed}.") for allowed in (room, *FLOORS[room])
        )
    ]

    assert wrong == []


def test_nobody_imports_the_command_line() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        for imported in ours(path)
        if "portal.cli" in imported
    ]

    assert wrong == ["portal.__main__ imports portal.cli"]


def test_the_table_has_no_circle() -> None:
    below = {
        room: {
            other
            for allowed in FLOORS[room]
            for other in FLOORS
            if other == allowed or (allowed == "portal" and other.startswith("portal."))
        }
        for room in FLOORS
    }

    assert {*TopologicalSorter(below).static_order()} == {*FLOORS}, "a circle raises CycleError"


def test_ray_is_imported_in_named_files_only() -> None:
    users = {
        name
        for name, path in modules()
        if any(each.split(".")[0] == "ray" for each in imported_modules(ast.parse(path.read_text())))
    }

    assert users == RAY_ONLY_IN


def ours(path: Path) -> Iterator[str]:
    """Modules of the four packages that the file imports; `from portal import x` counts as `portal.x`."""
    for name in imported_modules(ast.parse(path.read_text())):
        if name.split(".")[0] in PACKAGES and name not in PACKAGES:
            yield name


def test_the_command_line_imports_other_packages_only_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted(COMMAND_LINE.rglob("*.py"))
        for module in imported_modules(without_functions(ast.parse(path.read_text())))
        if module.split(".")[0] in {"sweeps", "analysis", "cluster", "torch", "ray", "transformers", "peft"}
    ]

    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import portal; dir(portal)", ("torch", "ray", "transformers", "pyarrow")),
        ("import analysis", ("torch", "ray", "matplotlib", "pyarrow")),
        ("from analysis import load_findings, summary_table", ("torch", "ray", "transformers", "matplotlib")),
        ("from analysis import write_report", ("torch", "ray", "transformers", "pandas", "sweeps")),
        ("import portal.cli", ("torch", "ray", "transformers", "pyarrow")),
        ("import portal.config, portal.hypernet, portal.data.suites", ("ray",)),
        ("import sweeps.launch.driver, sweeps.search.run_search", ("ray", "peft")),
        ("import sweeps.launch.executors", ("torch", "ray", "transformers")),
        ("import sweeps.results.live", ("torch",)),
        ("import sweeps.results.snapshot, sweeps.store.gc", ("torch", "ray", "transformers")),
        ("import sweeps.worker.job", ("ray", "transformers")),
    ],
)
def test_an_import_does_not_load(statement: str, unwanted: tuple[str, ...]) -> None:
    code = f"{statement}; import sys; print([name for name in {unwanted!r} if name in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )

    assert loaded.stdout.strip() == "[]"


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Absolute module names of our own packages, and of others, that the tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module in PACKAGES)


def without_functions(tree: ast.Module) -> ast.Module:
    """The module without function bodies and without `if TYPE_CHECKING:` blocks."""
    kept = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    kept = [
        node for node in kept if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body=kept, type_ignores=[])


@pytest.mark.parametrize("package", ["portal", "sweeps", "analysis"])
def test_every_public_name_is_found_and_seen_by_a_type_checker(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    typed = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.If)
        for each in node.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }

    assert typed == set(module.__all__)
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
