#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails where an include points the wrong way.

Inside the library, a folder includes itself and the folders before it in LAYERS. Of the programs, each
folder includes what USES says. docs/layout.md has the reasons.
"""
import pathlib
import re
import sys

LAYERS = ["core", "kernels", "score", "eviction", "policy", "attention", "cache", "cuda"]
USES = {
    "include": ["include"],
    "tools": ["include", "tools"],
    "examples": ["include", "examples"],
    "bench": ["include", "tools", "bench"],
    "tests": ["include", "tools", "bench", "tests"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)
SOURCES = {".hpp", ".cpp", ".cuh", ".cu"}


def find_included(root, source, name):
    """The file of the repository that `source` includes as `name`, relative to the root, or None."""
    folders = [source.parent] + [root / top for top in USES]
    for folder in folders:
        found = (folder / name).resolve()
        if found.is_file() and found.is_relative_to(root):
            return found.relative_to(root)
    return None


def layer(path):
    """The layer of a header of the library; None for those above all layers, as morphkv.hpp."""
    parts = path.parts
    return parts[2] if parts[:2] == ("include", "morphkv") and len(parts) > 3 else None


def violations(root):
    root = root.resolve()
    found = []
    for top in USES:
        for source in sorted((root / top).rglob("*")):
            if source.suffix not in SOURCES:
                continue
            path = source.relative_to(root)
            from_layer = layer(path)
            if from_layer is not None and from_layer not in LAYERS:
                found.append(f"{path}: the folder is not in the list of layers")
                continue
            for quote, name in INCLUDE.findall(source.read_text(encoding="utf-8")):
                included = find_included(root, source, name)
                if included is None:
                    if quote == '"' or name.startswith("morphkv/"):
                        found.append(f"{path}: there is no {name}")
                    continue
                if included.parts[0] not in USES[top]:
                    found.append(f"{path}: {top}/ must not include {included}")
                to_layer = layer(included)
                if from_layer is None or included.name == "version.hpp":
                    continue
                if to_layer is None:
                    found.append(f"{path}: a layer must not include {included}")
                elif to_layer in LAYERS and LAYERS.index(to_layer) > LAYERS.index(from_layer):
                    found.append(f"{path}: {from_layer}/ must not include {included}")
    return found


def main():
    found = violations(pathlib.Path(__file__).parents[2])
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
