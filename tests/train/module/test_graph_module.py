"""Parameters by the names of initializers, what is trained and what is not, and the way back into the file."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.errors import ModelError, UnsupportedOperator, UsageError  # noqa: E402 -- after the skip
from compressor.train import GraphModule  # noqa: E402
from tests.models import in_memory, model, weight  # noqa: E402
from tests.train.case import in_runtime, in_torch, node_model, parity, run_module  # noqa: E402

NET = """
    (float[n,3,8,8] x) => (float[n,c] y)
    <float[8,3,3,3] stem.0.weight, float[8] stem.0.bias, float[8] s1, float[8] bn.bias, float[8] mean, float[8] s2,
     float[8,5] head, float half> {
        a = Conv<pads=[1,1,1,1]>(x, "stem.0.weight", "stem.0.bias")
        b = BatchNormalization(a, s1, "bn.bias", mean, s2)
        c = Relu(b)
        d = Mul(c, half)
        e = GlobalAveragePool(d)
        f = Flatten(e)
        y = MatMul(f, head)
    }"""


def network() -> onnx.ModelProto:
    # The text format has no quoted names: dots come afterwards.
    proto = model(
        NET.replace('"', "")
        .replace("stem.0.weight", "stem_w")
        .replace("stem.0.bias", "stem_b")
        .replace("bn.bias", "bn_b")
    )
    names = {"stem_w": "stem.0.weight", "stem_b": "stem.0.bias", "bn_b": "bn.bias"}
    for tensor in proto.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return proto


def feeds(rng: np.random.Generator, batch: int = 2) -> dict[str, np.ndarray]:
    return {"x": rng.normal(size=(batch, 3, 8, 8)).astype(np.float32)}


def train(module: GraphModule, rng: np.random.Generator, steps: int = 2) -> None:
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.from_numpy(feeds(rng)["x"])).square().sum().backward()
        optimizer.step()


def test_state_has_the_names_of_the_initializers() -> None:
    module = GraphModule(in_memory(network()))
    assert set(module.state_dict()) == {"stem.0.weight", "stem.0.bias", "s1", "bn.bias", "mean", "s2", "head"}
    assert {n for n, _ in module.named_parameters()} == {"stem.0.weight", "stem.0.bias", "s1", "bn.bias", "head"}
    assert set(module.tensors()) == set(module.state_dict())


@pytest.mark.parametrize(
    "name", ["a", "a.b", "a.b.c", "a..b", ".a", "a.", "forward", "training.type", "/x/y.0/W:0", "_parameters"]
)
def test_any_name_survives_the_state(name: str) -> None:
    proto = model(
        "(float[2,3] x) => (float[2,4] y) <float[3,4] w, float[4] b> { inner = MatMul(x, w)  y = Add(inner, b) }"
    )
    for tensor, new in zip(proto.graph.initializer, (name, "a.b.c.d"), strict=True):
        for node in proto.graph.node:
            node.input[:] = [new if old == tensor.name else old for old in node.input]
        tensor.name = new
    module, other = GraphModule(in_memory(proto)), GraphModule(in_memory(proto))
    state = {key: torch.randn_like(value) for key, value in module.state_dict().items()}
    assert set(state) == {name, "a.b.c.d"}
    other.load_state_dict(state)
    x = torch.randn(2, 3)
    torch.testing.assert_close(other(x), x @ state[name] + state["a.b.c.d"])


def test_it_equals_the_runtime_at_any_batch(rng: np.random.Generator) -> None:
    for batch in (1, 3):
        assert parity(network(), feeds(rng, batch)) < 1e-5


def test_a_shared_weight_is_one_parameter() -> None:
    proto = model(
        "(float[2,4] x) => (float[2,4] y) <float[4,4] w> "
        "{ a = MatMul(x, w)  t = Transpose<perm=[1,0]>(w)  y = MatMul(a, t) }"
    )
    module = GraphModule(in_memory(proto))
    x = torch.randn(2, 4)
    module(x).sum().backward()
    (w,) = module.parameters()
    own = w.detach().clone().requires_grad_()
    (x @ own @ own.t()).sum().backward()
    torch.testing.assert_close(w.grad, own.grad)


def test_settings_and_arithmetic_are_not_trained() -> None:
    proto = model(
        """(float[2,4] x) => (float[2,4] y) <float[4] w, int64[2] shape> {
            two = Constant<value_float=2.0>()
            mask = Constant<value = float[2,2] {0.0, -10000.0, -10000.0, 0.0}>()
            rows = Constant<value = float[2,2] {0.0, 1.0, 1.0, 0.0}>()
            a = Pow(x, two)
            b = Clip(a, two)
            c = Mul(b, w)
            m = MatMul(rows, c)
            n = MatMul(mask, m)
            r = Mul(mask, rows)
            q = MatMul(r, n)
            y = Div(q, two)
        }"""
    )
    names = {name for name, _ in GraphModule(in_memory(proto)).named_parameters()}
    assert names == {"w", "mask", "rows"}  # operands of a matrix product are weights, whatever they look like
    elementwise = model(
        """(float[2,2] x) => (float[2,2] y) <float[2,2] w> {
            mask = Constant<value = float[2,2] {0.0, -10000.0, -10000.0, 0.0}>()
            rows = Constant<value = float[2,2] {0.0, 1.0, 1.0, 0.0}>()
            far = Constant<value = float[2,2] {0.5, -100000.0, 1.0, 2.0}>()
            powers = Constant<value = float[2] {2.0, 3.0}>()
            a = Add(x, mask)  b = Mul(a, rows)  c = Add(b, far)  d = Pow(c, powers)  y = Add(d, w)
        }"""
    )
    assert {name for name, _ in GraphModule(in_memory(elementwise)).named_parameters()} == {"w"}


def test_what_no_gradient_reaches_is_not_trained() -> None:
    proto = model(
        "(float[2,4] x) => (int64[2] y) <float[4,4] w, float[2,4] unused> "
        "{ a = MatMul(x, w)  y = ArgMax<axis=1,keepdims=0>(a) }"
    )
    assert not list(GraphModule(in_memory(proto)).parameters())


def test_write_back_without_training_changes_no_bit() -> None:
    source = in_memory(network())
    found = GraphModule(source).write_back(source)
    assert ir.to_proto(found).SerializeToString() == ir.to_proto(source).SerializeToString()
    assert found.graph.initializers["head"].const_value is source.graph.initializers["head"].const_value


def test_write_back_carries_what_was_trained_and_nothing_else(rng: np.random.Generator) -> None:
    source = in_memory(network())
    before = ir.to_proto(source).SerializeToString()
    module = GraphModule(source)
    train(module, rng)
    tuned = module.write_back(source)
    assert ir.to_proto(source).SerializeToString() == before
    for name, tensor in module.tensors().items():
        np.testing.assert_array_equal(weight(tuned, name), tensor.detach().numpy())
    assert not np.array_equal(weight(tuned, "head"), weight(source, "head"))
    np.testing.assert_array_equal(weight(tuned, "mean"), weight(source, "mean"))
    x = feeds(rng)
    ours, theirs = run_module(module.eval(), x), in_runtime(ir.to_proto(tuned), x)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-5)


def test_write_back_reaches_constant_nodes_and_other_types(rng: np.random.Generator) -> None:
    node = node_model("Constant", {}, value=onnx.numpy_helper.from_array(np.ones((3, 2), np.float16), "v"))
    node.graph.node[0].output[0] = "w"
    node.graph.node.append(onnx.helper.make_node("MatMul", ["x", "w"], ["y0"], "m"))
    node.graph.input.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, [4, 3]))
    source = in_memory(node)
    module = GraphModule(source)
    with torch.no_grad():
        module.tensors()["w"].mul_(3)
    written = module.float().write_back(source)
    found = next(n for n in written.graph if n.op_type == "Constant").attributes["value"].as_tensor().numpy()
    assert found.dtype == np.float16
    assert (found == 3).all()
    del rng


def test_write_back_to_another_model_is_refused() -> None:
    module = GraphModule(in_memory(network()))
    other = in_memory(model("(float[2,3] x) => (float[2,4] y) <float[3,4] head> { y = MatMul(x, head) }"))
    with pytest.raises(ModelError, match="initializer"):
        module.write_back(other)


def test_running_statistics_are_frozen_unless_asked_for(rng: np.random.Generator) -> None:
    source = in_memory(network())
    frozen, live = GraphModule(source).train(), GraphModule(source, train_bn=True).train()
    x = torch.from_numpy(feeds(rng)["x"])
    torch.testing.assert_close(frozen(x), frozen.eval()(x))
    mean = live.tensors()["mean"].clone()
    live(x)
    conv = torch.nn.functional.conv2d(x, live.tensors()["stem.0.weight"], live.tensors()["stem.0.bias"], padding=1)
    torch.testing.assert_close(live.tensors()["mean"], 0.9 * mean + 0.1 * conv.mean((0, 2, 3)))
    assert not np.array_equal(weight(live.write_back(source), "mean"), weight(source, "mean"))


def test_a_shared_running_statistic_cannot_follow_batches() -> None:
    proto = model(
        "(float[2,4,3] x) => (float[2,4,3] y) <float[4] s1, float[4] b, float[4] s2> "
        "{ a = BatchNormalization(x, s1, b, b, s2)  y = BatchNormalization(a, s1, b, b, s2) }"
    )
    GraphModule(in_memory(proto)).train()(torch.randn(2, 4, 3)).sum().backward()
    with pytest.raises(ModelError, match="shared"):
        GraphModule(in_memory(proto), train_bn=True)


def test_dropout_acts_in_training_only() -> None:
    proto = node_model(
        "Dropout", {"x": np.ones((100, 100), np.float32), "ratio": np.float32(0.25)}, outputs=2,
        constants={"ratio": np.float32(0.25)},
    )  # fmt: skip
    module, x = GraphModule(in_memory(proto)), torch.ones(100, 100)
    kept, mask = module.eval()(x)
    assert torch.equal(kept, x)
    assert mask.all()
    dropped, mask = module.train()(x)
    assert 0.2 < (dropped == 0).float().mean() < 0.3
    assert torch.equal(dropped != 0, mask)
    assert torch.allclose(dropped[mask], torch.tensor(4 / 3))


def test_quantisation_passes_gradients_straight_through() -> None:
    proto = model(
        """(float[4] x) => (float[4] y) <float s, uint8 z> {
            q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z)
        }"""
    )
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(0.1), "s"))
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.uint8(128), "z"))
    module = GraphModule(in_memory(proto))
    x = torch.tensor([0.13, -0.27, 100.0, -100.0], requires_grad=True)
    y = module(x)
    torch.testing.assert_close(y.detach(), torch.tensor([0.1, -0.3, 12.7, -12.8]))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert not list(module.parameters())


def test_grids_of_the_runtime_run_as_those_of_onnx() -> None:
    text = """(float[6] x) => (float[6] y) <float s = {0.5}, uint16 z = {300}> {
        q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }"""
    own = text.replace("QuantizeLinear", "com.microsoft.QuantizeLinear").replace(" Deq", " com.microsoft.Deq")
    x = torch.tensor([-200.0, -0.3, 0.0, 0.3, 0.8, 20000.0])
    ours = GraphModule(in_memory(model(own, domains=("com.microsoft",), checked=False)))(x)
    torch.testing.assert_close(ours, GraphModule(in_memory(model(text, opset=21)))(x))
    assert ours.tolist() == [-150.0, -0.5, 0.0, 0.5, 1.0, 20000.0]


def test_an_unknown_operator_is_refused_at_once() -> None:
    proto = model("(float[2] x) => (float[2] y) { y = here.Strange(x) }", domains=("here",))
    with pytest.raises(UnsupportedOperator, match=r"Strange node 'Strange_0'.*'here'") as caught:
        GraphModule(in_memory(proto))
    assert caught.value.exit_code == 3


def test_an_operator_without_a_kernel_is_refused_with_the_reason_of_its_record() -> None:
    text = "(uint8[4] x, float s, uint8 z) => (uint8[4] y) { y = com.microsoft.QLinearSigmoid(x, s, z, s, z) }"
    with pytest.raises(UnsupportedOperator, match=r"QLinearSigmoid node .* computes with integers, .*; replace"):
        GraphModule(in_memory(model(text, domains=("com.microsoft",), checked=False)))


def test_a_failing_node_is_named() -> None:
    module = GraphModule(in_memory(network()))
    with pytest.raises(ModelError, match="Conv node 'Conv_0' fails in torch"):
        module(torch.randn(1, 4, 8, 8))


def test_inputs_go_by_position_or_name() -> None:
    module = GraphModule(in_memory(model("(float[2] a, float[2] b) => (float[2] y) { y = Sub(a, b) }")))
    one, two = torch.ones(2), torch.full((2,), 2.0)
    for found in (module(one, two), module(one, b=two), module(b=two, a=one)):
        torch.testing.assert_close(found, -one)
    with pytest.raises(UsageError, match="'b' is missing"):
        module(one)
    with pytest.raises(UsageError, match="no input 'c'"):
        module(one, two, c=one)
    with pytest.raises(UsageError, match="3 inputs"):
        module(one, two, one)


def test_a_default_input_can_be_overridden() -> None:
    proto = model("(float[2,3] x) => (float[2,4] y) <float[3,4] w> { y = MatMul(x, w) }")
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [3, 4]))
    module, x, w = GraphModule(in_memory(proto)), torch.randn(2, 3), torch.randn(3, 4)
    torch.testing.assert_close(module(x, w=w), x @ w)
    assert not torch.equal(module(x), x @ w)


def test_a_copy_has_parameters_of_its_own(rng: np.random.Generator) -> None:
    module = GraphModule(in_memory(network()))
    twin = copy.deepcopy(module)
    train(twin, rng)
    x = torch.from_numpy(feeds(rng)["x"])
    assert not torch.equal(module(x), twin(x))
    twin.load_state_dict(module.state_dict())
    assert torch.equal(module(x), twin(x))


def test_functional_call_replaces_parameters(rng: np.random.Generator) -> None:
    module = GraphModule(in_memory(network()))
    x = torch.from_numpy(feeds(rng)["x"])
    zeros = {name: torch.zeros_like(value) for name, value in module.named_parameters()}
    assert not torch.func.functional_call(module, zeros, (x,)).any()


def test_double_precision(rng: np.random.Generator) -> None:
    module = GraphModule(in_memory(network())).double()
    assert module(torch.from_numpy(feeds(rng)["x"]).double()).dtype == torch.float64


def test_memory_of_values_is_freed_after_their_last_use() -> None:
    module = GraphModule(in_memory(network()))
    freed = {slot for step in module._program.steps for slot in step.release}
    made = {slot for step in module._program.steps for slot in step.outputs}
    assert made - freed == set(module._program.results)


def test_shape_arithmetic_stays_on_the_host(rng: np.random.Generator) -> None:
    proto = model(
        """(float[n,4,6] x) => (float[n,a,b] y) <float[6,6] w> {
            s = Shape(x)
            zero = Constant<value = int64[1] {0}>()
            two = Constant<value = int64[1] {2}>()
            n = Gather(s, zero)
            m = Mul(two, two)
            k = Div(m, two)
            r = Constant<value = int64[1] {-1}>()
            t = Concat<axis=0>(n, r, k)
            f = MatMul(x, w)
            y = Reshape(f, t)
        }"""
    )
    module = GraphModule(in_memory(proto))
    labels = [step.label.split()[0] for step in module._program.steps]
    assert labels == ["Shape", "Gather", "Concat", "MatMul", "Reshape"]  # Mul and Div are folded, nothing moves
    x = {"x": rng.normal(size=(3, 4, 6)).astype(np.float32)}
    assert parity(proto, x) < 1e-5


@pytest.mark.parametrize("opset", range(9, 26))
def test_every_operator_set(opset: int, rng: np.random.Generator) -> None:
    """Attributes that became inputs, and defaults that moved, on the way from 9 to 25."""
    old = opset < 13
    text = """(float[2,3,4] x) => (float[a,b,c] y) <float[3,4] w> {
        a = Softmax<axis=AXIS>(x)
        b = LogSoftmax<axis=2>(a)
        UNSQUEEZE
        e = Add(d, w)
        f = Clip(e)
        PAD
        y = Dropout(h)
    }"""
    text = text.replace("AXIS", "1" if old else "2")
    if old:
        text = text.replace("UNSQUEEZE", "c = Unsqueeze<axes=[1]>(b) d = Squeeze<axes=[1]>(c)")
    else:
        text = text.replace("UNSQUEEZE", "u = Constant<value = int64[1] {1}>() c = Unsqueeze(b, u) d = Squeeze(c, u)")
    if opset < 11:
        text = text.replace("PAD", "h = Pad<pads=[0,0,1,0,0,1]>(f)")
    else:
        text = text.replace("PAD", "p = Constant<value = int64[6] {0,0,1,0,0,1}>() h = Pad(f, p)")
    proto = model(text, opset=opset)
    assert parity(proto, {"x": rng.normal(size=(2, 3, 4)).astype(np.float32)}) < 1e-5


@pytest.mark.parametrize(
    ("op", "opset", "shape", "attributes"),
    [
        ("TopK", 9, (3, 5), {"k": 2}),
        ("Slice", 9, (4, 5), {"starts": [1, 0], "ends": [3, -1]}),
        ("Upsample", 9, (1, 2, 3, 3), None),
        ("Resize", 10, (1, 2, 3, 3), None),
        ("Dropout", 9, (2, 3), {"ratio": 0.5}),
        ("Split", 9, (2, 6), {"axis": 1}),
        ("ReduceSum", 9, (2, 3), {"axes": [1], "keepdims": 0}),
        ("Flatten", 9, (2, 3, 4), {"axis": 2}),
        ("BatchNormalization", 9, (2, 3, 4), {}),
    ],
)
def test_old_forms(
    op: str, opset: int, shape: tuple[int, ...], attributes: dict | None, rng: np.random.Generator
) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    inputs: dict[str, np.ndarray] = {"x": x}
    constants: dict[str, np.ndarray] = {}
    if attributes is None:
        constants["scales"] = np.array([1, 1, 2, 2], np.float32)
    if op == "BatchNormalization":
        constants = {k: rng.uniform(0.5, 1, 3).astype(np.float32) for k in "abcd"}
    proto = node_model(
        op, inputs | constants, opset=opset, constants=constants, outputs=2 if op in ("TopK", "Split") else 1,
        **(attributes or {}),
    )  # fmt: skip
    if op == "Dropout":
        np.testing.assert_array_equal(in_torch(proto, inputs)[0], x)
        return
    assert parity(proto, inputs) < 1e-6


def test_torch_compile_gives_the_same(rng: np.random.Generator) -> None:
    module = GraphModule(in_memory(network())).eval()
    x = torch.from_numpy(feeds(rng)["x"])
    compiled = torch.compile(module, backend="eager")
    torch.testing.assert_close(compiled(x), module(x))
