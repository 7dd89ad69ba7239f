"""`Geometry`: the published sizes of a base; its adaptable widths and its config follow without a network."""

from dataclasses import dataclass
from typing import Any

_GEMMA3_VISION = {  # SigLIP, as every multimodal Gemma-3 has it: not adapted, but in memory
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}


@dataclass(frozen=True)
class Geometry:
    """Sizes of a base's text decoder. `family` is transformers' model type of the whole model."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int  # tokens
    tied: bool = True  # the head is the embedding
    sliding_window: int | None = None

    @property
    def layer_path(self) -> str:
        """The dotted path of the decoder's layer list in the loaded model."""
        return "model.language_model.layers" if self.family == "gemma3" else "model.layers"

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """(d_in, d_out) of each projection, by module; every layer has the same."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q": (self.hidden, q),
            "k": (self.hidden, kv),
            "v": (self.hidden, kv),
            "o": (q, self.hidden),
            "gate": (self.hidden, self.feed_forward),
            "up": (self.hidden, self.feed_forward),
            "down": (self.feed_forward, self.hidden),
        }

    @property
    def config(self) -> dict[str, Any]:
        """Values of a transformers config of `family`, enough for the model's shapes."""
        text = {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.feed_forward,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": self.tied,
            "sliding_window": self.sliding_window,
        }
        if self.family != "gemma3":
            return text
        return {"text_config": {"model_type": "gemma3_text", **text}, "vision_config": _GEMMA3_VISION}
