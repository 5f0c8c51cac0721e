#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""When get_llama.sh builds the wheel, and what it says where it cannot: with a Python that only pretends."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = "tools/llama_cpp/get_llama.sh"

# python -m pip --version | wheel | install --target: notes a build and its options, or fails as PIP_SAYS.
PRETENDED = r"""#!/usr/bin/env bash
set -eu
folder="$(dirname "$0")"
case "$*" in
  *--version*) exit 0 ;;
  *" wheel "*)
    echo "$CMAKE_ARGS" >>"$folder/builds"
    [[ -z "${PIP_SAYS:-}" ]] || { echo "$PIP_SAYS"; exit 1; }
    while [[ "$1" != --wheel-dir ]]; do shift; done
    touch "$2/llama_cpp_python-${3##*==}-py3-none-any.whl" ;;
  *" install "*)
    while [[ "$1" != --target ]]; do shift; done
    version="${3##*/llama_cpp_python-}"
    mkdir -p "$2/lib/cmake/llama" "$2/llama_cpp_python-${version%%-*}.dist-info"
    touch "$2/lib/cmake/llama/llama-config.cmake" ;;
esac
"""


class GetLlama(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / SCRIPT).parent.mkdir(parents=True)
        shutil.copy(ROOT / SCRIPT, self.root / SCRIPT)
        self.python = self.root / "python"
        self.python.write_text(PRETENDED, encoding="utf-8")
        self.python.chmod(0o755)

    def get(self, **variables):
        environment = {k: v for k, v in os.environ.items() if k not in ("CMAKE_ARGS", "PIP_SAYS")}
        environment.update({"PYTHON": str(self.python), **variables})
        return subprocess.run([self.root / SCRIPT], env=environment, capture_output=True, text=True, check=False)

    def builds(self):
        notes = self.root / "builds"
        return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []

    def test_the_wheel_is_built_once_and_with_other_options_again(self):
        for arguments, count in (({}, 1), ({}, 1), ({"CMAKE_ARGS": "-DGGML_CUDA=ON"}, 2),
                                 ({"CMAKE_ARGS": "-DGGML_CUDA=ON"}, 2), ({}, 2), ({"CMAKE_ARGS": ""}, 3)):
            with self.subTest(arguments):
                result = self.get(**arguments)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(len(self.builds()), count)
        self.assertIn("-DGGML_RPC=ON", self.builds()[0])
        self.assertIn("-DGGML_CUDA=ON", self.builds()[1])
        self.assertNotIn("-DGGML_CUDA=ON", self.builds()[2])

    def test_a_wheel_that_was_kept_is_unpacked(self):
        self.get()
        shutil.rmtree(self.root / "build/llama_cpp/python")
        self.assertEqual(self.get().returncode, 0)
        self.assertEqual(len(self.builds()), 1)
        self.assertTrue((self.root / "build/llama_cpp/python/lib/cmake/llama").is_dir())

    def test_a_wheel_of_another_version_is_not_taken(self):
        wheels = self.root / "build/llama_cpp/wheels"
        wheels.mkdir(parents=True)
        (wheels / "llama_cpp_python-0.0.1-py3-none-any.whl").touch()
        self.assertEqual(self.get().returncode, 0)
        self.assertEqual(len(self.builds()), 1)

    def test_no_network_and_a_failed_build_are_told_apart(self):
        result = self.get(PIP_SAYS="ERROR: No matching distribution found for llama-cpp-python")
        self.assertEqual(result.returncode, 77)
        self.assertIn("cannot be fetched", result.stderr)
        result = self.get(PIP_SAYS="error: a compiler was not found")
        self.assertEqual(result.returncode, 1)
        self.assertIn("could not be built", result.stderr)
        self.assertEqual(self.get(PYTHON="/nowhere/python").returncode, 77)


if __name__ == "__main__":
    unittest.main()
