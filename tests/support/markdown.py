"""Lines, headings and links of Markdown pages, and the names that a module defines."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ("portal", "sweeps", "analysis", "cluster", "benchmarks", "tests")
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
CODE_SPAN = re.compile(r"(`+)(?:(?!\1).)+\1(?!`)", re.DOTALL)


def pages() -> list[Path]:
    """Every Markdown file of the repository."""
    folders = [ROOT / name for name in (*CODE, "docs")]
    return sorted([*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))])


def name_of(path: Path) -> str:
    """A file's path from the root of the repository."""
    return str(path.relative_to(ROOT))


def text_outside_code(page: Path) -> str:
    """A page without fenced blocks and front matter."""
    text = re.sub(r"\A---\n.*?^---$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1`*~*$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are in a language, in order."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in fenced]


def headings(page: Path) -> list[str]:
    """The titles of a page's sections, in order."""
    return re.findall(r"^#{1,6} +(.+?) *$", text_outside_code(page), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page in links."""
    found: set[str] = set()
    for title in headings(page):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def relative_links(page: Path) -> Iterator[tuple[str, str]]:
    """(text, target) of every link of a page that does not leave the repository."""
    text = text_outside_code(page)
    spans = [match.span() for match in CODE_SPAN.finditer(text)]
    for link in LINK.finditer(text):
        quoted = any(start < link.start() and link.end() < end for start, end in spans)
        if not quoted and not re.match(r"[a-z]+:", link.group(2)):
            yield " ".join(link.group(1).split()), link.group(2)


def docstrings(path: Path) -> Iterator[str]:
    """Every string of a module that stands as a statement, on one line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield " ".join(str(node.value.value).split())


def symbols(path: Path) -> set[str]:
    """Dotted names of a module's functions, classes, their members and its constants."""
    return set(_symbols(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def _symbols(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _symbols(node.body, f"{prefix}{node.name}.")
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        yield from (f"{prefix}{target.id}" for target in targets if isinstance(target, ast.Name))
