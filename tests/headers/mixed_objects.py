#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mixed_objects.py <narrow object> <wide object>: of two units that use a cache and were compiled for
different processors, no function of the library has a name that both define, so that a linker cannot take one
for the other; and in the narrow one the instructions of AVX are in the functions of instruction sets alone."""
import re
import subprocess
import sys

WIDE = re.compile(r"%[yz]mm\d|%k[0-7]\b|\tv[a-z]")
OF_A_SET = re.compile(r"4avx2|6avx512|11avx512_bf16")


def names(path):
    """Symbols that the object defines and that a linker sees: their kinds by name."""
    lines = subprocess.run(["nm", "--defined-only", "--extern-only", path], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    return {line.split()[-1] for line in lines if line}


def wide_functions(path):
    found, function = set(), ""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True,
                          check=True).stdout
    for line in text.splitlines():
        if (header := re.match(r"[0-9a-f]+ <(.*)>:$", line)) is not None:
            function = header[1]
        elif WIDE.search(line):
            found.add(function)
    return found


def main():
    narrow, wide = sys.argv[1:]
    shared = {name for name in names(narrow) & names(wide) if "7morphkv" in name and "shared_by_builds" not in name}
    in_narrow = wide_functions(narrow)
    astray = {name for name in in_narrow if not OF_A_SET.search(name)}
    for title, bad in (("both define", shared), ("instructions of AVX in the narrow unit", astray)):
        for name in sorted(bad):
            print(f"{title}: {name}")
    if not in_narrow:
        print("there are no instructions of AVX: this checks nothing")
    return 1 if shared or astray or not in_narrow else 0


sys.exit(main())
