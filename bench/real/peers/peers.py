# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this folder share: packages, texts, tokens, and tables. Standard library."""

import argparse
import importlib
import json
import random
import sys
from pathlib import Path

SKIPPED = 77  # exit status, as in automake and ctest's SKIP_RETURN_CODE


def require(*names):
    """The modules of these names; exits with SKIPPED if one is not installed."""
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            print(f"SKIPPED: {name}: {error}. Install it with: "
                  f"pip install -r bench/real/peers/requirements.txt", file=sys.stderr)
            sys.exit(SKIPPED)
    return modules


def at_least(minimum):
    """An argparse type: an integer of at least `minimum`."""
    def number(text):
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text}: must be an integer of at least {minimum}")
        return value
    return number


def read_tokens(tokenizer, file, count):
    """The first `count` tokens of a text file, as ./run bench real encodes it."""
    tokens = tokenizer.encode(file.read_bytes().decode("utf-8"), add_special_tokens=False).ids
    if len(tokens) < count:
        raise ValueError(f"{file}: {len(tokens)} tokens: must be at least {count}, the prompt and the response")
    return tokens[:count]


def read_texts(tokenizer, folder, count):
    """{name: tokens} of all .txt files of a folder, in alphabetical order."""
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise ValueError(f"--texts = {folder}: must be a folder with .txt files; bench/real/texts.py makes one")
    return {file.stem: read_tokens(tokenizer, file, count) for file in files}


def interval(values, resamples=1000):
    """The mean, and the middle 95 % of the means of resamples with replacement."""
    draw = random.Random(1)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    cut = resamples // 40
    return sum(values) / len(values), means[cut], means[-1 - cut]


def table(header, rows):
    """Markdown, of lists of strings."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_json(path, value):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
