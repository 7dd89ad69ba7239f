"""`TextMap`: the trained map from an encoder's embeddings to task latents, as an artifact keeps it."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from portal.config import TextConfig

TEXT_MAP = "text.safetensors"
"""The file of an artifact that holds it. portallib does not read it."""
_FORMAT = "portal-text"


@dataclass(frozen=True)
class TextMap:
    """z = W x + b for the embedding x, (d,), of a description. `encoder` is known by its name and weights."""

    encoder: str
    encoder_sha256: str
    weight_ZD: Tensor
    bias_Z: Tensor

    @classmethod
    def of(cls, linear: nn.Linear, text: TextConfig) -> "TextMap":
        """A copy of what a run has trained, on the CPU."""
        weight, bias = linear.weight.detach().cpu().clone(), linear.bias.detach().cpu().clone()
        return cls(text.encoder, text.encoder_sha256, weight, bias)

    @classmethod
    def read(cls, path: Path, *, width: int) -> "TextMap":
        """The map to latents of that width in a file; ValueError when it is damaged or of another width."""
        try:
            with safe_open(path, framework="pt") as file:
                known = file.metadata() or {}
                if known.get("format") != _FORMAT:
                    raise ValueError(f"{path}: not the text map of an artifact")
                weight, bias = file.get_tensor("weight").float(), file.get_tensor("bias").float()
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged or missing text map ({error})") from None
        if weight.shape[0] != width or bias.shape != (width,):
            raise ValueError(f"{path}: a text map to latents of width {len(bias)}, {width} is expected")
        return cls(known["encoder"], known["encoder_sha256"], weight, bias)

    def to_bytes(self) -> bytes:
        """The content of its file."""
        metadata = {"format": _FORMAT, "encoder": self.encoder, "encoder_sha256": self.encoder_sha256}
        return save({"weight": self.weight_ZD, "bias": self.bias_Z}, metadata=metadata)

    def latents(self, embedding_ND: Tensor) -> Tensor:
        """The latents of embedded descriptions, (N, d_z)."""
        return embedding_ND @ self.weight_ZD.T + self.bias_Z
