"""The command that serves exported adapters, and `routing.py` beside them, which asks the servers.

Options of vLLM 0.32, SGLang 0.5 and llama.cpp's server. vLLM and SGLang read PEFT folders, llama.cpp GGUF
files.
"""

import ast
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from portal.artifacts.adapter_record import ADAPTER_RECORD, GGUF_ADAPTER, read_adapter_record
from portal.bases.files import locate
from portal.bases.registry import known_bases
from portal.storage.atomic import write_bytes_atomic

Server = Literal["vllm", "sglang", "llama.cpp"]
"""Servers that adapters are written for."""
ROUTING = "routing.py"

_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_MOST_AT_ONCE = 8
"""Adapters in one batch; the server keeps the memory of so many of the greatest rank."""

_ROUTING_HEAD = '''"""Which server has a base, and its name of a task's adapter. Needs Python alone.

    from routing import complete

    complete(BASE, TASK, "a prompt", max_tokens=16)["choices"][0]["text"]

Each base has a server of its own, vLLM's: put their addresses here.
"""

import json
import urllib.request

'''
_ROUTING_TAIL = '''

def complete(base, task, prompt, **options):
    """The server's answer to POST /v1/completions, a dict; KeyError for a pair that has no adapter."""
    body = {"model": ADAPTERS[base, task], "prompt": prompt, "temperature": 0, **options}
    request = urllib.request.Request(
        f"{SERVERS[base]}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)
'''


def vllm_rank(rank: int) -> int | None:
    """The smallest of vLLM's values of `--max-lora-rank` that holds `rank`; None above the greatest."""
    return next((accepted for accepted in _VLLM_RANKS if accepted >= rank), None)


def serve_command(
    server: Server, base: str, revision: str | None, adapters: Mapping[str, Path], rank: int
) -> str:
    """The command that serves these adapters of a base, by task; `rank` is the greatest of them.

    `revision` is what they were made for: a commit of the base on a hub, or a digest. vLLM gets a slot more
    than adapters, without which its CPU backend gives rows of the base an adapter.

    llama.cpp's goes without its cache of prompts in memory, which hands what was read with one adapter to
    requests with another.

    ValueError for a base that cannot be found, for a rank that the server does not take, and for a path that
    it cannot be given.
    """
    if server == "llama.cpp":
        paths = [str(folder / GGUF_ADAPTER) for folder in adapters.values()]
        if wrong := [path for path in paths if "," in path]:
            raise ValueError(f"{wrong[0]}: llama.cpp takes no path with a comma; choose another --out")
        files = ",".join(paths)
        adapted = ("--lora", files, "--lora-init-without-apply", "--cache-ram", "0")
        return shlex.join(("llama-server", "--model", _gguf_of(base), *adapted))
    place = locate(base)
    commit = revision if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) else place.commit
    pinned = ("--revision", commit) if commit is not None and not place.is_local else ()
    named = [f"{task}={folder}" for task, folder in adapters.items()]
    at_once = min(len(adapters), _MOST_AT_ONCE)
    if server == "vllm":
        named = [_vllm_module(task, folder) for task, folder in adapters.items()]
        most = vllm_rank(rank)
        if most is None:
            raise ValueError(f"rank {rank}: vLLM serves adapters of rank {_VLLM_RANKS[-1]} at most")
        ranks = ("--max-lora-rank", str(most), "--max-loras", str(at_once + 1))
        launch = ("vllm", "serve", place.location, *pinned)
        return shlex.join((*launch, "--enable-lora", *ranks, "--lora-modules", *named))
    ranks = ("--max-lora-rank", str(rank), "--max-loras-per-batch", str(at_once))
    launch = ("python", "-m", "sglang.launch_server", "--model-path", place.location, *pinned)
    return shlex.join((*launch, "--enable-lora", *ranks, "--lora-paths", *named))


def _vllm_module(task: str, folder: Path) -> str:
    """A value of `--lora-modules`; as JSON where the path has signs that part the other form."""
    if "=" in str(folder) or "," in str(folder):
        return json.dumps({"name": task, "path": str(folder)})
    return f"{task}={folder}"


def write_routing(folder: Path) -> Path:
    """Write `folder`/routing.py for all adapters in subfolders of it, one or two levels down.

    Addresses that an earlier one has stay. ValueError for another file of that name.
    """
    known = known_servers(folder)
    records = [
        read_adapter_record(path.parent)
        for depth in ("*", "*/*")
        for path in sorted(folder.glob(f"{depth}/{ADAPTER_RECORD}"))
    ]
    pairs = sorted({(each.base, each.task) for each in records if each is not None and each.task is not None})
    bases = sorted({base for base, _ in pairs})
    addresses = [known.get(base, f"http://localhost:{8000 + place}") for place, base in enumerate(bases)]
    servers = _dict("SERVERS", zip(map(_quoted, bases), addresses, strict=True))
    adapters = _dict(
        "ADAPTERS", ((f"({_quoted(base)}, {_quoted(str(task))})", str(task)) for base, task in pairs)
    )
    path = folder / ROUTING
    write_bytes_atomic(path, (_ROUTING_HEAD + servers + adapters + _ROUTING_TAIL).encode())
    return path


def known_servers(folder: Path) -> dict[str, str]:
    """The addresses in `folder`/routing.py, by base; ValueError for a file that was not written here."""
    path = folder / ROUTING
    if not path.exists():
        return {}
    text = path.read_text()
    try:
        assigned = [each for each in ast.parse(text).body if isinstance(each, ast.Assign)]
        known = next(
            ast.literal_eval(each.value) for each in assigned if ast.unparse(each.targets[0]) == "SERVERS"
        )
    except (SyntaxError, ValueError, StopIteration):
        known = None
    if not text.startswith(_ROUTING_HEAD.splitlines()[0]) or not isinstance(known, dict):
        raise ValueError(f"{path}: not a file that portal has written; delete it, or choose another --out")
    return known


def _quoted(text: str) -> str:
    """The text as Python source, in double quotes where it has none."""
    return f'"{text}"' if text.isprintable() and not set('"\\') & set(text) else repr(text)


def _dict(name: str, items: Iterable[tuple[str, str]]) -> str:
    return f"{name} = {{\n" + "".join(f"    {key}: {_quoted(value)},\n" for key, value in items) + "}\n"


def _gguf_of(base: str) -> str:
    """The base's GGUF file, or the name that a converted one is expected to have."""
    known = known_bases().get(base)
    if known is not None and known.package is not None:
        return str(known.package.path())
    return base if base.endswith(".gguf") else f"{Path(base).name}.gguf"
