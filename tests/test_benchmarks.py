"""The measurements, at a size where their figures mean nothing but every one is taken."""
import importlib
import math
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from deeppose import arrays
from deeppose.training import load_checkpoint


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    yield importlib.import_module
    for name in ("speed", "lsp_run", "memory"):
        sys.modules.pop(name, None)


def test_speed_takes_every_ratio(benchmark, tmp_path, capsys):
    speed = benchmark("speed")
    speed.main(["--result-dir", str(tmp_path), "--persons", "24", "--stored-size", "48", "--input-size", "32",
                "--stage1-batch", "8", "--width", "0.02", "--stage2-batch", "8", "--seconds", "0.01", "--repeats", "1",
                "--sections", "stage1", "stage2", "--device", "cpu"])
    content = arrays.load_json(tmp_path / "speed_cpu.json", "")
    for stage, unit in (("stage 1", "images"), ("stage 2", "crops")):
        figures = content["figures"][stage]
        assert 0 < figures["ratio"] < 10 and figures[f"batches alone, {unit}/s"] > 0
        assert figures[f"GFLOP a {unit[:-1]}"] > 0 and figures["share of the matrix rate"] > 0
        assert figures["peak device MB"] is None and (figures["peak host MB"] or 1) > 0
    assert "stage 1: ratio" in capsys.readouterr().out
    assert content["seed"] == 0 and content["hardware"]


def test_speed_counts_operations(benchmark):
    speed = benchmark("speed")
    settings = Namespace(persons=4, seconds=1e-6, repeats=1)

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3 * 4 * 4, 10)

        def forward(self, images):
            return self.layer(images.flatten(1))

        def loss(self, output, target):
            return (output * target).sum()

    def batches():
        return [(torch.zeros(2, 3, 4, 4), torch.zeros(2, 10))] * 2, 2

    figures = speed.measure_step(Flat(), batches, lambda: 4, torch.zeros(2, 10), 4, "sgd", 1.0, settings, "images")
    assert figures["GFLOP a image"] == pytest.approx(2 * 2 * 48 * 10 / 1e9)  # no gradient for the images themselves
    assert math.isnan(figures["peak device MB"]) or figures["peak device MB"] >= 0


def test_the_published_run_takes_every_step_once_and_releases_stage_1(benchmark, raw_dir, tmp_path):
    lsp_run = benchmark("lsp_run")
    settings = Namespace(raw_dir=raw_dir, work_dir=tmp_path / "work", result_dir=tmp_path, seed=0, device="cpu")
    flags = (["--no-use-lspe", "--crop-size", 64, "--lsp-train-images", 30, "--validation-share", 0.2, "--workers", 1],
             ["--backbone", "resnet18", "--weights", "none", "--input-size", 32, "--epochs", 1, "--batch-size", 8],
             ["--crop-size", 67, "--width", 0.02, "--crops-per-image", 1, "--epochs", 1])
    content = lsp_run.measure("tiny", settings, *flags)
    again = lsp_run.measure("tiny", settings, *flags)  # nothing runs twice
    assert again["seconds_of_steps"] == content["seconds_of_steps"] and len(content["seconds_of_steps"]) == 6
    assert len(content["validation"]["stage 2"]) == 14 and "gain_over_stage1" in content["stage 2"]
    lsp_run.release(tmp_path / "stage1.pt", settings.work_dir, content["stage 1"])
    checkpoint = load_checkpoint(tmp_path / "stage1.pt", "")
    assert checkpoint["weights"]["backbone.conv1.weight"].dtype == torch.float16
    assert checkpoint["scores"]["pck@0.2"] == content["stage 1"]["pck@0.2"]["mean"]
