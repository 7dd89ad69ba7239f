"""A GGUF file as a model folder: converted once into a cache, verified by digest ever after.

The folder holds what the file's weights are after dequantisation, in fp32, with a config and a tokenizer made
from the file's metadata. The cache is `$PORTAL_CACHE`, else `portal` in `$XDG_CACHE_HOME` or `~/.cache`.
"""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from portal.bases.gguf.reader import GgufFile
from portal.bases.gguf.tokenizer import build_tokenizer
from portal.messages import one_line
from portal.storage.atomic import only_one, write_json_atomic
from portal.storage.paths import cache_folder, file_sha256, files_sha256

FORMAT = 1  # of converted folders; another number converts anew
_MANIFEST = "manifest.json"


def converted(path: Path) -> tuple[Path, str]:
    """(model folder, hex sha256 of the GGUF file); converts the file when the cache has no folder of it.

    ValueError for a file that cannot be read or converted exactly.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such GGUF file")
    status = path.stat()
    digest = _digest(path, status.st_size, status.st_mtime_ns)
    folder = cache_folder() / "gguf" / f"{digest[:20]}-{FORMAT}"
    if not (folder / _MANIFEST).is_file():
        with only_one(cache_folder() / "locks" / folder.name):  # the workers of a node want it together
            if not (folder / _MANIFEST).is_file():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
                    _convert(path, Path(scratch) / "model")
                    _publish(Path(scratch) / "model", folder)
    return folder, digest


def verify(folder: Path) -> None:
    """ValueError when a file of a converted folder is absent or is not what the conversion wrote."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder}: no readable manifest ({error}); delete the folder") from None
    paths = [folder / name for name in manifest]
    damaged = [path for path in paths if not path.is_file()]
    if not damaged:
        found = zip(paths, files_sha256(paths), strict=True)
        damaged = [path for path, digest in found if digest != manifest[path.name]]
    if damaged:
        raise ValueError(f"{damaged[0]}: damaged since the conversion; delete {folder}")


@cache
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """The file's digest, read once while its size and time stay what they are."""
    return file_sha256(path)


def _convert(path: Path, folder: Path) -> None:
    file = GgufFile(path)
    file.check_types()
    build_tokenizer(file).save_pretrained(folder)
    model = _load(path)
    model.hf_quantizer = None  # with it, and the key below, transformers refuses to save
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    write_json_atomic(folder / _MANIFEST, {name: file_sha256(folder / name) for name in names})


def _load(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except (ValueError, KeyError, RuntimeError, ImportError) as error:  # what transformers' reader raises
        raise ValueError(f"{path}: cannot be converted ({one_line(error)})") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[kind]:
            raise ValueError(
                f"{path}: its weights do not fit its config, {kind}: {sorted(loading[kind])[:3]}"
            )
    return model


def _publish(made: Path, folder: Path) -> None:
    """Rename into place; when another process was quicker, its folder stays."""
    try:
        made.rename(folder)
    except OSError:
        if not (folder / _MANIFEST).is_file():
            raise
        shutil.rmtree(made)
