#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# packages.sh <group>...: installs what is missing of the groups build, bench, test, style, docs with
# apt-get. Without apt-get, a missing command is an error that names it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A package, and its command where other sources than the package may have installed it.
required=()
optional=() # installed where this system offers them; without them a stage of the tests is skipped
for group in "$@"; do
  case "$group" in
    build) required+=(g++:g++ cmake:cmake ninja-build:ninja libeigen3-dev libcli11-dev
      nlohmann-json3-dev libpcre2-dev libutf8proc-dev) ;;
    bench) required+=(libbenchmark-dev) ;;
    test)
      required+=(libgtest-dev libbenchmark-dev clang:clang++ git:git pkg-config:pkg-config
        python3:python3)
      optional+=(clang-format-14 clang-tidy-14 shellcheck libclang-rt-dev doxygen libasio-dev nodejs
        g++-aarch64-linux-gnu qemu-user googletest python3-pip)
      ;;
    style) optional+=(clang-format-14) ;;
    docs) required+=(doxygen:doxygen) ;;
    *)
      printf 'packages.sh: group is %s; it must be build, bench, test, style or docs\n' "$group" >&2
      exit 1
      ;;
  esac
done

fail() {
  printf 'run: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then "$@" </dev/null; else sudo "$@" </dev/null; fi
}

is_missing() { # <package[:command]>
  [[ "$1" == *:* ]] && command -v "${1##*:}" >/dev/null && return 1
  ! command -v dpkg-query >/dev/null && return
  [[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "${1%%:*}" 2>/dev/null)" != ii* ]]
}

if ! command -v apt-get >/dev/null; then
  for entry in "${required[@]}"; do
    [[ "$entry" != *:* ]] || ! is_missing "$entry" ||
      fail "'${entry##*:}' is missing, and there is no apt-get here; please install it."
  done
  exit 0
fi

missing=()
for entry in "${required[@]}"; do
  ! is_missing "$entry" || missing+=("${entry%%:*}")
done
if ((EUID != 0)) && ! command -v sudo >/dev/null; then
  ((${#missing[@]} == 0)) || fail "please run this as root: apt-get install ${missing[*]}"
  exit 0
fi
if ((${#missing[@]})); then
  as_root apt-get update -qq || printf 'run: apt-get update failed; using the present lists\n'
fi
for package in "${optional[@]}"; do
  if is_missing "$package" && apt-cache show "$package" >/dev/null 2>&1; then
    missing+=("$package")
  fi
done
((${#missing[@]})) || exit 0

printf 'installing with apt-get: %s\n' "${missing[*]}"
mkdir -p build/reports
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
  -o DPkg::Lock::Timeout=300 "${missing[@]}" >build/reports/apt.log 2>&1 || {
  tail -n 20 build/reports/apt.log
  fail "apt-get could not install: ${missing[*]}"
}
