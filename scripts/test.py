#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Configures, builds and tests, one stage after the other, and prints a table of the stages.

A stage is a build preset, a test preset or both, of that name, in CMakePresets.json.
"""
import argparse
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
JOBS = os.environ.get("MORPHKV_JOBS", str(os.cpu_count()))

DEFAULT = ["style", "docs", "release", "headers", "cuda", "package", "neon", "asan", "tsan", "tidy"]
ON_REQUEST = ["clang", "amalgamated", "compilers"]
NEEDS = {"cuda": ["nvcc"], "neon": ["aarch64-linux-gnu-g++", "qemu-aarch64"]}


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


def run_stage(stage, presets, ctest_options):
    """Passed, failed and skipped cases of one stage, and a remark."""
    missing = [tool for tool in NEEDS.get(stage, []) if not shutil.which(tool)]
    if missing:
        return 0, 0, 1, f"not installed: {', '.join(missing)}"
    build, test = presets["build"].get(stage), presets["test"].get(stage)
    configure_preset = (build or test)["configurePreset"]
    log = REPORTS / f"configure-{configure_preset}.log"
    with log.open("w", encoding="utf-8") as output:
        configured = subprocess.run(["cmake", "--preset", configure_preset], cwd=ROOT,
                                    stdout=output, stderr=subprocess.STDOUT, check=False)
    if configured.returncode:
        print(log.read_text(encoding="utf-8"))
        return 0, 1, 0, "does not configure"

    passed = failed = skipped = 0
    remark = ""
    if build:
        result = subprocess.run(["cmake", "--build", "--preset", stage, "--parallel", JOBS],
                                cwd=ROOT, check=False)
        if result.returncode:
            failed, remark = 1, "does not build"
        elif not test:
            passed = 1
    if test:
        junit = REPORTS / f"test-{stage}.xml"
        junit.unlink(missing_ok=True)
        results = ROOT / "build" / configure_preset / "test-results"
        shutil.rmtree(results, ignore_errors=True)
        result = subprocess.run(["ctest", "--preset", stage, "--parallel", JOBS, "--output-junit",
                                 str(junit), *ctest_options], cwd=ROOT, check=False)
        if junit.exists():
            passed, bad, skipped = count_cases(junit, results)
            failed = max(failed, bad)
        if result.returncode and not failed:
            failed, remark = 1, "ctest failed"
    return passed, failed, skipped, remark


def main():
    stages = DEFAULT + ON_REQUEST
    presets = read_presets()
    about = "\n".join(
        f"  {name:12}{(presets['test'].get(name) or presets['build'][name])['displayName']}"
        + ("; only where it is named" if name in ON_REQUEST else "") for name in stages)
    parser = argparse.ArgumentParser(
        prog="./run test", usage="%(prog)s [stage...] [options of ctest]", description="stages:\n"
        f"  {'quick':12}release alone\n{about}", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", help=argparse.SUPPRESS)
    arguments = sys.argv[1:]
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("-")),
                        len(arguments))
    named, ctest_options = arguments[:first_option], arguments[first_option:]
    if ctest_options[:1] in (["-h"], ["--help"]):
        parser.print_help()
        return 0
    chosen = ["release" if name == "quick" else name for name in named] or DEFAULT
    for name in chosen:
        if name not in stages:
            parser.error(f"stage is '{name}'; it must be one of: quick {' '.join(stages)}")

    REPORTS.mkdir(parents=True, exist_ok=True)
    if shutil.which("ccache"):
        os.environ.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
    begin = time.monotonic()
    rows = []
    for stage in chosen:
        print(f"\n\033[1m== {stage}\033[0m", flush=True)
        start = time.monotonic()
        passed, failed, skipped, remark = run_stage(stage, presets, ctest_options)
        rows.append((stage, passed, failed, skipped, round(time.monotonic() - start), remark))

    print(f"\n\033[1m== done in {time.monotonic() - begin:.0f} s\033[0m")
    print(f"{'stage':12}{'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>8}")
    for stage, passed, failed, skipped, seconds, remark in rows:
        print(f"{stage:12}{passed:8} {failed:8} {skipped:8} {seconds:8}  {remark}")
    total_failed = sum(row[2] for row in rows)
    print(f"\n{sum(row[1] for row in rows)} passed, {total_failed} failed")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main())
