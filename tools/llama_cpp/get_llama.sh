#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# get_llama.sh   llama.cpp with its headers, from the Python package llama-cpp-python: the wheel is built
#                once, in build/llama_cpp/wheels, and unpacked in build/llama_cpp/python.
#
# CMAKE_ARGS adds to the options of llama.cpp's build, for example -DGGML_CUDA=ON. Other ones than the
# wheel was built with build it again; without CMAKE_ARGS the wheel that is there stays. PYTHON is the
# interpreter, python3 by default; it needs pip. Exit status 77: the package cannot be fetched here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly version=0.3.36
readonly package=llama-cpp-python==$version
readonly wheels="$PWD/build/llama_cpp/wheels" target="$PWD/build/llama_cpp/python"
readonly python="${PYTHON:-python3}"

fail() { # <exit status> <message>
  printf 'run build llama: %s\n' "$2" >&2
  exit "$1"
}

wheel() {
  find "$wheels" -name "llama_cpp_python-$version-*.whl" -print -quit
}

unpacked() {
  [[ -d "$target/llama_cpp_python-$version.dist-info" && -f "$target/lib/cmake/llama/llama-config.cmake" ]]
}

mkdir -p "$wheels"
if [[ -n "${CMAKE_ARGS+set}" && "$CMAKE_ARGS" != "$(cat "$wheels/cmake_args" 2>/dev/null)" ]]; then
  rm -rf "$wheels"/*.whl "$target"
fi
! unpacked || exit 0
"$python" -m pip --version >/dev/null 2>&1 || fail 77 "PYTHON = $python: must be a Python with pip"
if [[ -z "$(wheel)" ]]; then
  printf 'Building %s with the RPC backend: some 15 minutes of CPU time; %s has the log\n' \
    "$package" "$wheels/log"
  # pip's own cache knows a wheel by its version, not by the options that it was built with.
  CMAKE_ARGS="-DGGML_RPC=ON -DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" \
    "$python" -m pip wheel --disable-pip-version-check --no-cache-dir --no-deps --no-binary llama-cpp-python \
    --wheel-dir "$wheels" "$package" >"$wheels/log" 2>&1 || {
    tail -n 20 "$wheels/log" >&2
    ! grep -qE 'No matching distribution found|ConnectionPool' "$wheels/log" ||
      fail 77 "$package cannot be fetched: no package index can be reached, or it lacks something"
    fail 1 "$package could not be built; $wheels/log says why"
  }
  printf '%s' "${CMAKE_ARGS:-}" >"$wheels/cmake_args"
fi
rm -rf "$target"
"$python" -m pip install --disable-pip-version-check --quiet --no-deps --target "$target" "$(wheel)"
unpacked || fail 1 "$(wheel) has no lib/cmake/llama: another version of the package is needed"
printf 'llama.cpp is in %s\n' "$target"
