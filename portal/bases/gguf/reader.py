"""What a GGUF file says of itself: its architecture, its quantisation, its tokenizer's lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFReader

PACKAGE_HINT = "install it with the extra: pip install 'portal-sweeps[gguf]' (or pip install gguf)"


class GgufFile:
    """An opened GGUF file; ValueError when it is no such file or the reader's package is not installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)

    def value(self, name: str) -> Any:
        """The metadata value of that name; ValueError when the file has none."""
        if name not in self._reader.fields:
            raise ValueError(f"{self.path}: no {name!r} in its metadata")
        return self._reader.fields[name].contents()

    def optional(self, name: str) -> Any:
        """The metadata value of that name, or None."""
        return self.value(name) if name in self._reader.fields else None

    @property
    def architecture(self) -> str:
        return str(self.value("general.architecture"))

    @property
    def quantisation(self) -> str:
        """The type in which most of the weights are stored, such as Q4_1; F32, F16 and BF16 are whole."""
        sizes: dict[str, int] = {}
        for tensor in self._reader.tensors:
            sizes[tensor.tensor_type.name] = sizes.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
        return max(sizes, key=lambda name: sizes[name])

    def check_types(self) -> None:
        """ValueError, naming the tensor and its type, for one that cannot be turned back to numbers."""
        import numpy as np
        from gguf.constants import GGML_QUANT_SIZES
        from gguf.quants import dequantize

        checked = set()
        for tensor in self._reader.tensors:
            kind = tensor.tensor_type
            if kind in checked:
                continue
            block = np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
            try:
                dequantize(block, kind)
            except NotImplementedError:
                raise ValueError(
                    f"{self.path}: tensor {tensor.name} is of type {kind.name}, which cannot be read: the "
                    "package gguf has no dequantisation for it"
                ) from None
            checked.add(kind)


def _open(path: Path) -> "GGUFReader":
    if not path.is_file():
        raise ValueError(f"{path}: no such GGUF file")
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError:
        raise ValueError(f"{path}: reading GGUF needs the package gguf; {PACKAGE_HINT}") from None
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, OverflowError, KeyError) as error:
        raise ValueError(f"{path}: not readable as GGUF ({error})") from None
