"""Documentation agrees with the code: links, headings, symbols, formulas and the picture of imports."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import transformers
from pydantic import BaseModel

from portal.config import AdapterConfig, HypernetConfig
from portal.train_config import TrainConfig
from tests.support.directions import FLOORS, RAY_ONLY_IN
from tests.support.markdown import (
    CODE,
    CODE_SPAN,
    DOCS,
    LINK,
    ROOT,
    anchors,
    docstrings,
    headings,
    name_of,
    pages,
    relative_links,
    symbols,
    text_outside_code,
)
from tests.support.zoo import supported
from tests.support.zoo_table import PAGE, Passed, page

METHOD = DOCS / "method.md"
PARTS: dict[str, type[BaseModel]] = {
    "adapter": AdapterConfig, "hypernet": HypernetConfig, "train": TrainConfig,
}  # fmt: skip


def test_every_reference_of_a_docstring_names_a_page_and_a_heading_in_it() -> None:
    references = [
        (name_of(path), page, title)
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in docstrings(path)
        for page, title in re.findall(r'docs/([\w-]+\.md), "([^"]+)"', text)
    ]

    wrong = [
        f"{where}: docs/{page}, {title!r}"
        for where, page, title in references
        if not (DOCS / page).is_file() or title not in headings(DOCS / page)
    ]

    assert wrong == []
    assert len([title for _, page, title in references if page == METHOD.name]) >= 7


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_relative_link_points_to_a_file_and_a_heading(page: Path) -> None:
    wrong = []
    for _, link in relative_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            wrong.append(f"{link}: no such file")
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            wrong.append(f"{link}: no such heading")

    assert wrong == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_symbol_that_links_to_a_module_is_defined_there(page: Path) -> None:
    wrong = []
    for text, link in relative_links(page):
        target, name = (page.parent / link).resolve(), text.strip("`")
        if target.suffix != ".py" or not re.fullmatch(r"`[\w.]+`", text) or name.endswith(".py"):
            continue
        module = ".".join(target.relative_to(ROOT).with_suffix("").parts)
        prefixes = (module, module.removeprefix("portal."))
        if name not in {f"{prefix}.{symbol}" for prefix in prefixes for symbol in symbols(target)}:
            wrong.append(f"{name}: not in {name_of(target)}")

    assert wrong == []


def test_the_settings_that_the_page_of_the_method_names_exist() -> None:
    text = LINK.sub("", METHOD.read_text(encoding="utf-8"))

    named = re.findall(r"`(adapter|hypernet|train)\.(\w+)(?::[^`]*)?`", text)

    assert len(named) > 5
    assert [f"{part}.{name}" for part, name in named if name not in PARTS[part].model_fields] == []


@pytest.mark.parametrize("page", [page for page in pages() if "```math" in page.read_text()], ids=name_of)
def test_no_inline_formula_has_characters_that_markdown_reads_itself(page: Path) -> None:
    formulas = re.findall(r"\$([^$]+)\$", CODE_SPAN.sub("", text_outside_code(page)))

    assert [each for each in formulas if re.search(r"\\[^\w\s]|[*|\n]|\}_|^\s|\s$", each)] == []


def test_the_index_names_every_page() -> None:
    indexed = {(DOCS / link).resolve() for _, link in relative_links(DOCS / "README.md")}

    assert [name_of(page) for page in sorted(DOCS.glob("*.md")) if page not in indexed] == ["docs/README.md"]


def test_the_table_of_packages_has_each_of_them_with_the_first_line_of_its_docstring() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| \**\[([\w/.]+)\]\([^)]*\)\** \| (.*) \|$", page, flags=re.MULTILINE)

    rooms = (*FLOORS, "portal", "portal.cli", "sweeps", "analysis")
    assert dict(rows) == {name_of(place_of(room)): charter_of(place_of(room)) for room in rooms}


def test_the_picture_of_imports_has_every_package_above_those_that_it_may_import() -> None:
    picture = ElementTree.parse(DOCS / "images" / "imports.svg")

    height = {
        node.attrib["id"]: float(node.attrib["y"]) for node in picture.iter() if {"id", "y"} <= {*node.keys()}
    }

    assert set(height) == {*FLOORS, "portal.cli"}
    wrong = [
        f"{room} imports {below}"
        for room, allowed in FLOORS.items()
        for name in allowed
        for below in FLOORS
        if (below == name or below.startswith(f"{name}.")) and height[room] >= height[below]
    ]
    assert wrong == []


def test_the_page_of_the_architecture_links_the_files_that_import_ray() -> None:
    linked = {link.removeprefix("../") for _, link in relative_links(DOCS / "architecture.md")}

    assert [name for name in sorted(RAY_ONLY_IN) if f"{name.replace('.', '/')}.py" not in linked] == []


def place_of(room: str) -> Path:
    """The file or folder of a row of FLOORS."""
    folder = ROOT.joinpath(*room.split("."))
    return folder if folder.is_dir() else folder.with_suffix(".py")


def charter_of(place: Path) -> str:
    """The first line of the docstring of a module or package."""
    module = place / "__init__.py" if place.is_dir() else place
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split("\n")[0]


def test_every_family_has_passed_all_tests_of_the_zoo() -> None:
    passed = Passed.read()

    assert set(passed.tests) == set(supported())
    assert len(set(passed.tests.values())) == 1


@pytest.mark.slow
def test_the_page_of_families_is_what_their_models_give() -> None:
    if f"transformers=={transformers.__version__}\n" not in (ROOT / "constraints.txt").read_text():
        pytest.skip("another version of transformers than the one that is pinned")

    assert page() == PAGE.read_text()
