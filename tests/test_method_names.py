"""analysis derives from the specs of portal/methods: it names no method of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

from portal.methods import METHODS

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "analysis" / "stats" / "published.py"  # the paper's numbers, by method
OTHER_THINGS = {
    ("analysis/stats/findings.py", "base"): "the file name of a base whose own has no letter to keep",
    ("analysis/stats/grids.py", "source"): "the setting that says what a run starts from",
    ("analysis/figures/figure.py", "portal"): "the salt of the ids in an SVG",
}
"""Texts that are spelt like a method and mean something else."""


def test_analysis_names_no_method_but_for_the_papers_numbers() -> None:
    found = [
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "analysis").rglob("*.py"))
        if path != PAPER
        for name in named_methods(ast.parse(path.read_text()))
    ]

    assert sorted(found) == sorted(OTHER_THINGS)


def test_a_method_is_found_wherever_a_text_names_it_and_a_column_is_none() -> None:
    code = """
if run.method == "portal" or run.method in ("lora", "base"):
    comparison.representative("source")
match method:
    case "cross_lora":
        marks = {"hypernet": "o"}
columns = [Column("base", WORD), row["base"], row["source"]]
fields = [("base", WORD, lambda run: run.base)]
"""

    assert sorted(named_methods(ast.parse(code))) == [
        "base", "cross_lora", "hypernet", "lora", "portal", "source",
    ]  # fmt: skip


def named_methods(tree: ast.AST) -> Iterator[str]:
    """Every text that is a method's name, except a row's key and a table column's title.

    The words for methods are those for columns: `row["base"]` and `Column("base", WORD)` are of a base.
    """
    columns = {id(node) for each in ast.walk(tree) for node in column_names(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in METHODS and id(node) not in columns:
            yield node.value


def column_names(node: ast.AST) -> list[ast.expr]:
    """The key of a subscript, the title of a Column or of a table's field."""
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Column":
        return node.args[:1]
    if isinstance(node, ast.Tuple) and [type(each) for each in node.elts[1:]] == [ast.Name, ast.Lambda]:
        return node.elts[:1]
    return []
