"""Whatever the bytes, loading either gives a model that can be worked with or refuses it in one sentence."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import ModelError
from compressor.graph.disk import files
from compressor.graph.form.normalise import normalise, unshare
from tests.graph.disk.samples import CALLS, externalised, parsed

SECONDS = 5.0
NUMBERS = (0, 1, 2, 3, -1, 7, 16, 127, 128, 255, 2**31 - 1, -(2**31), 2**32, 2**62, -(2**63), 2**63 - 1)
WORDS = (
    "",
    "x",
    "y",
    "w",
    "h",
    "a",
    "q",
    "local",
    "ai.onnx",
    "If",
    "Constant",
    "f",
    "weights.bin",
    "../w",
    "0",
    "-1",
)

QUICK = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=4000, derandomize=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def samples(folder: Path) -> list[onnx.ModelProto]:
    """A model with subgraphs and external data, and one with functions."""
    first, second = parsed(), parsed(CALLS)
    externalised(folder, first.graph.initializer[0], offset="0", length="48")
    return [first, second]


def survives(path: Path, content: bytes) -> bool:
    """Load the bytes and, where that works, do everything this package does; True when they are a model."""
    path.write_bytes(content)
    start = time.process_time()
    refusals = [
        str(error) for error in map(refused, (lambda: files.size_on_disk(path), lambda: work_on(path))) if error
    ]
    assert time.process_time() - start < SECONDS
    assert not any("\n" in message for message in refusals)
    return not refusals


def refused(action: Callable[[], object]) -> ModelError | None:
    try:
        action()
    except ModelError as error:
        return error
    return None


def work_on(path: Path) -> None:
    model = files.load_model(path)
    files.save_model(model, path.with_name("plain.onnx"))
    files.load_model(path.with_name("plain.onnx"))
    unshare(normalise(model))
    files.save_model(model, path.with_name("normal.onnx"))
    files.load_model(path.with_name("normal.onnx"))


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, insert, remove or repeat a few stretches of bytes."""
    mutated = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(mutated) + 1)
        length = chance.choice((1, 1, 2, 4, 16))
        piece = chance.choice((chance.randbytes(length), bytes(mutated[at : at + length]) * 2, b"", b"\xff" * length))
        mutated[at : at + chance.choice((0, length))] = piece
    return bytes(mutated)


def messages(message: Any) -> Iterator[Any]:
    """The message and all in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if hasattr(value, "add") else [value]:
                yield from messages(item)


def mutated_fields(proto: onnx.ModelProto, chance: random.Random) -> bytes:
    """Clear, repeat, remove or change a few fields anywhere in the model."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        message = chance.choice(list(messages(proto)))
        fields = list(message.DESCRIPTOR.fields)
        if message.ListFields() and chance.random() < 0.8:
            fields = [field for field, _ in message.ListFields()]
        change_field(message, chance.choice(fields), chance)
    return proto.SerializeToString()


def change_field(message: Any, field: Any, chance: random.Random) -> None:
    value = getattr(message, field.name)
    if chance.random() < 0.2:
        message.ClearField(field.name)
    elif hasattr(value, "add"):
        copy = value.add()
        if len(value) > 1 and chance.random() < 0.7:
            copy.CopyFrom(chance.choice(value[:-1]))
    elif field.message_type is not None:
        value.SetInParent()
    elif hasattr(value, "append"):
        value.append(random_scalar(field, chance))
    else:
        setattr(message, field.name, random_scalar(field, chance))


def random_scalar(field: Any, chance: random.Random) -> object:
    if field.enum_type is not None:
        return chance.choice(field.enum_type.values).number
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice((0.0, 1.0, float("nan"), float("inf")))
    if field.cpp_type == field.CPPTYPE_STRING:
        return chance.choice(WORDS).encode() if field.type == field.TYPE_BYTES else chance.choice(WORDS)
    lowest = 0 if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else -(2**63)
    narrow = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32)
    return chance.choice([n for n in NUMBERS if n >= lowest and (not narrow or abs(n) < 2**31)])


def fuzz(folder: Path, seed: int, mutate_bytes: bool) -> None:
    chance = random.Random(seed)
    proto = chance.choice(samples(folder))
    content = mutated_bytes(proto.SerializeToString(), chance) if mutate_bytes else mutated_fields(proto, chance)
    survives(folder / "model.onnx", content)


def test_the_unchanged_samples_survive(folder: Path) -> None:
    assert all(survives(folder / "model.onnx", proto.SerializeToString()) for proto in samples(folder))


@QUICK
@given(seed=st.integers(0, 2**32), mutate_bytes=st.booleans())
def test_mutated_models_load_or_are_refused(folder: Path, seed: int, mutate_bytes: bool) -> None:
    fuzz(folder, seed, mutate_bytes)


@QUICK
@given(content=st.binary(max_size=200))
def test_random_bytes_load_or_are_refused(folder: Path, content: bytes) -> None:
    survives(folder / "model.onnx", content)


@pytest.mark.slow
@LONG
@given(seed=st.integers(0, 2**32), mutate_bytes=st.booleans())
def test_many_mutated_models_load_or_are_refused(folder: Path, seed: int, mutate_bytes: bool) -> None:
    fuzz(folder, seed, mutate_bytes)
