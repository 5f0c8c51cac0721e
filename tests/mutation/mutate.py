#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes one comparison or arithmetic operator of score/, eviction/, policy/ or cache/ at a time, and runs the
tests that run this operator, the quick ones first: one should fail. Says how many mutants a test found, and
writes the others to build/reports/mutants.txt.

  mutate.py [--every N] [--first F] [--seconds S] [--folders score,cache] [--again]
                                      every Nth mutant, from F on, until S seconds have passed; with --again
                                      those alone that are in the report of the run before
"""
import argparse
import concurrent.futures
import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "mutants"
# folder of include/morphkv -> the tests that run, in this order
TESTS = {"score": ["score", "eviction", "policy", "cache"], "eviction": ["eviction", "policy", "cache"],
         "policy": ["policy", "eviction", "cache"], "cache": ["attention", "cache"]}
REPORT = ROOT / "build" / "reports" / "mutants.txt"
MEMORY = 4 << 30  # bytes for a test program: a mutant that asks for more without end is killed
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
        if hints or "fetch_to_write(" in code or SKIPPED.search(code) or '"' in code:
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


def compile_unit(name, sources, *options):
    """Sources as one unit; the path of its object."""
    unit = BUILD / f"{name}.cpp"
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    compiler = ["ccache"] if shutil.which("ccache") else []
    subprocess.run([*compiler, os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-w", "-include",
                    ROOT / "tests/mutation/mutant.hpp", f"-I{BUILD}/include", f"-I{ROOT}/tests",
                    "-isystem", "/usr/include/eigen3", *options, "-c", unit, "-o", unit.with_suffix(".o")],
                   check=True)
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
        shared = [pool.submit(compile_unit, "kernels", [ROOT / "cmake/separate_kernels.cpp"]),
                  pool.submit(compile_unit, "reached", [ROOT / "tests/mutation/reached.cpp"])]
        units = {}
        for test in programs(folders):
            sources = sorted((ROOT / "tests" / test).glob("*_test.cpp"))
            units[test] = [pool.submit(compile_unit, f"{test}_{begin // BATCH}", sources[begin:begin + BATCH],
                                       "-DMORPHKV_SEPARATE_KERNELS")
                           for begin in range(0, len(sources), BATCH)]
        for test, objects in units.items():
            subprocess.run(["g++", *[unit.result() for unit in objects + shared], "-o", BUILD / test,
                            "-lgtest", "-lgtest_main", "-pthread"], check=True)
    return mutants


def programs(folders):
    """The test programs for the mutants of some folders."""
    return sorted({test for folder in folders for test in TESTS[folder]})


def passes(program, seconds, *options, **environment):
    """Whether the tests of a program pass; one that never ends does not."""
    try:
        result = subprocess.run([BUILD / program, "--gtest_brief=1", "--gtest_fail_fast", *options],
                                timeout=seconds, env=dict(os.environ, **environment),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def find_tests(program):
    """Mutant -> the tests that run its operator, as pairs of seconds and a name, the quickest first."""
    path = BUILD / f"{program}.reached"
    assert passes(program, 3600, MORPHKV_MUTANTS_REACHED=str(path)), f"{program} fails without a mutant"
    lines = [line.split() for line in path.read_text().splitlines()]
    always = lines[0][2:]
    tests = {}
    for name, milliseconds, *reached in lines[1:]:
        for number in {*reached, *always}:
            tests.setdefault(int(number), []).append((int(milliseconds) / 1000, name))
    return {number: sorted(found) for number, found in tests.items()}


def parts_of(tests):
    """Tests in two parts: the quickest, as many as take a second together, and the others."""
    seconds = 0
    for count, (each, _) in enumerate(tests):
        seconds += each
        if seconds > 1:
            return [part for part in (tests[:count], tests[count:]) if part]
    return [tests] if tests else []


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
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    tests = {program: find_tests(program) for program in programs(arguments.folders.split(","))}
    end, tried, survivors = time.monotonic() + arguments.seconds, 0, []

    def survives(number):
        if time.monotonic() > end:
            return None
        parts = [(program, part) for program in TESTS[mutants[number][0]]
                 for part in parts_of(tests[program].get(number, []))]
        parts.sort(key=lambda part: part[1][-1][0])  # by their slowest test
        return all(passes(program, 60 + 5 * sum(seconds for seconds, _ in part),
                          "--gtest_filter=" + ":".join(name for _, name in part), MORPHKV_MUTANT=str(number))
                   for program, part in parts)

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
