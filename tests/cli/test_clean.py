"""The command clean: flags, and what it says."""

import pytest

from compressor.config import CleanSettings


def test_clean_passes_its_settings(run, pipeline, model):
    result = run("clean", model, "--no-verify", "--dim", "n=4", "--seed", "5")
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call.settings == CleanSettings(verify=False, dims={"n": 4}, seed=5)
    assert call.output == model.with_name("net.clean.onnx")
    assert "Proof: equals the original;" in result.stdout


def test_clean_has_no_pruning_flag(run, model):
    result = run("clean", model, "--ratio", "0.5")
    assert result.exit_code == 2
    assert "--ratio" in result.stderr


@pytest.mark.parametrize("words", [("--no-verify", "--verify", "full"), ("--verify", "quick", "--no-verify")])
def test_a_proof_that_is_asked_for_and_left_out_is_a_contradiction(run, pipeline, model, words):
    result = run("clean", model, *words)
    assert result.exit_code == 2
    assert "--no-verify contradict each other" in result.stderr
    assert run("clean", model, "--no-verify", "--verify", "off").exit_code == 0
    assert run("clean", model, "--no-verify", env={"ONNX_COMPRESSOR_CLEAN_VERIFY": "off"}).exit_code == 0


def test_a_path_that_lacks_its_suffix_is_answered_with_the_file(run, model):
    result = run("clean", model.with_suffix(""))
    assert result.exit_code == 3
    assert f"did you mean {model}?" in result.stderr.replace("\n", "")
