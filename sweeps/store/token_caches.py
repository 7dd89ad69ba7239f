"""Where an output folder keeps the rows of a task set in the tokens of one tokenizer."""

import json
from collections.abc import Mapping

from portal.bases.family import tokenizer_digest
from portal.config import DataConfig
from portal.data.suites import Suite
from portal.data.token_cache import CACHE_FORMAT
from portal.frozen import content_key
from portal.storage.paths import Folder


def cache_identity(suite: Suite, data: DataConfig, base: str) -> dict[str, object]:
    """What decides the content of a token cache: it is written into the cache's manifest."""
    return {
        "format": CACHE_FORMAT,
        "suite": suite.name,
        "prompt_set": suite.prompt_set,
        "tasks": list(data.tasks),
        "data_hash": data.data_hash,
        "tokenizer": tokenizer_digest(base),
        "max_prompt": data.max_prompt,
    }


def cache_folder_of(identity: Mapping[str, object], out: Folder) -> Folder:
    """The folder of the cache with this identity; bases that tokenise alike share one."""
    return out / "rows" / content_key(json.dumps(identity, sort_keys=True))
