# SPDX-License-Identifier: Apache-2.0
"""The Llama architecture in PyTorch, with the weights' names and layout of Hugging Face's files."""

import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 320
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 32
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 20480


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x * scale).type_as(x) * self.weight


def rotary_table(config, positions):
    """cos and sin of every position, [positions, head_dim]; pairs are (i, i + head_dim / 2)."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angles = torch.outer(positions.double(), config.rope_theta**-half)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-right, left], dim=-1) * sin).type_as(x)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c.hidden_size, bias=False)

    def forward(self, x, cos, sin, bias=None):
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).view(b, t, self.heads, self.dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(b, t, self.kv_heads, self.dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.dim).transpose(1, 2)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, bias=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, bias)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Input and output embeddings are tied."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        cos, sin = rotary_table(config, torch.arange(config.max_position_embeddings))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if p is self.embed_tokens.weight else p.shape[1] ** -0.5)
        for layer in self.layers:  # the residual stream starts small
            for out in (layer.self_attn.o_proj, layer.mlp.down_proj):
                nn.init.zeros_(out.weight)

    def forward(self, ids, positions, bias=None):
        """The final hidden states, [batch, tokens, hidden_size]; `logits` makes words of them.

        positions: [batch, tokens]. bias: what is added to the attention's logits, [batch, 1, tokens,
        tokens], with -inf for what is not seen; without it, attention is causal.
        """
        x = self.embed_tokens(ids)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        for layer in self.layers:
            x = layer(x, cos, sin, bias)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)


@torch.no_grad()
def load_weights(model, folder, words):
    """Takes what an exported model knows; words that it does not know keep their random rows."""
    folder = Path(folder)
    known = json.loads((folder / "vocab.json").read_text())
    blob = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    state = model.state_dict()
    for key, target in state.items():
        entry = header["model." + key]
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = {"F16": torch.float16, "F32": torch.float32}[entry["dtype"]]
        values = torch.frombuffer(bytearray(blob[begin:end]), dtype=dtype).view(entry["shape"]).float()
        if key == "embed_tokens.weight":
            target *= values.std() / target.std()
            for word, row in known.items():
                target[words.index(word)] = values[row]
        else:
            target.copy_(values)


def export(model, folder, words, dtype=torch.float16):
    """Writes config.json, model.safetensors and vocab.json as Hugging Face lays them out."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = {torch.float16: ("float16", "F16"), torch.float32: ("float32", "F32")}[dtype]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(model.config),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": words.index("<bos>"),
        "torch_dtype": name[0],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, indent=0) + "\n")
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for key, tensor in sorted(model.state_dict().items()):
        blob = tensor.detach().cpu().to(dtype).contiguous().numpy().tobytes()
        span = [offset, offset + len(blob)]
        header["model." + key] = {"dtype": name[1], "shape": list(tensor.shape), "data_offsets": span}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
