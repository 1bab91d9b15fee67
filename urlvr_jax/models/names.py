"""What a Hugging Face folder calls our parameters."""

from __future__ import annotations

import re

from urlvr_jax.models.transformer import ModelConfig

# Our name -> theirs. Matrices (kernels) are transposed: theirs are [outputs, inputs], ours [inputs, outputs].
_LAYER = r"layers\.(\d+)\."
TABLE = (
    (r"embed", r"model.embed_tokens.weight"),
    (r"head", r"lm_head.weight"),
    (r"final_norm\.scale", r"model.norm.weight"),
    (_LAYER + r"attention\.([qkvo])\.kernel", r"model.layers.\1.self_attn.\2_proj.weight"),
    (_LAYER + r"attention\.([qkvo])\.bias", r"model.layers.\1.self_attn.\2_proj.bias"),
    (_LAYER + r"attention\.([qk])_norm\.scale", r"model.layers.\1.self_attn.\2_norm.weight"),
    (_LAYER + r"feedforward\.(gate|up|down)\.kernel", r"model.layers.\1.mlp.\2_proj.weight"),
    (_LAYER + r"feedforward\.(gate|up|down)\.bias", r"model.layers.\1.mlp.\2_proj.bias"),
)
NORMS_BEFORE = (
    (_LAYER + r"attention_norm\.scale", r"model.layers.\1.input_layernorm.weight"),
    (_LAYER + r"feedforward_norm\.scale", r"model.layers.\1.post_attention_layernorm.weight"),
)
NORMS_AFTER = (
    (_LAYER + r"attention_norm\.scale", r"model.layers.\1.post_attention_layernorm.weight"),
    (_LAYER + r"feedforward_norm\.scale", r"model.layers.\1.post_feedforward_layernorm.weight"),
)
BUFFERS = r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"  # of old files; no weights


def their_names(names, config: ModelConfig) -> dict[str, tuple[str, bool]]:
    """Our parameter name -> their tensor name, and whether to transpose."""
    table = TABLE + (NORMS_AFTER if config.norm_after else NORMS_BEFORE)
    out = {}
    for name in names:
        found = [m.expand(theirs) for ours, theirs in table if (m := re.fullmatch(ours, name))]
        if len(found) != 1:
            raise ValueError(
                f"parameter {name!r} matches {len(found)} rows of the name table, expected one"
            )
        out[name] = found[0], name.endswith(".kernel")
    return out
