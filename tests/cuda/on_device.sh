#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# All that has to be seen on a machine with a device, in one call: the tests, NVIDIA's four checkers
# on a short part of them, the example, the benchmark. Programs that are in build/cuda/bin already are
# taken as they are, so that they may be built elsewhere:
#
#   cmake --preset cuda -DMORPHKV_CUDA_ALL_SHAPES=ON
#   cmake --build build/cuda --target cuda_device_tests cuda_bench cuda_decode
#
# It goes on after a failure, and says in the end what failed. Logs: build/reports/cuda-*.log.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

programs=build/cuda/bin
reports=build/reports
mkdir -p "$reports"
failed=()

step() { # <name> <command...>
  local name="$1"
  shift
  printf '== %s\n' "$name"
  if ! "$@" >"$reports/cuda-$name.log" 2>&1; then failed+=("$name"); fi
  tail -n 25 "$reports/cuda-$name.log"
}

if [[ ! -x "$programs/cuda_device_tests" || ! -x "$programs/cuda_bench" ]]; then
  step configure cmake --preset cuda -DMORPHKV_CUDA_ALL_SHAPES=ON
  step build cmake --build build/cuda --parallel \
    --target cuda_device_tests cuda_bench cuda_decode
fi
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem --format=csv

each_test() { # in a process of its own, since the oracles take most of the time
  "$programs/cuda_device_tests" --gtest_list_tests | awk '/^[^ ]/ { suite = $1 } /^ / { print suite $1 }' |
    grep -v '^Running' | xargs -P "$(nproc)" -I{} "$programs/cuda_device_tests" --gtest_brief=1 --gtest_filter={}
}
step tests each_test
for tool in memcheck racecheck synccheck initcheck; do
  step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
    "$programs/cuda_device_tests" --gtest_brief=1 --gtest_filter='*Briefly*'
done
step example "$programs/cuda_decode"
step bench "$programs/cuda_bench"
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  step compare python3 bench/cuda/compare_torch.py
fi

if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}"
  exit 1
fi
printf 'all passed\n'
