#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of the fuzzers, corpus/<name>/seed_*: small valid files in the layout that the
fuzzer of that name takes apart. Other files in these folders are inputs that once ended a fuzzer."""
import json
import random
import struct
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CORPUS = FOLDER / "corpus"
TOKENIZERS = FOLDER.parent / "tools" / "tokenizers"
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


def write(name, seeds):
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed_{number:02}").write_bytes(seed)


def safetensors(tensors, metadata=None):
    """The layout of safetensors_bytes() in fuzz_input.hpp. `tensors`: name -> (type, shape)."""
    header, size = ({"__metadata__": metadata} if metadata else {}), 0
    for name, (kind, shape) in tensors.items():
        count = SIZES[kind]
        for extent in shape:
            count *= extent
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [size, size + count]}
        size += count
    return b"\0" + struct.pack("<H", size) + json.dumps(header).encode() + b"\0"


def trace(tokens, query_heads, kv_heads, head_dim, prompt):
    return safetensors({"q": ("F32", [tokens, query_heads, head_dim]),
                        "k": ("F16", [tokens, kv_heads, head_dim]),
                        "v": ("BF16", [tokens, kv_heads, head_dim])}, {"prompt_length": str(prompt)})


def as_gemma2(config, tensors, layer):
    config.update(hidden_act="gelu_pytorch_tanh", sliding_window=4, query_pre_attn_scalar=4)
    for side in ("pre", "post"):
        tensors[f"{layer}{side}_feedforward_layernorm.weight"] = ("BF16", [config["hidden_size"]])


def without(tensors, prefix):
    for name in [name for name in tensors if name.startswith(prefix)]:
        del tensors[name]


def as_gpt_oss(config, tensors, layer):
    experts, dim, hidden = 2, config["hidden_size"], config["intermediate_size"]
    config.update(num_local_experts=experts, num_experts_per_tok=1, sliding_window=4)
    for part, width in (("q", 8), ("k", 4), ("v", 4), ("o", dim)):
        tensors[f"{layer}self_attn.{part}_proj.bias"] = ("BF16", [width])
    tensors[layer + "self_attn.sinks"] = ("BF16", [config["num_attention_heads"]])
    without(tensors, layer + "mlp.")
    for name, shape in (("router.weight", [experts, dim]), ("router.bias", [experts]),
                        ("experts.gate_up_proj", [experts, dim, 2 * hidden]),
                        ("experts.gate_up_proj_bias", [experts, 2 * hidden]),
                        ("experts.down_proj", [experts, hidden, dim]),
                        ("experts.down_proj_bias", [experts, dim])):
        tensors[f"{layer}mlp.{name}"] = ("BF16", shape)


def as_deepseek_v2(config, tensors, layer):
    experts, rank, latent, plain, rotated, value, hidden = 2, 5, 6, 3, 2, 3, 4
    dim, heads = config["hidden_size"], config["num_attention_heads"]
    config.update(n_routed_experts=experts, num_experts_per_tok=1, n_shared_experts=1, n_group=2, topk_group=1,
                  topk_method="group_limited_greedy", moe_intermediate_size=hidden, q_lora_rank=rank,
                  kv_lora_rank=latent, qk_nope_head_dim=plain, qk_rope_head_dim=rotated, v_head_dim=value)
    without(tensors, layer + "self_attn.")
    without(tensors, layer + "mlp.")
    for name, shape in (("q_a_proj", [rank, dim]), ("q_a_layernorm", [rank]),
                        ("q_b_proj", [heads * (plain + rotated), rank]),
                        ("kv_a_proj_with_mqa", [latent + rotated, dim]), ("kv_a_layernorm", [latent]),
                        ("kv_b_proj", [heads * (plain + value), latent]), ("o_proj", [dim, heads * value])):
        tensors[f"{layer}self_attn.{name}.weight"] = ("BF16", shape)
    tensors[layer + "mlp.gate.weight"] = ("BF16", [experts, dim])
    for network in ("shared_experts", "experts.0", "experts.1"):
        for part, shape in (("gate", [hidden, dim]), ("up", [hidden, dim]), ("down", [dim, hidden])):
            tensors[f"{layer}mlp.{network}.{part}_proj.weight"] = ("BF16", shape)


def model_folder(model_type):
    heads, kv_heads, head_dim, dim, hidden, vocabulary = 2, 1, 4, 8, 12, 16
    config = {"model_type": model_type, "hidden_size": dim, "intermediate_size": hidden,
              "num_hidden_layers": 1, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
              "head_dim": head_dim, "vocab_size": vocabulary, "max_position_embeddings": 64,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": True, "eos_token_id": 2}
    layer = "model.layers.0."
    tensors = {"model.embed_tokens.weight": ("BF16", [vocabulary, dim]),
               "model.norm.weight": ("BF16", [dim]),
               layer + "input_layernorm.weight": ("BF16", [dim]),
               layer + "post_attention_layernorm.weight": ("BF16", [dim]),
               layer + "self_attn.q_proj.weight": ("BF16", [heads * head_dim, dim]),
               layer + "self_attn.k_proj.weight": ("BF16", [kv_heads * head_dim, dim]),
               layer + "self_attn.v_proj.weight": ("BF16", [kv_heads * head_dim, dim]),
               layer + "self_attn.o_proj.weight": ("BF16", [dim, heads * head_dim]),
               layer + "mlp.gate_proj.weight": ("BF16", [hidden, dim]),
               layer + "mlp.up_proj.weight": ("BF16", [hidden, dim]),
               layer + "mlp.down_proj.weight": ("BF16", [dim, hidden])}
    if model_type == "qwen2":
        for part, width in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            tensors[f"{layer}self_attn.{part}_proj.bias"] = ("BF16", [width * head_dim])
    if model_type == "qwen3":
        for part in "qk":
            tensors[f"{layer}self_attn.{part}_norm.weight"] = ("BF16", [head_dim])
    change = {"gemma2": as_gemma2, "gpt_oss": as_gpt_oss, "deepseek_v2": as_deepseek_v2}.get(model_type)
    if change:
        change(config, tensors, layer)
    index = {"weight_map": {name: "model.safetensors" for name in tensors}}
    chat = {"chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% endfor %}"}
    parts = [json.dumps(part).encode() for part in (config, chat)]
    whole = b"\0".join(parts) + b"\0"
    return [whole + b"\0" + safetensors(tensors),
            whole + b"\1" + json.dumps(index).encode() + b"\0" + safetensors(tensors)]


def llama2c():
    dim, hidden, layers, heads, kv_heads, vocabulary, context = 4, 4, 1, 2, 1, 259, 4
    kv_dim = dim * kv_heads // heads
    numbers = (vocabulary * dim + 2 * layers * dim + 2 * layers * dim * dim + 2 * layers * dim * kv_dim
               + 3 * layers * dim * hidden + dim + context * dim // heads)
    model = struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocabulary, context)
    model += struct.pack("<f", 0.5) * numbers
    words = [b"<unk>", b"\n<s>\n", b"\n</s>\n"] + [b"<0x%02X>" % byte for byte in range(256)]
    tokenizer = struct.pack("<i", 8)
    for word in words:
        tokenizer += struct.pack("<fi", 0.0, len(word)) + word
    return struct.pack("<HH", vocabulary - 1, len(model)) + model + tokenizer


def tokenizer(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["merges"] = content["model"]["merges"][:16]
    text = "Hello world, it's 123 \u65e5\u672c \U0001f600 <|im_start|>\n"
    vocabulary = max(content["model"]["vocab"].values())
    whole = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return struct.pack("<H", vocabulary) + whole.encode() + b"\0" + text.encode()


def main():
    write("safetensors", [safetensors({}), safetensors({"a": ("F32", [2, 3]), "b": ("BF16", [5])}),
                          safetensors({"a": ("F16", [0]), "i": ("I64", [3])}, {"key": "text"}),
                          b"\7" + struct.pack("<Q", 2) + b"{}"])
    write("trace", [trace(1, 1, 1, 1, 1), trace(5, 4, 2, 3, 3)])
    write("model_folder", [seed for kind in ("llama", "qwen2", "qwen3", "mistral", "smollm3", "gemma2",
                                                    "gpt_oss", "deepseek_v2")
                           for seed in model_folder(kind)])
    write("llama2c", [llama2c()])
    write("tokenizer", [tokenizer(TOKENIZERS / f"{name}.json")
                        for name in ("digits", "llama3", "metaspace", "qwen2", "sentencepiece")])
    # Each folder and seed has random bytes of its own: one more changes no other.
    for name, policies in (("eviction", 18), ("cache", 16), ("tiers", 7)):
        write(name, [bytes([policy]) + random.Random(f"{name} {policy}").randbytes(160)
                     for policy in range(policies)])
    # A kind of cache, three numbers of tokens, a kind of alteration, and what it needs.
    write("snapshot", [bytes([kind, 99, 201, 70, 8 * kind + kind])
                       + random.Random(f"snapshot {kind}").randbytes(24) for kind in range(9)])


main()
