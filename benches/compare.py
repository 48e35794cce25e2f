#!/usr/bin/env python3
"""Tokens per second of matou and llama.cpp on one GGUF file, turn and turn about, as ratios.

    cargo build --release
    python3 -m venv .venv && CMAKE_ARGS=-DGGML_NATIVE=ON .venv/bin/pip install llama-cpp-python==0.3.36
    .venv/bin/python benches/compare.py MODEL.gguf [--prompt 512] [--generate 64] [--depth 0] [--batch 1,8] [--rounds 3]

Against a llama.cpp for AVX2 alone, build that with CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON
-DGGML_F16C=ON -DGGML_BMI2=ON" and pip's --no-cache-dir (its cache does not tell builds apart), and set
MATOU_ISA=avx2.

A shared machine's speed drifts, so only figures of one run are compared: each round measures both
programs, one after the other, and the median over the rounds is shown.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
MATOU = HERE.parent / "target" / "release" / "matou"


def figures(command):
    """Runs a benchmark that prints a JSON object a line; returns {test: tokens per second}."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {row["test"]: row["tokens_per_s"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for name, default in [("prompt", 512), ("generate", 64), ("depth", 0), ("threads", 2), ("reps", 1)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matou", default=str(MATOU), help="the matou to measure")
    args = parser.parse_args()
    shared = []
    for name in ["prompt", "generate", "depth", "batch", "threads", "reps"]:
        shared += [f"--{name}", str(getattr(args, name))]
    ours = [args.matou, "bench", args.model, "--json", *shared]
    theirs = [sys.executable, str(HERE / "peer_bench.py"), args.model, *shared]

    rounds = [(figures(ours), figures(theirs)) for _ in range(args.rounds)]
    print(f"{'test':<24} {'matou':>10} {'llama.cpp':>10} {'ratio':>7}")
    for test in rounds[0][0]:
        us = statistics.median(mine[test] for mine, _ in rounds)
        them = statistics.median(other[test] for _, other in rounds)
        print(f"{test:<24} {us:>10.1f} {them:>10.1f} {us / them:>7.2f}")


main()
