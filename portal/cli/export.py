"""`portal export`: adapters of an artifact as PEFT folders, merged weights, or a hub repository."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portal.cli import options
from portal.cli.artifacts import LatentsOption, find_artifact, load_with_latents
from portal.cli.output import comma_list
from portal.messages import one_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from portal.artifacts.adapter_record import AdapterRecord
    from portal.artifacts.artifact import Artifact

MERGED = "merged"


def export(
    artifact: Annotated[str, options.artifact_argument("Artifact to export from")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of the new adapter; with several tasks, the parent of one per task."
        ),
    ],
    task: Annotated[
        str | None, typer.Option(metavar="TASKS", help="Tasks of the artifact to export, comma-separated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Export every task of the artifact.")] = False,
    latents: LatentsOption = None,
    file_format: Annotated[
        Literal["peft", "gguf"],
        typer.Option(
            "--format", help="Also write adapter.gguf into each folder, for llama.cpp, where it is gguf."
        ),
    ] = "peft",
    serve: Annotated[
        Literal["vllm", "sglang", "llama.cpp"] | None,
        typer.Option(help="Print the command that serves the adapters; llama.cpp implies --format gguf."),
    ] = None,
    layout: Annotated[
        Literal["base", "text"],
        typer.Option(
            help="Layout of the keys: base, as the base is served, or text, as its text-only class has them."
        ),
    ] = "base",
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Load base and adapter through peft, and compare their logits with ours."
        ),
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Also write the base with the adapter in its weights, to merged/.")
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="Hub repository to upload to; needs a token in HF_TOKEN."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new hub repository private.")] = False,
) -> None:
    """Write adapters of an artifact's tasks in PEFT format.

    The base is loaded for --check and --merge only.
    """
    from portal.artifacts.adapter_record import ADAPTER_CONFIG, GGUF_ADAPTER
    from portal.artifacts.peft_adapter import write_gguf_adapter
    from portal.artifacts.serving import known_servers, serve_command, write_routing

    source = load_with_latents(find_artifact(artifact), latents)
    tasks = _chosen(source, task, every)
    with_gguf = file_format == "gguf" or serve == "llama.cpp"
    if check and layout == "text":
        raise ValueError("--check loads the base as it is served; it cannot check --layout text")
    if serve is not None and layout == "text":
        raise ValueError("--serve is for the keys that the base is served with; leave out --layout text")
    folders = {name: out / name if every or len(tasks) > 1 else out for name in tasks}
    gguf_config = _gguf_config(source) if with_gguf else None
    command = None
    if serve is not None:
        config = source.config
        base, revision = config.base_model_name_or_path, config.base_model_revision
        command = serve_command(serve, base, revision, folders, config.rank)
    in_subfolders = folders != {tasks[0]: out}
    routed = serve in (None, "vllm") and in_subfolders
    if routed:
        known_servers(out)
    if in_subfolders and (out / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"{out}: holds an adapter itself; several tasks get a folder each in it, so name another --out"
        )
    for name, folder in folders.items():
        claim_folder(folder, source.config.adapter_record(name))
    compare = _comparison(source, check=check, merge=merge) if check or merge else None
    for name, folder in folders.items():
        source.export_peft(name, folder, layout=layout)
        if compare is not None:
            compare(name, folder)
        if gguf_config is not None:
            write_gguf_adapter(folder / GGUF_ADAPTER, folder, gguf_config)
        typer.echo(f"{name}: {folder}")
    if routed:
        typer.echo(f"which server has which adapter: {write_routing(out)}")
    if command is not None:
        typer.echo(f"serve: {command}")
    if push is not None:
        only = [f"{folder.relative_to(out) / '**'}" if folder != out else "**" for folder in folders.values()]
        typer.echo(f"pushed: {_push(push, out, only, private=private)}")


def claim_folder(folder: Path, adapter: "AdapterRecord") -> None:
    """Make the adapter's folder; OSError when it cannot be written, ValueError when it holds more."""
    from portal.artifacts.adapter_record import GGUF_ADAPTER, check_place

    check_place(folder, adapter)
    shutil.rmtree(folder / MERGED, ignore_errors=True)  # of an earlier export: no longer this adapter's
    (folder / GGUF_ADAPTER).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / ".portal-write-test"
    probe.write_bytes(b"")
    probe.unlink()


def _chosen(source: "Artifact", task: str | None, every: bool) -> tuple[str, ...]:
    if (task is None) != every:
        raise ValueError("give one of --task and --all")
    tasks = source.config.tasks if task is None else comma_list(task, what="task")
    for name in tasks:
        source.task_index(name)
    return tasks


def _comparison(source: "Artifact", *, check: bool, merge: bool) -> Callable[[str, Path], None]:
    """Loads the artifact's base; then it checks or merges, or both, the adapter of a task in a folder."""
    from portal.artifacts.adapted_base import check_export, merge_task
    from portal.bases.base import load_base

    config, scaling = source.config, source.config.adapter.scaling
    base = load_base(config.base_model_name_or_path, revision=config.base_model_revision)

    def compare(task: str, folder: Path) -> None:
        factors, equal = source.factors((task,)), "logits equal the injected adapter's to"
        if check:
            difference = check_export(folder, base, factors, scaling)
            typer.echo(f"checked through peft on {base.name}: {equal} {difference:.1e}")
        if merge:
            difference = merge_task(base, factors, scaling, folder / MERGED)
            typer.echo(f"merged into {folder / MERGED}: {equal} {difference:.1e}")

    return compare


def _gguf_config(source: "Artifact") -> "PretrainedConfig":
    """The config of the artifact's base; ValueError where adapters of it cannot be written as GGUF."""
    from portal.artifacts.peft_adapter import find_architecture
    from portal.bases.family import base_config

    config = base_config(source.config.base_model_name_or_path)
    find_architecture(config)
    return config


def _push(repository: str, folder: Path, only: list[str], *, private: bool) -> str:
    """The address of the commit of the files that match `only`; ValueError when the hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import HFValidationError

    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True, private=private)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=only, commit_message="PorTAL adapters"
        )
        return str(commit)
    except (HfHubHTTPError, OfflineModeIsEnabled, HFValidationError, OSError) as error:
        reason = one_line(error, most=300)
        raise ValueError(
            f"--push {repository}: {reason}; a token with write access goes into HF_TOKEN. "
            f"The adapters are in {folder}"
        ) from None
