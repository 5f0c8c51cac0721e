#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes one comparison or arithmetic operator of score/, eviction/, policy/ or cache/ at a time, and runs the
tests that run this operator, the quick ones first: one should fail. Says how many mutants a test found, and
writes the others to build/reports/mutants.txt.

  mutate.py [--every N] [--first F] [--seconds S] [--folders score,cache] [--again]
                                      every Nth mutant, from F on, until S seconds have passed; with --again
                                      those alone that no run before has killed

Left out are mutants that are equivalent: by a rule (see is_same), because the types have no such operator, or
because tests/mutation/equivalent.txt says why no input can tell.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import resource
import shutil
import subprocess
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "mutants"
# folder of include/morphkv -> the tests that run, in this order
TESTS = {"score": ["score", "eviction", "policy", "cache"], "eviction": ["eviction", "policy", "cache"],
         "policy": ["policy", "eviction", "cache"], "cache": ["attention", "cache"]}
REPORT = ROOT / "build" / "reports" / "mutants.txt"  # survivors
KILLED = ROOT / "build" / "reports" / "mutants-killed.txt"
EQUIVALENT = ROOT / "tests" / "mutation" / "equivalent.txt"
MEMORY = 4 << 30  # bytes for a test program: a mutant that asks for more without end is killed
JOBS = int(os.environ.get("MORPHKV_JOBS", os.cpu_count()))
BATCH = 6  # sources of a test program that are compiled as one unit, as in the build
# operator -> its name in mutant.hpp, the operators that replace it
OPERATORS = {"<": ("<", "LG"), ">": (">", "GL"), "<=": ("L", "<"), ">=": ("G", ">"), "==": ("=", "!"),
             "!=": ("!", "="), "+": ("+", "-"), "-": ("-", "+"), "*": ("*", "/")}
PATTERN = re.compile(r"(?<=[\w)\]}]) (<=|>=|==|!=|[<>+*-]) (?=[\w({!~-])")
SKIPPED = re.compile(r"^\s*(#|MORPHKV_ASSERT|//|template|static_assert|requires)|operator|template <|\.\.\.|concept|requires")
NAMES = {"L": "<=", "G": ">=", "=": "==", "!": "!="}
TERM = r"[\w.:]+(?:\(\))?"  # a name, or a call without arguments
DIFFERENCE = rf"{TERM}(?: - {TERM})?"
TERNARY = re.compile(rf"({TERM}) ([<>]=?) ({TERM}) \? ({DIFFERENCE}) : ({DIFFERENCE})(?=[;),])")
# A mutant: its file, line, text, operator and what replaces it.
Mutant = collections.namedtuple("Mutant", "folder where line text operator other")


def key_of(mutant):
    """What names it as long as the text of its line stays."""
    return f"{mutant.where}: {mutant.text}: {mutant.operator} -> {mutant.other}"


def is_same(code, start, operator, other):
    """Whether a change of the operator at `start` shows at x == y alone, where both results are the same:
    x < y ? x : y, x < y ? 0 : x - y, and the like. (Zeros of floats have no sign here.)"""
    match = next((m for m in TERNARY.finditer(code) if m.start(2) == start), None)
    if match is None or other != {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}.get(operator):
        return False
    x, _, y, yes, no = match.groups()

    def at_equality(result):
        terms = result.split(" - ")
        return "0" if set(terms) == {x, y} and len(terms) == 2 else "x" if result in (x, y) else result

    return at_equality(yes) == at_equality(no)


def mutate(text, mutants, folder, where, listed):
    """The text with every operator replaced by one that can be another; adds them to `mutants`.
    \param listed keys of equivalent mutants -> whether there is such a mutant, which is left out"""
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
            found = [Mutant(folder, where, number + 1, line.strip(), operator, NAMES.get(other, other))
                     for other in others]
            for mutant in found:
                if key_of(mutant) in listed:
                    listed[key_of(mutant)] = True
            # The choice stays the same as long as the line does.
            choice = zlib.crc32(f"{line.strip()}{match.start()}".encode()) % len(others)
            if key_of(found[choice]) in listed or is_same(code, match.start(1), operator, found[choice].other):
                return match[0]
            mutants.append(found[choice])
            return (f" {operator} ::morphkv_mutation::mutant<{len(mutants) - 1}, '{name}', '{others[choice]}'> "
                    f"{operator} ")

        lines[number] = PATTERN.sub(replace, code) + line[len(code):]
    return "\n".join(lines)


def compile_unit(name, sources, *options):
    """Sources as one unit; the path of its object."""
    unit = BUILD / f"{name}.cpp"
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    compiler = ["ccache"] if shutil.which("ccache") else []
    subprocess.run([*compiler, os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-w",
                    "-D_GLIBCXX_ASSERTIONS", "-include",
                    ROOT / "tests/mutation/mutant.hpp", f"-I{BUILD}/include", f"-I{ROOT}/tests",
                    "-isystem", "/usr/include/eigen3", *options, "-c", unit, "-o", unit.with_suffix(".o")],
                   check=True)
    return unit.with_suffix(".o")


def read_equivalent(folders):
    """The keys of equivalent.txt -> False."""
    lines = [line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith("#")]
    keys = [re.fullmatch(r"(.* -> \S+): \S.*", line) for line in lines]
    assert all(keys), f"{EQUIVALENT.name}: not all lines are `file: text: operator -> operator: reason`"
    return {key[1]: False for key in keys if key[1].split("/")[1] in folders}


def build(folders):
    """All mutants in one program per folder of tests. Returns them, and how many are listed as equivalent."""
    include = BUILD / "include"
    shutil.rmtree(include, ignore_errors=True)
    shutil.copytree(ROOT / "include", include)
    mutants, listed = [], read_equivalent(folders)
    for folder in folders:
        for header in sorted((include / "morphkv" / folder).glob("*.hpp")):
            where = header.relative_to(include)
            header.write_text(mutate(header.read_text(), mutants, folder, where, listed))
    gone = [key for key, is_there in listed.items() if not is_there]
    if gone:
        raise SystemExit(f"{EQUIVALENT.name}: there is no such mutant:\n" + "\n".join(gone))
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        oracles = sorted(path for path in (ROOT / "tests/oracle").glob("*.cpp") if not path.stem.endswith("_test"))
        shared = [pool.submit(compile_unit, "kernels", [ROOT / "cmake/separate_kernels.cpp"]),
                  pool.submit(compile_unit, "oracles", oracles),
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
    return mutants, len(listed)


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


def find_tests(program, impossible):
    """Mutant -> the tests that run its operator, as pairs of seconds and a name, the quickest first. Adds the
    mutants to `impossible` that the types of the operands do not have."""
    path = BUILD / f"{program}.reached"
    assert passes(program, 3600, MORPHKV_MUTANTS_REACHED=str(path)), f"{program} fails without a mutant"
    lines = [line.split() for line in path.read_text().splitlines()]
    always = lines[0][2:]
    impossible.update(map(int, lines[-1][2:]))
    tests = {}
    for name, milliseconds, *reached in lines[1:-1]:
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
    done = set(KILLED.read_text().splitlines()) if arguments.again else set()
    mutants, listed = build(arguments.folders.split(","))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    impossible = set()
    tests = {program: find_tests(program, impossible) for program in programs(arguments.folders.split(","))}
    end, survivors, killed = time.monotonic() + arguments.seconds, [], []

    def survives(number):
        if time.monotonic() > end:
            return None
        parts = [(program, part) for program in TESTS[mutants[number].folder]
                 for part in parts_of(tests[program].get(number, []))]
        parts.sort(key=lambda part: part[1][-1][0])  # by their slowest test
        return all(passes(program, 60 + 5 * sum(seconds for seconds, _ in part),
                          "--gtest_filter=" + ":".join(name for _, name in part), MORPHKV_MUTANT=str(number))
                   for program, part in parts)

    impossible -= {number for found in tests.values() for number in found}  # with some types it is possible
    possible = [number for number in range(len(mutants)) if number not in impossible]
    chosen = [number for number in possible[arguments.first::arguments.every]
              if key_of(mutants[number]) not in done]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for number, survived in zip(chosen, pool.map(survives, chosen)):
            if survived is None:
                break
            (survivors if survived else killed).append(mutants[number])
            if survived:
                print(f"{number}: line {mutants[number].line}: {key_of(mutants[number])}", flush=True)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("".join(f"{key_of(mutant)}\n" for mutant in survivors))
    left = {key_of(mutant) for mutant in survivors}  # a line may have two alike
    KILLED.write_text("".join(f"{key}\n" for key in sorted({*map(key_of, killed), *done} - left)))
    tried = len(killed) + len(survivors)
    before = sum(key_of(mutants[number]) in done for number in possible)
    print(f"{len(killed)} of {tried} mutants killed ({100 * len(killed) / max(tried, 1):.1f} %), and {before} before; "
          f"there are {len(possible)}, and {listed} equivalent ones, listed")


main()
