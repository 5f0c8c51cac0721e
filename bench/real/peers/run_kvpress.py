#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvpress on the model, the texts and the budgets of ./run bench real: nats per token that a press loses.

A prompt press cuts the prompt to the capacity, once; the response is kept whole. A decoding press
cuts the prompt and, every --interval tokens of the response, the cache again, so that no layer ever
attends to more than the capacity. The tokens are those of the text, whatever the model predicts.
"""

import argparse
import contextlib
import os
import sys
import time
import warnings
from pathlib import Path

import peers

os.environ["HF_HUB_OFFLINE"] = "1"

FULL = "full"
PROMPT_PRESSES = ["SnapKV", "ExpectedAttention", "KeyDiff", "TOVA", "Knorm", "StreamingLLM"]
DECODING_PRESSES = ["SnapKV", "KeyDiff", "TOVA", "Knorm", "StreamingLLM"]
SNAPKV_WINDOW = 32


def make_press(kvpress, name, ratio=0.0):
    """A press with the default options of kvpress, but for SnapKV's window."""
    options = {"window_size": SNAPKV_WINDOW} if name == "SnapKV" else {}
    return getattr(kvpress, name + "Press")(compression_ratio=ratio, **options)


def side_by_side(kvpress, presses):
    """A press that leaves the model's cache as it is and passes the keys and values that each of
    `presses`, {name: press}, keeps to keep(name, layer, keys, values). A press runs after the
    attention of its layer, so one pass over a prompt serves all of them."""

    class SideBySide(kvpress.BasePress):
        def __init__(self, keep):
            self.keep = keep

        def post_init_from_model(self, model):
            for press in presses.values():
                press.post_init_from_model(model)

        def compress(self, module, hidden_states, keys, values, attentions, kwargs):
            for name, press in presses.items():
                self.keep(name, module.layer_idx,
                          *press.compress(module, hidden_states, keys, values, attentions, kwargs))
            return keys, values

    return SideBySide


class Reader:
    """A model that reads texts under presses."""

    def __init__(self, folder, prompt, block):
        self.torch, self.kvpress, transformers = peers.require("torch", "kvpress", "transformers")
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        self.new_cache = transformers.DynamicCache
        # TOVA and SnapKV read the attention weights, which only the eager attention returns.
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=self.torch.float32, attn_implementation="eager").eval()
        self.prompt = prompt
        self.block = block

    def read_prompt(self, tokens, presses):
        """-ln p of the first token of the response, and {press: what it keeps of the prompt}."""
        caches = {name: self.new_cache() for name in presses}
        caches[FULL] = self.new_cache()

        def keep(name, layer, keys, values):
            caches[name].update(keys, values, layer)

        with self.torch.no_grad(), side_by_side(self.kvpress, presses)(keep)(self.model):
            return self.read(tokens, 0, self.prompt, caches[FULL]), caches

    def read(self, tokens, begin, end, cache):
        """-ln p of the token after each of tokens[begin:end]; of the prompt only after its end."""
        torch = self.torch
        # Positions of its own: a compressed cache is shorter than the text before.
        logits = self.model(torch.tensor([tokens[begin:end]]), past_key_values=cache,
                            position_ids=torch.arange(begin, end)[None],
                            logits_to_keep=1 if begin == 0 else 0).logits[0]
        targets = torch.tensor(tokens[begin + 1:end + 1][-len(logits):])
        return -torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]

    def read_response(self, tokens, first, cache, press=None):
        """Nats per token, and the maximum number of tokens that a layer attended to."""
        losses, held = [first], 0
        # The last token predicts nothing that could be compared, so it is not read.
        end = len(tokens) - 1

        def read_block(begin):
            nonlocal held
            count = min(self.block, end - begin)
            held = max(held, cache.get_seq_length() + count)
            losses.append(self.read(tokens, begin, begin + count, cache))

        blocks = range(self.prompt, end, self.block)
        with self.torch.no_grad():
            with press(self.model) if press else contextlib.nullcontext():
                for begin in blocks[:-1]:
                    read_block(begin)
            # What a press kept after the last block, nothing would read.
            read_block(blocks[-1])
        return self.torch.cat(losses).double().mean().item(), held


def prompt_contenders(kvpress, options):
    """{name: (capacity, press of the prompt, none of the response)}"""
    ratio = max(0.0, 1 - options.capacity / options.prompt)
    return {name: (options.capacity, make_press(kvpress, name, ratio), None) for name in PROMPT_PRESSES}


def decoding_contenders(kvpress, options):
    """After each block of the response the cache keeps capacity - interval tokens, and the next block
    fills it up. A block is one forward pass, so compression_interval is 1."""
    target = options.decoding_capacity - options.interval
    ratio = max(0.0, 1 - target / options.prompt)
    return {f"{name}, decoding": (
        options.decoding_capacity, make_press(kvpress, name, ratio),
        kvpress.DecodingPress(base_press=make_press(kvpress, name), compression_interval=1, target_size=target))
        for name in DECODING_PRESSES}


def summary(results):
    """Markdown: a line per press, a column per text; the least loss first."""
    texts = list(dict.fromkeys(result["text"] for result in results))
    groups = {}
    for result in results:
        groups.setdefault((result["press"], result["capacity"]), []).append(result)
    full = groups.pop((FULL, None))
    mean = sum(result["nll"] for result in full) / len(full)
    rows = [[FULL + ", NLL", "", "", f"{mean:.4f}", *(f"{result['nll']:.4f}" for result in full)]]

    def lost(group):
        return [result["nll_lost"] for result in group]

    for (press, capacity), group in sorted(groups.items(), key=lambda g: (g[0][1], sum(lost(g[1])) / len(g[1]))):
        mean, low, high = peers.interval(lost(group))
        cells = {result["text"]: f"{result['nll_lost']:.4f}" for result in group}
        rows.append([press, str(capacity), str(max(result["held"] for result in group)),
                     f"{mean:.4f} ({low:.4f} to {high:.4f})", *(cells.get(text, "failed") for text in texts)])
    return peers.table(["press", "capacity", "maximum held", "NLL lost (95 %)", *texts], rows)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="build/models/smollm2", help="a Hugging Face folder")
    parser.add_argument("--texts", default="build/texts", help="a folder of .txt files")
    parser.add_argument("--prompt", type=peers.at_least(128), default=1024, help="tokens that are read as one block")
    parser.add_argument("--response", type=peers.at_least(2), default=1024, help="tokens after it")
    parser.add_argument("--capacity", type=peers.at_least(64), default=256,
                        help="tokens per head that the prompt presses keep of the prompt")
    parser.add_argument("--decoding-capacity", type=peers.at_least(0), default=512,
                        help="maximum tokens per head under the decoding presses; 0: leave them out")
    parser.add_argument("--interval", type=peers.at_least(SNAPKV_WINDOW + 1), default=64,
                        help="tokens of the response between two compressions of a decoding press")
    parser.add_argument("--threads", type=peers.at_least(1), default=1,
                        help="more help only on an idle machine")
    parser.add_argument("--json", default="build/reports/kvpress.json", metavar="FILE")
    options = parser.parse_args(arguments)
    if 0 < options.decoding_capacity < 2 * options.interval:
        parser.error(f"argument --decoding-capacity: {options.decoding_capacity}: must be 0, or at least "
                     f"2 x --interval = {2 * options.interval}")
    return options


def main():
    options = parse(sys.argv[1:])
    torch, kvpress, tokenizers = peers.require("torch", "kvpress", "tokenizers")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(options.model) / "tokenizer.json"))
    texts = peers.read_texts(tokenizer, options.texts, options.prompt + options.response)
    reader = Reader(options.model, options.prompt, options.interval)

    groups = [prompt_contenders(kvpress, options)]
    if options.decoding_capacity:
        groups.append(decoding_contenders(kvpress, options))
    results, full_nll, failures = [], {}, 0
    for contenders in groups:
        for text, tokens in texts.items():
            start = time.monotonic()
            first, caches = reader.read_prompt(tokens, {name: one[1] for name, one in contenders.items()})
            measured = contenders if text in full_nll else {FULL: (None, None, None), **contenders}
            for name, (capacity, _, press) in measured.items():
                try:
                    nll, held = reader.read_response(tokens, first, caches.pop(name), press)
                except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
                    print(f"{name}, {text}: {error!r}", file=sys.stderr, flush=True)
                    failures += 1
                    if name == FULL:
                        break  # nothing to compare the presses with
                    continue
                nll_lost = nll - full_nll.setdefault(text, nll)
                results.append({"press": name, "capacity": capacity, "text": text, "nll": nll,
                                "nll_lost": nll_lost, "held": held})
            print(f"{text}: {len(measured)} caches in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            peers.write_json(options.json, results)
    print(summary(results))
    print(f"\n{options.json}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        sys.exit(f"run_kvpress: {error}")
