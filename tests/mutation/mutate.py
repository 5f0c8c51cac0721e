#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes one comparison or arithmetic operator of score/, eviction/ or policy/ at a time, and runs tests
that should fail. Says how many did, and writes those that did not to build/reports/mutants.txt.

  mutate.py [--every N] [--first F] [--seconds S]   every Nth mutant, from F on, until S seconds have passed
"""
import argparse
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "mutants"
FOLDERS = ["score", "eviction", "policy"]
TESTS = ["score", "policy", "eviction"]
# operator -> its name in mutant.hpp, the operators that replace it
OPERATORS = {"<": ("<", "LG"), ">": (">", "GL"), "<=": ("L", "<"), ">=": ("G", ">"), "==": ("=", "!"),
             "!=": ("!", "="), "+": ("+", "-"), "-": ("-", "+"), "*": ("*", "/")}
PATTERN = re.compile(r"(?<=[\w)\]}]) (<=|>=|==|!=|[<>+*-]) (?=[\w({!~-])")
SKIPPED = re.compile(r"^\s*(#|MORPHKV_ASSERT|//|template|static_assert|requires)|operator|template <|\.\.\.|concept|requires")


def mutate(text, mutants, where):
    """The text with every operator replaced by one that can be another; adds them to `mutants`."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        code = line.split("//")[0]
        if SKIPPED.search(code) or '"' in code:
            continue

        def replace(match):
            operator = match[1]
            name, others = OPERATORS[operator]
            other = others[len(mutants) % len(others)]
            mutants.append(f"{where}:{number + 1}: {operator} -> {other}: {line.strip()}")
            return (f" {operator} ::morphkv_mutation::mutant<{len(mutants) - 1}, '{name}', '{other}'> "
                    f"{operator} ")

        lines[number] = PATTERN.sub(replace, code) + line[len(code):]
    return "\n".join(lines)


def build():
    """All mutants in one program per folder of tests. Returns their names."""
    include = BUILD / "include"
    shutil.rmtree(include, ignore_errors=True)
    shutil.copytree(ROOT / "include", include)
    mutants = []
    for folder in FOLDERS:
        for header in sorted((include / "morphkv" / folder).glob("*.hpp")):
            where = header.relative_to(include)
            header.write_text(mutate(header.read_text(), mutants, where))
    for test in TESTS:
        sources = sorted((ROOT / "tests" / test).glob("*_test.cpp"))
        unit = BUILD / f"{test}.cpp"
        unit.write_text("".join(f'#include "{source}"\n' for source in sources))
        subprocess.run([os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-w", "-include",
                        ROOT / "tests/mutation/mutant.hpp", f"-I{include}", f"-I{ROOT}/tests",
                        "-isystem", "/usr/include/eigen3", unit, "-o", BUILD / test, "-lgtest",
                        "-lgtest_main", "-pthread"], check=True)
    return mutants


def is_killed(number):
    for test in TESTS:
        environment = dict(os.environ, MORPHKV_MUTANT=str(number))
        try:
            result = subprocess.run([BUILD / test, "--gtest_brief=1", "--gtest_fail_fast"], timeout=300,
                                    env=environment, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            return True
        if result.returncode != 0:
            return True
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=10 ** 9)
    arguments = parser.parse_args()
    mutants = build()
    assert not is_killed(-1), "the tests fail without a mutant"
    begin, tried, survivors = time.monotonic(), 0, []
    for number in range(arguments.first, len(mutants), arguments.every):
        if time.monotonic() - begin > arguments.seconds:
            break
        tried += 1
        if not is_killed(number):
            survivors.append(mutants[number])
            print(mutants[number], flush=True)
    report = ROOT / "build" / "reports" / "mutants.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join(line + "\n" for line in survivors))
    killed = tried - len(survivors)
    print(f"{killed} of {tried} mutants killed ({100 * killed / max(tried, 1):.1f} %); there are {len(mutants)}")


main()
