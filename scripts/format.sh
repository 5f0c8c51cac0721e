#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# format.sh           formats the source files with clang-format 14
# format.sh --check   lists the files that it would change, and fails if there are any
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Each version formats differently, so there is one.
for tool in clang-format-14 clang-format; do
  if "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then break; fi
  tool=""
done
if [[ -z "$tool" ]]; then
  printf 'SKIPPED: clang-format 14 is not installed\n'
  [[ "${1:-}" == --check ]]
  exit
fi

mapfile -t files < <(find include tests tools bench examples cmake -type f \
  \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) -not -path '*/build/*' | sort)
if [[ "${1:-}" != --check ]]; then
  exec "$tool" -i "${files[@]}"
fi
"$tool" --dry-run --Werror "${files[@]}"
