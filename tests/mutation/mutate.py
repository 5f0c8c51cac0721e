#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes one comparison or arithmetic operator of score/, eviction/, policy/ or cache/ at a time, and runs
tests that should fail. Says how many did, and writes those that did not to build/reports/mutants.txt.

  mutate.py [--every N] [--first F] [--seconds S] [--folders score,cache] [--again]
                                      every Nth mutant, from F on, until S seconds have passed; with --again
                                      those alone that are in the report of the run before
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "mutants"
# folder of include/morphkv -> the tests that run, in this order
TESTS = {"score": ["score", "eviction", "policy", "cache"], "eviction": ["eviction", "policy", "cache"],
         "policy": ["policy", "eviction", "cache"], "cache": ["cache"]}
REPORT = ROOT / "build" / "reports" / "mutants.txt"
JOBS = int(os.environ.get("MORPHKV_JOBS", os.cpu_count()))
BATCH = 6  # sources of a test program that are compiled as one unit, as in the build
# operator -> its name in mutant.hpp, the operators that replace it
OPERATORS = {"<": ("<", "LG"), ">": (">", "GL"), "<=": ("L", "<"), ">=": ("G", ">"), "==": ("=", "!"),
             "!=": ("!", "="), "+": ("+", "-"), "-": ("-", "+"), "*": ("*", "/")}
PATTERN = re.compile(r"(?<=[\w)\]}]) (<=|>=|==|!=|[<>+*-]) (?=[\w({!~-])")
SKIPPED = re.compile(r"^\s*(#|MORPHKV_ASSERT|//|template|static_assert|requires)|operator|template <|\.\.\.|concept|requires")


def mutate(text, mutants, where):
    """The text with every operator replaced by one that can be another; adds them to `mutants`."""
    lines = text.split("\n")
    hints = False  # of what to prefetch, which change no result
    for number, line in enumerate(lines):
        code = line.split("//")[0]
        hints = "prefetch_hints(" in code or (hints and code != "  }")
        if hints or SKIPPED.search(code) or '"' in code:
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


def compile_unit(test, number, sources):
    """Sources of a test program as one unit; the path of its object."""
    unit = BUILD / f"{test}_{number}.cpp"
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    compiler = ["ccache"] if shutil.which("ccache") else []
    subprocess.run([*compiler, os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-w", "-include",
                    ROOT / "tests/mutation/mutant.hpp", f"-I{BUILD}/include", f"-I{ROOT}/tests",
                    "-isystem", "/usr/include/eigen3", "-c", unit, "-o", unit.with_suffix(".o")], check=True)
    return unit.with_suffix(".o")


def build(folders):
    """All mutants in one program per folder of tests. Returns pairs of a folder and a mutant's name."""
    include = BUILD / "include"
    shutil.rmtree(include, ignore_errors=True)
    shutil.copytree(ROOT / "include", include)
    mutants, names = [], []
    for folder in folders:
        for header in sorted((include / "morphkv" / folder).glob("*.hpp")):
            where = header.relative_to(include)
            header.write_text(mutate(header.read_text(), names, where))
            mutants += [(folder, name) for name in names[len(mutants):]]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        units = {}
        for test in sorted({test for folder in folders for test in TESTS[folder]}):
            sources = sorted((ROOT / "tests" / test).glob("*_test.cpp"))
            units[test] = [pool.submit(compile_unit, test, begin // BATCH, sources[begin:begin + BATCH])
                           for begin in range(0, len(sources), BATCH)]
        for test, objects in units.items():
            subprocess.run(["g++", *[unit.result() for unit in objects], "-o", BUILD / test, "-lgtest",
                            "-lgtest_main", "-pthread"], check=True)
    return mutants


def passes(test, number, seconds):
    """Whether the tests pass with a mutant; -1: none."""
    environment = dict(os.environ, MORPHKV_MUTANT=str(number))
    try:
        result = subprocess.run([BUILD / test, "--gtest_brief=1", "--gtest_fail_fast"], timeout=seconds,
                                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                check=False)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=10 ** 9)
    parser.add_argument("--folders", default=",".join(TESTS))
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    before = set(REPORT.read_text().splitlines()) if arguments.again else set()
    mutants = build(arguments.folders.split(","))
    limits = {}  # a mutant that never ends is killed
    for test in sorted({test for folder, _ in mutants for test in TESTS[folder]}):
        begin = time.monotonic()
        assert passes(test, -1, 3600), f"the tests of {test} fail without a mutant"
        limits[test] = 60 + 5 * (time.monotonic() - begin)
    end, tried, survivors = time.monotonic() + arguments.seconds, 0, []

    def survives(number):
        if time.monotonic() > end:
            return None
        return all(passes(test, number, limits[test]) for test in TESTS[mutants[number][0]])

    chosen = [number for number in range(arguments.first, len(mutants), arguments.every)
              if not arguments.again or mutants[number][1] in before]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for number, survived in zip(chosen, pool.map(survives, chosen)):
            tried += survived is not None
            if survived:
                survivors.append(mutants[number][1])
                print(f"{number}: {mutants[number][1]}", flush=True)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("".join(line + "\n" for line in survivors))
    killed = tried - len(survivors)
    print(f"{killed} of {tried} mutants killed ({100 * killed / max(tried, 1):.1f} %); there are {len(mutants)}")


main()
