#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# llama.sh   the packages of the stage `llama`: llama.cpp, built once, and transformers with torch for the
#            CPU, in build/python. Exit status 77, with the reason: llama.cpp cannot be fetched here.
#
# A continuous integration keeps build/llama_cpp and build/python between its runs. MORPHKV_LLAMA_CPP and
# MORPHKV_PYTHON name what is elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python=build/python/bin/python log=build/reports/llama.log
readonly torch=https://download.pytorch.org/whl/cpu

[[ -n "${MORPHKV_LLAMA_CPP:-}" ]] || tools/llama_cpp/get_llama.sh

[[ -z "${MORPHKV_PYTHON:-}" ]] || exit 0
if "${python}" -c 'import torch, transformers, safetensors' 2>/dev/null; then exit 0; fi
mkdir -p build/reports
if ! { python3 -m venv build/python && # torch for the CPU is smaller; another index may have no such one
  { "$python" -m pip install --quiet torch --index-url "$torch" || "$python" -m pip install --quiet torch; } &&
  "$python" -m pip install --quiet transformers safetensors; } >"$log" 2>&1; then
  printf 'transformers cannot be fetched: the tests of record_trace.py are skipped; %s says why\n' "$log"
fi
