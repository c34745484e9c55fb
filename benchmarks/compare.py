"""Prunes torchvision models with us, Torch-Pruning and onnxsim, side by side: python benchmarks/compare.py.

The models are exported here, with seeded random weights; Torch-Pruning starts from the module that was
exported and exports it again, the others start from the file. Every tool runs in a process of its own, in
turn, as often as asked; one counter that belongs to none of them reads MACs and parameters off all files.
Arguments after `--` are handed to onnx-prune. Exits with 1 if a tool failed or its file does not run.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from process import Outcome, judge, machine, run

HERE = Path(__file__).parent
MODELS = ["resnet50", "mobilenet_v2", "vit_b_16"]
PRUNE = [sys.executable, "-m", "compressor", "prune"]
OURS = "onnx-compressor"
RIVALS = ("torch-pruning", "onnxsim")
INSTALL = "pip install torch==2.13.0 onnx onnxruntime onnxscript pillow tqdm rich psutil; " \
    "pip install --no-deps torchvision==0.28.0 torch-pruning onnxsim"  # fmt: skip
SHARES = ("macs", "params")
COSTS = ("seconds", "cpu_seconds", "peak_mib")


@dataclass(frozen=True)
class Tool:
    """A way to prune: the command for (model name, exported file, output file)."""

    name: str
    command: Callable[[str, Path, Path], list[str]]


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with everything behind the first `--` in `extra`."""
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {MODELS}")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the competitors")
    parser.add_argument("--ratio", default="0.5", help="share of channels removed (default 0.5)")
    parser.add_argument("--runs", type=int, default=3, help="how often each tool runs (default 3)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds one run may take (default 900)")
    parser.add_argument("--command", type=shlex.split, default=PRUNE, help="what to run instead of onnx-prune")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write everything measured here")
    options = parser.parse_args(argv[:cut])
    options.extra = argv[cut + 1 :]
    return options


def installed(python: str) -> dict[str, str]:
    """Versions of the distributions that the competitors' interpreter has, those it lacks left out."""
    names = ["torch", "torchvision", "onnx", "onnxscript", *RIVALS]
    program = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    try:
        outcome = run([python, "-c", program], timeout=60)
    except OSError as error:
        sys.exit(f"the competitors' interpreter does not start: {error}")
    if outcome.error is not None:
        sys.exit(f"the competitors' interpreter {python} failed: {outcome.error}")
    found = json.loads(outcome.stdout)
    return {name: found[name] for name in names if name in found}


def choose_tools(options: argparse.Namespace, versions: dict[str, str]) -> list[Tool]:
    """Ours and the installed competitors; says which are missing and how to install them."""
    python, ratio = options.python, options.ratio
    commands: dict[str, Callable[[str, Path, Path], list[str]]] = {
        OURS: lambda _, i, o: [*options.command, str(i), "-o", str(o), "--ratio", ratio, *options.extra],
        "torch-pruning": lambda n, _, o: [python, str(HERE / "rival_torch_pruning.py"), n, str(o), ratio],
        "onnxsim": lambda _, i, o: [python, str(HERE / "rival_onnxsim.py"), str(i), str(o), ratio],
    }
    if "torchvision" not in versions:
        sys.exit(f"{python} has no torchvision, which the models come from; in that environment: {INSTALL}")
    missing = [name for name in RIVALS if name not in versions]
    if missing:
        print(f"left out, as {python} does not have them: {', '.join(missing)}. In that environment: {INSTALL}")
    return [Tool(name, command) for name, command in commands.items() if name in (OURS, *versions)]


def phases(outcome: Outcome) -> dict[str, float]:
    """Seconds by phase, which the competitors' scripts print as their last line; ours prints none."""
    try:
        found = json.loads(outcome.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def compare(name: str, tools: list[Tool], options: argparse.Namespace) -> dict[str, Any]:
    """Exports one model, lets every tool prune it in turn, and judges the original and the outputs."""
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        source = Path(folder, "source.onnx")
        exporter = [options.python, str(HERE / "torchvision_source.py"), name, str(source)]
        outcome = run(exporter, options.timeout)
        if outcome.error is not None:
            return {"model": name, "error": f"the export failed: {outcome.error}", "tools": {}}
        original = judge(source, options.timeout, "--count", "--run")
        results: dict[str, Any] = {tool.name: {"runs": []} for tool in tools}
        for _ in range(options.runs):
            for tool in tools:
                result, output = results[tool.name], Path(folder, "pruned.onnx")
                output.unlink(missing_ok=True)
                outcome = run(tool.command(name, source, output), options.timeout)
                costs = {key: getattr(outcome, key) for key in COSTS}
                result["runs"].append(costs | {"phases": phases(outcome), "error": outcome.error})
                if "verdict" not in result and outcome.error is None:
                    result["verdict"] = assess(output, original, options.timeout)
    for result in results.values():
        summarise(result, results[OURS]["runs"])
    return {"model": name, "error": None, "original": original, "tools": results}


def assess(output: Path, original: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The verdict on an output, with the shares of the original that are left."""
    if not output.exists():
        return {"refusal": "exit code 0, but no output file"}
    verdict = judge(output, timeout, "--count", "--run")
    if verdict["refusal"] is None and list(verdict["outputs"].values()) != list(original["outputs"].values()):
        verdict["refusal"] = f"the output shapes changed to {verdict['outputs']}"
    return verdict | {f"{key}_left": verdict[key] / original[key] for key in SHARES if key in verdict}


def summarise(result: dict[str, Any], ours: list[dict[str, Any]]) -> None:
    """Adds the medians over the runs, and the median of the ratios to our run of the same round."""
    pairs = [(a, b) for a, b in zip(result["runs"], ours, strict=True) if a["error"] is None]
    errors = [each["error"] for each in result["runs"] if each["error"] is not None]
    result["error"] = errors[0] if errors else None
    if pairs:
        result["median"] = {key: median(a[key] for a, _ in pairs) for key in COSTS}
    shared = [(a, b) for a, b in pairs if b["error"] is None]
    if shared:
        result["ratio_to_ours"] = {key: median(a[key] / b[key] for a, b in shared) for key in COSTS}


def print_table(result: dict[str, Any], runs: int) -> None:
    """One model's rows."""
    if result["error"]:
        print(f"{result['model']}: {result['error']}\n", flush=True)
        return
    original = result["original"]
    print(f"{result['model']}: {original['macs'] / 1e9:.3f} G MACs, {original['params'] / 1e6:.2f} M parameters")
    print(f"  {'medians of ' + str(runs):16} wall s   (ours=1)   CPU s  peak MiB  MACs left  params left  file")
    for name, tool in result["tools"].items():
        if tool["error"]:
            print(f"  {name:16} failed: {tool['error']}")
            continue
        costs, verdict = tool["median"], tool["verdict"]
        wall, cpu, peak = (costs[key] for key in COSTS)
        ratio = f"{tool['ratio_to_ours']['seconds']:.2f}" if "ratio_to_ours" in tool else "-"
        left = [f"{verdict[f'{key}_left']:.3f}" if f"{key}_left" in verdict else "-" for key in SHARES]
        print(
            f"  {name:16} {wall:6.2f} {ratio:>10} {cpu:8.2f} {peak:9.0f} {left[0]:>10} {left[1]:>12}"
            f"  {verdict['refusal'] or 'loads and runs'}"
        )
        if verdict.get("uncounted"):
            print(f"  {'':16} not in the MACs: {', '.join(verdict['uncounted'][:5])}")
    print(flush=True)


def failed(result: dict[str, Any]) -> bool:
    """Whether the export, a tool or an output of one failed."""
    tools = result["tools"].values()
    return bool(result["error"]) or any(tool["error"] or tool["verdict"]["refusal"] for tool in tools)


def main() -> int:
    options = parse(sys.argv[1:])
    versions = installed(options.python)
    tools = choose_tools(options, versions)
    results = []
    for name in options.models:
        results.append(compare(name, tools, options))
        print_table(results[-1], options.runs)
    if options.out:
        settings = {key: getattr(options, key) for key in ("ratio", "runs", "timeout", "extra")}
        content = {"machine": machine(), "rivals": versions, "settings": settings, "models": results}
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if any(map(failed, results)) else 0


if __name__ == "__main__":
    sys.exit(main())
