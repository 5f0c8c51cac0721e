#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Long texts of different kinds for ./run bench real, in build/texts: one file each.

They come from Debian packages, which apt-get downloads and dpkg-deb unpacks there; nothing is
installed. Texts whose package cannot be had are left out, with a message."""

import gzip
import html
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "texts"
LENGTH = 40000  # characters: about 10,000 tokens


def package(name):
    """The folder that a Debian package is unpacked into."""
    folder = FOLDER / "packages" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {name}", flush=True)
    subprocess.run(["apt-get", "download", name], cwd=folder.parent, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    archive = next(folder.parent.glob(f"{name}_*.deb"))
    subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    archive.unlink()
    return folder


def read(path):
    with (gzip.open if path.suffix in (".gz", ".dz") else open)(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def page(path):
    """The text of an HTML page, a paragraph per line."""
    text = re.sub(r"(?s)<(script|style|head).*?</\1>", "", read(path))
    text = re.sub(r"<(p|br|h\d|li)[^>]*>", "\n\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    text = re.sub(r"\s*\n\s*\n\s*", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def verse():
    folder = package("bible-kjv-text") / "usr/lib"
    program = package("bible-kjv") / "usr/bin/bible"
    run = subprocess.run([program, "-f", "-p", folder, "Genesis1:1-Genesis20:1"], check=True,
                         capture_output=True, text=True)
    return run.stdout


# Name: (kind, the text). The settings of recommended() were chosen on other texts.
TEXTS = {
    "essay": ("prose", lambda: page(package("anarchism") / "usr/share/doc/anarchism/html/secF3.html")),
    "history": ("prose", lambda: read(package("debian-history")
                / "usr/share/doc/debian-history/docs/project-history.en.txt.gz")[5000:]),
    "verse": ("verse", verse),
    "jargon": ("dictionary", lambda: read(package("dict-jargon")
               / "usr/share/dictd/jargon.dict.dz")[200000:]),
    "manual": ("manual", lambda: read(package("developers-reference")
               / "usr/share/developers-reference/developers-reference.txt.gz")[60000:]),
    "code": ("code", lambda: read(package("libpython3.11-stdlib")
             / "usr/lib/python3.11/tarfile.py")[30000:]),
    "templates": ("code", lambda: read(package("libeigen3-dev")
                  / "usr/include/eigen3/Eigen/src/Core/PlainObjectBase.h")[2000:]),
    "sayings": ("dialogue", lambda: read(package("fortunes") / "usr/share/games/fortunes/people")),
}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = []
    for name, (_, make) in TEXTS.items():
        file = FOLDER / f"{name}.txt"
        if file.exists():
            continue
        try:
            file.write_text(make()[:LENGTH])
        except (OSError, StopIteration, subprocess.CalledProcessError) as error:
            missing.append(f"{name} ({getattr(error, 'stderr', None) or error})")
    if missing:
        print("Left out: " + ", ".join(missing), file=sys.stderr)
    if not any(FOLDER.glob("*.txt")):
        sys.exit("There is no text in build/texts; apt-get download could not get any.")


main()
