# SPDX-License-Identifier: Apache-2.0
"""Training examples: tokens from the C++ generators, positions and attention biases made up here."""

import subprocess

import numpy as np
import torch

RECORD = np.dtype([("id", "<u2"), ("source", "<i2"), ("kind", "u1"), ("entry", "u1")])
FAR = 128  # tokens, from which on a key may stand for several


class Generator:
    """The compiled write_tasks."""

    def __init__(self, program):
        self.program = program
        self.words = self.list("vocabulary")
        self.kinds = self.list("kinds")
        telling = {word for phrase in self.list("phrases") for word in phrase.split()}
        self.is_phrase = np.array([word in telling for word in self.words])

    def run(self, command, **options):
        flags = [f"--{key}={value}" for key, value in options.items()]
        return subprocess.run(
            [self.program, command, *flags], capture_output=True, check=True
        ).stdout

    def list(self, command):
        return self.run(command).decode().split("\n")[:-1]

    def records(self, length, **options):
        raw = self.run("train", length=length, **options)
        return np.frombuffer(raw, RECORD).reshape(-1, length)


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def stretched_positions(row, rng, reach, answers):
    """Positions with gaps between the prompt's lines and between entries, up to `reach`.

    A short example then covers the distances of a long one. Nothing within an entry is moved, nor
    are short answers. Three in ten examples keep plain positions.
    """
    tokens = len(row)
    gaps = np.zeros(tokens)
    if rng.random() >= 0.3:
        starts = np.flatnonzero(np.diff(row["entry"].astype(int), prepend=0))
        in_prompt = row["kind"][starts] == 0
        lines, entries = starts[in_prompt], starts[~in_prompt]
        gaps[lines] = rng.exponential(log_uniform(rng, 0.3, 100), len(lines))
        if not answers:
            gaps[entries] = rng.exponential(log_uniform(rng, 0.3, 300), len(entries))
            if rng.random() < 0.5:  # as if many entries were left out
                leap = rng.exponential(log_uniform(rng, 300, 4000), len(entries))
                gaps[entries] += np.where(rng.random(len(entries)) < 0.2, leap, 0)
        if len(lines) and rng.random() < 0.3:
            gaps[lines[-1]] += rng.uniform(0, reach / 3)
        most = reach - tokens
        gaps *= min(1.0, most / max(1.0, gaps.sum()))
    return np.arange(tokens) + np.floor(np.cumsum(gaps)).astype(np.int64)


def crowding(row, is_phrase, kinds, rng, reach):
    """The logarithm of how many tokens each key stands for when it is far away.

    Phrases of the prompt, and what a response repeats in every entry: in a long example there are
    many more of them, and attention must not be spread over them.
    """
    if rng.random() < 0.4:
        return np.zeros(len(row), np.float32)
    repeated = [kinds.index(kind) for kind in ("structure", "name", "number", "term")]
    many = np.isin(row["kind"], repeated) | ((row["kind"] == 0) & is_phrase[row["id"]])
    copies = log_uniform(rng, 1, max(1.5, reach / len(row)))
    return np.where(many, np.log(copies), 0).astype(np.float32)


def attention_bias(crowds):
    """[batch, 1, tokens, tokens]: -inf for what comes later, crowds for what is far away."""
    tokens = crowds.shape[1]
    ages = torch.arange(tokens)[:, None] - torch.arange(tokens)[None, :]
    bias = torch.where(ages > FAR, crowds[:, None, None, :], torch.zeros(()))
    return bias.masked_fill(ages < 0, float("-inf"))


def make_batch(generator, task, length, count, seed, reach):
    """ids, kinds, positions and bias of `count` examples."""
    rows = generator.records(length, task=task, seed=seed, count=count)
    rng = np.random.default_rng(seed)
    answers = task == "questions"
    positions = np.stack([stretched_positions(row, rng, reach, answers) for row in rows])
    crowds = [crowding(row, generator.is_phrase, generator.kinds, rng, reach) for row in rows]
    ids = torch.from_numpy(rows["id"].astype(np.int64))
    kinds = torch.from_numpy(rows["kind"].astype(np.int64))
    bias = attention_bias(torch.from_numpy(np.stack(crowds)))
    return ids, kinds, torch.from_numpy(positions), bias
