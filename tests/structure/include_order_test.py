#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The include test finds what it has to find, and nothing else."""
import pathlib
import tempfile
import unittest

from include_order import violations


class IncludeOrder(unittest.TestCase):
    def check(self, path, line, expected):
        """Violations of a file with one line, in a tree with a header in each place."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name in ["include/morphkv/core/types.hpp", "include/morphkv/kernels/scores.hpp",
                         "include/morphkv/policy/tova.hpp", "include/morphkv/morphkv.hpp",
                         "include/morphkv/version.hpp", "tools/support/json.hpp",
                         "bench/report.hpp", "examples/tokens.hpp", path]:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("#pragma once\n", encoding="utf-8")
            (root / path).write_text(line + "\n", encoding="utf-8")
            self.assertEqual(violations(root), expected)

    def test_a_layer_includes_itself_and_those_before_it(self):
        for name in ["core/types.hpp", "kernels/scores.hpp", "policy/tova.hpp", "version.hpp"]:
            self.check("include/morphkv/policy/h2o.hpp", f'#include "morphkv/{name}"', [])

    def test_a_layer_must_not_include_a_later_one(self):
        path = "include/morphkv/score/age.hpp"
        for line in ['#include "morphkv/policy/tova.hpp"', "#  include <morphkv/policy/tova.hpp>",
                     '#include "../policy/tova.hpp"']:
            self.check(path, line,
                       [f"{path}: score/ must not include include/morphkv/policy/tova.hpp"])

    def test_a_layer_must_not_include_the_whole_library(self):
        path = "include/morphkv/core/types.hpp"
        self.check(path, "#include <morphkv/morphkv.hpp>",
                   [f"{path}: a layer must not include include/morphkv/morphkv.hpp"])

    def test_a_new_folder_needs_a_place_in_the_order(self):
        path = "include/morphkv/extras/one.hpp"
        self.check(path, "", [f"{path}: the folder is not in the list of layers"])

    def test_a_header_that_does_not_exist(self):
        path = "include/morphkv/cache/budget.hpp"
        for line in ['#include "morphkv/policy/gone.hpp"', "#include <morphkv/policy/gone.hpp>"]:
            self.check(path, line, [f"{path}: there is no morphkv/policy/gone.hpp"])
        self.check("tools/one.cpp", '#include "gone.hpp"', ["tools/one.cpp: there is no gone.hpp"])

    def test_tools_and_examples_stand_alone(self):
        for path, name, included in [("tools/demo/main.cpp", "report.hpp", "bench/report.hpp"),
                                     ("examples/one.cpp", "support/json.hpp", "tools/support/json.hpp"),
                                     ("bench/one.cpp", "../examples/tokens.hpp", "examples/tokens.hpp"),
                                     ("tools/one.hpp", "tokens.hpp", "examples/tokens.hpp")]:
            top = path.split("/", maxsplit=1)[0]
            self.check(path, f'#include "{name}"', [f"{path}: {top}/ must not include {included}"])

    def test_allowed_between_programs(self):
        for path in ["bench/one.cpp", "tests/tools/one_test.cpp", "tools/demo/main.cpp"]:
            self.check(path, '#include "support/json.hpp"\n#include <vector>', [])


if __name__ == "__main__":
    unittest.main()
