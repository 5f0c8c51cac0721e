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
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 2048


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

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).view(b, t, self.heads, self.dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(b, t, self.kv_heads, self.dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.dim).transpose(1, 2)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
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

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
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

    def forward(self, ids):
        """The final hidden states, [batch, tokens, hidden_size]; `logits` makes words of them."""
        t = ids.shape[1]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)


@torch.no_grad()
def generate(model, prompts, tokens):
    """Greedy continuation of prompts of different lengths, all in step; returns lists of ids."""
    c, batch = model.config, len(prompts)
    total = max(map(len, prompts)) + tokens
    group = c.num_attention_heads // c.num_key_value_heads
    keys, values = (
        torch.zeros(c.num_hidden_layers, batch, c.num_key_value_heads, total, c.head_dim)
        for _ in range(2)
    )
    ids = torch.zeros(batch, total, dtype=torch.long)
    given = torch.zeros(batch, total, dtype=torch.bool)
    for b, prompt in enumerate(prompts):
        ids[b, : len(prompt)] = torch.tensor(prompt)
        given[b, : len(prompt)] = True
    for t in range(total - 1):
        x = model.embed_tokens(ids[:, t])
        cos, sin = model.cos[t], model.sin[t]
        for n, layer in enumerate(model.layers):
            a, h = layer.self_attn, layer.input_layernorm(x)
            q = rotate(a.q_proj(h).view(batch, c.num_key_value_heads, group, c.head_dim), cos, sin)
            k = rotate(a.k_proj(h).view(batch, c.num_key_value_heads, c.head_dim), cos, sin)
            keys[n, :, :, t] = k
            values[n, :, :, t] = a.v_proj(h).view_as(k)
            scores = q @ keys[n, :, :, : t + 1].transpose(-1, -2) * c.head_dim**-0.5
            y = scores.softmax(-1) @ values[n, :, :, : t + 1]
            x = x + a.o_proj(y.reshape(batch, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        best = model.logits(model.norm(x)).argmax(-1)
        ids[:, t + 1] = torch.where(given[:, t + 1], ids[:, t + 1], best)
    return [row[len(p) : len(p) + tokens].tolist() for row, p in zip(ids, prompts)]


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
        blob = tensor.detach().to(dtype).contiguous().numpy().tobytes()
        span = [offset, offset + len(blob)]
        header["model." + key] = {"dtype": name[1], "shape": list(tensor.shape), "data_offsets": span}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
