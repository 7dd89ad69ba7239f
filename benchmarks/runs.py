"""Run configs for benchmarks: the paper's settings, but for what is given."""

from collections.abc import Sequence
from typing import Any

from portal.bases.base import Base
from portal.config import AdapterConfig, BaseRef, DataConfig, HypernetConfig, Method, RunConfig, paper_hidden
from portal.train_config import TrainConfig


def make_run(
    method: Method,
    base: Base,
    tasks: Sequence[str],
    *,
    size: int | None = None,
    seed: int = 0,
    adapter: AdapterConfig | None = None,
    hypernet: HypernetConfig | None = None,
    train: dict[str, Any] | None = None,
) -> RunConfig:
    """A run on rows that a benchmark holds itself."""
    adapter = adapter or AdapterConfig()
    generates = method in ("source", "hypernet", "portal")
    return RunConfig(
        method=method,
        bases=(BaseRef(name=base.name, revision=base.revision),),
        data=DataConfig(
            suite="benchmark", tasks=tuple(tasks), prompt_set="benchmark", size=size, data_hash="0"
        ),
        adapter=adapter,
        hypernet=hypernet or HypernetConfig(hidden=paper_hidden(adapter.modules)) if generates else None,
        train=TrainConfig(**(train or {})),
        seed=seed,
    )
