#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/real/peers that need none of the libraries that are compared."""
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench" / "real" / "peers"))
sys.dont_write_bytecode = True

import peers
import run_kvpress
import run_openvino


class Characters:
    """A tokenizer with the interface of the package tokenizers: a token per character."""

    class Encoding:
        def __init__(self, ids):
            self.ids = ids

    def encode(self, text, add_special_tokens):
        return self.Encoding(([0] if add_special_tokens else []) + [ord(c) for c in text])


class Texts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_texts_are_the_first_tokens_of_the_bytes_as_they_are(self):
        (self.folder / "b.txt").write_bytes(b"one\r\ntwo")
        (self.folder / "a.txt").write_bytes("äöü and so on".encode())
        (self.folder / "c.md").write_bytes(b"not a text")
        texts = peers.read_texts(Characters(), self.folder, 5)
        self.assertEqual(texts, {"a": [ord(c) for c in "äöü a"], "b": [ord(c) for c in "one\r\n"]})
        self.assertEqual(list(texts), ["a", "b"])

    def test_a_short_text_and_an_empty_folder_are_refused(self):
        with self.assertRaisesRegex(ValueError, "--texts"):
            peers.read_texts(Characters(), self.folder, 5)
        (self.folder / "a.txt").write_bytes(b"four")
        with self.assertRaisesRegex(ValueError, "a.txt: 4 tokens: must be at least 5"):
            peers.read_texts(Characters(), self.folder, 5)


class Tables(unittest.TestCase):
    def test_the_interval_of_equal_values_is_a_point(self):
        self.assertEqual(peers.interval([2.0] * 8), (2.0, 2.0, 2.0))

    def test_the_interval_holds_the_mean_and_lies_within_the_values(self):
        mean, low, high = peers.interval([0.0, 1.0, 2.0, 3.0])
        self.assertEqual(mean, 1.5)
        self.assertTrue(0.0 <= low < 1.5 < high <= 3.0)

    def test_a_table(self):
        self.assertEqual(peers.table(["a", "b"], [["1", "2"]]), "| a | b |\n| --- | --- |\n| 1 | 2 |")

    def test_the_summary_of_presses(self):
        def result(press, capacity, text, nll, lost):
            return {"press": press, "capacity": capacity, "text": text, "nll": nll, "nll_lost": lost, "held": 300}
        lines = run_kvpress.summary([
            result("full", None, "x", 2.0, 0.0), result("full", None, "y", 3.0, 0.0),
            result("Worse", 256, "x", 2.5, 0.5), result("Worse", 256, "y", 3.5, 0.5),
            result("Better", 256, "x", 2.25, 0.25)]).split("\n")
        self.assertEqual(lines[0], "| press | capacity | maximum held | NLL lost (95 %) | x | y |")
        self.assertEqual(lines[2], "| full, NLL |  |  | 2.5000 | 2.0000 | 3.0000 |")
        self.assertEqual(lines[3], "| Better | 256 | 300 | 0.2500 (0.2500 to 0.2500) | 0.2500 | failed |")
        self.assertTrue(lines[4].startswith("| Worse | 256 | 300 | 0.5000"))


    def test_the_share_of_distinct_n_grams(self):
        self.assertEqual(run_openvino.distinct([1, 2, 3, 4, 5], 4), 1.0)
        self.assertEqual(run_openvino.distinct([1, 2, 1, 2, 1], 2), 0.5)


class CommandLines(unittest.TestCase):
    def refused(self, program, *arguments):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as end:
            program.parse(arguments)
        self.assertEqual(end.exception.code, 2)
        return said.getvalue()

    def test_options_are_refused_with_the_allowed_values(self):
        self.assertIn("--prompt: x: must be an integer of at least 128", self.refused(run_kvpress, "--prompt", "x"))
        self.assertIn("--capacity: 0: must be", self.refused(run_kvpress, "--capacity", "0"))
        self.assertIn("must be 0, or at least 2 x --interval = 128",
                      self.refused(run_kvpress, "--decoding-capacity", "127"))
        self.assertIn("--tokens: 0: must be", self.refused(run_openvino, "--tokens", "0"))

    def test_a_missing_package_is_a_skip(self):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as end:
            peers.require("json", "morphkv_has_no_such_package")
        self.assertEqual(end.exception.code, peers.SKIPPED)
        self.assertIn("SKIPPED: morphkv_has_no_such_package", said.getvalue())
        self.assertEqual([module.__name__ for module in peers.require("json")], ["json"])


if __name__ == "__main__":
    unittest.main()
