"""A latency as the amount, as it is written on the command line."""

from __future__ import annotations

import pytest

from compressor.errors import ProviderUnavailable, TargetOutOfReach, UsageError


@pytest.mark.parametrize(("text", "kept"), [("2.5ms", "2.5ms"), ("800us", "0.8ms"), ("60%", "0.6x"), ("0.6x", "0.6x")])
def test_it_reaches_its_setting(run, pipeline, model, tmp_path, text, kept):
    result = run(
        *("prune", model, "--target-latency", text, "--batch", "4", "--threads", "2"),
        *("--latency-cache", tmp_path / "times"),
    )
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call.settings.target_latency == kept
    assert call.settings.ratio is None
    assert (call.settings.batch, call.settings.threads) == (4, 2)
    assert call.settings.latency_cache == tmp_path / "times"


@pytest.mark.parametrize("text", ["1.2x", "0x", "2.5", "soon", "0ms", "-1ms"])
def test_what_is_no_latency_is_refused(run, pipeline, model, text):
    result = run("prune", model, "--target-latency", text)
    assert result.exit_code == UsageError.exit_code
    assert "--target-latency" in result.stderr
    assert pipeline.calls == []


def test_one_amount_only(run, pipeline, model):
    result = run("prune", model, "--target-latency", "0.5x", "--ratio", "0.5")
    assert result.exit_code == UsageError.exit_code
    assert "give only one of --ratio and --target-latency" in result.stderr


@pytest.mark.parametrize("error", [TargetOutOfReach("too slow"), ProviderUnavailable("not here")])
def test_exit_codes(run, pipeline, model, error):
    pipeline.raises = error
    result = run("prune", model, "--target-latency", "0.1x")
    assert result.exit_code == error.exit_code
    assert str(error) in result.stderr


def test_help_fits_and_names_it(run):
    text = run("prune", "--help-all").output
    assert "--target-latency TIME" in text
    assert "--latency-cache FOLDER" in text
    assert "N[,N]" not in text
    assert "--batch N[,N]" in run("bench", "--help").output
