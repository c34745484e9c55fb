"""Is the graph in torch the graph in ONNX Runtime, and as fast as the network written in torch?

    python benchmarks/graph_module.py parity PATH... [--out FILE.json]
    python benchmarks/graph_module.py speed [resnet20 resnet50 vit_tiny] [--rounds 5] [--out FILE.json]

`parity` runs every .onnx file (of a folder: all in it) in both, in a process of its own, on seeded inputs, and
gives the largest difference over the range of the output. `speed` exports a network with its norms unfolded,
and times forward and backward of the graph against the module that was exported, in turns, on one thread; it
also compares what both keep in memory for the backward pass.
Exits with 1 if a file fails or differs by more than the tolerance.
"""

# ruff: noqa: PLC0415 -- the process that measures stays small; only those that work load the libraries

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from process import machine, run, version

TOLERANCE = 1e-4
NETWORKS = ("resnet20", "resnet50", "vit_tiny")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    parity = modes.add_parser("parity")
    parity.add_argument("paths", nargs="+", type=Path)
    parity.add_argument("--timeout", type=float, default=300, help="seconds one file may take (default 300)")
    speed = modes.add_parser("speed")
    speed.add_argument("networks", nargs="*", default=list(NETWORKS))
    speed.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default 5)")
    for mode in (parity, speed):
        mode.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
        mode.add_argument("--out", type=Path, metavar="FILE.json", help="write everything measured here")
    one = modes.add_parser("one")
    one.add_argument("file", type=Path)
    one.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def compare_file(path: Path, threads: int) -> dict[str, Any]:
    """One file in both, in this process."""
    import numpy as np
    import torch

    from compressor.graph.disk import files
    from compressor.graph.form.normalise import normalise
    from compressor.operators.sizes import infer
    from compressor.runtime.library import ort as onnxruntime
    from compressor.train import GraphModule

    torch.set_num_threads(threads)
    model = files.load_model(path)
    rng = np.random.default_rng(0)
    normal = normalise(model.clone())
    shapes = infer(normal).inputs
    feeds = {}
    for value in normal.graph.inputs:
        if value.is_initializer():
            continue
        dtype = value.dtype.numpy()
        shape = shapes[str(value.name)]
        floating = np.issubdtype(dtype, np.floating)
        feeds[str(value.name)] = (
            rng.normal(size=shape) if floating else rng.integers(0, 2 if dtype == np.bool_ else 9, shape)
        ).astype(dtype)
    start = time.perf_counter()
    module = GraphModule(model).eval()
    built = time.perf_counter() - start
    del model, normal
    with torch.no_grad():
        ours = module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    parameters = sum(p.numel() for p in module.parameters())
    del module
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    theirs = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)
    worst = 0.0
    for a, b in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
        array = a.numpy().astype(np.float64)
        if array.shape != b.shape:
            return {"error": f"shape {array.shape} instead of {b.shape}"}
        wide = b.astype(np.float64)
        span = float(np.ptp(wide)) or float(np.abs(wide).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(array - b).max(initial=0.0)) / span)
    return {"error": None, "difference": worst, "build_seconds": round(built, 3), "parameters": parameters}


def parity(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    paths = [f for path in options.paths for f in (sorted(path.glob("*.onnx")) if path.is_dir() else [path])]
    results: dict[str, Any] = {}
    for path in paths:
        argv = [sys.executable, __file__, "one", str(path), "--threads", str(options.threads)]
        outcome = run(argv, options.timeout)
        error = outcome.error
        result = json.loads(outcome.stdout.splitlines()[-1]) if error is None else {"error": error}
        results[path.name] = result | {"seconds": outcome.seconds, "peak_mib": outcome.peak_mib}
        shown = result["error"] or f"{result['difference']:.2e}"
        print(f"{path.name:52} {shown}", flush=True)
    good = [r for r in results.values() if r["error"] is None]
    worst = max((r["difference"] for r in good), default=0.0)
    print(f"{len(good)} of {len(results)} files ran; largest difference {worst:.2e} of the output's range")
    return {"files": results, "worst": worst}, len(good) < len(results) or worst > TOLERANCE


def network(name: str) -> tuple[Any, Any]:
    """A module, in evaluation mode, and an input."""
    import torch
    from torchvision_source import import_torchvision

    torch.manual_seed(0)
    if name == "resnet20":
        return drawn(resnet20()), torch.randn(128, 3, 32, 32)
    if name == "resnet50":
        return drawn(import_torchvision().resnet50(weights=None)), torch.randn(8, 3, 224, 224)  # type: ignore[attr-defined]
    if name == "vit_tiny":
        import_torchvision()
        import timm

        return drawn(timm.create_model("vit_tiny_patch16_224", pretrained=False)), torch.randn(8, 3, 224, 224)
    sys.exit(f"no network is called {name!r}; there are {', '.join(NETWORKS)}")


def drawn(module: Any) -> Any:
    """The module in evaluation mode, no two of its norms alike: the exporter merges equal weights."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.0)
    return module.eval()


def resnet20() -> Any:
    """ResNet-20 for 32x32 images (He et al. 2015, section 4.2)."""
    from torch import nn

    def unit(inside: int, out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out))

    class Block(nn.Module):
        def __init__(self, inside: int, out: int, stride: int) -> None:
            super().__init__()
            self.first, self.second = unit(inside, out, stride), unit(out, out, 1)
            same = inside == out and stride == 1
            self.skip = (
                nn.Identity()
                if same
                else nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            )
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.second(self.relu(self.first(x))) + self.skip(x))

    layers: list[nn.Module] = [unit(3, 16, 1), nn.ReLU()]
    inside = 16
    for out, stride in ((16, 1), (32, 2), (64, 2)):
        for k in range(3):
            layers.append(Block(inside, out, stride if k == 0 else 1))
            inside = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def exported(module: Any, example: Any) -> Any:
    """The graph of a module, its norms not folded into the layers before them."""
    import io

    import onnx
    import onnx_ir as ir
    import torch

    buffer = io.BytesIO()
    torch.onnx.export(
        module, (example,), buffer, dynamo=False, opset_version=17, do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )  # fmt: skip
    return ir.from_proto(onnx.load_from_string(buffer.getvalue()))


def one_step(module: Any, x: Any) -> tuple[float, float]:
    """Seconds of a forward and a backward pass: by the clock, and of the processor, which others do not disturb."""
    start, spent = time.perf_counter(), time.process_time()
    module(x).square().mean().backward()
    seconds = time.perf_counter() - start, time.process_time() - spent
    module.zero_grad()
    return seconds


def kept(module: Any, x: Any) -> int:
    """Bytes that a forward pass keeps for the backward pass, each piece of memory once, weights left out."""
    import torch

    own = {p.untyped_storage().data_ptr() for p in [*module.parameters(), *module.buffers()]}
    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        memory = tensor.untyped_storage()
        found[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = module(x).square().mean()
    total = sum(size for place, size in found.items() if place not in own)
    del loss
    return total


def speed(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Every network as a module and as a graph, in turns."""
    import torch

    from compressor.train import GraphModule

    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {}
    for name in options.networks:
        module, x = network(name)
        graph = GraphModule(exported(module, x)).eval()
        with torch.no_grad():
            want, got = module(x), graph(x)
        difference = float((want - got).abs().max() / (want.max() - want.min()))
        pairs = {"torch": module, "graph": graph}
        memory = {key: kept(each, x) for key, each in pairs.items()}
        for each in pairs.values():
            one_step(each, x)
        taken: dict[str, list[tuple[float, float]]] = {key: [] for key in pairs}
        for k in range(options.rounds):
            for key in list(pairs) if k % 2 else reversed(list(pairs)):
                taken[key].append(one_step(pairs[key], x))
        result: dict[str, Any] = {"batch": list(x.shape), "difference": difference}
        result["kept_bytes"] = {"ratio": round(memory["graph"] / memory["torch"], 3), **memory}
        for kind, clock in enumerate(("wall", "cpu")):
            seconds = {key: [each[kind] for each in taken[key]] for key in pairs}
            ratio = median(g / t for g, t in zip(seconds["graph"], seconds["torch"], strict=True))
            result[clock] = {"ratio": round(ratio, 3)} | {key: round(median(s), 4) for key, s in seconds.items()}
        results[name] = result
        print(
            f"{name:10} graph/torch {result['wall']['ratio']:.3f} wall, {result['cpu']['ratio']:.3f} cpu; "
            f"torch {result['wall']['torch']} s; kept for backward {result['kept_bytes']['ratio']:.3f}; "
            f"difference {difference:.1e}",
            flush=True,
        )
    return {"networks": results}, any(r["difference"] > TOLERANCE for r in results.values())


def main() -> int:
    options = parse(sys.argv[1:])
    if options.mode == "one":
        print(json.dumps(compare_file(options.file, options.threads)))
        return 0
    found, failed = parity(options) if options.mode == "parity" else speed(options)
    if options.out:
        content = {"machine": machine() | {"torch": version("torch")}, "threads": options.threads} | found
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
