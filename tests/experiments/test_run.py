from __future__ import annotations

import pytest

from compressor.errors import CompressorError, ModelError
from compressor.experiments.change import ReferenceOutputs
from compressor.experiments.ledger import Ledger
from compressor.experiments.run import Experiment, Trial, run_trials
from tests.experiments.case import Samples, experiment, seen, trials


def test_changes_come_in_the_order_of_the_trials_and_equal_ones_are_measured_once(tmp_path):
    told: list[str] = []
    found = run_trials(experiment(tmp_path), trials("1.5", "1", "1.5", "0.5"), Ledger(), 1, told.append)
    assert [change.distance for change in found] == pytest.approx([0.5, 0.0, 0.5, 0.5], abs=1e-6)
    assert seen(tmp_path) == ["0.5", "1", "1.5"]
    assert [text.partition(",")[0] for text in told] == [f"measure: {n} of 3" for n in (1, 2, 3)]


def test_several_processes_measure_the_same(tmp_path):
    wanted = trials("0.5", "0.75", "1", "1.25")
    found = experiment(tmp_path)
    assert run_trials(found, wanted, Ledger(), 2, print) == run_trials(found, wanted, Ledger(), 1, print)


def test_what_was_measured_before_a_failure_is_not_measured_again(tmp_path):
    found, path = experiment(tmp_path), tmp_path / "a.jsonl"
    with pytest.raises(ModelError, match="times fail: it does not run"):
        run_trials(found, trials("2", "3", "fail", "4"), Ledger(path), 1, print)
    (tmp_path / "log").unlink()
    run_trials(found, trials("2", "3", "4"), Ledger(path), 1, print)
    assert seen(tmp_path) == ["4"]


def test_an_interruption_keeps_what_was_measured(tmp_path):
    found, path = experiment(tmp_path), tmp_path / "a.jsonl"

    def interrupt(text: str) -> None:
        if text.startswith("measure: 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(found, trials("2", "3", "4"), Ledger(path), 1, interrupt)
    assert len(path.read_text().splitlines()) == 2


def test_a_process_that_is_killed_is_an_error_and_not_a_hang(tmp_path):
    with pytest.raises(CompressorError, match="was killed"):
        run_trials(experiment(tmp_path), trials("die", "2"), Ledger(), 2, print)


def test_other_samples_other_models_and_other_providers_have_other_keys(tmp_path):
    first, trial = experiment(tmp_path), Trial("a", "1")
    elsewhere = ReferenceOutputs(**{**vars(first.reference), "provider": "cuda"})
    others = [
        experiment(tmp_path, Samples(11)),
        Experiment(first.subject, first.reference, "other"),
        Experiment(first.subject, elsewhere, first.digest),
    ]
    assert len({first.key(trial), first.key(Trial("a", "2")), *(other.key(trial) for other in others)}) == 5
    assert first.key(Trial("b", "1")) == first.key(trial), "the label is not what is measured"
