"""What does not fit a base is refused before anything is loaded."""

from pathlib import Path

import pytest

from portal.config import AdapterConfig, BaseRef, RunConfig
from portal.modules import ALL_MODULES
from portal.train_config import TrainConfig
from sweeps.planning.shapes import check_shapes, coverage_notes
from tests.support.bases import make_run
from tests.support.zoo import tiny_config

WIDE = AdapterConfig(modules=ALL_MODULES, rank=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of bases by family, with their configs alone."""
    found = {}
    for family in ("gpt2", "qwen3_5_text", "mixtral", "llama", "mamba"):
        folder: Path = tmp_path_factory.mktemp(family)
        tiny_config(family).save_pretrained(folder)
        found[family] = str(folder)
    return found


def run_on(method: str, base: str, **changes: object) -> RunConfig:
    run = make_run(method, "base", **changes)
    return run.model_copy(update={"bases": (BaseRef(name=base, revision="0"),)})


def test_loras_adapt_what_a_base_has_and_say_so(folders: dict[str, str]) -> None:
    run = run_on("lora", folders["gpt2"], adapter=WIDE)

    check_shapes([run])
    (note,) = coverage_notes([run, run])
    assert "qkv for q in 4" in note


def test_a_core_whose_heads_nothing_would_train_is_refused_with_what_to_ask_for(
    folders: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r"heads for k, v, gate would never .* modules qkv,o,up,down$"):
        check_shapes([run_on("source", folders["gpt2"], adapter=WIDE)])
    check_shapes(
        [run_on("source", folders["gpt2"], adapter=AdapterConfig(modules=("qkv", "o", "up", "down")))]
    )


@pytest.mark.parametrize("method", ["portal", "mean_latent", "carried", "mismatched_latent", "taught"])
def test_what_holds_a_core_takes_what_stands_in(folders: dict[str, str], method: str) -> None:
    check_shapes([run_on(method, folders["gpt2"], adapter=WIDE)])


def test_a_fused_module_stands_in_for_each_that_is_asked_for(folders: dict[str, str]) -> None:
    check_shapes([run_on("lora", folders["gpt2"], adapter=AdapterConfig(modules=("q", "v"), rank=2))])


def test_a_port_does_not_need_its_sources_base(folders: dict[str, str]) -> None:
    run = run_on("portal", folders["llama"]).model_copy(update={"source_bases": ("/no/such/base",)})

    check_shapes([run])
    assert coverage_notes([run]) == []


def test_residuals_of_heads_that_a_base_does_not_use_are_refused(folders: dict[str, str]) -> None:
    train = TrainConfig(epochs=1, residual_rank=1)

    with pytest.raises(ValueError, match="residuals for k, v, gate would never be trained"):
        check_shapes([run_on("taught", folders["gpt2"], adapter=WIDE, train=train)])


@pytest.mark.parametrize(
    ("family", "modules", "message"),
    [
        ("mixtral", ("q", "gate"), "base '.*': the base has no projection 'gate'; it has q, k, v, o"),
        ("mamba", ("o",), "the base has no projection 'o'; it has in_proj"),
        ("llama", ("q", "in_z"), "the base has no projection 'in_z'"),
    ],
)
def test_a_module_that_a_base_lacks_is_refused_with_what_it_has(
    folders: dict[str, str], family: str, modules: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_shapes([run_on("lora", folders[family], adapter=AdapterConfig(modules=modules, rank=2))])


def test_a_choice_loss_is_refused_where_choices_cannot_share_a_row(folders: dict[str, str]) -> None:
    train = TrainConfig(epochs=1, choice_loss=1.0)

    check_shapes([run_on("portal", folders["llama"], train=train)])
    with pytest.raises(ValueError, match="choice_loss needs all choices of a question in one row"):
        check_shapes([run_on("portal", folders["qwen3_5_text"], train=train)])


def test_full_coverage_refuses_layers_without_a_module(folders: dict[str, str]) -> None:
    run = run_on("lora", folders["qwen3_5_text"])

    check_shapes([run], full_coverage=True)
    with pytest.raises(ValueError, match="coverage full is asked for"):
        check_shapes([run_on("lora", folders["mixtral"], adapter=WIDE)], full_coverage=True)
    check_shapes([run_on("lora", folders["llama"])], full_coverage=True)
