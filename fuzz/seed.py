#!/usr/bin/env python3
"""Writes small valid inputs of each target into fuzz/corpus, from the fixtures of the tests."""

import json
import re
import struct
from pathlib import Path

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "tests" / "fixtures"
CORPUS = HERE / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def tiny_gguf():
    """A model of one layer of width 32 with nothing in its vocabulary."""
    keys = {"embedding_length": 32, "block_count": 1, "attention.head_count": 2, "feed_forward_length": 32,
            "context_length": 64, "attention.head_count_kv": 1, "vocab_size": 8}
    metadata = [string("general.architecture") + struct.pack("<I", 8) + string("llama")]
    metadata += [string(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in keys.items()]
    shapes = {"token_embd": (8, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,),
              "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32),
              "blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (32, 32), "blk.0.ffn_up": (32, 32),
              "blk.0.ffn_down": (32, 32)}
    kinds = {2: 18, 8: 34, 20: 18, 39: 17}  # bytes of a block of 32
    for kind, block in kinds.items():
        entries, data = [], b""
        for name, shape in shapes.items():
            matrix = len(shape) > 1
            size = shape[0] * block if matrix else 4 * shape[0]
            dims = b"".join(struct.pack("<Q", n) for n in reversed(shape))
            entries.append(string(name + ".weight") + struct.pack("<I", len(shape)) + dims
                           + struct.pack("<IQ", kind if matrix else 0, len(data)))
            data += bytes(-(-size // 32) * 32)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(metadata)) + b"".join(metadata + entries)
        yield kind, head + bytes(-len(head) % 32) + data


def part(data):
    return struct.pack("<H", len(data)) + data


for kind, data in tiny_gguf():
    put("gguf", f"tiny-{kind}", data)
for folder in sorted((FIXTURES / "prequantized").iterdir()):
    if folder.is_dir():
        tensors, config = (folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()
        put("safetensors", folder.name, b"\0" + part(b"") + part(config) + tensors)
        size = struct.unpack("<Q", tensors[:8])[0]
        names = [name for name in json.loads(tensors[8 : 8 + size])]
        index = json.dumps({"weight_map": {name: "a.safetensors" for name in names}}).encode()
        put("safetensors", folder.name + "-index", b"\1" + part(index) + part(config) + tensors)
        put("config", folder.name, b"\0" + config)
for folder in sorted((FIXTURES / "checkpoints").iterdir()):
    put("config", folder.name, b"\0" + (folder / "config.json").read_bytes())
params = {"dim": 64, "n_layers": 1, "head_dim": 16, "hidden_dim": 128, "n_heads": 4, "n_kv_heads": 4, "norm_eps": 1e-5,
          "vocab_size": 128, "rope_theta": 1e6, "sliding_window": [16, None], "moe": {"num_experts": 2, "num_experts_per_tok": 1},
          "yarn": {"factor": 2, "original_max_position_embeddings": 32, "beta": 32, "alpha": 1, "apply_scale": False}}
put("config", "params", b"\1" + json.dumps(params).encode())
put("tokenizer", "json", b"\0" + (FIXTURES / "checkpoints/llama2/tokenizer.json").read_bytes())
tekken = json.loads((FIXTURES / "mistral/tekken-v3/tekken.json").read_text())
tekken["vocab"] = tekken["vocab"][:300]
tekken["config"].update(default_vocab_size=324, default_num_special_tokens=24, num_vocab_tokens=300)
put("tokenizer", "tekken", b"\1" + json.dumps(tekken).encode())
model = (FIXTURES / "mistral/spm-v1/tokenizer.model").read_bytes()
put("tokenizer", "model", b"\2" + model)
special = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}
put("tokenizer", "config", b"\3" + json.dumps(special | {"chat_template": "{{ messages[0].content }}"}).encode())
put("tokenizer", "special", b"\4" + json.dumps(special).encode())
generation = {"eos_token_id": [2, 5], "do_sample": True, "temperature": 0.6}
put("tokenizer", "generation", b"\6" + json.dumps(generation).encode())
put("tokenizer", "ends", b"\7" + json.dumps({"text_config": {"eos_token_id": 7}}).encode())
for path in sorted((FIXTURES / "templates").glob("*.jinja")):
    put("tokenizer", path.stem, b"\5" + path.read_bytes())
# Whole requests: the path by its place in the target's list, how, and the body.
target = (Path(__file__).parent / "fuzz_targets/http.rs").read_text()
paths = re.findall(r'"(/[^"]*)"', target.split("const PATHS")[1].split("];")[0])
requests = [json.loads(line.replace("$CONTEXT", "4096")) for name in ("requests", "more") for line in
            (FIXTURES / f"cases/{name}.jsonl").read_text().split("\n") if line.strip()]
requests += [json.loads(path.read_text()) for path in sorted((FIXTURES / "agents").glob("*.json"))]
for number, request in enumerate(requests):
    path = request.get("path", "").split("?")[0]
    if path in paths and "body" in request:
        body = json.dumps(request["body"]).replace("$MODEL", "speller")
        put("http", f"case-{number}", bytes([paths.index(path), 16]) + body.encode())
for number, path in enumerate(paths):
    put("http", f"bare-{number}", bytes([number, 3]))
    put("http", f"empty-{number}", bytes([number, 16]) + b"{}")
common = {"model": "speller", "max_tokens": 3, "temperature": 0.5, "seed": 1, "stop": ["a"], "n": 2, "logprobs": True,
          "top_logprobs": 2, "logit_bias": {"5": 1}, "min_p": 0.1, "top_k": 5, "dry_multiplier": 0.5, "bad_words": ["b"],
          "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object",
          "properties": {"a": {"type": "integer", "minimum": 1, "multipleOf": 3}}}}}, "priority": 1, "cache_salt": "s"}
messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}]
put("http", "all-chat", bytes([0, 16]) + json.dumps(common | {"messages": messages, "stream": True}).encode())
put("http", "all-completion", bytes([1, 16]) + json.dumps({"prompt": ["a", "b"], "echo": True, "logprobs": 2,
    "best_of": 3, "guided_regex": "[a-c]{1,5}", "max_tokens": 4, "prompt_logprobs": 1}).encode())
put("http", "all-tokenize", bytes([12, 16]) + json.dumps({"prompt": "abc", "return_token_strs": True}).encode())
put("http", "all-detokenize", bytes([13, 16]) + json.dumps({"tokens": [5, 6]}).encode())
put("http", "all-embed", bytes([4, 16]) + json.dumps({"input": ["a", "b"], "encoding_format": "base64"}).encode())
# Character cards: the first byte says whether they are TOML.
for path in sorted((HERE.parent / "crates/persona/tests/cards").iterdir()):
    put("persona", path.name, bytes([path.suffix == ".toml"]) + path.read_bytes())
