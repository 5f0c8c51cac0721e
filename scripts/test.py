#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Configures, builds and tests in stages, and prints a table of them.

A stage is a build preset, a test preset or both, of that name, in CMakePresets.json. Stages with one
build folder run one after the other; two build folders at a time, so that no core waits for the last
compilation or the longest test of a stage.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
JOBS = int(os.environ.get("MORPHKV_JOBS", os.cpu_count()))

# In the order in which they start: the longest build folders first, so that both cores end together.
DEFAULT = ["style", "docs", "release", "headers", "package", "model", "asan", "neon", "tidy", "cuda",
           "tsan"]
ON_REQUEST = ["fuzz", "llama", "clang", "amalgamated", "compilers"]
NEEDS = {"cuda": ["nvcc"], "neon": ["aarch64-linux-gnu-g++", "qemu-aarch64"]}
# For new build folders. On few cores all tests of a program are one unit: a third less to compile.
CONFIGURE = ["-DMORPHKV_UNITY=100"] if JOBS < 4 else []
# What a stage gets before its build is configured; exit status 77: it cannot be had here.
PREPARE = {"llama": "scripts/llama.sh"}


def read_presets():
    presets = json.loads((ROOT / "CMakePresets.json").read_text(encoding="utf-8"))
    return {kind: {preset["name"]: preset for preset in presets[kind + "Presets"]}
            for kind in ("build", "test")}


def count_cases(junit, results):
    """Passed, failed and skipped cases. A GoogleTest program counts as its cases, any other test as
    one."""
    passed = failed = skipped = 0
    for test in ElementTree.parse(junit).getroot().iter("testcase"):
        report = results / (test.get("name") + ".xml")
        cases = bad = silent = 0
        if report.exists():
            suites = ElementTree.parse(report).getroot()
            cases = int(suites.get("tests"))
            bad = int(suites.get("failures")) + int(suites.get("errors"))
            silent = sum(int(suite.get("disabled")) + int(suite.get("skipped"))
                         for suite in suites.iter("testsuite"))
        status = test.get("status")
        if cases:
            passed += cases - bad - silent
            skipped += silent
            # A program that fails without a failed case has a leak, or crashed after its report.
            failed += max(bad, status == "fail")
        elif status == "run":
            passed += 1
        elif (reason := test.find("skipped")) is not None and "SKIP_" in reason.get("message", ""):
            skipped += 1
        else:
            failed += 1
    return passed, failed, skipped


def configure_preset(stage, presets):
    return (presets["build"].get(stage) or presets["test"][stage])["configurePreset"]


def run_stage(stage, presets, ctest_options, jobs, log):
    """Passed, failed and skipped cases of one stage, and a remark. Its output goes to `log`."""

    def run(*command):
        return subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                              check=False).returncode == 0

    missing = [tool for tool in NEEDS.get(stage, []) if not shutil.which(tool)]
    if missing:
        return 0, 0, 1, f"not installed: {', '.join(missing)}"
    if stage in PREPARE:
        got = subprocess.run([ROOT / PREPARE[stage]], cwd=ROOT, stdout=log, stderr=subprocess.PIPE,
                             text=True, check=False)
        if got.returncode:
            reason = (got.stderr.strip() or "failed").splitlines()[-1]
            return 0, int(got.returncode != 77), int(got.returncode == 77), reason
    folder = configure_preset(stage, presets)
    is_new = not (ROOT / "build" / folder / "CMakeCache.txt").exists()
    if not run("cmake", "--preset", folder, *(CONFIGURE if is_new else [])):
        return 0, 1, 0, "does not configure"

    passed = failed = skipped = 0
    remark = ""
    if stage in presets["build"]:
        if not run("cmake", "--build", "--preset", stage, "--parallel", str(jobs)):
            failed, remark = 1, "does not build"
        elif stage not in presets["test"]:
            passed = 1
    if stage in presets["test"]:
        junit = REPORTS / f"test-{stage}.xml"
        junit.unlink(missing_ok=True)
        results = ROOT / "build" / folder / "test-results"
        shutil.rmtree(results, ignore_errors=True)
        succeeded = run("ctest", "--preset", stage, "--parallel", str(jobs), "--output-junit",
                        str(junit), *ctest_options)
        if junit.exists():
            passed, bad, skipped = count_cases(junit, results)
            failed = max(failed, bad)
        if not succeeded and not failed:
            failed, remark = 1, "ctest failed"
    return passed, failed, skipped, remark


def run_stages(stages, presets, ctest_options, jobs, live):
    """The rows of the table for stages with one build folder."""
    rows = []
    for stage in stages:
        print(f"\033[1m== {stage}\033[0m", flush=True)
        start = time.monotonic()
        path = REPORTS / f"stage-{stage}.log"
        with path.open("w", encoding="utf-8") as log:
            result = run_stage(stage, presets, ctest_options, jobs, None if live else log)
        row = (stage, *result[:3], round(time.monotonic() - start), result[3])
        rows.append(row)
        if not live:
            if row[2]:
                print(path.read_text(encoding="utf-8", errors="replace"))
            print(f"   {stage}: {row[1]} passed, {row[2]} failed in {row[4]} s; {path}", flush=True)
    return rows


def main():
    stages = DEFAULT + ON_REQUEST
    presets = read_presets()
    about = "\n".join(
        f"  {name:12}{(presets['test'].get(name) or presets['build'][name])['displayName']}"
        + ("; only where it is named" if name in ON_REQUEST else "") for name in stages)
    parser = argparse.ArgumentParser(
        prog="./run test", usage="%(prog)s [stage...] [options of ctest]", description="stages:\n"
        f"  {'quick':12}release alone\n  {'ci':12}all that run without a name, and fuzz\n{about}", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", help=argparse.SUPPRESS)
    arguments = sys.argv[1:]
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("-")),
                        len(arguments))
    named, ctest_options = arguments[:first_option], arguments[first_option:]
    if ctest_options[:1] in (["-h"], ["--help"]):
        parser.print_help()
        return 0
    several = {"quick": ["release"], "ci": [*DEFAULT, "fuzz"]}
    chosen = [stage for name in named for stage in several.get(name, [name])] or DEFAULT
    for name in chosen:
        if name not in stages:
            parser.error(f"stage is '{name}'; it must be one of: quick ci {' '.join(stages)}")

    REPORTS.mkdir(parents=True, exist_ok=True)
    if shutil.which("ccache"):
        os.environ.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
    begin = time.monotonic()
    folders = {}
    for stage in chosen:
        folders.setdefault(configure_preset(stage, presets), []).append(stage)
    workers = min(2, len(folders), JOBS)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        groups = [pool.submit(run_stages, group, presets, ctest_options, JOBS // workers,
                              live=workers == 1) for group in folders.values()]
    rows = sorted((row for group in groups for row in group.result()),
                  key=lambda row: chosen.index(row[0]))

    print(f"\n\033[1m== done in {time.monotonic() - begin:.0f} s\033[0m")
    print(f"{'stage':12}{'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>8}")
    for stage, passed, failed, skipped, seconds, remark in rows:
        print(f"{stage:12}{passed:8} {failed:8} {skipped:8} {seconds:8}  {remark}")
    total_failed = sum(row[2] for row in rows)
    print(f"\n{sum(row[1] for row in rows)} passed, {total_failed} failed")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main())
