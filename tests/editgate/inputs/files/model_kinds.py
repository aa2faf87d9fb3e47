"""Models that a config alone shows not to be what is judged here, each with its reason and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editgate.errors import ConfigError

METHODS = {
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "fbgemm_fp8": "FP8",
    "fp8": "FP8",
    "gptq": "GPTQ",
    "mxfp4": "MXFP4",
}
OTHER_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
OTHER_SENSES = ("vision_config", "audio_config")


def refuse(shown: str, config: Mapping[str, Any]) -> None:
    """Refuse quantized weights, encoder-decoders, models that write no text, and models that also see or hear.

    Args:
        shown: what messages call the model.
        config: its config.json.

    Raises:
        ConfigError: it is one of these.
    """
    _refuse_quantized(shown, config)
    if config.get("is_encoder_decoder"):
        raise ConfigError(
            f"{shown} is an encoder-decoder ({config.get('model_type')}): it reads with one model and writes with "
            "another. Allowed: decoders alone, which transformers' AutoModelForCausalLM loads."
        )
    if head := next((each for each in OTHER_HEADS if each in _architecture(config)), None):
        raise ConfigError(
            f"{shown} is a {_architecture(config)}: it has a head {head.removeprefix('For')}, and writes no text. "
            "Allowed: models with a causal head (…ForCausalLM)."
        )
    if sense := next((name for name in OTHER_SENSES if isinstance(config.get(name), dict)), None):
        raise ConfigError(
            f"{shown} is a language model inside of one that also takes images or sound ({sense} in config.json, "
            f"{_architecture(config)}). Save the language model alone, in a few lines that docs/models.md shows."
        )


def _refuse_quantized(shown: str, config: Mapping[str, Any]) -> None:
    """A rounded copy of each weight is what is loaded: an edit of it would be rounded again, and is saved by no one."""
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return
    method = str(found.get("quant_method", "")) if isinstance(found, dict) else ""
    bits = next((found[name] for name in ("bits", "w_bit") if name in found), None) if isinstance(found, dict) else None
    named = f"{METHODS.get(method, method) or 'an unnamed method'}{f', {bits} bits' if bits else ''}"
    raise ConfigError(
        f"{shown} has quantized weights ({named}), which editors cannot write and this suite does not load. Give the "
        "model that it was quantized from, or a dequantized copy (from_pretrained, dequantize(), save_pretrained)."
    )


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else str(config.get("model_type"))
