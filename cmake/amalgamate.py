#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the whole library as one header, for projects that vendor a single file.

    amalgamate.py include build/single_include/morphkv/morphkv.hpp

A header with an include guard is expanded where it is first included, and keeps its guard, so that
the single file and the folder can meet in one translation unit. A header without a guard (the
kernels' loops, which are written once and included once per instruction set) is expanded at every
include, and so is one whose name a macro holds: #define LOOPS "name.hpp", #include LOOPS.
"""
import argparse
import pathlib
import re
import sys

INCLUDE = re.compile(r'\s*#\s*include\s+(?:"(?P<own>[^"]+)"|<(?P<system>[^>]+)>|(?P<macro>\w+))')
NAME_IN_MACRO = re.compile(r'#define (?P<macro>\w+) "(?P<own>morphkv/[^"]+)"')
CONDITION = re.compile(r"\s*#\s*(?P<word>if|ifdef|ifndef|endif)\b")
GUARD = re.compile(r"^#ifndef (?P<name>\w+_HPP)\n#define (?P=name)\n", re.MULTILINE)
LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"

# Device code has a compiler of its own, and nothing outside this folder includes it.
LEFT_OUT = "morphkv/cuda/"


class Amalgamation:
    def __init__(self, include_dir):
        self.include_dir = include_dir
        self.seen = set()  # headers with a guard that were expanded, and system headers
        self.macros = {}  # those that hold the name of a header
        self.lines = []

    def text_of(self, name):
        return (self.include_dir / name).read_text(encoding="utf-8")

    def expand(self, name, conditions=0):
        """Appends a header and what it includes, inside `conditions` open #if."""
        if name in self.seen:
            return
        text = self.text_of(name)
        if GUARD.search(text):
            if conditions:
                # Were the condition false, a later include of the header would find nothing.
                raise SystemExit(f"amalgamate: {name} has an include guard, and is first included "
                                 "under a condition; include it before")
            self.seen.add(name)
            conditions -= 1  # its own guard does not count
        self.lines.append(f"// === {name} ===\n")
        for line in text.removeprefix(LICENCE).splitlines(keepends=True):
            condition = CONDITION.match(line)
            if condition:
                conditions += -1 if condition["word"] == "endif" else 1
            definition = NAME_IN_MACRO.match(line)
            if definition:
                self.macros[definition["macro"]] = definition["own"]
            include = INCLUDE.match(line)
            own = include and (include["own"] or self.macros.get(include["macro"]))
            system = include and conditions == 0 and include["system"]
            if own:
                self.expand(own, conditions)
            elif not (system and system in self.seen):
                self.lines.append(line)
                if system:
                    self.seen.add(system)


def whole_library(include_dir):
    result = Amalgamation(include_dir)
    version = re.findall(r"^#define MORPHKV_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$",
                         result.text_of("morphkv/version.hpp"), re.MULTILINE)
    result.lines = [
        LICENCE,
        f"//\n// morphkv {'.'.join(version)}: the whole library in one header; it needs Eigen 3.4 or newer.\n",
        "// Written by cmake/amalgamate.py from include/; change the files there, not this one.\n\n",
    ]
    # What everything includes first; then any public header that it does not reach.
    names = ["morphkv/morphkv.hpp"] + sorted(
        path.relative_to(include_dir).as_posix() for path in include_dir.rglob("*.hpp"))
    for name in names:
        if not name.startswith(LEFT_OUT) and GUARD.search(result.text_of(name)):
            result.expand(name)
    return "".join(result.lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("include_dir", type=pathlib.Path, help="the folder that holds morphkv/")
    parser.add_argument("output", type=pathlib.Path, help="the header to write")
    arguments = parser.parse_args()
    if not (arguments.include_dir / "morphkv/morphkv.hpp").is_file():
        sys.exit(f"amalgamate: include_dir is '{arguments.include_dir}', "
                 "but it must be a folder with morphkv/morphkv.hpp in it")
    text = whole_library(arguments.include_dir)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
