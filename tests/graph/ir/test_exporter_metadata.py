"""Metadata of exporters: what goes, what stays, and the names that come of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from compressor.commands.clean import clean_file
from compressor.commands.inspect import inspect_file
from compressor.commands.prune_file import prune_file
from compressor.config import CleanSettings, PruneSettings
from compressor.errors import UsageError
from compressor.graph.disk import files
from compressor.graph.ir import exporter_metadata

SCOPES = "pkg.torch.onnx.name_scopes"
TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[n, 8] x) => (float[n, 4] y) {
   a = MatMul(x, val_92)
   b = Relu(a)
   t = Transpose<perm = [1, 0]>(val_93)
   y = MatMul(b, t)
}"""


def exported(path: Path) -> Path:
    """Two layers as the dynamo exporter writes them, with notes everywhere that notes can be."""
    proto = onnx.parser.parse_model(TEXT)
    numbers = np.random.default_rng(0)
    for name, shape in {"val_92": (8, 16), "val_93": (4, 16)}.items():
        tensor = onnx.numpy_helper.from_array(numbers.normal(size=shape).astype(np.float32), name)
        tensor.doc_string = "a weight"
        proto.graph.initializer.append(tensor)
    scopes = {"a": ["", "encoder", "encoder.query", "linear"], "t": ["", "head", "t"], "y": ["", "head", "linear_1"]}
    for node in proto.graph.node:
        node.doc_string = 'File "net.py", line 3'
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "net.py", line 3')
        node.metadata_props.add(key="namespace", value="whatever")
        if node.output[0] in scopes:
            node.metadata_props.add(key=SCOPES, value=str(scopes[node.output[0]]))
    proto.graph.doc_string = "exported"
    proto.graph.metadata_props.add(key="pkg.torch.export.range_constraints", value="{}")
    proto.graph.input[0].metadata_props.add(key="pkg.torch.export.graph_signature.InputSpec.kind", value="USER_INPUT")
    proto.metadata_props.add(key="names", value="{0: 'cat'}")
    proto.metadata_props.add(key="pkg.torch.version", value="2")
    proto.doc_string = "By the author."
    onnx.save(proto, path)
    return path


def notes(path: Path) -> str:
    """Everything of a file that is no graph."""
    proto = onnx.load(path)
    graph = proto.graph
    items = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    return " ".join([*(f"{p.key}={p.value}" for i in items for p in i.metadata_props), *(i.doc_string for i in items)])


def test_what_exporters_wrote_goes_and_what_the_author_said_of_the_model_stays(tmp_path: Path) -> None:
    source, output = exported(tmp_path / "in.onnx"), tmp_path / "out.onnx"
    clean_file(source, output, CleanSettings())
    assert notes(output).split() == ["compressor.scope=encoder.query", "compressor.scope=head"]
    proto = onnx.load(output)
    kept = {p.key: p.value for p in proto.metadata_props if not p.key.startswith("onnx_compressor.")}
    assert kept == {"names": "{0: 'cat'}"}
    assert proto.doc_string == "By the author."
    assert "pkg.torch" in notes(source), "the input is as it was"


def test_keep_metadata_keeps_it(tmp_path: Path) -> None:
    source, output = exported(tmp_path / "in.onnx"), tmp_path / "out.onnx"
    clean_file(source, output, CleanSettings(keep_metadata=True))
    kept = notes(output)
    for part in ("stack_trace", "namespace=", SCOPES, "range_constraints", "InputSpec.kind", "a weight", "exported"):
        assert part in kept


@pytest.mark.parametrize("keep", [False, True])
def test_groups_are_named_after_modules_before_and_after_it_goes(tmp_path: Path, keep: bool) -> None:
    source, output = exported(tmp_path / "in.onnx"), tmp_path / "out.onnx"
    clean_file(source, output, CleanSettings(keep_metadata=keep))
    for path in (source, output):
        report = inspect_file(path, PruneSettings())
        assert [group.name for group in report.groups] == ["encoder.query"]
        assert {row.value for row in report.frozen} == {"head"}


@pytest.mark.parametrize("glob", ["encoder.*", "val_92", "*query"])
def test_globs_match_modules_and_names(tmp_path: Path, glob: str) -> None:
    source, output = exported(tmp_path / "in.onnx"), tmp_path / "out.onnx"
    result = prune_file(source, output, PruneSettings(ratio=0.5, include=(glob,), recover="none"))
    assert [(g.name, g.removed) for g in result.report.groups] == [("encoder.query", 8)]
    assert result.plan is not None
    assert result.plan.removals[0].initializer == "val_92", "a plan goes by what the file calls it"


def test_a_glob_that_matches_nothing_is_told_what_is_near(tmp_path: Path) -> None:
    source = exported(tmp_path / "in.onnx")
    with pytest.raises(UsageError, match=r"'encoder\.key'.*'encoder\.query'"):
        prune_file(source, None, PruneSettings(ratio=0.5, include=("encoder.key",), recover="none"))


@pytest.mark.parametrize(
    ("name", "listed", "path"),
    [
        ("/model/layer.0/query/MatMul", None, "model.layer.0.query"),
        ("MatMul_3", None, ""),
        ("", None, ""),
        ("node_1", "['', 'a', 'a.b', 'linear']", "a.b"),
        ("node_1", '["", "it\'s", "linear"]', "it's"),
        ("node_1", "['linear']", ""),
        ("node_1", "[" * 5000, ""),
        ("/" + "x" * 5000 + "/MatMul", None, ""),
    ],
)
def test_the_path_of_a_module(name: str, listed: str | None, path: str) -> None:
    node = ir.node("Relu", [ir.Value(name="x")], name=name, metadata_props={SCOPES: listed} if listed else {})
    assert exporter_metadata.scope(node) == path


@pytest.mark.parametrize("name", ["encoder.weight", "model/dense/kernel:0", "conv.weight.1"])
def test_a_name_that_holds_a_path_stays_the_name(name: str) -> None:
    value = ir.Value(name=name)
    ir.node("Relu", [value], name="/other/place/Relu")
    assert exporter_metadata.readable(value) == name


@pytest.mark.parametrize("name", ["val_3", "onnx::MatMul_7", "val_3.1", "val_3.folded", "12"])
def test_a_name_without_a_path_is_told_by_its_reader(name: str) -> None:
    value = ir.Value(name=name)
    assert exporter_metadata.readable(value) == name, "nobody reads it"
    moved = ir.node("Transpose", [value], name="")
    ir.node("MatMul", [ir.Value(name="x"), moved.outputs[0]], name="/other/place/MatMul")
    assert exporter_metadata.readable(value) == "other.place"


def test_tensors_that_models_share_are_not_touched(tmp_path: Path) -> None:
    model = files.load_model(exported(tmp_path / "in.onnx"))
    copy = model.clone()
    exporter_metadata.strip_metadata(copy)
    tensors = [m.graph.initializers["val_92"].const_value for m in (model, copy)]
    assert [t.doc_string for t in tensors if t is not None] == ["a weight", None]
    assert np.array_equal(*(t.numpy() for t in tensors if t is not None))
