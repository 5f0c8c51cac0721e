#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tokenizers of this folder and the tokens that Hugging Face's library gives for texts.

    make.py write             trains the tokenizers, writes them and expected.json
    make.py tokens FILE       prints random texts and their tokens; FILE is a tokenizer.json

Needs: pip install tokenizers==0.23.3
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two  spaces   and a tab\tand\r\nlines\n\n\n  indented",
    "I'll we've don't IT'S you're O'Reilly",
    "def f(x: int) -> float:\n    return x ** 2.5e-3  # 12345678 0x1F\n\n\tif (a&&b||!c) {}",
    "日本語のテキストと漢字、ひらがな。中文混排English。한국어 문장",
    "emoji 😀👍🏽👩‍👩‍👧‍👦🇩🇪 and ✨",
    "e\u0301 vs \u00e9, ﬁ ligature, Ǆ, ½, ²³, Ⅷ, ١٢٣, ٤٥",
    "mixed\u00a0no-break\u2003em\u3000ideographic\u200bzero\ufeffwidth\u0085next",
    "a" * 50 + " " * 40 + "1" * 17,
    "<s>not special?</s> <|im_start|>user\nHi<|im_end|>\n<|eot_id|> x <|end|>  y",
    "Ünïcödé Ελληνικά Русский עברית العربية हिन्दी ไทย",
    "\u0000\u0001\u007f control",
    "https://example.org/a?b=c&d=%20#frag user@mail.example",
    "trailing spaces   ",
    "\n",
    "▁already marked ▁▁",
]


def training_texts():
    for path in sorted((ROOT / "docs").glob("*.md")):
        yield path.read_text(encoding="utf-8")
    yield from TEXTS


def byte_level(pre_tokenizer, special, vocabulary, normalizer=None, template=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(word, normalized=False, special=True) for word in special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    if template:
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{template} $A", special_tokens=[(template, tokenizer.token_to_id(template))]
                ),
            ]
        )
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def sentencepiece(metaspace):
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special + [f"<0x{byte:02X}>" for byte in range(256)],
        limit_alphabet=90,
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for text in training_texts() for line in text.split(" ")), trainer)
    state = json.loads(tokenizer.to_str())
    # Bytes are words of the vocabulary, not tokens that a text can name.
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False, rstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def make_all():
    digits = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    chat = ["<|im_start|>", "<|im_end|>"]
    llama3 = byte_level(split(LLAMA3), ["<|begin_of_text|>", "<|eot_id|>"], 500, template="<|begin_of_text|>")
    state = json.loads(llama3.to_str())
    state["model"]["ignore_merges"] = True
    return {
        "digits": byte_level(digits, chat, 500),
        "llama3": Tokenizer.from_str(json.dumps(state)),
        "qwen2": byte_level(split(QWEN2), chat, 500, normalizer=normalizers.NFC()),
        "sentencepiece": sentencepiece(metaspace=False),
        "metaspace": sentencepiece(metaspace=True),
    }


def write():
    expected = {"texts": TEXTS, "tokens": {}}
    for name, tokenizer in make_all().items():
        tokenizer.save(str(FOLDER / f"{name}.json"), pretty=False)
        expected["tokens"][name] = [tokenizer.encode(text).ids for text in TEXTS]
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


def random_text(seed):
    """Code, scripts, emoji and odd spaces, in any order."""
    draw = random.Random(seed)
    alphabets = [
        "abcdefgh XYZ", "0123456789", " \t\n\r\u00a0\u2003\u3000", "(){}[]<>=+-*/&|!?.,;:'\"#@",
        "日本語中文한국", "😀👍🏽✨🇩🇪", "éèüßñ e\u0301n\u0303", "العربيةहिन्दी", "▁가\u200d\u200b",
    ]
    return "".join(
        "".join(draw.choice(draw.choice(alphabets[:4] if draw.random() < 0.5 else alphabets)) for _ in range(draw.randint(1, 9)))
        for _ in range(draw.randint(1, 30))
    )


def main():
    if sys.argv[1:] == ["write"]:
        write()
    elif len(sys.argv) == 3 and sys.argv[1] == "tokens":
        tokenizer = Tokenizer.from_file(sys.argv[2])
        texts = [random_text(seed) for seed in range(300)]
        print(json.dumps({"texts": texts, "tokens": [tokenizer.encode(text).ids for text in texts]}))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
