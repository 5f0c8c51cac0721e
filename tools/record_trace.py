#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records the queries, keys and values of a transformers model, as traces for the program `replay`.

The model runs as it is: its attention function is replaced by one that notes its arguments and calls
the original. Keys and values are noted before they are repeated for the query heads of a group.
"""

import argparse
import importlib
import inspect
import json
import math
import os
import sys
import time
from pathlib import Path

SKIPPED = 77  # exit status, as in automake and ctest's SKIP_RETURN_CODE
PACKAGES = ("torch", "transformers", "safetensors")
INTERFACE = "morphkv_record"


def require(*names):
    """The modules of these names; exits with SKIPPED if one is not installed."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        print(f"SKIPPED: {error}. Install it with: pip install {' '.join(PACKAGES)}", file=sys.stderr)
        sys.exit(SKIPPED)


def whole(minimum):
    """An argparse type: an integer of at least `minimum`."""
    def number(text):
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text}: must be an integer of at least {minimum}")
        return int(text)
    return number


def layer_list(text):
    """An argparse type: layer numbers between commas, or all."""
    if text == "all":
        return None
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: must be numbers from 0 between commas, or all")
    return sorted({int(part) for part in parts})


def path_of_layer(path, layer, count):
    """With several layers, each is a file of its own: trace.safetensors, layer 7: trace.7.safetensors."""
    return path if count == 1 else path.with_name(f"{path.stem}.{layer}{path.suffix}")


class LayerTrace:
    """Queries, keys and values of one layer, block after block: [tokens, heads, head_dim]."""

    def __init__(self, layer):
        self.layer = layer
        self.blocks = {"q": [], "k": [], "v": []}

    def add(self, query, key, value, scaling):
        """Tensors [1, heads, tokens, head_dim]; keys and values may have earlier tokens before these."""
        tokens, head_dim = query.shape[2], query.shape[3]
        if value.shape != key.shape or key.shape[3] != head_dim or query.shape[1] % key.shape[1] != 0:
            raise ValueError(
                f"--layers: layer {self.layer} has queries {list(query.shape)}, keys {list(key.shape)} and values "
                f"{list(value.shape)}: must be of one head_dim, with a multiple of the key heads as query heads"
            )
        # A trace has the queries of attention that divides by the square root of head_dim.
        factor = 1.0 if scaling is None else scaling * math.sqrt(head_dim)
        query = query if math.isclose(factor, 1.0, rel_tol=1e-6) else query.float() * factor
        for name, tensor in (("q", query), ("k", key[:, :, -tokens:]), ("v", value[:, :, -tokens:])):
            self.blocks[name].append(tensor[0].transpose(0, 1).float().cpu().contiguous())

    def tensors(self, torch):
        return {name: torch.cat(blocks) for name, blocks in self.blocks.items()}


class Recorder:
    """An attention function of transformers that notes its arguments."""

    def __init__(self, attention, layers, tokens):
        self.attention = attention  # sdpa or eager
        self.traces = {layer: LayerTrace(layer) for layer in layers}
        self.tokens = tokens

    def __call__(self, module, query, key, value, attention_mask, **options):
        trace = self.traces.get(module.layer_idx)
        if trace is not None:
            self.check(module, query, options)
            trace.add(query, key, value, options.get("scaling"))
        return self.function_of(module)(module, query, key, value, attention_mask, **options)

    def check(self, module, query, options):
        """Refuses a layer whose attention is not softmax(q K^T / sqrt(head_dim)) over all tokens."""
        layer = f"--layers: layer {module.layer_idx}"
        window = options.get("sliding_window") or getattr(module, "sliding_window", None)
        if window is not None and window < self.tokens:
            raise ValueError(f"{layer} attends to {window} tokens: must attend to all {self.tokens} of this trace; "
                             "choose layers of full attention, or fewer tokens")
        if options.get("softcap") is not None:
            raise ValueError(f"{layer} limits its scores to {options['softcap']} (soft cap): must not")
        if options.get("s_aux") is not None:
            raise ValueError(f"{layer} has attention sinks that are no tokens: must not")
        if query.shape[0] != 1:
            raise ValueError(f"{layer} runs {query.shape[0]} sequences: must be one")

    def function_of(self, module):
        if self.attention == "sdpa":
            from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
            return ALL_ATTENTION_FUNCTIONS["sdpa"]
        return sys.modules[type(module).__module__].eager_attention_forward


class Progress:
    """One line that changes on a terminal, one line per tenth elsewhere."""

    def __init__(self, total):
        self.total, self.tenth, self.start = total, 0, time.monotonic()

    def show(self, done):
        seconds = time.monotonic() - self.start
        text = f"{done} of {self.total} tokens, {seconds:.0f} s, {seconds * (self.total - done) / done:.0f} s left"
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="\n" if done == self.total else "", file=sys.stderr, flush=True)
        elif done * 10 // self.total > self.tenth:
            self.tenth = done * 10 // self.total
            print(text, file=sys.stderr, flush=True)


def load(arguments):
    """The tokenizer and the model, which attends through Recorder."""
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, AutoTokenizer
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Until the recorder takes its place; the mask is that of the attention which computes.
    AttentionInterface.register(INTERFACE, lambda *_, **__: None)
    AttentionMaskInterface.register(INTERFACE, ALL_MASK_ATTENTION_FUNCTIONS[arguments.attention])
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=arguments.dtype, attn_implementation=INTERFACE
    )
    return tokenizer, model.to(arguments.device).eval()


def prompt_tokens(tokenizer, arguments):
    text = arguments.prompt if arguments.text is None else arguments.text.read_text(encoding="utf-8")
    if arguments.chat:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    tokens = tokenizer(text, add_special_tokens=not arguments.chat)["input_ids"]
    if arguments.max_tokens is not None:
        tokens = tokens[: arguments.max_tokens]
    length = arguments.prompt_length or len(tokens)
    if not tokens or length > len(tokens):
        raise ValueError(f"--prompt-length = {length}: must be from 1 to the {len(tokens)} tokens of the text")
    return tokens, length


def layers_of(model, wanted):
    count = model.config.get_text_config().num_hidden_layers
    if wanted is None:
        return list(range(count))
    if wanted[-1] >= count:
        raise ValueError(f"--layers = {wanted[-1]}: must be below {count}, the layers of the model")
    return wanted


def record(torch, tokenizer, model, arguments):
    """{layer: LayerTrace}, the length of the prompt, all tokens that were read, and those that were written."""
    from transformers import AttentionInterface, DynamicCache

    tokens, prompt_length = prompt_tokens(tokenizer, arguments)
    total = len(tokens) + max(arguments.tokens - 1, 0)
    recorder = Recorder(arguments.attention, layers_of(model, arguments.layers), total)
    AttentionInterface.register(INTERFACE, recorder)
    progress, cache, written = Progress(total), DynamicCache(), []
    # Newer versions of transformers have another name for the argument.
    renamed = "cache" in inspect.signature(model.forward).parameters
    reads = {"cache" if renamed else "past_key_values": cache, "use_cache": True, "logits_to_keep": 1}

    def read(block):
        """The token after a block, most likely."""
        ids = torch.tensor([block], device=model.device)
        logits = model(input_ids=ids, **reads).logits
        progress.show(cache.get_seq_length())
        return int(logits[0, -1].argmax())

    with torch.inference_mode():
        for begin in range(0, len(tokens), arguments.block):
            token = read(tokens[begin:begin + arguments.block])
        while len(written) < arguments.tokens:
            written.append(token)
            if len(written) < arguments.tokens:  # the last one is not read
                token = read([token])
    for layer, trace in recorder.traces.items():
        if not trace.blocks["q"]:
            raise ValueError(f"--layers: layer {layer} has no attention of its own: must have")
    return recorder.traces, prompt_length, (tokens + written)[:total], written


def write(path, tensors, metadata):
    """The file appears under its name when it is complete."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata=metadata)
    os.replace(part, path)
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    print(f"Wrote {path}: {shapes}, prompt_length {metadata['prompt_length']}", file=sys.stderr)


def parse(words):
    parser = argparse.ArgumentParser(
        prog="record_trace.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a folder, or a name on the Hugging Face hub")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", help="the text that the model reads")
    source.add_argument("--text", type=Path, metavar="FILE", help="the same, from a file")
    parser.add_argument("--chat", action="store_true", help="the text is a user's message, in the model's chat format")
    parser.add_argument("--max-tokens", type=whole(1), metavar="N", help="use the first N tokens of the text")
    parser.add_argument("--prompt-length", type=whole(1), metavar="N",
                        help="tokens that replay takes as the prompt; the others of the text follow one by one [all]")
    parser.add_argument("--tokens", type=whole(0), default=0, metavar="N",
                        help="tokens to write after the text, the most likely each [0]")
    parser.add_argument("--layers", type=layer_list, default=[0], metavar="L,...",
                        help="layers from 0, or all; several are a file each, out.L.safetensors [0]")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the trace, a safetensors file")
    parser.add_argument("--block", type=whole(1), default=512, metavar="N", help="tokens of the text at a time [512]")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "float16", "bfloat16"],
                        help="what the model computes in [auto: as in its files]")
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"], help="what computes attention [sdpa]")
    parser.add_argument("--device", default="cpu", help="as torch names it [cpu]")
    return parser.parse_args(words)


def main(words=None):
    arguments = parse(words)
    torch, _, _ = require(*PACKAGES)
    if arguments.text is not None and not arguments.text.is_file():
        raise ValueError(f"--text = {arguments.text}: must be a file")
    tokenizer, model = load(arguments)
    traces, prompt_length, read, written = record(torch, tokenizer, model, arguments)
    if written:
        print(tokenizer.decode(written))
    metadata = {"prompt_length": str(prompt_length), "model": Path(arguments.model).name,
                "words": json.dumps([tokenizer.decode([token]) for token in read])}
    for layer, trace in traces.items():
        write(path_of_layer(arguments.output, layer, len(traces)), trace.tensors(torch),
              {**metadata, "layer": str(layer)})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("record_trace.py: interrupted")
    except (OSError, ValueError) as error:
        print(f"record_trace.py: {error}", file=sys.stderr)
        sys.exit(2)
