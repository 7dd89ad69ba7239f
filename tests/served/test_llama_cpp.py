"""Adapters as GGUF files: what llama.cpp's own conversion writes, and what its server computes with them."""

import copy
import math
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from portal.artifacts.peft_adapter import ARCHITECTURES, write_gguf_adapter
from portal.bases.base import load_base
from portal.bases.files import locate
from tests.support.bases import character_tokenizer, make_model
from tests.support.environment import free_port
from tests.support.model_server import post, running, serve_python
from tests.support.served_adapters import NEW_TOKENS, Served, export_for

pytestmark = [pytest.mark.serve, pytest.mark.timeout(900)]
SCRIPT = str(Path(__file__).parents[1] / "support" / "llama_cpp.py")
TOLERANCE, WITH_GELU = 1e-3, 5e-3  # nats, of a choice's log-likelihood; llama.cpp looks GELU up in fp16
TEXT = sorted(set(ARCHITECTURES) - {"gemma3"})  # whose text-only class is gemma3_text


def write_llama(folder: Path) -> None:
    """A random one: llama.cpp has the rows of its queries and keys in pairs."""
    make_model("llama", hidden=24, layers=2, seed=0).save_pretrained(folder)
    character_tokenizer(bos=False).save_pretrained(folder)


def write_gemma3(folder: Path) -> None:
    """mini-gemma3 with the window in all of its five layers: llama.cpp has it in five of every six."""
    base = load_base("mini-gemma3")
    config = copy.deepcopy(base.model.config)
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(base.model.state_dict())
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


WRITTEN = {"llama": write_llama, "gemma3": write_gemma3}


def script(*arguments: str) -> str:
    done = subprocess.run([serve_python(), SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


@dataclass(frozen=True)
class Asked:
    """A server with the adapters of `served`, which it numbers in their order."""

    served: Served
    address: str

    def complete(self, task: str | None, prompt: tuple[int, ...], **options: Any) -> Any:
        scales = [
            {"id": number, "scale": float(each == task)} for number, each in enumerate(self.served.tasks)
        ]
        body = {"prompt": list(prompt), "temperature": 0, "return_tokens": True, "lora": scales}
        return post(f"{self.address}/completion", body | options)

    def score(self, task: str | None, prompt: tuple[int, ...], choice: tuple[int, ...]) -> float:
        """One new token at a time: the server has no log-likelihoods of prompts."""
        total, everything = 0.0, self.served.base.text_config.vocab_size
        for place, token in enumerate(choice):
            answer = self.complete(task, prompt + choice[:place], n_predict=1, n_probs=everything)
            found = {
                each["id"]: each["logprob"] for each in answer["completion_probabilities"][0]["top_logprobs"]
            }
            total += found[token]
        return total


@pytest.fixture(scope="module", params=["mini-qwen3-m", "llama", "gemma3"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    serve_python()
    folder = tmp_path_factory.mktemp(request.param)
    name = request.param
    if name in WRITTEN:
        WRITTEN[name](folder / name)
        name = str(folder / name)
    served = export_for("llama.cpp", name, folder)
    files = ",".join(str(served.folder / task / "adapter.gguf") for task in served.tasks)
    adapted = ["--lora", files, "--lora-init-without-apply", "--cache-ram", "0"]
    assert shlex.split(served.command) == ["llama-server", "--model", f"{Path(name).name}.gguf", *adapted]
    script("convert", locate(name).location, str(folder / "base.gguf"))
    port = free_port()
    command = [serve_python(), SCRIPT, "serve", str(folder / "base.gguf"), str(port), files]
    with running(command, port=port, ready="/health", log=folder / "server.log") as address:
        yield Asked(served, address)


def test_choices_have_the_log_likelihoods_of_this_project(asked: Asked) -> None:
    rows = asked.served.rows[:4]
    most = WITH_GELU if asked.served.base.text_config.model_type.startswith("gemma") else TOLERANCE
    for task in (None, *asked.served.tasks):
        ours = asked.served.scores(task)
        theirs = [[asked.score(task, row.prompt, choice) for choice in row.choices] for row in rows]
        for one, other in zip(ours, theirs, strict=False):
            assert all(math.isclose(a, b, abs_tol=most) for a, b in zip(one, other, strict=True))
            assert one.index(max(one)) == other.index(max(other))


def test_greedy_texts_of_interleaved_adapters_are_equal_token_for_token(asked: Asked) -> None:
    ours = asked.served.texts()
    with ThreadPoolExecutor(8) as pool:
        futures = {
            (task, index): pool.submit(
                asked.complete, task, asked.served.rows[index].prompt, n_predict=NEW_TOKENS
            )
            for task, index in ours
        }
        theirs = {pair: tuple(each.result()["tokens"]) for pair, each in futures.items()}

    assert theirs == ours
    assert len(set(ours.values())) > len(asked.served.rows)


@pytest.mark.parametrize("family", TEXT)
def test_the_file_has_the_tensors_of_llama_cpps_conversion(family: str, tmp_path: Path) -> None:
    fused = family == "phi3"
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    others = {"intermediate_size": 48, "vocab_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **sizes, **others, **({} if fused else {"head_dim": 8}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(tmp_path / "base")
    modules = ["qkv", "o", "gate_up", "down"] if fused else ["q", "k", "v", "o", "gate", "up", "down"]
    lora = LoraConfig(r=4, lora_alpha=6, target_modules=[f"{module}_proj" for module in modules])
    adapted = get_peft_model(model, lora)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_()
    adapted.save_pretrained(tmp_path / "adapter")

    write_gguf_adapter(tmp_path / "ours.gguf", tmp_path / "adapter", config)
    converter = Path(script("sources")) / "convert_lora_to_gguf.py"
    files = [
        "--base",
        str(tmp_path / "base"),
        "--outfile",
        str(tmp_path / "theirs.gguf"),
        str(tmp_path / "adapter"),
    ]
    done = subprocess.run(
        [serve_python(), str(converter), *files, "--outtype", "f32"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-4000:]
    ours, theirs = GGUFReader(tmp_path / "ours.gguf"), GGUFReader(tmp_path / "theirs.gguf")
    tensors = [{each.name: np.array(each.data) for each in file.tensors} for file in (ours, theirs)]
    assert tensors[0].keys() == tensors[1].keys()
    assert len(tensors[0]) == 2 * 2 * len(modules)
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    for key in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"):
        assert ours.fields[key].contents() == theirs.fields[key].contents()
