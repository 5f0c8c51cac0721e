# SPDX-License-Identifier: Apache-2.0
r"""Trains a small Llama on the tasks of bench/tasks, and exports it for Hugging Face.

    python train.py --tasks build/release/bin/write_tasks --check build/release/bin/check_model \
        --out bench/models/three-tasks

Resumes from <out>.pt when that exists. The tokens come from the C++ generator, so there is one
definition of the task. Training and evaluation never share a seed.
"""

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

from examples import Generator, make_batch
from llama import Config, Llama, export, load_weights

# (task, length, examples) of one step and worker. What is learned on short examples costs far less;
# all tasks and lengths are mixed all the time, so that none is forgotten.
SHORT = [
    [("travel-log", 160, 6), ("travel-log", 384, 2), ("saga", 256, 4), ("questions", 256, 6)],
]
LONG = [
    [("travel-log", 1280, 1), ("travel-log", 160, 2), ("saga", 256, 3), ("questions", 256, 4)],
    [("travel-log", 512, 2), ("saga", 1024, 1), ("questions", 1024, 1), ("questions", 256, 3)],
    [("travel-log", 2048, 1), ("saga", 384, 2), ("questions", 512, 2)],
]
LAST = [
    [("travel-log", 3072, 1), ("travel-log", 384, 3), ("saga", 256, 1), ("questions", 384, 1)],
    [("travel-log", 2048, 1), ("travel-log", 640, 2), ("saga", 1024, 1), ("questions", 256, 2)],
    [("travel-log", 5120, 1), ("travel-log", 256, 3), ("saga", 384, 1), ("questions", 1536, 1)],
]
FIRST_TRAINING_SEED = 1_000_000
TEST_SEED = 1  # of check_model: far below those of training


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", required=True, help="the compiled write_tasks")
    parser.add_argument("--check", required=True, help="the compiled check_model")
    parser.add_argument("--out", required=True, help="folder of the exported model")
    parser.add_argument("--start", help="folder of a model to start from; its words come first")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--short-steps", type=int, default=600, help="steps without long examples")
    parser.add_argument("--long-steps", type=int, default=3000, help="step from which on the travel "
                        "log, which is learned last, gets the greater part")
    parser.add_argument("--decay", type=float, default=0.3, help="last part, in which the rate falls")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--scale", type=int, default=1, help="factor for the examples of a step")
    parser.add_argument("--reach", type=int, default=19000, help="greatest position of an example")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"],
                        help="of the arithmetic; float32 is faster where the CPU lacks AVX-512")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each; cuda: 1")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--report-every", type=int, default=25, help="steps between lines")
    parser.add_argument("--test-every", type=int, default=250, help="steps between free-running tests")
    parser.add_argument("--test-examples", type=int, default=8)
    parser.add_argument("--test-lengths", default="1000", help="of responses, separated by commas")
    return parser.parse_args()


def batches(args, generator, step, rank):
    """The micro-batches of a step, every one of another task or length."""
    stage = SHORT if step < args.short_steps else LONG if step < args.long_steps else LAST
    for i, (task, length, count) in enumerate(stage[step % len(stage)]):
        seed = FIRST_TRAINING_SEED * args.seed + (step * args.workers + rank) * 8 + i
        yield make_batch(generator, task, length, count * args.scale, seed, args.reach)


def loss_and_hits(model, compiled, dtype, kind_count, ids, kinds, positions, bias):
    """Cross entropy summed over the response, and which of its tokens were right, by kind."""
    device = next(model.parameters()).device
    ids, kinds, positions = ids.to(device), kinds.to(device), positions.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden = compiled(ids, positions, bias.to(device, dtype))
        asked = kinds[:, 1:] > 0
        logits = model.logits(hidden[:, :-1][asked]).float()
    target, kind = ids[:, 1:][asked], kinds[:, 1:][asked]
    loss = F.cross_entropy(logits, target, reduction="sum")
    right = torch.bincount(kind[logits.argmax(-1) == target], minlength=kind_count)
    return loss, right.cpu(), torch.bincount(kind, minlength=kind_count).cpu()


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


def test(args):
    """Free-running accuracy of the exported model on held-out examples: a table for every task."""
    flags = [f"--model={args.out}", f"--seed={TEST_SEED}", f"--examples={args.test_examples}"]
    flags += [f"--lengths={args.test_lengths}", f"--threads={args.workers}"]
    run = subprocess.run([args.check, *flags], capture_output=True, check=True)
    tables = {}
    for line in run.stdout.decode().splitlines():
        title, figures = line.split(": ")
        words = figures.split()
        tables[title] = {key: float(value) for key, value in zip(words[::2], words[1::2])}
    return tables


def describe(table):
    return " ".join(f"{key} {value:.3f}" for key, value in table.items())


class Trainer:
    def __init__(self, args, rank=0):
        self.args, self.rank = args, rank
        self.generator = Generator(args.tasks)
        self.words, self.kinds = self.generator.words, self.generator.kinds
        self.checkpoint = Path(args.out + ".pt")
        torch.manual_seed(args.seed)
        size = {"hidden_size": args.hidden, "intermediate_size": args.hidden * 5 // 2}
        heads = {"num_attention_heads": args.hidden // 32}
        layers = {"num_hidden_layers": args.layers}
        self.model = Llama(Config(len(self.words), **size, **heads, **layers))
        if args.start:
            load_weights(self.model, args.start, self.words)
        self.model.to(args.device)
        self.optimizers = make_optimizers(self.model, args.rate)
        self.step, self.tokens, self.seconds, self.curve = 0, 0, 0.0, []
        if self.checkpoint.exists():
            self.load()

    def load(self):
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.args.device)
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
        settings = {k: v for k, v in vars(self.args).items() if k not in ("tasks", "check", "out")}
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
        dtype = getattr(torch, self.args.dtype)
        for batch in batches(self.args, self.generator, self.step, self.rank):
            loss, r, n = loss_and_hits(self.model, compiled, dtype, len(self.kinds), *batch)
            loss.backward()
            loss_sum, right, count = loss_sum + loss.item(), right + r, count + n
            self.tokens += batch[0].numel() * self.args.workers
        numbers = torch.cat([torch.tensor([loss_sum]), right, count])
        if self.args.workers > 1:
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
        if self.args.workers > 1:
            dist.all_reduce(flat)
        flat /= asked
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g))

    def report(self, loss, right, count, tokens_per_second, eta):
        accuracy = {k: right[i].item() / max(1, count[i].item()) for i, k in enumerate(self.kinds)}
        accuracy = {k: share for k, share in accuracy.items() if k not in ("prompt", "structure")}
        line = f"step {self.step}/{self.args.steps} tokens {self.tokens / 1e6:.1f}M"
        line += f" {tokens_per_second:.0f}/s loss {loss:.4f} {describe(accuracy)} eta {eta / 60:.0f} min"
        print(line, flush=True)
        return accuracy

    def run(self):
        compiled = torch.compile(self.model, dynamic=True)
        every, mark, mark_tokens = self.args.report_every, time.time(), self.tokens
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
                export(self.model, self.args.out, self.words)
                tables = test(self.args)
                for title, table in tables.items():
                    print(f"free-running {title}:", describe(table), flush=True)
                point = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds)}
                teacher = {key: round(value, 4) for key, value in accuracy.items()}
                point |= {"loss": round(losses / every, 5), "teacher_forced": teacher}
                self.curve.append(point | {"free_running": tables})
                self.save()
            losses, right, count, mark, mark_tokens = 0.0, 0, 0, time.time(), self.tokens


def work(rank, args):
    if args.workers > 1:
        torch.set_num_threads(1)
        group = f"file://{args.out}.group"
        dist.init_process_group("gloo", init_method=group, rank=rank, world_size=args.workers)
    Trainer(args, rank).run()
    if args.workers > 1:
        dist.destroy_process_group()


def main():
    args = arguments()
    args.out = str(Path(args.out).absolute())
    if args.device == "cuda":
        args.workers = 1
    if args.workers > 1:
        Path(args.out + ".group").unlink(missing_ok=True)
        torch.multiprocessing.spawn(work, (args,), nprocs=args.workers)
    else:
        work(0, args)


if __name__ == "__main__":
    main()
