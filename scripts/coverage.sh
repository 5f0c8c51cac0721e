#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# coverage.sh [program...]: runs the tests of the library, or some of their programs, and says which lines
# and branches of include/ they run. A page for each header is in build/reports/coverage, the lines that
# nothing runs are in build/reports/uncovered.txt. Device headers, which nvcc compiles, are left out. The
# programs run side by side, one per core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly build=build/coverage reports=build/reports
programs=("$@")
(($#)) || programs=(test_core test_score test_kernels test_eviction test_policy test_attention test_cache)
mkdir -p "$reports"
cmake --preset coverage >"$reports/configure.log"
cmake --build "$build" --target "${programs[@]}"

printf '%s\n' "${programs[@]}" | xargs -P "$(nproc)" -I{} env LLVM_PROFILE_FILE="$build/{}.profraw" \
  "$build/bin/{}" --gtest_brief=1
profiles=() objects=()
for program in "${programs[@]}"; do
  profiles+=("$build/$program.profraw")
  objects+=(-object "$build/bin/$program")
done
llvm-profdata merge -sparse "${profiles[@]}" -o "$build/all.profdata"
# llvm-cov warns of functions with mismatched data: those that one program has and another one does not use.
of_include=(-instr-profile="$build/all.profdata" "${objects[@]:1}" include/)
llvm-cov show -format=html -show-branches=count -output-dir="$reports/coverage" "${of_include[@]}"
llvm-cov show -format=text -use-color=0 -show-instantiations=0 "${of_include[@]}" |
  awk '/^\/.*:$/ { file = $0 } /^ +[0-9]+\| +0\|/ { print file, $0 }' >"$reports/uncovered.txt"
llvm-cov report "${of_include[@]}" | tee "$reports/coverage.txt" | tail -n 1
