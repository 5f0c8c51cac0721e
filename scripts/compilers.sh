#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# compilers.sh <folder>: a user's program, compiled by every g++ and clang that is installed, with and
# without exceptions, and with Eigen 5, and run. Programs and logs go to the folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly out="$1"
rm -rf "$out"
mkdir -p "$out"

compilers=()
for compiler in g++-{12..15} clang++-{14..19}; do
  if command -v "$compiler" >/dev/null; then
    compilers+=("$compiler")
  else
    printf 'not installed: %s\n' "$compiler"
  fi
done
if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null; then
  compilers+=("clang++ --target=aarch64-linux-gnu")
fi

version="$(sed -En 's/^#define MORPHKV_VERSION_(MAJOR|MINOR|PATCH) //p' include/morphkv/version.hpp |
  paste -sd.)"
failed=0

try() { # <compiler> <Eigen's folder> <options>
  local command emulator=() program
  read -r -a command <<<"$1 $3"
  if [[ "$1" == *aarch64* ]]; then emulator=(qemu-aarch64 -L /usr/aarch64-linux-gnu); fi
  program="$out/${command[*]}_${2##*/}"
  program="${program// /_}"
  if "${command[@]}" -O1 -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -isystem "$2" \
    -DEXPECTED_VERSION="\"$version\"" tests/package/consumer/main.cpp -o "$program" \
    >"$program.log" 2>&1 && "${emulator[@]}" "$program" >>"$program.log" 2>&1; then
    printf 'passed: %s, %s\n' "${command[*]}" "${2##*/}"
  else
    printf 'FAILED: %s, %s\n' "${command[*]}" "$2"
    cat "$program.log"
    failed=1
  fi
}

eigen="$(pkg-config --cflags-only-I eigen3 | sed 's/^-I//; s/ *$//')"
for compiler in "${compilers[@]}"; do
  for options in "-std=c++20" "-std=c++2b -fno-exceptions -fno-rtti"; do
    try "$compiler" "$eigen" "$options"
  done
done

# Eigen 5, which few systems have, from the Python package that carries its headers.
if python3 -m pip download --quiet --no-deps --dest "$out" 'eigency>=5' >"$out/eigen5.log" 2>&1 &&
  python3 -m zipfile -e "$out"/eigency-*.whl "$out/eigency"; then
  mv "$out/eigency/eigency/eigen" "$out/eigen5"
  grep -q 'EIGEN_MAJOR_VERSION 5' "$out/eigen5/Eigen/Version" || failed=1
  for compiler in g++ clang++; do
    try "$compiler" "$out/eigen5" "-std=c++20"
  done
else
  printf 'not available: Eigen 5\n'
fi
exit "$failed"
