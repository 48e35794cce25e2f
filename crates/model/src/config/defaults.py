"""Writes what transformers assumes of fields that a config leaves out, per model type.

    pip install transformers==4.57.1
    python defaults.py > defaults.json
"""

import json

from transformers import AutoConfig

TYPES = ["gemma3_text", "granite", "llama", "ministral", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "smollm3"]
FIELDS = """vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
head_dim max_position_embeddings rms_norm_eps tie_word_embeddings hidden_act hidden_activation attention_bias
mlp_bias sliding_window use_sliding_window max_window_layers sliding_window_pattern no_rope_layer_interval
rope_theta rope_local_base_freq partial_rotary_factor original_max_position_embeddings num_local_experts
num_experts_per_tok embedding_multiplier attention_multiplier residual_multiplier logits_scaling
query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping""".split()

defaults = {}
for name in TYPES:
    try:
        config = AutoConfig.for_model(name)
    except ValueError:
        continue
    values = {field: getattr(config, field, None) for field in FIELDS}
    # What is derived from other fields is no default.
    if values["num_key_value_heads"] == values["num_attention_heads"]:
        values["num_key_value_heads"] = None
    if values["head_dim"] == values["hidden_size"] // values["num_attention_heads"] and name != "qwen3":
        values["head_dim"] = None
    if name == "gemma3_text":
        values["sliding_window_pattern"] = 6  # taken from the arguments, and kept as a list of layers
    defaults[name] = {field: value for field, value in values.items() if value is not None}
print(json.dumps(defaults, indent=2))
