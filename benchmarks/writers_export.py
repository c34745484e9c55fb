"""Graphs as many tools write them, for writers.py to judge: python benchmarks/writers_export.py OUT [--only SUBSTR]

Tiny models with random weights (writers_models.py) go through both exporters of torch, ONNX Runtime's optimiser at
each level, its transformer optimiser and its quantisers, its generative model builder, and the converters of other
frameworks as far as they are installed. What is there already is not made again; what fails or is not installed is
named, with why.
"""
# ruff: noqa: PLC0415 - a tool that is not installed costs only what it would have written

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from torchvision_source import import_torchvision

WRITERS = ("dynamo", "torchscript")
OPSET = 18
OPTIMISED = ("llama.cache", "gpt2.cache", "bert", "t5.encoder", "bart.decoder")
"""Whose graphs ONNX Runtime's tools go over; those of the newer exporter, or of the older where that one failed."""
LEVELS = ("basic", "extended", "layout", "all")
Job = tuple[str, Callable[[Path], None]]


def torch_jobs() -> Iterator[Job]:
    """Every case by both exporters."""
    import_torchvision()  # transformers imports it, and fails where its compiled operators do not load
    from writers_models import CASES

    for name, make in CASES.items():
        for writer in WRITERS:
            yield f"{name}.{writer}", partial(_exported, make, writer)


def export(example: object, path: Path, writer: str) -> None:
    """Writes an Example by one of torch's exporters."""
    import torch
    from writers_models import Example

    assert isinstance(example, Example)
    plain = {name: x for name, x in example.inputs.items() if not name.startswith("past.")}
    pasts = [x for name, x in example.inputs.items() if name.startswith("past.")]
    given = (*plain.values(), pasts) if pasts else tuple(plain.values())
    names = {"input_names": list(example.inputs), "output_names": list(example.outputs)}
    with torch.no_grad():
        if writer == "torchscript":
            axes = {name: dict(sizes) for name, sizes in example.open_axes.items()}
            torch.onnx.export(
                example.module, given, str(path), dynamo=False, opset_version=OPSET, dynamic_axes=axes, **names
            )
            return
        dims = {name: dict.fromkeys(sizes, torch.export.Dim.DYNAMIC) for name, sizes in example.open_axes.items()}
        shapes = [dims[name] for name in plain]
        caches = [dims[name] for name in example.inputs if name.startswith("past.")]
        torch.onnx.export(
            example.module,
            given,
            str(path),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(*shapes, caches) if pasts else tuple(shapes),
            external_data=False,
            verbose=False,
            **names,
        )


def _exported(make: Callable[[], object], writer: str, path: Path) -> None:
    # Made only when its turn comes: each holds a network.
    export(make(), path, writer)


def runtime_jobs(out: Path) -> Iterator[Job]:
    """ONNX Runtime's optimiser at each level, its transformer optimiser, and its quantisers, over what torch wrote."""
    for name in OPTIMISED:
        source = next((p for w in WRITERS if (p := out / f"{name}.{w}.onnx").exists()), None)
        if source is None:
            print(f"skipped: ONNX Runtime over {name}: torch wrote no such file")
            continue
        for level in LEVELS:
            yield f"{name}.ort-{level}", partial(optimise, source, level=level)
        yield f"{name}.ort-transformers", partial(fuse, source, name=name)
        for kind, quantise in QUANTISERS.items():
            yield f"{name}.ort-{kind}", partial(quantise, source)


def optimise(source: Path, path: Path, level: str) -> None:
    """What the runtime makes of a file when it loads it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def fuse(source: Path, path: Path, name: str) -> None:
    """What the transformer optimiser makes of it."""
    from onnxruntime.transformers import optimizer
    from writers_models import HEADS, WIDTH

    kind = name.partition(".")[0]
    kind = kind if kind in ("bert", "t5", "bart") else "gpt2"
    optimizer.optimize_model(str(source), kind, num_heads=HEADS, hidden_size=WIDTH).save_model_to_file(str(path))


def _dynamic(source: Path, path: Path) -> None:
    from onnxruntime import quantization

    quantization.quantize_dynamic(str(source), str(path))


def _static(source: Path, path: Path, form: str) -> None:
    from onnxruntime import quantization

    form = getattr(quantization.QuantFormat, form)
    quantization.quantize_static(str(source), str(path), _Samples(source), quant_format=form)


def _four_bits(source: Path, path: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    made = MatMulNBitsQuantizer(onnx.load(source), block_size=16, is_symmetric=True)
    made.process()
    made.model.save_model_to_file(str(path))


QUANTISERS: dict[str, Callable[[Path, Path], None]] = {
    "dynamic-int8": _dynamic,
    "static-qdq": lambda source, path: _static(source, path, "QDQ"),
    "static-qoperator": lambda source, path: _static(source, path, "QOperator"),
    "nbits": _four_bits,
}


class _Samples:
    """Two seeded samples for calibration, made from what the file says of its inputs."""

    def __init__(self, source: Path) -> None:
        graph = onnx.load(source, load_external_data=False).graph
        rng = np.random.default_rng(0)
        self._feeds = iter([self._feed(graph, rng) for _ in range(2)])

    def _feed(self, graph: onnx.GraphProto, rng: np.random.Generator) -> dict[str, np.ndarray]:
        from writers_models import LENGTH, PAST

        made = {}
        for value in graph.input:
            tensor = value.type.tensor_type
            past = value.name.startswith("past.")
            length = PAST if past else LENGTH
            sizes = [d.dim_value or (length if axis else 2) for axis, d in enumerate(tensor.shape.dim)]
            if value.name == "attention_mask":
                sizes[1] = PAST + LENGTH
            whole = tensor.elem_type == onnx.TensorProto.INT64
            made[value.name] = np.ones(sizes, np.int64) if whole else rng.standard_normal(sizes, np.float32)
        return made

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample; None where there is none."""
        return next(self._feeds, None)


def elsewhere() -> Iterator[Job]:
    """Tools that may not be installed; each is asked for by its import."""
    yield "llama.genai", _genai
    yield "mlp.skl2onnx", _sklearn


def _genai(path: Path) -> None:
    builder = importlib.import_module("onnxruntime_genai.models.builder")
    import transformers
    from writers_models import DECODERS, build

    words = importlib.import_module("tokenizers")
    with tempfile.TemporaryDirectory() as folder:
        build("Llama", {**DECODERS["llama"][1], "head_dim": 16}, "ForCausalLM").save_pretrained(folder)
        # It copies one, and reads nothing of it.
        transformers.PreTrainedTokenizerFast(tokenizer_object=words.Tokenizer(words.models.BPE())).save_pretrained(
            folder
        )
        made = ("", folder, f"{folder}/made", "fp32", "cpu", folder)
        # As its command line does it; what is made lies in a folder beside tokenizers and settings.
        builder.create_model(*made, **builder.parse_extra_options(*made, []))
        onnx.save(onnx.load(f"{folder}/made/model.onnx"), path)


def _sklearn(path: Path) -> None:
    converter = importlib.import_module("skl2onnx")
    networks = importlib.import_module("sklearn.neural_network")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 16)).astype(np.float32), rng.integers(0, 3, 200)
    made = networks.MLPClassifier((32, 32), max_iter=5).fit(x, y)
    path.write_bytes(converter.to_onnx(made, x[:1]).SerializeToString())


def main(argv: list[str]) -> int:
    """Makes what is not there; says what was not made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", metavar="SUBSTR", help="only files whose name contains it")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    made = skipped = 0
    for jobs in (torch_jobs, lambda: runtime_jobs(options.out), elsewhere):
        for name, write in jobs():
            path = options.out / f"{name}.onnx"
            if options.only not in name or path.exists():
                continue
            try:
                write(path)
                made += 1
                print(f"made: {path.name}", flush=True)
            except Exception as error:  # noqa: BLE001 - whatever another tool raises: the next one follows
                path.unlink(missing_ok=True)
                skipped += 1
                why = (str(error).strip().splitlines() or ["no message"])[0]
                print(f"skipped: {name}: {type(error).__name__}: {why[:150]}", flush=True)
    print(f"{made} made, {skipped} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
