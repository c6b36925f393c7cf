"""The measurements, at a size where their figures mean nothing but every one is taken."""
import gc
import importlib
import json
import math
import mmap
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

import lsp_data
import train_stage1
import train_stage2
from deeppose import arrays
from deeppose.checkpoints import load_checkpoint
from deeppose.errors import UserError
from deeppose.settings import parse_settings
from tests import narrow


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    yield importlib.import_module
    for name in ("speed", "lsp_run", "memory", "ablation_lsp", "lsp_recipe", "publish", "release"):
        sys.modules.pop(name, None)


def test_speed_takes_every_ratio(benchmark, tmp_path, capsys):
    speed = benchmark("speed")
    speed.main(["--result-dir", str(tmp_path), "--persons", "24", "--stored-size", "48", "--input-size", "32",
                "--stage1-batch", "8", "--width", "0.02", "--stage2-batch", "8", "--seconds", "0.01", "--repeats", "1",
                "--sections", "stage1", "stage2", "inference", "--device", "cpu"])
    content = arrays.load_json(tmp_path / "speed_cpu.json", "")
    rate = content["figures"]["matrix rate, TFLOP/s"]
    for stage, unit in (("stage 1", "images"), ("stage 2", "crops")):
        figures = content["figures"][stage]
        training, bare = figures[f"training, {unit}/s"], figures[f"bare step, {unit}/s"]
        assert figures["ratio"] == pytest.approx(training / bare) and figures[f"batches alone, {unit}/s"] > 0
        assert figures["share of the matrix rate"] == \
            pytest.approx(training * figures[f"GFLOP a {unit[:-1]}"] / (1000 * rate))
        assert figures["peak device MB"] is None  # as on every CPU
        if Path("/proc/self/smaps_rollup").exists():
            assert 50 < figures["peak host MB"] < 50_000  # torch alone takes more than that, a test less
    inference = content["figures"]["inference"]
    for stage in ("stage 1", "stage 2"):
        assert inference[f"{stage}, ratio"] == pytest.approx(
            inference[f"{stage}, persons/s"] / inference[f"{stage}, bare forward passes, persons/s"])
    # a process imports torch before it predicts, and the 14 networks of stage 2 come on top of stage 1
    assert inference["from process start to first pose, s"] > inference["one person, stages 1 and 2, ms"] / 1000
    assert inference["one person, stages 1 and 2, ms"] > inference["one person, stage 1, ms"] > 0
    assert "stage 1: ratio" in capsys.readouterr().out
    assert content["seed"] == 0 and content["hardware"]


def test_a_process_steps_and_tells_its_rate_and_memory(benchmark, capsys):
    benchmark("speed").step_in_a_process("kept", "--stage1-batch", "2", "--input-size", "32", "--seconds", "0.01")
    rate, memory = map(float, capsys.readouterr().out.split())
    assert 0 < rate < 1e6 and math.isnan(memory) == (not Path("/proc/self/smaps_rollup").exists())
    assert math.isnan(memory) or 50 < memory < 50_000


class Flat(torch.nn.Module):
    """A network whose operations are known, as are the seconds of a pass, on a clock that only work moves on."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.layer = torch.nn.Linear(3 * 4 * 4, 10)
        self.clock, self.seconds = clock, seconds

    def __deepcopy__(self, memo):
        return Flat(self.clock, self.seconds)

    def forward(self, images):
        self.clock.now += self.seconds
        return self.layer(images.flatten(1))

    def loss(self, output, target):
        return (output * target).sum()


def measured(speed, monkeypatch, network_seconds, batch_seconds):
    """The figures of a step whose network and batches take so many seconds a batch of two."""
    clock = Namespace(now=0.0)

    class Watch:
        def __init__(self):
            self.start = clock.now

        seconds = property(lambda self: clock.now - self.start)

    def batches():
        def each():
            for _ in range(2):
                clock.now += batch_seconds
                yield torch.zeros(2, 3, 4, 4), torch.zeros(2, 10)
        return each(), 2

    def prepare():
        return sum(len(images) for images, _ in batches()[0])

    monkeypatch.setattr(speed, "Stopwatch", Watch)
    settings = Namespace(persons=4, seconds=5.0, repeats=3)
    return speed.measure_step(Flat(clock, network_seconds), batches, prepare, torch.zeros(2, 10), 4, "sgd", 1e-6,
                              settings, "images")


def test_speed_counts_operations_and_tells_what_batches_cost(benchmark, monkeypatch):
    speed = benchmark("speed")
    figures = measured(speed, monkeypatch, network_seconds=1.0, batch_seconds=0.25)
    operations = 2 * 2 * 48 * 10  # an image's, there and back; no gradient for the images themselves
    assert figures["GFLOP a image"] == pytest.approx(operations / 1e9)
    assert figures["bare step, images/s"] == pytest.approx(2) and figures["training, images/s"] == pytest.approx(1.6)
    assert figures["batches alone, images/s"] == pytest.approx(8) and figures["ratio"] == pytest.approx(0.8)
    assert figures["share of the matrix rate"] == pytest.approx(1.6 * operations / 1e6)
    assert figures["bare step's share of the matrix rate"] == pytest.approx(2 * operations / 1e6)
    assert math.isnan(figures["peak device MB"]) == (not torch.cuda.is_available())
    slower = measured(speed, monkeypatch, network_seconds=2.0, batch_seconds=0.25)
    assert slower["bare step, images/s"] == pytest.approx(1) and slower["ratio"] == pytest.approx(2 / 2.25)
    waiting = measured(speed, monkeypatch, network_seconds=1.0, batch_seconds=1.0)
    assert waiting["bare step, images/s"] == pytest.approx(2) and waiting["ratio"] == pytest.approx(0.5)


def test_a_device_is_named_without_asking_cuda_about_others(benchmark, monkeypatch):
    def name(device):
        assert device.type == "cuda"
        return "NVIDIA H100 PCIe"

    monkeypatch.setattr(torch.cuda, "get_device_name", name)
    named = benchmark("speed").hardware_name
    assert [named(torch.device(kind)) for kind in ("cpu", "mps", "cuda:1")] == ["cpu", "mps", "nvidia_h100_pcie"]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_peak_memory_grows_by_what_a_process_and_its_children_take(benchmark):
    memory = benchmark("memory")
    peaks = []
    gc.collect()  # lest what earlier tests left goes between the two
    for megabytes in (0, 64):
        program = f"import time; kept = b'x' * {megabytes * 10 ** 6}; time.sleep(0.7)"
        with memory.PeakMemory() as peak:
            # straight from the system, since what earlier tests freed may have been kept
            kept = np.frombuffer(mmap.mmap(-1, 1 + megabytes * 10 ** 6), np.uint8)
            kept[:] = 1
            subprocess.run([sys.executable, "-c", program], check=True)
            peaks.append(peak)
        del kept
    assert 100 < peaks[1].host_mb - peaks[0].host_mb < 150  # the process's own or its child's alone would be 64
    assert 100 < peaks[1].own_mb - peaks[0].own_mb < 150


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_pages_of_a_mapped_file_are_not_a_process_s_own(benchmark, tmp_path):
    memory = benchmark("memory")
    (tmp_path / "file").write_bytes(bytes(64 * 10 ** 6))
    gc.collect()  # what earlier tests left would go meanwhile
    with memory.PeakMemory() as before:
        time.sleep(0.3)
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    with memory.PeakMemory() as peak:
        mapped.sum()
        time.sleep(0.3)
    assert peak.host_mb - before.host_mb > 50 and peak.own_mb - before.own_mb < 20


def test_peak_memory_is_unknown_where_the_system_does_not_tell(benchmark, monkeypatch):
    memory = benchmark("memory")
    monkeypatch.setattr(memory.Path, "exists", lambda path: False)
    with memory.PeakMemory() as peak:
        pass
    assert math.isnan(peak.host_mb) and math.isnan(peak.own_mb)


def test_the_published_run_takes_every_step_once_and_releases_stage_1(benchmark, raw_dir, tmp_path, capsys):
    lsp_run = benchmark("lsp_run")
    settings = Namespace(raw_dir=raw_dir, work_dir=tmp_path / "work", result_dir=tmp_path, seed=0, device="cpu")
    flags = (["--train-on", "lsp", "--crop-size", 64, "--lsp-train-images", 30, "--validation-share", 0.2,
              "--workers", 1],
             ["--backbone", narrow.NAME, "--weights", "none", "--input-size", 32, "--epochs", 1, "--batch-size", 8],
             ["--crop-size", 67, "--width", 0.02, "--crops-per-image", 1, "--epochs", 1])
    first = lsp_run.measure("tiny", settings, *flags, stages=1, flip_test=True)
    assert len(first["seconds_of_steps"]) == 3 and first["stage 1"]["settings"]["flip_test"]
    content = lsp_run.measure("tiny", settings, *flags, stages=3, flip_test=True)
    again = lsp_run.measure("tiny", settings, *flags, stages=3, flip_test=True)  # nothing runs twice
    assert list(again["seconds_of_steps"]) == list(content["seconds_of_steps"]) and len(again["seconds_of_steps"]) == 8
    for seconds in (first, content, again):
        seconds["seconds_of_steps"].pop("test_stage2.py", None)  # the last is always run, and scores what is there
    assert again["seconds_of_steps"] == content["seconds_of_steps"]
    assert content["seconds_of_steps"].items() >= first["seconds_of_steps"].items()
    assert content["stage 1"]["pck@0.2"] == first["stage 1"]["pck@0.2"]
    assert len(content["validation"]["stage 3"]) == 14 and "gain_over_stage2" in content["stage 3"]
    with pytest.raises(UserError, match="another folder"):
        lsp_run.measure("tiny", settings, flags[0], [*flags[1], "--epochs", 2], flags[2])
    release, kept, folder = benchmark("release"), tmp_path / "released/stage1.pt", settings.work_dir
    publish = ["--folder", str(folder), "--release-dir", str(kept.parent)]
    with pytest.raises(UserError, match="stage 2 was trained on the output of other weights than stage 1 has in half"):
        release.main(publish)
    assert not kept.exists()
    capsys.readouterr()
    release.main([*publish, "--stages", "1"])
    assert "calibrated" not in capsys.readouterr().out  # plain regression has no confidence
    checkpoint = load_checkpoint(kept, "")
    assert checkpoint["history"] == [] and str(tmp_path) not in checkpoint["provenance"]["command"]
    assert checkpoint["weights"]["backbone.conv1.weight"].dtype == torch.float16
    # the file's own scores: ten figures, so that a joint or two may fall on the other side in half precision
    assert checkpoint["scores"]["flip test"]["pck@0.2_mean"] == pytest.approx(content["stage 1"]["pck@0.2"]["mean"],
                                                                              abs=2)
    assert checkpoint["scores"]["plain"].keys() == checkpoint["scores"]["flip test"].keys()


def test_a_published_training_tells_of_those_it_went_on_from(benchmark, tmp_path):
    first, second = tmp_path / "first/checkpoints/stage1.pt", tmp_path / "second/checkpoints/stage1.pt"
    raw = tmp_path / "elsewhere"
    for path, weights, seconds in ((first, "none", 60), (second, first, 120)):
        path.parent.mkdir(parents=True)
        torch.save({"history": [{"epoch": 1, "pdj": 3.0, "seconds": seconds}], "best_epoch": 1,
                    "settings": {"weights": str(weights), "epochs": 1}, "provenance": {"seed": 0}}, path)
    arrays.save_json(tmp_path / "second/runs/stage1.json", {"pck@0.2": 50})
    arrays.save_json(tmp_path / "second/data/dataset.json", {"settings": {"raw_dir": str(raw)}, "read": f"{raw}/a.zip"})
    benchmark("publish").main(["--folder", str(tmp_path / "second"), "--name", "two", "--result-dir", str(tmp_path),
                               "--beside", str(first)])
    content = arrays.load_json(tmp_path / "two.json", "")
    training = content["training of stage 1"]
    assert content["stage 1"] == {"pck@0.2": 50}
    assert training["minutes"] == 2 and training["settings"]["weights"] == "runs/first/checkpoints/stage1.pt"
    earlier = training["initial weights"]
    assert earlier["minutes"] == 1 and earlier["settings"]["weights"] == "none" and "initial weights" not in earlier
    assert content["trainings compared with it"] == [earlier]
    for path, day in ((first, "2026-11-02"), (second, "2026-11-01")):  # others took the place of what it began with
        torch.save(torch.load(path) | {"provenance": {"date": day}}, path)
    assert "initial weights" not in benchmark("publish").training_of(second)


@pytest.mark.parametrize("weights", ["itself", "gone.pt", "backbone.pt"])
def test_initial_weights_that_are_no_earlier_training_are_named_alone(benchmark, tmp_path, weights):
    path = tmp_path / "run/checkpoints/stage1.pt"
    path.parent.mkdir(parents=True)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "backbone.pt")
    begun = str(path if weights == "itself" else tmp_path / weights)
    torch.save({"history": [{"epoch": 1, "seconds": 60}], "settings": {"weights": begun}, "provenance": {}}, path)
    training = benchmark("publish").training_of(path)
    assert training["settings"]["weights"] == begun and "initial weights" not in training


def test_only_whole_folders_are_renamed(benchmark):
    text = "in /a/raw/x.zip, /a/raws, /b/a/raw and '/a/raw'"
    assert benchmark("publish").placed([text], "/a/raw", "data/raw") == [
        "in data/raw/x.zip, /a/raws, /b/a/raw and 'data/raw'"]


def test_the_ablation_compares_rows_on_validation_persons(benchmark, raw_dir, tmp_path, monkeypatch, capsys):
    ablation = benchmark("ablation_lsp")
    monkeypatch.setattr(ablation, "RECIPE", {"--network": "integral", "--backbone": narrow.NAME,
                                             "--learning-rate": 1e-2, "--warmup-epochs": 0})
    monkeypatch.setattr(ablation, "PROXIES", {"cpu": {"--input-size": 32, "--epochs": 3, "--batch-size": 8},
                                              "gpu": {}})
    monkeypatch.setattr(ablation, "CHOICES", {"recipe": {}, "no flips": {"--flip": 0}, "left out": {"--flip": 0.1}})
    prepare = ["--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30", "--validation-share", "0.2"]
    lsp_data.main(["--raw-dir", str(raw_dir), "--data-dir", str(tmp_path / "work/data"), "--run-dir",
                   str(tmp_path / "work/runs"), "--workers", "1", *prepare])
    flags = ["--work-dir", str(tmp_path / "work"), "--result-dir", str(tmp_path), "--weights", "none",
             "--device", "cpu"]
    ablation.main([*flags, "--rows", "recipe", "no flips"])
    content = arrays.load_json(tmp_path / "ablation_lsp.json", "")
    rows = content["scales"]["cpu"]["rows"]
    assert rows["left out"] == content["scales"]["gpu"] == "not measured"
    first, changed = (rows[name]["scores"]["all"]["pdj 0.50"] for name in ("recipe", "no flips"))
    assert changed["gain"] == pytest.approx(changed["mean"] - first["mean"]) and first["gain"] == 0
    assert changed["low"] <= changed["gain"] <= changed["high"] and changed["gain"]
    others = [rows["recipe" + reading]["scores"]["all"] for reading in (ablation.FLIP_TEST, ablation.WHOLE)]
    assert all(any(own["gain"] for score, own in other.items() if score != "persons") for other in others)
    assert others[0] != others[1]
    assert "--flip 0" in rows["no flips"]["command"] and rows["no flips"]["best_epoch"] in (1, 2, 3)
    run_steps = ablation.run_steps
    monkeypatch.setattr(ablation, "run_steps", None)  # finished rows are not run again
    ablation.main([*flags, "--rows", "no flips"])
    with pytest.raises(UserError, match="Use another --work-dir"):
        ablation.main([*flags, "--rows", "no flips", "--seed", "1"])
    assert "not measured" in capsys.readouterr().out
    ablation.CHOICES["diverges"] = {"--network": "regression", "--optimiser": "sgd",
                                    "--learning-rate": 1e6, "--epochs": 4}
    monkeypatch.setattr(ablation, "run_steps", run_steps)
    del ablation.CHOICES["no flips"]  # a choice that has left the code stays told
    ablation.main([*flags, "--rows", "diverges"])
    after = arrays.load_json(tmp_path / "ablation_lsp.json", "")["scales"]["cpu"]["rows"]
    assert "the loss is" in after["diverges"]["failed"] and after["no flips"] == rows["no flips"]
    with pytest.raises(UserError, match="no row named 'flips'"):
        ablation.main([*flags, "--rows", "flips"])


def test_cleaned_labels_are_compared_on_validation_persons(benchmark, raw_dir, tmp_path, monkeypatch, capsys):
    cleaned = benchmark("lsp_cleaned_labels")
    monkeypatch.setattr(cleaned, "STAGE1", ["--network", "integral", "--backbone", narrow.NAME, "--weights", "none",
                                            "--learning-rate", "1e-2", "--warmup-epochs", "0"])
    monkeypatch.setattr(cleaned, "CLEANING", ["--sure", 0])
    lsp_data.main(["--raw-dir", str(raw_dir), "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30",
                   "--validation-share", "0.4", "--workers", "1", "--data-dir", str(tmp_path / "data"), "--run-dir",
                   str(tmp_path / "prepared")])
    sizes = [word for name in ("half-size", "size") for word in (f"--{name}", "32")]
    flags = ["--data-dir", tmp_path / "data", "--work-dir", tmp_path / "work", "--result-dir", tmp_path, *sizes,
             "--half-epochs", "1", "--epochs", "3", "--device", "cpu", "--threads", "1"]
    cleaned.main(list(map(str, flags)))
    content = arrays.load_json(tmp_path / "lsp_cleaned_labels.json", "")
    changed, scores = content["changed"]["cleaned"]["lsp"], content["scores"]
    assert changed["persons"] == 18 and changed["joints left out"] > 18  # after an epoch they are no good
    published, labels = (arrays.load(tmp_path / place / "train_labels.npy") for place in ("data", "work/cleaned"))
    assert np.isnan(labels).sum() - np.isnan(published).sum() == 2 * changed["joints left out"]
    assert all(own["gain"] == 0 for own in scores["published"]["lsp"].values() if isinstance(own, dict))
    own = scores["cleaned"]["all"]
    assert own["persons"] == 12 and own["pdj 0.50"]["low"] <= own["pdj 0.50"]["gain"] <= own["pdj 0.50"]["high"]
    assert any(own[score]["gain"] for score in own if score != "persons")
    assert len(content["commands"]) == 5 and "--without 2/2" in content["commands"][1]
    capsys.readouterr()
    cleaned.main(list(map(str, flags)))  # trainings that are finished stay
    assert capsys.readouterr().out.count("finished already") == 4
    assert arrays.load_json(tmp_path / "lsp_cleaned_labels.json", "")["scores"] == scores


def test_the_recipes_flags_are_those_of_the_scripts(benchmark, tmp_path, monkeypatch):
    recipe, given = benchmark("lsp_recipe"), {}
    names = ("name", "settings", "prepare", "stage 1", "stage 2")
    monkeypatch.setattr(recipe, "measure", lambda *arguments, **more: given.update(zip(names, arguments)))
    recipe.main(["--name", "large", "--epochs", "7", "--cascade-width", "1", "--work-dir", str(tmp_path)])
    assert given["name"] == "large" and given["settings"].work_dir == tmp_path / "large"
    stage1, stage2 = (parse_settings(vars(script), given[name])
                      for script, name in ((train_stage1, "stage 1"), (train_stage2, "stage 2")))
    assert (stage1.network, stage1.epochs, stage1.compile, stage1.scale) == ("integral", 7, False, (0.75, 1.33))
    assert (stage2.width, stage2.sigma, stage2.dropout, stage2.missed) == (1, 1, 0, False)


def test_minutes_are_told_beside_scores_and_rows_that_ran_before_are_kept(benchmark, tmp_path, monkeypatch, capsys):
    minutes = benchmark("lsp_minutes")

    def measure(name, settings, prepare, stage1, stage2, stages, flip_test):
        train_stage1.parse_settings(vars(train_stage1), stage1)  # flags that there are
        score = {"mean": 70 + int(name) / 10, "mean10": 60, "mean8": 50}
        return {"seconds_of_steps": {"train_stage1.py": 66 * int(name)}, "commands": [], "validation": {},
                "throughput": {}, "trained_at_commit": {}, "hardware": "slow" if name == "60" else "quick",
                "stage 1": {key: score for key in ("pck@0.2", "pcp_strict@0.5", "pckh@0.5")}}
    monkeypatch.setattr(minutes, "measure", measure)
    flags = ["--result-dir", str(tmp_path), "--picture", str(tmp_path / "minutes.png"), "--device", "cpu"]
    minutes.main([*flags, "--rows", "60"])
    minutes.main([*flags, "--rows", "15", "30"])
    rows = json.loads((tmp_path / "lsp_minutes.json").read_text())["rows"]
    assert [(name, row["minutes"], row["pck@0.2"]["mean"]) for name, row in rows.items()] \
        == [("15", 16.5, 71.5), ("30", 33.0, 73.0), ("60", 66.0, 76.0)]
    out = capsys.readouterr().out
    assert re.search(r"66.0 minutes  PCK@0.2 76.0 .*\(slow\)\n", out) and re.search(r"16.5 minutes .*\(quick\)\n", out)
    assert (tmp_path / "minutes.png").stat().st_size > 5000
