"""What pages tell a user to type, write or import is there: commands, options, targets, files, names."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer._click.exceptions import UsageError

from portal.cli.app import app
from portal.tasks.task_file import TaskFile
from sweeps.search.run_search import Search
from sweeps.study.expand import load_study
from sweeps.study.study_file import StudyFile, Variant
from tests.support.command_line import commands
from tests.support.markdown import CODE, CODE_SPAN, ROOT, blocks, name_of, pages, text_outside_code

PAGES = [page for page in pages() if "fixtures" not in page.parts and page.name != "CHANGELOG.md"]
"""The changelog names what older versions had."""
COMMANDS: dict[str, Any] = dict(commands(typer.main.get_command(app)))


def lines_of(page: Path) -> Iterator[str]:
    """The shell lines of a page's blocks, continued ones as one."""
    for block in blocks(page, "sh"):
        yield from block.replace("\\\n", " ").splitlines()


def spans_of(page: Path) -> Iterator[str]:
    """What a page's text sets as code."""
    for span in CODE_SPAN.finditer(text_outside_code(page)):
        yield " ".join(span[0].strip("`").split())


def words_of(line: str) -> Iterator[list[str]]:
    """The words of each command of a shell line, without its comment."""
    split = shlex.shlex(line, posix=True, punctuation_chars=True)
    split.whitespace_split = True
    words: list[str] = []
    for word in split:
        if set(word) <= set("();<>|&"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def found(page: Path, program: str) -> list[list[str]]:
    """The words behind `program`, wherever the page shows it being called."""
    shown = [*lines_of(page), *(span for span in spans_of(page) if span.startswith(f"{program} "))]
    calls = [words for line in shown if program in line for words in words_of(line)]
    return [words[1:] for words in calls if words[:1] == [program]]


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """The command that these words call, and the words behind its name."""
    path, rest = "portal", list(words)
    while rest and f"{path} {rest[0]}" in COMMANDS:
        path, rest = f"{path} {rest[0]}", rest[1:]
    return path, rest


def faults_of_call(words: list[str]) -> list[str]:
    """What is wrong with a call of `portal` by its names: a command or an option that it does not have."""
    path, rest = command_of(words)
    command = COMMANDS[path]
    if hasattr(command, "commands") and rest and re.match(r"[a-z]", rest[0]):
        return [f"{path} has no command {rest[0]!r}"]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    options = [word.split("=")[0] for word in rest if word.startswith("--")]
    return [f"{path} has no option {option}" for option in options if option not in known]


def faults_of_line(words: list[str]) -> list[str]:
    """As `faults_of_call`, of a line to be typed: options have their values and no argument is missing."""
    if faults := faults_of_call(words):
        return faults
    path, rest = command_of(words)
    command = COMMANDS[path]
    try:
        with command.context_class(command, info_name=path) as context:
            given, left, _ = command.make_parser(context).parse_args(rest)
    except UsageError as error:
        return [f"{path}: {error}"]
    needed = [each for each in command.params if each.required and not each.envvar]
    missing = [each.name for each in needed if not given.get(each.name)]
    return [f"{path}: {name} is missing" for name in missing] + [f"{path}: {word} is left" for word in left]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    assert [fault for words in found(page, "portal") for fault in faults_of_call(words)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=name_of)
def test_every_line_that_a_page_tells_to_type_is_one_that_the_command_takes(page: Path) -> None:
    typed = [words for line in lines_of(page) for words in words_of(line) if words[:1] == ["portal"]]

    assert [fault for words in typed for fault in faults_of_line(words[1:])] == []


def test_commands_are_found_and_wrong_ones_are_told() -> None:
    assert sum(len(found(page, "portal")) for page in PAGES) > 150
    for wrong in ("sweep rum STUDY", "teach source --nearby 3", "sweep run STUDY --out-dir X"):
        assert len(faults_of_call(wrong.split())) == 1, wrong
    for wrong in ("teach source --on", "inspect ported more", "train --out source"):
        assert len(faults_of_line(wrong.split())) == 1, wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_target_of_make_and_every_module_on_a_page_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = [word for words in found(page, "make") for word in words if not re.search(r"[=.A-Z]", word)]
    modules = re.findall(r"python3? -m ([a-z_.]+)", page.read_text(encoding="utf-8"))
    ours = [module for module in modules if module.split(".")[0] in CODE]

    assert [name for name in named if name not in targets] == []
    assert [name for name in ours if importlib.util.find_spec(name) is None] == []


def check_file(content: dict[str, Any], text: str, folder: Path) -> None:
    """Read a study, a part of one, a search or a task file as the program does."""
    if "methods" in content:
        path = folder / "study.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_study(path).runs
    elif "variants" in content:
        for variant in content["variants"].values():
            Variant.model_validate(variant)
    elif "search" in content:
        Search.model_validate(content["search"])
    elif "task" in content:
        TaskFile.model_validate(content)
    else:
        least = {"name": "part", "targets": ["mini-qwen3-xs"], "methods": {"base": {}}}
        StudyFile.model_validate(least | content)


def test_every_file_that_a_page_shows_is_read_as_one(tmp_path: Path) -> None:
    shown = [(page, text) for page in PAGES for text in blocks(page, "yaml")]

    for page, text in shown:
        try:
            check_file(yaml.safe_load(text), text, tmp_path)
        except ValueError as error:
            pytest.fail(f"{name_of(page)}: {error}\n{text}")
    assert len(shown) >= 6


def test_every_python_snippet_imports_names_that_are_there() -> None:
    snippets = [(page, text) for page in PAGES for text in blocks(page, "python")]

    for page, text in snippets:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                missing = [each.name for each in node.names if not hasattr(module, each.name)]
                assert missing == [], name_of(page)
    assert len(snippets) >= 9
