"""Which class of transformers makes a base: a causal language model, or one that sees images as well."""

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig

IMAGE_FAMILIES = frozenset({"mistral3"})
"""Model types of which transformers has no causal language model, and whose models read text alone as well,
as tests show. Others of that kind need images, or were not tried."""
_TOWERS = ("vision_model.", "multi_modal_projector.")


def model_class(config: PretrainedConfig) -> Any:
    """The auto class that makes a model of this config: with what sees images where that is the only way."""
    return AutoModelForImageTextToText if config.model_type in IMAGE_FAMILIES else AutoModelForCausalLM


def is_of_a_tower(weight: str, config: PretrainedConfig, model: Any) -> bool:
    """Whether a weight that `model` has no place for is that of a vision tower around its decoder.

    Of Llama 4's config transformers makes the decoder alone, and does not say that it leaves out the rest.
    """
    return type(model.config) is not type(config) and weight.startswith(_TOWERS)
