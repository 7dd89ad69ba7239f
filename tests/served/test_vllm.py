"""Adapters behind vLLM's OpenAI-compatible server give what this project computes: `make serve-test`."""

import importlib.util
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.bases.base import load_base
from portal.cli import main
from portal.config import AdapterConfig
from tests.support.artifacts import export_random
from tests.support.environment import free_port
from tests.support.model_server import post, running, serve_python
from tests.support.served_adapters import NEW_TOKENS, Served, export_for
from tests.support.toy_multimodal import write_multimodal

pytestmark = [pytest.mark.serve, pytest.mark.timeout(900)]
TOLERANCE = 1e-3  # nats, of a choice's log-likelihood, both sides in fp32
VARIABLES = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def serving(command: str, log: Path) -> Any:
    """vLLM as `command` starts it, in fp32.

    The program `vllm` of the CPU package ends at once: it asks for the version of another package.
    """
    start, verb, model, *options = shlex.split(command)
    assert (start, verb) == ("vllm", "serve")
    port = free_port()
    server = [serve_python(), "-m", "vllm.entrypoints.openai.api_server", "--model", model, *options]
    return running(
        [*server, "--dtype", "float32", "--port", str(port)],
        port=port,
        ready="/health",
        log=log,
        variables=VARIABLES,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    serve_python()
    return export_for("vllm", "mini-gemma3", tmp_path_factory.mktemp("gemma3"))


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with serving(served.command, served.folder / "server.log") as address:
        yield address


def model_name(served: Served, task: str | None) -> str:
    return shlex.split(served.command)[2] if task is None else task


def served_scores(served: Served, address: str, model: str, *, at_once: int = 8) -> list[list[float]]:
    """The log-likelihood of every choice of every row, as the server has them."""

    def score(ids: tuple[int, ...], start: int) -> float:
        body = {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        found = post(f"{address}/v1/completions", body)["choices"][0]["prompt_logprobs"]
        return sum(found[place][str(ids[place])]["logprob"] for place in range(start, len(ids)))

    with ThreadPoolExecutor(at_once) as pool:
        futures = [
            [
                pool.submit(score, row.prompt + choice, len(row.prompt) + skip)
                for choice, skip in zip(row.choices, row.unscored, strict=True)
            ]
            for row in served.rows
        ]
        return [[each.result() for each in row] for row in futures]


def worst(ours: list[list[float]], theirs: list[list[float]]) -> float:
    return max(
        abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)
    )


def written(address: str, model: str, prompt: tuple[int, ...], **options: Any) -> tuple[int, ...]:
    body = {"model": model, "prompt": list(prompt), "temperature": 0, "return_token_ids": True}
    answer = post(f"{address}/v1/completions", body | {"max_tokens": NEW_TOKENS} | options)["choices"][0]
    return tuple(answer["token_ids"])


def test_choices_have_the_log_likelihoods_of_this_project(served: Served, address: str) -> None:
    ours = {task: served.scores(task) for task in (None, *served.tasks)}
    theirs = {task: served_scores(served, address, model_name(served, task)) for task in ours}

    assert all(worst(ours[task], theirs[task]) < TOLERANCE for task in ours)
    several = list(ours.values())
    pairs = [(one, other) for place, one in enumerate(several) for other in several[:place]]
    assert all(worst(one, other) > 10 * TOLERANCE for one, other in pairs)  # no adapter was passed over
    for task, own in ours.items():
        assert [row.index(max(row)) for row in own] == [row.index(max(row)) for row in theirs[task]]


def test_greedy_texts_of_interleaved_adapters_are_equal_token_for_token(served: Served, address: str) -> None:
    """Rows of the base are among them: the command has a slot more than adapters. Where all slots are taken,
    vLLM 0.32 on a CPU gives a row without an adapter that of the last one."""
    ours = served.texts()
    with ThreadPoolExecutor(16) as pool:  # all of them are in the server at once
        asked = {
            (task, index): pool.submit(written, address, model_name(served, task), served.rows[index].prompt)
            for index in range(len(served.rows))
            for task in (None, *served.tasks)
        }
        theirs = {pair: each.result() for pair, each in asked.items()}

    assert theirs == ours
    assert len(set(ours.values())) > len(served.rows)  # adapters write differently


def test_adapters_come_and_go_while_the_server_runs(served: Served, address: str, tmp_path: Path) -> None:
    own = export_for(
        "vllm", "mini-gemma3", tmp_path, adapter=AdapterConfig(rank=8, alpha=64, modules=("q", "v"))
    )
    prompt = served.rows[0].prompt
    body = {"lora_name": "late", "lora_path": str(own.folder / "sums")}

    post(f"{address}/v1/load_lora_adapter", body)  # of rank 8, which is the limit
    theirs = served_scores(own, address, "late")
    post(f"{address}/v1/unload_lora_adapter", {"lora_name": "late"})

    assert worst(own.scores("sums"), theirs) < TOLERANCE
    with pytest.raises(ValueError, match=r"404.*late"):
        written(address, "late", prompt)


def test_an_adapter_above_the_limit_of_rank_is_refused_by_name(
    served: Served, address: str, tmp_path: Path
) -> None:
    export_random(tmp_path / "wide", served.base, AdapterConfig(rank=16, alpha=16))
    body = {"lora_name": "wide", "lora_path": str(tmp_path / "wide")}

    with pytest.raises(ValueError, match="rank 16 is greater than max_lora_rank 8"):
        post(f"{address}/v1/load_lora_adapter", body)


def test_the_routing_beside_the_adapters_asks_for_the_right_one(served: Served, address: str) -> None:
    spec = importlib.util.spec_from_file_location("routing", served.folder / "routing.py")
    assert spec is not None
    assert spec.loader is not None
    routing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(routing)
    assert list(routing.SERVERS) == ["mini-gemma3"]
    routing.SERVERS["mini-gemma3"] = address
    prompt, ours = list(served.rows[0].prompt), served.texts()

    for task in served.tasks:
        options = {"max_tokens": NEW_TOKENS, "return_token_ids": True}
        answer = routing.complete("mini-gemma3", task, prompt, **options)["choices"][0]
        assert tuple(answer["token_ids"]) == ours[task, 0]
    with pytest.raises(KeyError):
        routing.complete("mini-gemma3", "nothing", prompt)


def test_merged_weights_are_served_like_the_adapter(served: Served, tmp_path: Path) -> None:
    source = str(served.folder.parent / "artifact")
    assert main(["export", source, "--task", "sums", "--merge", "--out", str(tmp_path / "sums")]) == 0
    model = str(tmp_path / "sums" / "merged")

    with serving(f"vllm serve {model}", tmp_path / "server.log") as address:
        theirs = served_scores(served, address, model)

    merged = replace(served, base=load_base(model))  # in the checkpoint's own precision, which rounds
    assert worst(merged.scores(None), theirs) < TOLERANCE
    assert worst(served.scores("sums"), theirs) < 0.1


def test_another_family_scores_and_writes_the_same(tmp_path: Path) -> None:
    """Prompts are scored one after another: several at once end vLLM 0.32 on a CPU, whose LoRA of this
    family's head takes the rows of a prompt for requests."""
    serve_python()
    served = export_for("vllm", "mini-qwen3-m", tmp_path)
    ours, texts = {task: served.scores(task) for task in (None, *served.tasks)}, served.texts()
    with serving(served.command, tmp_path / "server.log") as address:
        theirs = {task: served_scores(served, address, model_name(served, task), at_once=1) for task in ours}
        found = {
            (task, index): written(address, model_name(served, task), served.rows[index].prompt)
            for task, index in texts
        }

    assert all(worst(ours[task], theirs[task]) < TOLERANCE for task in ours)
    assert found == texts


def test_a_multimodal_gemma3_takes_the_keys_of_its_own_layout(tmp_path: Path) -> None:
    serve_python()
    model = write_multimodal(tmp_path / "model", load_base("mini-gemma3"))
    served = export_for("vllm", str(model), tmp_path)
    with serving(served.command, tmp_path / "server.log") as address:
        theirs = {task: served_scores(served, address, model_name(served, task)) for task in (None, "sums")}
        command = ["export", str(tmp_path / "artifact"), "--task", "sums", "--layout", "text"]
        assert main([*command, "--out", str(tmp_path / "unbound")]) == 0
        post(
            f"{address}/v1/load_lora_adapter",
            {"lora_name": "unbound", "lora_path": str(tmp_path / "unbound")},
        )
        unbound = served_scores(served, address, "unbound")

    assert worst(served.scores(None), theirs[None]) < TOLERANCE
    assert worst(served.scores("sums"), theirs["sums"]) < TOLERANCE
    assert worst(served.scores("sums"), served.scores(None)) > 10 * TOLERANCE
    assert worst(unbound, theirs[None]) < TOLERANCE  # without a message: why the layout matters
