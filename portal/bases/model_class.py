"""Which class of transformers makes a base: a causal language model, or one that sees images as well."""

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

_TOWERS = ("vision_model.", "multi_modal_projector.")


def model_class(config: PretrainedConfig) -> Any:
    """The auto class that makes a model of this config; what it makes reads text alone, too.

    Ministral 3 and others are published with a vision tower, and transformers has no causal language model of
    their config. An encoder-decoder is no base: AutoModelForCausalLM refuses it.
    """
    if is_image_model(config.model_type) and not config.is_encoder_decoder:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def is_image_model(family: str) -> bool:
    """Whether transformers has models of that type for images and text, and no causal language model."""
    return (
        family in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        and family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )


def is_of_a_tower(weight: str, config: PretrainedConfig, model: Any) -> bool:
    """Whether a weight that `model` has no place for is that of a vision tower around its decoder.

    Of Llama 4's config transformers makes the decoder alone, and does not say that it leaves out the rest.
    """
    return type(model.config) is not type(config) and weight.startswith(_TOWERS)
