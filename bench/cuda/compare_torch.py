# SPDX-License-Identifier: Apache-2.0
"""The framework's way of what cuda_bench measured, with PyTorch, on the same device and shapes.

Reads build/reports/cuda.json and adds the comparison's rows to it.

The framework's way of a step with eviction, at batch 64, N = 2048, 32/8 heads, d = 128, bfloat16:
scaled_dot_product_attention for the output; the softmax rows again, since it returns none, fused over
the group; the last R rows kept and summed; torch.topk of the distant tokens; gather of keys and values.
"""

import json
import math
import pathlib
import statistics

import torch

REPORT = pathlib.Path("build/reports/cuda.json")
BATCH, KV_HEADS, GROUP, DIM, SLOTS, WINDOW = 64, 8, 4, 128, 2048, 32


def median_microseconds(step, runs=15, repeats=4):
    """By events, after a warm-up; `step(i)` is called with a running number."""
    times = []
    for run in range(runs + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(repeats):
            step(run * repeats + i)
        end.record()
        end.synchronize()
        if run >= 3:
            times.append(1000 * begin.elapsed_time(end) / repeats)
    return statistics.median(times)


def framework_step():
    """One step over keys and values of more than any cache of the device holds."""
    options = {"device": "cuda", "dtype": torch.bfloat16}
    keys = torch.randn(BATCH, KV_HEADS, SLOTS + 1, DIM, **options)
    values = torch.randn_like(keys)
    query = torch.randn(BATCH, KV_HEADS * GROUP, 1, DIM, **options)
    rows = torch.zeros(WINDOW, BATCH, KV_HEADS, SLOTS + 1, device="cuda")
    recent = torch.arange(SLOTS + 1 - WINDOW, SLOTS + 1, device="cuda").expand(BATCH, KV_HEADS, WINDOW)

    def step(i):
        output = torch.nn.functional.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
        grouped = query.view(BATCH, KV_HEADS, GROUP, DIM)
        logits = torch.matmul(grouped, keys.transpose(2, 3)).float() / math.sqrt(DIM)
        rows[i % WINDOW] = torch.softmax(logits, dim=-1).amax(dim=2)
        distant = rows.sum(dim=0)[:, :, : SLOTS + 1 - WINDOW]
        best = torch.topk(distant, SLOTS - WINDOW, dim=-1, sorted=False).indices
        kept = torch.cat([best.sort(dim=-1).values, recent], dim=-1)
        index = kept.unsqueeze(-1).expand(-1, -1, -1, DIM)
        return output, keys.gather(2, index), values.gather(2, index)

    return step


def top_k():
    """Score sets in turn, so that none is in a cache."""
    sets = torch.randn(128, 64, 8192, device="cuda")
    return lambda i: torch.topk(sets[i % len(sets)], 512, dim=-1)


def prompt():
    """Causal attention of one prompt of 8,192 tokens."""
    options = {"device": "cuda", "dtype": torch.bfloat16}
    query = torch.randn(1, KV_HEADS * GROUP, 8192, DIM, **options)
    key = torch.randn(1, KV_HEADS, 8192, DIM, **options)
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda i: attend(query, key, key, is_causal=True, enable_gqa=True)


def main():
    report = json.loads(REPORT.read_text())
    ours = {row["measure"]: row["value"] for row in report["rows"]}
    step = median_microseconds(framework_step())
    attention = median_microseconds(prompt())
    selection = median_microseconds(top_k())
    policies = ("sum", "max", "recommended")
    comparisons = [(f"PyTorch's step over ours, {policy}, batch 64, N = 2048",
                    step / ours[f"step with {policy}, batch 64, N = 2048"], ">= 10", step) for policy in policies]
    comparisons += [(f"attention and votes over attention, prompt of 8192, {policy}",
                     1 + ours[f"prompt of 8192 admitted, {policy}"] / attention, "<= 1.5", attention)
                    for policy in policies]
    comparisons.append(("torch.topk over ours, 64 x 8192, k = 512",
                        selection / ours["segmented top-k, 64 x 8192, k = 512"], ">= 5", selection))
    for measure, ratio, target, theirs in comparisons:
        bound, limit = target.split()
        met = ratio >= float(limit) if bound == ">=" else ratio <= float(limit)
        report["rows"].append({"measure": measure, "value": ratio, "unit": "x", "target": target,
                               "met": met, "limit": f"PyTorch {theirs:.1f} us"})
        print(f"{measure:66} {ratio:9.2f} x      {target:8} {'yes' if met else 'no'}  PyTorch {theirs:.1f} us")
    report["torch"] = torch.__version__
    REPORT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
