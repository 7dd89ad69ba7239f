"""What mkdocs asks for while it builds the site: pages that are generated, links that leave docs/, formulas.

Pages of the site are the files of docs/ and a few beside them (`BESIDE`). A link to another one of them stays
a link; one to a file of the repository that is no page becomes its path, or leads to the repository where
`extra.repository` names it. Formulas become MathML, which needs no script.
"""

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import analysis
import portal
import sweeps
from portal.cli.app import app
from sweeps.study.study_file import json_schema
from tests.support.command_line import commands
from tests.support.markdown import CODE_SPAN, LINK

ROOT = Path(__file__).parents[1]
BESIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "portal/embedded/mini/README.md": "reference/mini.md",
    "portal/embedded/village/README.md": "reference/village.md",
    "portal/embedded/ledger/README.md": "reference/ledger.md",
    "portal/embedded/words/README.md": "reference/words.md",
}
"""Pages of the site by the files outside docs/ that they are made of."""
Schema = Mapping[str, Any]
_PARTS = {
    "MethodSettings": "methods",
    "TrainConfig": "train",
    "AdapterConfig": "adapter",
    "HypernetConfig": "hypernet",
    "TextSettings": "text",
    "Curve": "curve",
    "Override": "overrides",
    "Variant": "variants",
    "RunFilter": "include and exclude",
}
"""The parts of a study file by their names in its schema, in the order of the page."""
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_BLOCK = re.compile(r"^( *)```math\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<![\\$`\w])\$([^$\n`]+)\$(?![\w$])")
_FENCE = re.compile(r"^( *)(```|~~~).*?^ *\2 *$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those that lie beside docs/."""
    generated = {
        "reference/command-line.md": command_line(),
        "reference/study-file.md": study_file(json_schema()),
        "reference/python.md": python_names(),
    }
    generated |= {page: (ROOT / source).read_text(encoding="utf-8") for source, page in BESIDE.items()}
    for page, content in generated.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links that hold in the site, and with formulas as MathML."""
    source = _source_of(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        (text, target), is_image = found.groups(), "!" * found[0].startswith("!")
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        place, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), place))
        page_there = _page_of(path, files)
        if page_there is not None:
            own = posixpath.relpath(page_there, posixpath.dirname(page.file.src_uri) or ".")
            return f"{is_image}[{text}]({own}{'#' + anchor if anchor else ''})"
        if not (ROOT / path).exists():
            return found[0]  # mkdocs names it, and fails
        if repository := config.extra.get("repository"):
            return f"[{text}]({repository}/{path}{'#' + anchor if anchor else ''})"
        return text if text.startswith("`") or path in text else f"{text} (`{path}`)"

    def change(text: str) -> str:
        spans = [code.span() for code in CODE_SPAN.finditer(text)]

        def quoted(found: re.Match[str]) -> bool:
            return any(start <= found.start() and found.end() <= end for start, end in spans)

        linked = LINK.sub(lambda found: found[0] if quoted(found) else link(found), text)
        return _without(CODE_SPAN, linked, lambda prose: _INLINE.sub(_inline_formula, prose))

    return _without(_FENCE, _BLOCK.sub(_block_formula, markdown), change)


def _without(code: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """`change` of all but what `code` matches."""
    parts, end = [], 0
    for found in code.finditer(text):
        parts += [change(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, change(text[end:])])


def _block_formula(found: re.Match[str]) -> str:
    """Several lines, too: GitHub's `aligned` is called `split` here."""
    return found[1] + convert(found[2].replace("{aligned}", "{split}"), display="block") + "\n"


def _inline_formula(found: re.Match[str]) -> str:
    return convert(found[1])


def _source_of(page: str) -> str:
    """The file of the repository that the page of this name is made of."""
    return next((source for source, made in BESIDE.items() if made == page), f"docs/{page}")


def _page_of(path: str, files: Files) -> str | None:
    """The file of the site that a file of the repository became."""
    if path in BESIDE:
        return BESIDE[path]
    name = path.removeprefix("docs/")
    return name if path.startswith("docs/") and files.get_file_from_path(name) is not None else None


def command_line() -> str:
    """A page of all commands, as they describe themselves."""
    lines = ["# Command line", "", "What `--help` says of every command.", ""]
    for path, command in commands(typer.main.get_command(app)):
        lines += [f"## `{path}`", "", _paragraphs(command.help or ""), ""]
        if command.params:
            lines += ["| option | what it is | default |", "|---|---|---|"]
            lines += [_parameter(each) for each in command.params if not each.name.startswith("_")]
            lines.append("")
    return "\n".join(lines)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))


def _parameter(parameter: Any) -> str:
    """A row of the table of options."""
    is_argument = parameter.param_type_name == "argument"
    kind = "" if getattr(parameter, "is_flag", False) else parameter.display_type(None)
    metavar = parameter.metavar or kind.strip("<>").removesuffix(" range")
    names = parameter.metavar or parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    shown = names if is_argument or not metavar else f"{names} {metavar}"
    help_text = _cell(" ".join((parameter.help or "").split()))
    default = parameter.default
    has_default = default is not None and not callable(default) and default not in ((), False, True)
    told = "required" if parameter.required else f"`{default}`" if has_default else ""
    return f"| <code>{_cell(shown)}</code> | {help_text} | {told} |"


def _cell(text: str) -> str:
    """Text that is no markup, in a table."""
    return escape(text, quote=False).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")


def python_names() -> str:
    """A page of the public names of the three packages, which mkdocstrings fills in."""
    lines = ["# Python: every public name", "", "[By example](../api.md) shows them at work.", ""]
    for package in (portal, sweeps, analysis):
        lines += [f"## {package.__name__}", "", _paragraphs(package.__doc__ or ""), ""]
        for name in sorted(package.__all__):
            public, place = f"{package.__name__}.{name}", getattr(package, name).__module__
            options = {"heading": public, "toc_label": name, "heading_level": 3}
            lines += [f"::: {place}.{name}", "    options:"]
            lines += [f"      {option}: {value}" for option, value in options.items()]
            lines.append("")
    return "\n".join(lines)


def study_file(schema: Schema) -> str:
    """The page in Markdown: every key with its values, its default and its description."""
    parts = schema["$defs"]
    lines = [
        "# Study files, every key",
        "",
        "Every key of a [study file](../studies.md), as `portal sweep schema` prints them for editors, which "
        "complete and check a file by it. What a study leaves out of `size`, `seeds`, `train`, `adapter` and "
        "`hypernet` is its recipe's ([studies](../studies.md)); their tables have the defaults of the method "
        "alone.",
        "",
        "## The file",
        "",
        *_key_table(schema),
    ]
    assert set(parts) == set(_PARTS), set(parts) ^ set(_PARTS)
    for name, title in _PARTS.items():
        lines += [f"## {title}", "", *_part_text(parts[name]), *_key_table(parts[name])]
    return "\n".join(lines)


def _part_text(part: Schema) -> list[str]:
    return [" ".join(part["description"].split()), ""] if "description" in part else []


def _key_table(part: Schema) -> list[str]:
    required = part.get("required", ())
    lines = ["| key | values | default | |", "|---|---|---|---|"]
    for key, value in part["properties"].items():
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        default = "needed" if key in required else default
        cells = (f"`{key}`", _values(value), default, " ".join(value["description"].split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _values(value: Schema) -> str:
    """What a key may hold, as people say it."""
    if "$ref" in value:
        title = _PARTS[value["$ref"].rsplit("/", 1)[-1]]
        return f"[{title}](#{title.replace(' ', '-')})"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(map(_values, value["anyOf"])))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        items = value.get("items") or value["prefixItems"][0]
        return f"list of {_values(items)}"
    if value.get("type") == "object":
        return f"by name: {_values(value['additionalProperties'])}"
    limits = "".join(f" {sign} {value[name]:g}" for name, sign in _LIMITS.items() if name in value)
    return f"{value['type']}{limits}"
