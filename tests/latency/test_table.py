"""The look-up table: what it was told, what it says of what lies between, and how it is kept."""

from __future__ import annotations

import json

import pytest

from compressor.evaluate.attribution import attributed
from compressor.latency import cache as keeping
from compressor.latency.cache import LatencyCache, default_folder
from compressor.latency.table import Table
from tests.latency.case import counted, parts_of_residual

KEY = {"device": "abacus", "threads": 1}


def filled(parts, of_groups, levels):
    """A table of the times that counting gives at these places of all lines."""
    table, share = Table(), counted(parts)
    for place in levels:
        gone = [line.gone(round(place * (len(line.losses) - 1))) for line in of_groups]
        table.learn(parts, gone, {part.name: share(part, gone) for part in parts})
    return table


def test_measured_widths_are_told_as_they_were():
    parts, of_groups = parts_of_residual()
    table, share = filled(parts, of_groups, [0.0, 0.4, 1.0]), counted(parts)
    for place in (0.0, 0.4, 1.0):
        gone = [line.gone(round(place * (len(line.losses) - 1))) for line in of_groups]
        for part in parts:
            assert table.share(part, gone) == pytest.approx(share(part, gone), rel=1e-3)


def test_between_them_time_goes_with_work():
    parts, of_groups = parts_of_residual()
    table, share = filled(parts, of_groups, [0.0, 0.4, 1.0]), counted(parts)
    for number in range(len(of_groups)):
        gone = [line.gone(2 if number == k else 0) for k, line in enumerate(of_groups)]
        assert [table.share(p, gone) for p in parts] == pytest.approx([share(p, gone) for p in parts])


def test_the_nearest_measurement_counts_most():
    parts, of_groups = parts_of_residual()
    part = next(p for p in parts if p.groups)
    wide, narrow = [0.0] * len(of_groups), [0.75] * len(of_groups)
    table = Table({part.name: [(part.sizes(wide), part.work(part.sizes(wide))),
                               (part.sizes(narrow), 3 * part.work(part.sizes(narrow)))]})  # fmt: skip
    near_wide, near_narrow = [0.125] * len(of_groups), [0.625] * len(of_groups)
    assert 1.0 < table.share(part, near_wide) / part.work(part.sizes(near_wide)) < 1.2
    assert 2.5 < table.share(part, near_narrow) / part.work(part.sizes(near_narrow)) < 3.0


def test_holds_what_was_measured_and_nothing_else():
    parts, of_groups = parts_of_residual()
    table = filled(parts, of_groups, [0.0])
    assert table.holds(parts, [0.0] * len(of_groups))
    assert not table.holds(parts, [0.5] * len(of_groups))


def test_what_ran_is_known_by_the_names_in_it():
    owner = {"node_conv": "A", "relu_1": "A", "node_conv_2": "B", "relu_12": "B", "y": "C"}
    times = {
        "node_conv": 1.0,
        "ReorderOutput": 2.0,
        "relu_12_nchwc": 4.0,
        "fused node_conv_2": 8.0,
        "relu_1_nchwc": 16.0,
        "y": 32.0,
        "Very": 64.0,
    }
    assert attributed(times, owner) == {"A": 1 + 2 + 16, "B": 4 + 8, "C": 32 + 64}


# ---- kept ---------------------------------------------------------------------------------------------------


def made():
    return Table({"a": [((8, 16), 0.25), ((4, 16), 0.125)], "b": [((), 0.5)]})


def test_read_as_written(tmp_path):
    assert LatencyCache(tmp_path / "new" / "folder", KEY).write(made()) == []
    again = LatencyCache(tmp_path / "new" / "folder", KEY).read()
    assert again.to_json(KEY) == made().to_json(KEY)


def test_another_device_has_a_table_of_its_own(tmp_path):
    LatencyCache(tmp_path, KEY).write(made())
    assert LatencyCache(tmp_path, {**KEY, "threads": 2}).read().to_json(KEY) == Table().to_json(KEY)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 2}',
        json.dumps({"schema": 1, "made_for": KEY, "points": {"a": [[[8], "x"]]}}),
        json.dumps({"schema": 1, "made_for": KEY, "points": {"a": [[8, 0.5]]}}),
        json.dumps({"schema": 1, "made_for": KEY, "points": {"a": [[[8], -1.0]]}}),
        json.dumps({"schema": 1, "made_for": KEY, "points": {"a": [[[8], float("nan")]]}}),
        json.dumps({"schema": 1, "made_for": {}, "points": {}}),
    ],
)
def test_a_spoilt_file_is_as_good_as_none(tmp_path, text):
    cache = LatencyCache(tmp_path, KEY)
    cache.write(made())
    [path] = tmp_path.iterdir()
    path.write_text(text)
    assert cache.read().to_json(KEY) == Table().to_json(KEY)
    cache.write(made())
    assert cache.read().to_json(KEY) == made().to_json(KEY)


def test_bytes_that_are_no_text(tmp_path):
    cache = LatencyCache(tmp_path, KEY)
    cache.write(made())
    [path] = tmp_path.iterdir()
    path.write_bytes(b"\xff\xfe\x00")
    assert cache.read().to_json(KEY) == Table().to_json(KEY)


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    [warning] = LatencyCache(tmp_path / "file", KEY).write(made())
    assert "not kept" in warning


def test_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "onnx-compressor" / "latency"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(keeping.Path, "home", lambda: tmp_path / "me")
    assert default_folder() == tmp_path / "me" / ".cache" / "onnx-compressor" / "latency"
