"""Several processes that train together give what one gives on as many samples at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.train.loop.distributed import Processes, processes_of

SCRIPT = """
import sys
import numpy as np
import torch
from compressor.config import TuneSettings
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import fit
from compressor.train.loop.split import Splits
from tests.train.training import Net, objective, samples

class Quiet(Net):
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

class Ridge(Extension):
    def penalty(self, module, values):
        return 0.01 * module.head.weight.square().sum()

folder, batch = sys.argv[1], int(sys.argv[2])
settings = TuneSettings(batch_size=batch, epochs=3, learning_rate=0.1, device="cpu", ema=0.5, checkpoint=folder + "/c")
module = Quiet()
module.register_parameter("unused", torch.nn.Parameter(torch.ones(2, 2)))
events = []
history = fit(module, objective(), Splits(samples(41), samples(13, seed=2)), settings, extensions=[Ridge()],
              observe=events.append)
rank = int(__import__("os").environ.get("RANK", 0))
arrays = {name: t.numpy() for name, t in module.state_dict().items()}
np.savez(f"{folder}/rank{rank}.npz", loss=history.after.loss, metric=history.after.metric, events=len(events), **arrays)
"""


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_of_a_batch_are_all_of_it(size: int) -> None:
    import torch  # noqa: PLC0415

    worlds = [Processes(torch.device("cpu"), rank, size) for rank in range(size)]
    for count in range(size, 20):
        rows = [row for world in worlds for row in range(count)[world.share(count)]]
        assert rows == list(range(count))


def spawn(folder: Path, processes: int, batch: int) -> list[dict[str, np.ndarray]]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(processes):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
        launched = {**own, "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"} if processes > 1 else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in launched.items()}}
        arguments = [sys.executable, "-c", SCRIPT, str(folder), str(batch)]
        started.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    (one,) = spawn(tmp_path / "one", 1, 16)
    two = spawn(tmp_path / "two", 2, 8)
    assert int(two[0].pop("events")) == int(one.pop("events")) > 0
    assert int(two[1].pop("events")) == 0
    for found in two:
        for name, array in one.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6 * float(np.abs(array).max()))
    assert (tmp_path / "two" / "c" / "checkpoint.safetensors").is_file()


def test_several_processes_share_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="names one device, but 2 processes were started"):
        processes_of("cuda:1")
