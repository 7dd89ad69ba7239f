"""Imports run one way between the four packages, and analysis needs neither torch nor Ray."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("portal", "sweeps", "analysis", "cluster")
ALLOWED = {
    "portal": {"portal"},
    "sweeps": {"sweeps", "portal"},
    "analysis": {"analysis", "portal.results"},
    "cluster": {"cluster", "portal.results"},
}
COMMAND_LINE = ROOT / "portal" / "cli"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_place_allows(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if COMMAND_LINE not in path.parents
        for module in imported_modules(ast.parse(path.read_text()))
        if not is_allowed(module, ALLOWED[package])
    ]

    assert wrong == []


def test_the_command_line_imports_other_packages_only_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted(COMMAND_LINE.rglob("*.py"))
        for module in imported_modules(without_functions(ast.parse(path.read_text())))
        if module.split(".")[0] in {"sweeps", "analysis", "cluster", "torch", "ray", "transformers", "peft"}
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import analysis.report", ("torch", "ray", "transformers")),
        ("import portal.cli", ("torch", "ray", "transformers", "pyarrow")),
        ("import portal.config, portal.hypernet, portal.suites", ("ray",)),
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


def is_allowed(module: str, allowed: set[str]) -> bool:
    """Whether the module is outside the four packages, or below one of `allowed`.

    `from portal import results` also shows as the bare package `portal`; its submodule is judged instead.
    """
    if module.split(".")[0] not in PACKAGES:
        return True
    parents = {".".join(module.split(".")[:count]) for count in range(1, module.count(".") + 2)}
    return bool(parents & allowed) or any(name.startswith(f"{module}.") for name in allowed)


def without_functions(tree: ast.Module) -> ast.Module:
    """The module without function bodies and without `if TYPE_CHECKING:` blocks."""
    kept = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    kept = [
        node for node in kept if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body=kept, type_ignores=[])
