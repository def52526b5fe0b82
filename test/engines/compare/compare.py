"""Compares `penstock load` with aiperf on one gateway; compare.sh runs it.

Both replay the same trace, Poisson arrivals of requests of one size, against the
same fleet, by turns: ours first in one round and theirs in the next. Figures are means
over the rounds. The prompts differ each time: an engine that has seen a prompt answers
the second time from its cache.

The two define their times alike: time to first token from sending to the first
chunk with content, time per output token from there to the end over the tokens
after the first, as the server counts them.
"""

import argparse
import functools
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WITHIN = 0.05


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path, help="of install.sh")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=100, help="in a round")
    parser.add_argument("--rate", type=float, default=4, help="requests per second")
    parser.add_argument("--prompt", type=int, default=200, help="tokens")
    parser.add_argument("--tokens", type=int, default=100, help="of the reply")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def write_load(args, folder):
    """Writes the trace for penstock load and, round by round, as whole requests for aiperf."""
    draw = random.Random(args.seed)
    arrivals, at = [], 0.0
    for _ in range(args.requests):
        at += draw.expovariate(args.rate) * 1000
        arrivals.append(int(at))
    lines = [f"{at},{args.prompt},{args.tokens}\n" for at in arrivals]
    (folder / "trace.csv").write_text("t_ms,in_tokens,out_tokens\n" + "".join(lines))
    for number in range(args.rounds):
        with open(folder / f"trace-{number}.jsonl", "w") as requests:
            for at in arrivals:
                words = " ".join("".join(draw.choices(LETTERS, k=3)) for _ in range(args.prompt))
                requests.write(json.dumps({"timestamp": at, "payload": {
                    "model": "tiny-chat", "stream": True, "stream_options": {"include_usage": True},
                    "max_tokens": args.tokens, "messages": [{"role": "user", "content": words}]}}) + "\n")


def write_tokenizer(folder):
    """Writes the tiny model's words as a tokenizer of Hugging Face, which aiperf wants."""
    vocabulary = {"<unk>": 0}
    for number in range(26**3):
        vocabulary[LETTERS[number % 26] + LETTERS[number // 26 % 26] + LETTERS[number // 676]] = number + 1
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}}))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "model_max_length": 8192}))


def write_config(folder):
    """Writes the example's configuration with a fleet of two that stays, and returns its path."""
    example = ROOT / "examples" / "llama-cpp"
    text = (example / "cpu.yaml").read_text()
    for old, new in (
        ("spec:\n  # There is no GPU", f"spec:\n  listen: 127.0.0.1:0\n  console: 127.0.0.1:0\n  stateDir: {folder / 'state'}\n  # There is no GPU"),
        ("./tiny-llama", str(example / "tiny-llama")),
        ("replicas: {min: 0, max: 3}", "replicas: {min: 2, max: 2}"),
    ):
        if old not in text:
            sys.exit(f"cpu.yaml does not hold {old!r} any more")
        text = text.replace(old, new)
    (folder / "penstock.yaml").write_text(text)
    return folder / "penstock.yaml"


def wait_for(what, longest, ready):
    """Returns what ready returns once it is something."""
    deadline = time.monotonic() + longest
    while not (value := ready()):
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {longest} s")
        time.sleep(0.1)
    return value


def model(console):
    """Returns what the console says of the model."""
    with urllib.request.urlopen(console + "/api/v1/status", timeout=10) as reply:
        return next(m for m in json.load(reply)["models"] if m["name"] == "tiny-chat")


def ask_ours(args, folder, gateway, number):
    """Runs penstock load and returns its report."""
    return json.loads(subprocess.run(
        [folder / "penstock", "load", "--trace", folder / "trace.csv", "--target", gateway, "--model", "tiny-chat",
         "--seed", str(1000 + number), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout)


def ask_theirs(args, folder, gateway, number):
    """Runs aiperf and returns its report."""
    out = folder / f"aiperf-{number}"
    run = subprocess.run([
        args.folder / "aiperf" / "bin" / "aiperf", "profile", "-m", "tiny-chat", "--url", gateway,
        "--endpoint-type", "chat", "--streaming", "--use-server-token-count", "--tokenizer", folder / "tokenizer",
        "--input-file", folder / f"trace-{number}.jsonl", "--custom-dataset-type", "mooncake_trace", "--fixed-schedule",
        "--output-artifact-dir", out, "--workers-max", "1", "--record-processors", "1", "--ui", "none",
    ], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        sys.exit(run.stdout)
    return json.loads((out / "profile_export_aiperf.json").read_text())


def compare(args, folder, server_log):
    """Runs the rounds and returns how many figures differ too much."""
    said = re.compile(r"gateway  (\S+)/v1.*\n  console  (\S+)")
    gateway, console = wait_for("penstock serve says where it listens", 20, lambda: said.search(server_log.read_text())).groups()
    wait_for("two replicas are ready", 30, lambda: model(console)["replicas"]["ready"] == 2)
    ours, theirs = [], []
    for number in range(args.rounds):
        turns = [(ask_ours, ours), (ask_theirs, theirs)]
        for ask, reports in turns if number % 2 == 0 else reversed(turns):
            reports.append(ask(args, folder, gateway, number))
    return table(ours, theirs)


def table(ours, theirs):
    """Prints the figures side by side and returns how many differ too much."""
    rows = [
        ("requests that ended well", ("outcomes", "ok"), ("request_count", "avg"), True),
        ("output tokens", ("output_tokens",), ("total_output_tokens", "avg"), True),
        ("requests/s", ("requests_per_second",), ("request_throughput", "avg"), True),
        ("output tokens/s", ("output_tokens_per_second",), ("output_token_throughput", "avg"), True),
    ]
    for name, we, they in (
        ("time to first token", "ttft", "time_to_first_token"),
        ("time per output token", "tpot", "inter_token_latency"),
        ("whole reply", "e2e", "request_latency"),
    ):
        for what, key in (("mean", "avg"), ("p50", "p50"), ("p95", "p95"), ("p99", "p99")):
            # A tail of a few requests is another one in each run.
            rows.append((f"{name}, {what}, ms", (we, what), (they, key), what in ("mean", "p50")))
    print(f"{'':32}{'penstock load':>14}{'aiperf':>12}{'difference':>13}{'± of rounds':>13}")
    wrong = 0
    for name, we, they, judged in rows:
        pairs = [(at(a, we), at(b, they)) for a, b in zip(ours, theirs)]
        our, their = (statistics.mean(side) for side in zip(*pairs))
        difference = our / their - 1
        error = statistics.stdev(a / b for a, b in pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
        far = judged and abs(difference) > WITHIN
        wrong += far
        note = "  more than 5 %" if far else "" if judged else "  not judged"
        print(f"{name:32}{our:14.3f}{their:12.3f}{100 * difference:+11.1f} %{100 * error:11.1f} %{note}")
    return wrong


def at(report, path):
    return functools.reduce(lambda part, key: part[key], path, report)


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        penstock = folder / "penstock"
        subprocess.run(["go", "build", "-o", penstock, "./cmd/penstock"], cwd=ROOT, check=True)
        write_load(args, folder)
        write_tokenizer(folder / "tokenizer")
        config = write_config(folder)
        environ = dict(os.environ, PENSTOCK_LLAMA=str(args.folder), TINY_MODEL=str(folder / "model.gguf"))
        # Bigger than the example's, so that a token takes longer than a wake-up of the scheduler.
        subprocess.run([sys.executable, ROOT / "examples" / "llama-cpp" / "tiny_model.py", folder / "model.gguf",
                        "--layers", "8"], check=True)
        server_log = folder / "serve.log"
        with open(server_log, "w") as log:
            server = subprocess.Popen([penstock, "serve", "-f", config], env=environ, stderr=log)
        try:
            wrong = compare(args, folder, server_log)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=90)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
