"""Defaults from the environment and from a file, under the command line."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "config" / "onnx-compressor" / "config.yaml"
    place.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return place


def settings(pipeline):
    return pipeline.calls[-1].settings


def test_the_command_line_goes_before_environment_before_file(run, model, pipeline, config, monkeypatch) -> None:
    assert run("prune", model).exit_code == 0
    assert settings(pipeline).round_to == 8
    config.write_text("all:\n  seed: 7\nprune:\n  round-to: 4\n  exclude: [a*, b*]\n  simplify: false\n")
    assert run("prune", model).exit_code == 0
    assert (settings(pipeline).round_to, settings(pipeline).seed) == (4, 7)
    assert settings(pipeline).exclude == ("a*", "b*")
    assert settings(pipeline).simplify is False
    monkeypatch.setenv("ONNX_COMPRESSOR_PRUNE_ROUND_TO", "2")
    assert run("prune", model, auto_envvar_prefix="ONNX_COMPRESSOR").exit_code == 0
    assert settings(pipeline).round_to == 2
    assert run("prune", model, "--round-to", 1, auto_envvar_prefix="ONNX_COMPRESSOR").exit_code == 0
    assert settings(pipeline).round_to == 1


def test_defaults_of_many_runs_may_say_nothing_in_one(run, model, pipeline, config, monkeypatch) -> None:
    config.write_text("prune: {lower: never, momentum: 0.5}\n")
    monkeypatch.setenv("ONNX_COMPRESSOR_PRUNE_BASIS", "identity")
    assert run("prune", model, auto_envvar_prefix="ONNX_COMPRESSOR").exit_code == 0
    assert settings(pipeline).lower == "never"
    done = run("prune", model, "--lower", "always", auto_envvar_prefix="ONNX_COMPRESSOR")
    assert done.exit_code == 2
    assert "--lower: no mask is laid over a layer" in done.stderr


def test_another_file_can_be_named_and_shared_settings_go_where_they_fit(run, model, pipeline, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("all: {seed: 3, round_to: 16}\n")
    monkeypatch.setenv("ONNX_COMPRESSOR_CONFIG", str(tmp_path / "mine.yaml"))
    assert run("clean", model).exit_code == 0
    assert settings(pipeline).seed == 3
    assert run("prune", model).exit_code == 0
    assert settings(pipeline).round_to == 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prune: {round_two: 4}", "prune has no setting 'round_two'; did you mean 'round_to'?"),
        ("prune: [1]", "below 'prune' stand settings"),
        ("- 1", "settings stand in a mapping"),
        ("a: *b", "references such as *name are not read"),
        ("prune: {round_to: none}", "--round-to (from prune: {round_to: none} in "),
        ("all: {seed: many}", "--seed (from all: {seed: many} in "),
        ("prune: {ratio: 2}", "config.yaml): 2 is more than the whole"),
        ("prune: {ratio: 0.2, target-macs: 0.5}", "give only one of --ratio (from prune: {ratio: 0.2} in "),
    ],
)
def test_faults_of_the_file_are_one_sentence(run, model, config, text, words) -> None:
    config.write_text(text)
    done = run("prune", model)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("Error") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RATIOO", "ONNX_COMPRESSOR_PRUNE_RATIOO is set, and prune has no setting 'ratioo'; did you mean 'ratio'?"),
        ("RATIO", "--ratio (from ONNX_COMPRESSOR_PRUNE_RATIO) must be a number, not 'abc'"),
    ],
)
def test_faults_of_variables_are_one_sentence_that_names_them(run, model, name, words, monkeypatch) -> None:
    monkeypatch.setenv(f"ONNX_COMPRESSOR_PRUNE_{name}", "abc")
    done = run("prune", model, auto_envvar_prefix="ONNX_COMPRESSOR")
    assert done.exit_code == 2
    assert words in done.stderr
    assert run("clean", model, auto_envvar_prefix="ONNX_COMPRESSOR").exit_code == 0, "another command's"


def test_none_is_read_in_the_current_folder(run, model, pipeline, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    for name in ("config.yaml", "onnx-compressor.yaml"):
        (tmp_path / name).write_text("prune: {round_to: 4}")
    assert run("prune", model).exit_code == 0
    assert settings(pipeline).round_to == 8


def test_piped_lines_end_without_blanks(run, model) -> None:
    text = run("prune", model, "-v").stdout
    assert "conv1.weight" in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    "case",
    [
        ("prune: {ratio: 0.2}", ("--target-macs", 0.7), {"target_macs": 0.7, "ratio": None}),
        ("prune: {ratio: 0.2, target_macs: 0.5}", ("--lossless",), {"lossless": True, "target_macs": None}),
        ("prune: {sparsify: iss, recover: finetune}", ("--decay-epochs", 2), {"sparsify": "decay"}),
    ],
)
def test_what_was_typed_goes_before_what_contradicts_it(run, model, pipeline, config, case) -> None:
    text, typed, done = case
    config.write_text(text)
    told = run("prune", model, *typed)
    assert told.exit_code == 0, told.stderr
    assert {name: getattr(settings(pipeline), name) for name in done} == done


def test_variables_give_way_to_what_was_typed_and_not_among_each_other(run, model, pipeline, monkeypatch) -> None:
    monkeypatch.setenv("ONNX_COMPRESSOR_PRUNE_RATIO", "0.2")
    assert run("prune", model, "--target-macs", 0.7, auto_envvar_prefix="ONNX_COMPRESSOR").exit_code == 0
    assert settings(pipeline).target_macs == 0.7
    monkeypatch.setenv("ONNX_COMPRESSOR_PRUNE_TARGET_SIZE", "0.5")
    done = run("prune", model, auto_envvar_prefix="ONNX_COMPRESSOR")
    assert done.exit_code == 2
    assert "give only one of --ratio (from ONNX_COMPRESSOR_PRUNE_RATIO) and --target-size (from " in done.stderr
