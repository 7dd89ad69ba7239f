"""The tests of x/y.py are in tests/x/test_y.py; conftest files hold fixtures, tests/support the helpers."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
ACROSS = {
    "": "the tree as a whole",
    "end_to_end": "several packages at once, as a user meets them",
    "goldens": "what must stay as it was: keys, hashes, codes, schemas, help and plans",
    "faults": "one fault each, wherever it strikes",
    "gpu": "a device beside the CPU: a GPU in `make test-gpu`, this CPU elsewhere",
    "real": "pretrained models, which `make real-cpu` installs",
    "served": "servers of models, which `make serve-test` installs",
}
"""Folders whose tests belong to no single module, with what they are about."""
WITHOUT_MODULE = {
    "analysis/test_api.py": "the public names of the package",
    "analysis/figures/test_figures.py": "one figure each; what they share is tested once for all of them",
    "cluster/test_slurm.py": "the job script that a template becomes, run by bash",
    "cluster/test_submit.py": "submitting a study, from the command to the cluster's server",
    "sweeps/test_api.py": "the public names of the package",
    "portal/cli/test_describe.py": "tasks by their descriptions, from training to export",
    "portal/cli/test_help.py": "the help of every command",
    "portal/cli/test_mistakes.py": "one line for a mistake, whatever the command",
    "portal/learners/test_every_method.py": "what holds of all methods that train",
    "portal/training/test_calibrated_tasks.py": "one setting, and what it does from data to artifact",
}
"""Other test files without a module of their name, each with its reason."""


def test_every_test_file_has_its_module_or_a_reason() -> None:
    files = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]
    inside = [path for path in files if str(path.parent) not in {folder or "." for folder in ACROSS}]

    without = [
        str(path) for path in inside if not (ROOT / path.parent / path.name.removeprefix("test_")).is_file()
    ]

    assert len(inside) > 60
    assert sorted(without) == sorted(WITHOUT_MODULE)


def test_every_folder_of_tests_is_a_package_of_the_same_name_as_its_subject() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}

    assert all((TESTS / folder / "__init__.py").is_file() for folder in folders)
    assert [
        str(folder) for folder in folders if not (ROOT / folder).is_dir() and str(folder) not in ACROSS
    ] == []


def test_conftest_files_hold_fixtures_and_hooks_only() -> None:
    helpers = [
        f"{path.relative_to(TESTS)}: {node.name}"
        for path in sorted(TESTS.rglob("conftest.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        or (
            isinstance(node, ast.FunctionDef) and not is_fixture(node) and not node.name.startswith("pytest_")
        )
    ]

    assert helpers == []


def test_no_test_imports_from_another_test_file_or_a_conftest() -> None:
    wrong = [
        f"{path.relative_to(TESTS)}: {node.module}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("tests.")
        and not (node.module or "").startswith("tests.support.")
    ]

    assert wrong == []


def is_fixture(function: ast.FunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)
