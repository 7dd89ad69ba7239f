"""Commands that serve adapters, and the routing beside them; `make serve-test` runs what they start."""

import json
import runpy
import shlex
from pathlib import Path

import pytest

from portal.artifacts.serving import serve_command, vllm_rank, write_routing
from portal.bases.registry import known_bases
from portal.config import AdapterConfig
from tests.support.artifacts import export_random
from tests.support.bases import make_base

ADAPTERS = {"copa": Path("out dir/copa"), "sciq": Path("out dir/sciq")}


def test_the_command_names_the_pinned_base_its_adapters_and_a_rank_that_holds_them() -> None:
    known = known_bases()["qwen3-4b"]

    vllm = shlex.split(serve_command("vllm", "qwen3-4b", None, ADAPTERS, 10))
    sglang = shlex.split(serve_command("sglang", "qwen3-4b", None, ADAPTERS, 10))

    pinned = [known.location, "--revision", known.revision, "--enable-lora"]
    named = ["copa=out dir/copa", "sciq=out dir/sciq"]
    ranks = ["--max-lora-rank", "16", "--max-loras", "3"]
    assert vllm == ["vllm", "serve", *pinned, *ranks, "--lora-modules", *named]
    launch = ["python", "-m", "sglang.launch_server", "--model-path"]
    ranks = ["--max-lora-rank", "10", "--max-loras-per-batch", "2"]
    assert sglang == [*launch, *pinned, *ranks, "--lora-paths", *named]


def test_the_commit_that_the_adapters_are_for_is_served_and_an_embedded_base_from_its_folder() -> None:
    for base in ("qwen3-4b", "org/other"):
        words = shlex.split(serve_command("vllm", base, "c" * 40, ADAPTERS, 8))
        assert words[3:5] == ["--revision", "c" * 40]
    words = shlex.split(serve_command("vllm", "mini-gemma3", "5d13" * 16, {"a": Path("a")}, 4))
    assert (Path(words[2]) / "model.safetensors").is_file()
    assert "--revision" not in words


def test_llama_cpp_gets_gguf_files_and_paths_that_part_an_option_another_form_or_a_refusal() -> None:
    words = shlex.split(serve_command("llama.cpp", "Qwen/Qwen3-4B-Base", None, ADAPTERS, 10))
    files = "out dir/copa/adapter.gguf,out dir/sciq/adapter.gguf"
    base = ["llama-server", "--model", "Qwen3-4B-Base.gguf"]
    assert words == [*base, "--lora", files, "--lora-init-without-apply", "--cache-ram", "0"]

    adapters = {"copa": Path("lr=1e-3,v2/copa")}
    words = shlex.split(serve_command("vllm", "qwen3-4b", None, adapters, 8))
    assert json.loads(words[-1]) == {"name": "copa", "path": "lr=1e-3,v2/copa"}
    with pytest.raises(ValueError, match=r"llama\.cpp takes no path with a comma"):
        serve_command("llama.cpp", "qwen3-4b", None, adapters, 8)


def test_ranks_of_vllm_hold_the_adapters_and_one_that_is_too_large_is_refused() -> None:
    for rank, limit in ((1, 1), (2, 8), (8, 8), (9, 16), (512, 512), (513, None)):
        assert vllm_rank(rank) == limit
    with pytest.raises(ValueError, match="rank 513: vLLM serves adapters of rank 512 at most"):
        serve_command("vllm", "qwen3-4b", None, ADAPTERS, 513)


def test_the_routing_knows_all_adapters_below_its_folder(tmp_path: Path) -> None:
    adapter = AdapterConfig(rank=2, alpha=2)
    export_random(tmp_path / "sums", make_base('a "b"', "qwen3"), adapter)
    export_random(tmp_path / "org--c" / "sums", make_base("org/c", "llama"), adapter)

    found = runpy.run_path(str(write_routing(tmp_path)))

    assert found["ADAPTERS"] == {('a "b"', "sums"): "sums", ("org/c", "sums"): "sums"}
    assert found["SERVERS"] == {'a "b"': "http://localhost:8000", "org/c": "http://localhost:8001"}
    assert callable(found["complete"])


def test_addresses_that_were_filled_in_stay_and_a_file_of_ones_own_is_refused(tmp_path: Path) -> None:
    adapter = AdapterConfig(rank=2, alpha=2)
    export_random(tmp_path / "sums", make_base("one", "qwen3"), adapter)
    path = write_routing(tmp_path)
    path.write_text(path.read_text().replace("http://localhost:8000", "http://gpu-7:9000"))
    export_random(tmp_path / "more" / "sums", make_base("two", "llama"), adapter)

    assert runpy.run_path(str(write_routing(tmp_path)))["SERVERS"] == {
        "one": "http://gpu-7:9000",
        "two": "http://localhost:8001",
    }
    path.write_text("SERVERS = {}\n")
    with pytest.raises(ValueError, match="not a file that portal has written"):
        write_routing(tmp_path)
