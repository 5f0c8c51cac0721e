#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# compilers.sh <folder>: a user's program, compiled by every g++ and clang that is installed, with and
# without exceptions, and run. Programs and logs go to the folder.
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

eigen="$(pkg-config --cflags-only-I eigen3 | sed 's/^-I//; s/ *$//')"
version="$(sed -En 's/^#define MORPHKV_VERSION_(MAJOR|MINOR|PATCH) //p' include/morphkv/version.hpp |
  paste -sd.)"
failed=0
for compiler in "${compilers[@]}"; do
  for options in "-std=c++20" "-std=c++2b -fno-exceptions -fno-rtti"; do
    read -r -a command <<<"$compiler $options"
    emulator=()
    if [[ "$compiler" == *aarch64* ]]; then emulator=(qemu-aarch64 -L /usr/aarch64-linux-gnu); fi
    program="$out/${command[*]// /_}"
    program="${program// /_}"
    if "${command[@]}" -O1 -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -isystem "$eigen" \
      -DEXPECTED_VERSION="\"$version\"" tests/package/consumer/main.cpp -o "$program" \
      >"$program.log" 2>&1 && "${emulator[@]}" "$program" >>"$program.log" 2>&1; then
      printf 'passed: %s\n' "${command[*]}"
    else
      printf 'FAILED: %s\n' "${command[*]}"
      cat "$program.log"
      failed=1
    fi
  done
done
exit "$failed"
