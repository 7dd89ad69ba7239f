"""`base_config`: the transformers config of a base, or one with its published shapes."""

from transformers import AutoConfig, PretrainedConfig

from portal.bases.files import BaseFiles, hub_error, locate
from portal.bases.layer_kinds import check_causal
from portal.bases.quantised_checkpoints import check_checkpoint
from portal.bases.registry import published_config


def base_config(name: str, *, local_files_only: bool = False) -> PretrainedConfig:
    """The transformers config of a base; no weights are read. `local_files_only`: the hub is not asked.

    ValueError for one that cannot be read, and for that of a model whose tokens see later ones.
    """
    return read_config(locate(name), local_files_only=local_files_only)


def read_config(files: BaseFiles, *, local_files_only: bool = False) -> PretrainedConfig:
    """`base_config` of these files. Code that lies beside them is never run."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            files.location, revision=files.commit, local_files_only=local_files_only, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise hub_error("base", files.name, files.location, error) from None
    check_causal(files.name, config)
    check_checkpoint(files.name, config)
    return config


def outline_config(name: str) -> PretrainedConfig:
    """A config with the shapes of a base: from its published config where that is known, else `base_config`.

    It serves for predictions only: what has no part in a shape, rotary angles for one, is left at defaults.
    """
    published = published_config(name)
    return base_config(name) if published is None else AutoConfig.for_model(**published)


def hidden_width(name: str) -> int:
    """The width of a base's hidden states, from its published config or its own."""
    width: int = outline_config(name).get_text_config().hidden_size
    return width
