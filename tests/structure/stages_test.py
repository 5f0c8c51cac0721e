#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of ./run test counts what ctest and GoogleTest report."""
import importlib.util
import pathlib
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("stages", ROOT / "scripts" / "test.py")
stages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stages)


class CountCases(unittest.TestCase):
    def count(self, status, inside="", google_test=None):
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder)
            if google_test:
                (results / "one.xml").write_text(google_test, encoding="utf-8")
            junit = results / "junit"
            junit.write_text(f'<testsuite><testcase name="one" status="{status}">{inside}</testcase>'
                             "</testsuite>", encoding="utf-8")
            return stages.count_cases(junit, results)

    @staticmethod
    def suites(tests, failures=0, disabled=0, skipped=0):
        numbers = f'tests="{tests}" failures="{failures}" disabled="{disabled}" errors="0"'
        return (f'<testsuites {numbers}><testsuite name="A" {numbers} skipped="{skipped}"/>'
                "</testsuites>")

    def test_a_test_without_a_report_is_one_case(self):
        self.assertEqual(self.count("run"), (1, 0, 0))
        self.assertEqual(self.count("fail"), (0, 1, 0))

    def test_a_skipped_test(self):
        reason = '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
        self.assertEqual(self.count("notrun", reason), (0, 0, 1))

    def test_a_program_that_was_not_built_has_failed(self):
        self.assertEqual(self.count("notrun", '<skipped message="Unable to find executable"/>'),
                         (0, 1, 0))

    def test_a_google_test_program_is_its_cases(self):
        self.assertEqual(self.count("run", google_test=self.suites(10, disabled=1, skipped=2)),
                         (7, 0, 3))
        self.assertEqual(self.count("fail", google_test=self.suites(10, failures=3)), (7, 3, 0))

    def test_a_program_that_fails_after_its_report_has_failed(self):
        self.assertEqual(self.count("fail", google_test=self.suites(10)), (10, 1, 0))


class Stages(unittest.TestCase):
    def test_every_stage_is_a_preset_with_a_description(self):
        presets = stages.read_presets()
        for name in stages.DEFAULT + stages.ON_REQUEST:
            with self.subTest(name):
                preset = presets["test"].get(name) or presets["build"].get(name)
                self.assertIsNotNone(preset)
                self.assertIn("displayName", preset)
                self.assertTrue(stages.configure_preset(name, presets))


if __name__ == "__main__":
    unittest.main()
