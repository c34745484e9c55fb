import json
import os

import pytest

from compressor.config import PruneSettings
from compressor.errors import (
    CompressorError,
    GateMissed,
    ModelError,
    NothingToPrune,
    PlanError,
    ProofFailed,
    ProviderUnavailable,
    TargetOutOfReach,
    UsageError,
)
from compressor.results import FrozenRow


def test_defaults_come_from_the_settings(run, pipeline, model):
    result = run("prune", model)
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call.settings == PruneSettings()
    assert call.source == model
    assert call.output == model.with_name("net.pruned.onnx")
    assert (call.plan, call.plan_out) == (None, None)


def test_a_plan_has_no_answer_to_tokens(run, pipeline, model, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text("{}")
    assert run("prune", model, "--plan", plan, "--keep-tokens", plan).exit_code == 0
    assert run("prune", model, "--plan", plan, "--cache-heads").exit_code == 2


def test_every_flag_reaches_its_setting(run, pipeline, model, tmp_path):
    result = run(
        *("prune", model, "-o", tmp_path / "out.onnx", "--target-size", "1.5MB", "--max-ratio", "80%"),
        *("--layer-ratio", "a=b.*=0.3", "--layer-ratio", "c=10%", "--round-to", "4", "--min-channels", "2"),
        *("--criterion", "l1", "--scope", "global", "--aggregate", "sum", "--normalise", "max"),
        *("--include", "a*", "--include", "b*", "--exclude", "c*", "--seed", "7", "--attention", "dims"),
        *("--keep-norm-axes", "--input-shape", "x:0:1x3x8x8", "--input-shape", "y:[2,4]", "--dim", "batch=2"),
        *("--no-simplify", "--external-data", "--no-verify", "--provider", "CUDAExecutionProvider"),
        *("--rtol", "1e-3", "--atol", "1e-5", "--plan-out", tmp_path / "plan.json"),
        *("--steps", "4", "--schedule", "linear"),
    )
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call.output == tmp_path / "out.onnx"
    assert call.plan_out == tmp_path / "plan.json"
    expected = {
        "target_macs": None,
        "target_params": None,
        "target_size": 1_500_000,
        "lossless": False,
        "ratio": None,
        "layer_ratio": (("a=b.*", 0.3), ("c", 0.1)),
        "max_ratio": 0.8,
        "round_to": 4,
        "min_channels": 2,
        "criterion": "l1",
        "scope": "global",
        "aggregate": "sum",
        "normalise": "max",
        "include": ("a*", "b*"),
        "exclude": ("c*",),
        "seed": 7,
        "attention": "dims",
        "keep_norm_axes": True,
        "input_shapes": {"x:0": (1, 3, 8, 8), "y": (2, 4)},
        "dims": {"batch": 2},
        "simplify": False,
        "external_data": True,
        "verify": "off",
        "provider": "cuda",
        "rtol": 1e-3,
        "atol": 1e-5,
        "steps": 4,
        "schedule": "linear",
    }
    given = call.settings.model_dump(include=set(expected))
    assert given == expected
    defaults = PruneSettings().model_dump()
    unchanged = [name for name in given if given[name] == defaults[name]]
    assert unchanged == ["target_macs", "target_params", "lossless"]


def test_underscores_are_accepted_in_flags(run, pipeline, model):
    assert run("prune", model, "--target_macs", "60%", "--no_progress").exit_code == 0
    assert pipeline.calls[0].settings.target_macs == 0.6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ratoi", "0.5"], "--ratio"),
        (["--ratio", "1.5"], "--ratio must be below 1, not 1.5"),
        (["--ratio", "half"], "--ratio must be a number, not 'half'"),
        (["--ratio", "0.5", "--target-macs", "0.5"], "give only one of --ratio and --target-macs"),
        (["--criterion", "lampp"], "did you mean 'lamp'?"),
        (["--provider", "cdua"], "did you mean 'cuda'?"),
        (["--input-shape", "1,3,8,8"], "--input-shape: '1,3,8,8' must be written NAME:SHAPE"),
        (["--dim", "batch"], "--dim: 'batch' must be written NAME=SIZE"),
        (["--lossless", "--ratio", "0.1"], "give only one of --ratio and --lossless"),
        (["--recover", "lstqs"], "did you mean 'lstsq'?"),
        (["--plan", "p.json", "--ratio", "0.2", "--exclude", "a"], "drop --ratio and --exclude, or --plan"),
        (
            ["--resume", "--recover", "none"],
            "--resume goes on with training, and nothing is trained; add --recover finetune, or drop it",
        ),
        (["--epochs", "3", "--loss", "mixed"], "--loss and --epochs: nothing is trained"),
        (["--target-latency", "5"], "a time is written 5ms"),
        (["--samples", "100000000000000"], "--samples must be at most 1e+07"),
        (["--report", "z.txt"], "--report: z.txt would hold HTML; give it a name that ends in .html"),
        (["--card", "r.html"], "--card: r.html would hold Markdown; give it a name that ends in .md"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_do(run, pipeline, model, arguments, expected):
    result = run("prune", model, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert pipeline.calls == []


def test_help_of_later_work_is_not_offered(run):
    text = run("prune", "--help").stdout
    for word in ("--min-speedup", "--force"):
        assert word not in text


@pytest.mark.parametrize("flag", ["--output", "--json", "--plan-out"])
def test_the_input_is_never_written(run, pipeline, model, flag):
    link = model.with_name("link.onnx")
    os.link(model, link)
    for place in (model, link):
        result = run("prune", model, flag, place)
        assert result.exit_code == 2
        assert f"{flag}: {place} is the input too" in result.stderr
    assert pipeline.calls == []


def test_two_results_never_share_a_file(run, pipeline, model, tmp_path):
    result = run("prune", model, "-o", tmp_path / "one", "--json", tmp_path / "one")
    assert result.exit_code == 2
    assert "is the file of --output too" in result.stderr
    assert pipeline.calls == []


@pytest.mark.parametrize(("place", "fact"), [("absent/out.onnx", "does not exist"), (".", "is a folder")])
def test_bad_places_are_refused_before_the_work(run, pipeline, model, tmp_path, place, fact):
    result = run("prune", model, "-o", tmp_path / place)
    assert result.exit_code == 2
    assert fact in result.stderr
    assert pipeline.calls == []


def test_dry_run_names_no_output(run, pipeline, model):
    assert run("prune", model, "--dry-run").exit_code == 0
    assert pipeline.calls[0].output is None


def test_a_card_of_no_file_is_refused_before_the_work(run, pipeline, model, tmp_path):
    result = run("prune", model, "--dry-run", "--card", tmp_path / "card.md")
    assert (result.exit_code, pipeline.calls) == (2, [])
    assert "--card describes the file that is written" in result.stderr


def test_a_plan_is_replayed(run, pipeline, model, tmp_path):
    plan = tmp_path / "plan.json"
    assert run("prune", model, "--plan", plan, "--seed", "3").exit_code == 0
    assert pipeline.calls[0].plan == plan


def test_text_goes_to_stdout_and_warnings_to_stderr(run, model):
    result = run("prune", model)
    assert "parameters" in result.stdout
    assert "MACs left 0.26" in result.stdout
    assert "Wrote" in result.stdout
    assert result.stderr == "Warning: a [bold] name\n"


def test_json_on_stdout_moves_the_text_to_stderr(run, model):
    result = run("prune", model, "--json", "-")
    document = json.loads(result.stdout)
    assert document["schema"] == "onnx-compressor.report/1"
    assert document["settings"]["ratio"] == 0.5
    assert "MACs left 0.26" in result.stderr


def test_quiet_leaves_only_the_json(run, model):
    result = run("prune", model, "-q", "--json", "-")
    assert json.loads(result.stdout)["warnings"] == ["a [bold] name"]
    assert result.stderr == ""
    silent = run("prune", model, "-q")
    assert (silent.stdout, silent.stderr) == ("", "")


def test_json_file_is_whole_and_readable_by_others(run, model, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    assert run("prune", model, "--json", path).exit_code == 0
    assert json.loads(path.read_text())["input"]["params"] == 1_000_000
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert sorted(item.name for item in tmp_path.iterdir()) == ["net.onnx", "report.json"]


def test_explain_lists_what_stayed(run, model):
    assert "--explain lists them. Reason: graph output." in " ".join(run("prune", model).stdout.split())
    explained = run("prune", model, "--explain").stdout
    assert "10 channels had to stay: graph output" in explained
    assert "logits" in explained


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CompressorError, 1),
        (UsageError, 2),
        (PlanError, 2),
        (ModelError, 3),
        (NothingToPrune, 4),
        (TargetOutOfReach, 4),
        (ProofFailed, 5),
        (GateMissed, 6),
        (ProviderUnavailable, 7),
    ],
)
def test_our_errors_are_one_line_and_their_exit_code(run, pipeline, model, error, code):
    pipeline.raises = error("node 'a\x1b[31m' is wrong; rename it")
    result = run("prune", model, "--json", model.with_name("r.json"))
    assert result.exit_code == code
    assert result.stderr == "Error: node 'a\\x1b[31m' is wrong; rename it\n"
    assert result.stdout == ""
    told = json.loads(model.with_name("r.json").read_text())
    assert (told["kind"], told["exit_code"], told["remedy"]) == (error.__name__, code, "rename it")


def test_crashes_exit_1_with_a_traceback_only_on_request(run, pipeline, model):
    pipeline.raises = KeyError("conv1")
    result = run("prune", model)
    assert result.exit_code == 1
    assert result.stderr.startswith("Internal error: KeyError: 'conv1'; run again with -v for a traceback")
    assert len(result.stderr.splitlines()) == 1
    verbose = run("prune", model, "-v")
    assert verbose.exit_code == 1
    assert "Traceback (most recent call last)" in verbose.stderr


def test_memory_that_ran_out_is_no_internal_error(run, pipeline, model):
    pipeline.raises = MemoryError("Unable to allocate 728. TiB")
    result = run("prune", model)
    assert (result.exit_code, result.stdout) == (8, "")
    assert result.stderr.startswith("Error: memory ran out (Unable to allocate 728. TiB); free some, or ask for less")


def test_interrupt_exits_130(run, pipeline, model):
    pipeline.raises = KeyboardInterrupt()
    result = run("prune", model)
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"
    assert list(model.parent.iterdir()) == [model]


def test_closed_pipe_exits_141_quietly(run, pipeline, model):
    pipeline.raises = BrokenPipeError(32, "Broken pipe")
    result = run("prune", model)
    assert result.exit_code == 141
    assert (result.stdout, result.stderr) == ("", "")


def test_explain_lists_reasons_where_nothing_can_go(run, pipeline, model):
    """Of weights that no rule could look at, no number of channels is known."""
    nothing = NothingToPrune("no channel can be removed")
    nothing.frozen = (
        FrozenRow(value="w", axis=1, node="If_0", reason="If has no rule (a)", channels=32),
        FrozenRow(value="table", axis=None, node="Embed_0", reason="acme::Embed has no rule", channels=0),
    )
    pipeline.raises = nothing
    result = run("prune", model, "--explain")
    assert result.exit_code == 4
    assert "32 channels had to stay: If has no rule (a)" in result.output
    assert "1 weight had to stay: acme::Embed has no rule" in result.output
    assert "--explain lists" not in result.output
    assert "no channel can be removed; --explain lists what had to stay" in run("prune", model).output
    for quiet in (("prune", model), ("prune", model, "--explain", "-q")):
        assert "If has no rule" not in run(*quiet).output


# ---- a latency as the amount -----------------------------------------------------------------------------


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
