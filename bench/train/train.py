# SPDX-License-Identifier: Apache-2.0
"""Trains a small Llama to write the travel log of bench/tasks, and exports it for Hugging Face.

    python train.py --tasks build/write_tasks --out bench/models/travel-log

Resumes from <out>.pt when that exists. The tokens come from the C++ generator, so there is one
definition of the task. Training and evaluation never share a seed.
"""

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from llama import Config, Llama, export, generate

RECORD = np.dtype([("id", "<u2"), ("source", "<i2"), ("kind", "u1"), ("entry", "u1")])
KINDS = ["prompt", "structure", "name", "number", "term", "once", "range", "periodic"]
# (length, examples) of one step and worker: what is learned on short examples costs far less.
# Lengths are mixed all the time, so that no length is forgotten.
SHORT = [(128, 16), (256, 8)]
MEDIUM = [(160, 6), (384, 4), (1280, 1)]
LONG = [(160, 4), (384, 3), (1280, 3)]
FIRST_TRAINING_SEED = 1_000_000
TEST_SEED = 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", required=True, help="the compiled write_tasks")
    parser.add_argument("--out", required=True, help="folder of the exported model")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--short-steps", type=int, default=1300, help="steps without long examples")
    parser.add_argument("--medium-steps", type=int, default=300, help="then with few long examples")
    parser.add_argument("--decay", type=float, default=0.25, help="last part, in which the rate falls")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--test-every", type=int, default=250, help="steps between free-running tests")
    parser.add_argument("--test-only", type=int, default=0, help="only test, with so many examples")
    return parser.parse_args()


def run_tasks(args, command, **options):
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    return subprocess.run([args.tasks, command, *flags], capture_output=True, check=True).stdout


def read_examples(args, command, length, **options):
    raw = run_tasks(args, command, length=length, **options)
    return np.frombuffer(raw, RECORD).reshape(-1, length)


def stage(args, step):
    if step < args.short_steps:
        return SHORT
    return MEDIUM if step < args.short_steps + args.medium_steps else LONG


def batches(args, step, rank):
    """The micro-batches of a step, every one of another length."""
    for i, (length, count) in enumerate(stage(args, step)):
        seed = FIRST_TRAINING_SEED * args.seed + (step * args.workers + rank) * 8 + i
        records = read_examples(args, "train", length, seed=seed, count=count)
        ids = torch.from_numpy(records["id"].astype(np.int64))
        kinds = torch.from_numpy(records["kind"].astype(np.int64))
        yield ids, kinds


def loss_and_hits(model, compiled, ids, kinds):
    """Cross entropy summed over the response, and which of its tokens were right, by kind."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = compiled(ids)
        asked = kinds[:, 1:] > 0
        logits = model.logits(hidden[:, :-1][asked]).float()
    target, kind = ids[:, 1:][asked], kinds[:, 1:][asked]
    loss = F.cross_entropy(logits, target, reduction="sum")
    right = torch.bincount(kind[logits.argmax(-1) == target], minlength=len(KINDS))
    return loss, right, torch.bincount(kind, minlength=len(KINDS))


def make_optimizers(model, rate):
    """Muon for the matrices of the layers, AdamW for everything else."""
    matrices = [p for p in model.layers.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_at(args, step):
    """Linear warm-up, constant, linear decay to a hundredth."""
    decay_steps = max(1, int(args.steps * args.decay))
    left = max(0.01, min(1.0, (args.steps - step) / decay_steps))
    return args.rate * min(1.0, (step + 1) / 100) * left


def test(args, model, count):
    """Free-running accuracy on held-out examples: the grader's table as a dictionary."""
    options = {"seed": TEST_SEED, "count": count}
    records = read_examples(args, "write", 1536, **options)
    prompts = [row["id"][: np.argmax(row["kind"] > 0)].tolist() for row in records]
    responses = generate(model, prompts, int((records["kind"] > 0).sum(1).max()))
    flags = [f"--{key}={value}" for key, value in options.items()]
    lines = "\n".join(" ".join(map(str, response)) for response in responses)
    grade = subprocess.run(
        [args.tasks, "grade", *flags], input=lines.encode(), capture_output=True, check=True
    )
    words = grade.stdout.decode().split()
    return {key: float(value) for key, value in zip(words[::2], words[1::2])}


def describe(table):
    return " ".join(f"{key} {value:.3f}" for key, value in table.items())


class Trainer:
    def __init__(self, args, rank=0):
        self.args, self.rank = args, rank
        self.words = run_tasks(args, "vocabulary").decode().split("\n")[:-1]
        self.checkpoint = Path(args.out + ".pt")
        torch.manual_seed(args.seed)
        size = {"hidden_size": args.hidden, "intermediate_size": args.hidden * 5 // 2}
        heads = {"num_attention_heads": args.hidden // 32}
        layers = {"num_hidden_layers": args.layers}
        self.model = Llama(Config(len(self.words), **size, **heads, **layers))
        self.optimizers = make_optimizers(self.model, args.rate)
        self.step, self.tokens, self.seconds, self.curve = 0, 0, 0.0, []
        if self.checkpoint.exists():
            self.load()

    def load(self):
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.step, self.tokens = state["step"], state["tokens"]
        self.seconds, self.curve = state["seconds"], state["curve"]

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            **{key: getattr(self, key) for key in ("step", "tokens", "seconds", "curve")},
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        export(self.model, self.args.out, self.words)
        settings = {k: v for k, v in vars(self.args).items() if k not in ("tasks", "out")}
        facts = {
            "arguments": settings,
            "steps": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "machine": f"{platform.machine()}, {self.args.workers} workers, torch {torch.__version__}",
            "curve": self.curve,
        }
        (Path(self.args.out) / "training.json").write_text(json.dumps(facts, indent=1) + "\n")

    def train_step(self, compiled):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(self.args, self.step)
        loss_sum, right, count = 0.0, 0, 0
        for ids, kinds in batches(self.args, self.step, self.rank):
            loss, r, n = loss_and_hits(self.model, compiled, ids, kinds)
            loss.backward()
            loss_sum, right, count = loss_sum + loss.item(), right + r, count + n
            self.tokens += ids.numel() * self.args.workers
        numbers = torch.cat([torch.tensor([loss_sum]), right, count])
        dist.all_reduce(numbers)
        loss_sum, right, count = numbers[0].item(), *numbers[1:].view(2, -1)
        self.average_gradients(count.sum())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss_sum / count.sum().item(), right, count

    def average_gradients(self, asked):
        """Over the response tokens of all workers."""
        gradients = [p.grad for p in self.model.parameters()]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= asked
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g))

    def report(self, loss, right, count, tokens_per_second, eta):
        accuracy = {k: right[i].item() / max(1, count[i].item()) for i, k in enumerate(KINDS) if i > 1}
        line = f"step {self.step}/{self.args.steps} tokens {self.tokens / 1e6:.1f}M"
        line += f" {tokens_per_second:.0f}/s loss {loss:.4f} {describe(accuracy)} eta {eta / 60:.0f} min"
        print(line, flush=True)
        return accuracy

    def run(self):
        compiled = torch.compile(self.model, dynamic=True)
        every, mark, mark_tokens = 25, time.time(), self.tokens
        losses, right, count = 0.0, 0, 0
        while self.step < self.args.steps:
            loss, r, n = self.train_step(compiled)
            losses, right, count = losses + loss, right + r, count + n
            if self.step % every:
                continue
            if self.rank > 0:
                continue
            elapsed = time.time() - mark
            self.seconds += elapsed
            eta = elapsed / every * (self.args.steps - self.step)
            speed = (self.tokens - mark_tokens) / elapsed
            accuracy = self.report(losses / every, right, count, speed, eta)
            if self.step % self.args.test_every == 0 or self.step == self.args.steps:
                table = test(self.args, self.model, 8)
                print("free-running:", describe(table), flush=True)
                point = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds)}
                teacher = {key: round(value, 4) for key, value in accuracy.items()}
                point |= {"loss": round(losses / every, 5), "teacher_forced": teacher}
                self.curve.append(point | {"free_running": table})
                self.save()
            losses, right, count, mark, mark_tokens = 0.0, 0, 0, time.time(), self.tokens


def work(rank, args):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{args.out}.group", rank=rank, world_size=args.workers
    )
    Trainer(args, rank).run()
    dist.destroy_process_group()


def main():
    args = arguments()
    args.out = str(Path(args.out).absolute())
    if args.test_only:
        print(describe(test(args, Trainer(args).model, args.test_only)))
    else:
        Path(args.out + ".group").unlink(missing_ok=True)
        torch.multiprocessing.spawn(work, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
