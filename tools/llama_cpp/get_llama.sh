#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# get_llama.sh   llama.cpp with its headers, from the Python package llama-cpp-python: the wheel is built
#                once, in build/llama_cpp/wheels, and unpacked in build/llama_cpp/python.
#
# CMAKE_ARGS adds to the options of llama.cpp's build, for example -DGGML_CUDA=ON. PYTHON is the
# interpreter, python3 by default; it needs pip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly package=llama-cpp-python==0.3.36
readonly wheels="$PWD/build/llama_cpp/wheels" target="$PWD/build/llama_cpp/python"
readonly python="${PYTHON:-python3}"

fail() {
  printf 'run build llama: %s\n' "$*" >&2
  exit 1
}

[[ ! -f "$target/lib/cmake/llama/llama-config.cmake" ]] || exit 0
"$python" -m pip --version >/dev/null 2>&1 || fail "PYTHON = $python: must be a Python with pip"
mkdir -p "$wheels"
wheel="$(find "$wheels" -name 'llama_cpp_python-*.whl' -print -quit)"
if [[ -z "$wheel" ]]; then
  printf 'Building %s with the RPC backend: some 15 minutes of CPU time; %s has the log\n' \
    "$package" "$wheels/log"
  CMAKE_ARGS="-DGGML_RPC=ON -DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" \
    "$python" -m pip wheel --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --wheel-dir "$wheels" "$package" >"$wheels/log" 2>&1 || {
    tail -n 20 "$wheels/log" >&2
    fail "$package could not be built"
  }
  wheel="$(find "$wheels" -name 'llama_cpp_python-*.whl' -print -quit)"
fi
"$python" -m pip install --disable-pip-version-check --quiet --no-deps --upgrade --target "$target" "$wheel"
[[ -f "$target/lib/cmake/llama/llama-config.cmake" ]] ||
  fail "$wheel has no lib/cmake/llama: another version of the package is needed"
printf 'llama.cpp is in %s\n' "$target"
