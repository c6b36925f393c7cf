"""Two processes on the CPU against one: the same training, every joint once, one voice."""
import csv
import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import generate_train_output
import lsp_data
import train_stage1
import train_stage2
import deeppose.distributed
from deeppose import arrays
from deeppose.distributed import Group, process_group, smallest_share
from deeppose.errors import UserError
from deeppose.skeletons import LSP
from deeppose.training import index_batches

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# nothing random, and nothing that depends on how a batch is cut
STAGE1 = ["--backbone", "resnet18", "--weights", "none", "--input-size", "32", "--batch-size", "9", "--epochs", "2",
          "--optimiser", "sgd", "--learning-rate", "0.01", "--freeze-batchnorm", "--dropout", "0", "--rotation", "0",
          "--scale", "1", "1", "--shift", "0", "--flip", "0", "--colour", "0", "--no-mixed-precision"]
STAGE2 = ["--crop-size", "67", "--width", "0.02", "--crops-per-image", "1", "--batch-size", "32", "--epochs", "1"]


def flags(script, folder, *more):
    given = []
    for name, place in (("DATA_DIR", "data"), ("CHECKPOINT_DIR", "checkpoints"), ("RUN_DIR", "runs")):
        if hasattr(script, name):
            given += ["--" + name.lower().replace("_", "-"), str(folder / place)]
    return [*given, "--device", "cpu", *more]


def torchrun(script, folder, *more):
    command = [*TORCHRUN, str(ROOT / f"{script.__name__}.py"), *flags(script, folder, *more)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def pair(program, *arguments):
    """Run a program in two processes as torchrun does. Returns the (status, stderr) of each."""
    common = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                           "MASTER_PORT": free_port(), "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True,
                             env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    return [(process.returncode, text) for process, text in zip(both, said)]


@pytest.fixture(scope="module")
def prepared(raw_dir, tmp_path_factory):
    """Data of step 1 in which some joints are missing, so that processes count different numbers of them."""
    folder = tmp_path_factory.mktemp("prepared")
    lsp_data.main(["--raw-dir", str(raw_dir), "--train-on", "lsp", "--crop-size", "64", "--lsp-train-images", "30",
                   "--validation-share", "0.2", "--workers", "1", "--data-dir", str(folder / "data"), "--run-dir",
                   str(folder / "runs")])
    labels, held_out = (arrays.load(folder / f"data/train_{name}.npy") for name in ("labels", "split"))
    labels[(np.random.default_rng(0).random(labels.shape[:2]) < 0.3) & (held_out == 0)[:, None]] = np.nan
    arrays.save(folder / "data/train_labels.npy", labels)
    dataset = arrays.load_json(folder / "data/dataset.json", "")
    arrays.save_json(folder / "data/dataset.json", dataset | {"digests": arrays.digests(folder / "data")})
    return folder


@pytest.fixture(scope="module")
def both(prepared, tmp_path_factory):
    """Folders with stage 1 trained by one process and by two, and what the two printed."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(prepared / "data", folder / "data")
    train_stage1.main(flags(train_stage1, folders[0], *STAGE1))
    return *folders, torchrun(train_stage1, folders[1], *STAGE1)


def log(folder, stage=1):
    with open(folder / f"runs/stage{stage}_training.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does(both):
    one, two, _ = both
    for mine, theirs in zip(log(one), log(two), strict=True):
        for column in ("loss", "validation_loss", "pdj", "pcp", "learning_rate"):
            assert float(theirs[column]) == pytest.approx(float(mine[column]), rel=1e-4), column
    networks = [torch.load(folder / "checkpoints/stage1_last.pt", weights_only=True)["model"] for folder in (one, two)]
    moved = 0
    for name, value in networks[0].items():
        assert torch.allclose(value, networks[1][name], atol=1e-4), name
        moved += name == "head.3.bias" and value.any()
    assert moved


def test_the_first_process_alone_speaks_and_states_batch_and_rate(both):
    text = both[2]
    assert text.count("epoch 1 ") == 1 and text.count("next: ") == 1
    assert "2 processes, batches of 9 persons in all, learning rate 0.01 as set" in text


def test_two_processes_resume(both, tmp_path):
    one, two, _ = both
    shutil.copytree(two, tmp_path / "more")
    more = ["--epochs", "3", "--resume"]
    torchrun(train_stage1, tmp_path / "more", *STAGE1, *more)
    train_stage1.main(flags(train_stage1, one, *STAGE1, *more))
    assert len(log(tmp_path / "more")) == 3
    assert float(log(tmp_path / "more")[2]["loss"]) == pytest.approx(float(log(one)[2]["loss"]), rel=1e-4)


def test_joints_are_dealt_out_and_trained_once_each(both):
    _, two, _ = both
    generate_train_output.main([flag for flag in flags(generate_train_output, two)])
    text = torchrun(train_stage2, two, *STAGE2)
    assert "2 processes; the first, whose epochs these are, trains r_ankle, r_hip, " in text
    assert text.count("joint ") == 7
    assert sorted(row["joint"] for row in log(two, 2)) == sorted(LSP.joints)
    assert {path.stem for path in (two / "checkpoints").glob("stage2_*")} == {f"stage2_{name}" for name in LSP.joints}


def test_shares_and_joints_cover_everything_once():
    groups = [Group(rank, 3, torch.device("cpu")) for rank in range(3)]
    rows = torch.arange(11)
    assert torch.equal(torch.cat([group.share(rows) for group in groups]), rows)
    assert sorted(sum((group.own(list(range(14))) for group in groups), [])) == list(range(14))


def test_no_process_is_left_without_a_part_of_a_batch():
    group = Group(2, 3, CPU)
    assert group.share(torch.arange(3)).tolist() == [2]
    with pytest.raises(UserError, match="2 persons can't be shared by 3 processes; .*--batch-size"):
        group.share(torch.arange(2))
    assert len(Group(0, 1, CPU).share(torch.arange(0))) == 0


@pytest.mark.parametrize("rows, batch_size, size", [(100, 9, 2), (10, 9, 3), (9, 9, 4), (7, 2, 2), (3, 8, 4),
                                                    (0, 8, 2)])
def test_the_smallest_share_is_that_of_the_batches_that_are_made(rows, batch_size, size):
    batches = index_batches(torch.arange(rows), batch_size, torch.Generator()) if rows else [torch.arange(0)]
    found = min(len(part) for batch in batches for part in batch.tensor_split(size))
    assert smallest_share(rows, batch_size, size) == found


def test_processes_that_share_no_batches_join_over_gloo_on_a_gpu_too(monkeypatch):
    asked = {}
    dist = deeppose.distributed.dist
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: asked.update(gpu=index))
    monkeypatch.setattr(dist, "rendezvous", lambda url: iter([(SimpleNamespace(add=lambda name, one: one), 1, 2)]))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **more: asked.update(more, backend=backend))
    for patient, backend in ((True, "gloo"), (False, "nccl")):
        with process_group(torch.device("cuda"), patient) as group:
            assert (group.rank, group.size, group.device) == (1, 2, torch.device("cuda", 1))
        assert asked["backend"] == backend and asked["gpu"] == 1
        assert (asked["timeout"] is not None and asked["timeout"] > timedelta(days=300)) == patient
    with pytest.raises(UserError, match="several processes share no batch on mps"):
        with process_group(torch.device("mps")):
            pass
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="process 2 finds 2 GPUs here"):
        with process_group(torch.device("cuda")):
            pass


WAITING = """
import os, sys, time
from datetime import timedelta
import torch
import torch.distributed.distributed_c10d as torchs
from deeppose.distributed import mean_over_processes, process_count, process_group
torchs.default_pg_timeout = timedelta(seconds=1)  # in place of half an hour
waited = []
for patient, port in zip((True, False), sys.argv[1:]):
    os.environ["MASTER_PORT"] = port
    with process_group(torch.device("cpu"), patient) as group:
        mean = mean_over_processes(torch.tensor(float(group.rank)))
        assert process_count() == (1 if patient else 2)
        assert mean == (group.rank if patient else 0.5)  # nothing of one's batches enters another's
        time.sleep(2 * group.rank)
        try:
            group.wait()
            waited.append(True)
        except RuntimeError:
            waited.append(False)
    assert process_count() == 1
assert waited == [True, False], waited
"""


def test_processes_that_share_no_batches_wait_for_each_other_as_long_as_it_takes():
    for status, said in pair(WAITING, free_port(), free_port()):
        assert status == 0, said


BUFFERS = """
import torch
from deeppose.distributed import distributed, process_group
with process_group(torch.device("cpu")) as group:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    model = distributed(network, group)
    for _ in range(2 + group.rank):
        network(torch.full((2, 3, 4, 4), 1.0 + group.rank))
    seen = [buffer.clone() for buffer in network.buffers()]
    group.same_buffers(network)
    same = [torch.equal(a, b) for a, b in zip(seen, network.buffers())]
    assert len(same) == 3 and (all(same) if group.first else not any(same)), same
    for buffer in network.buffers():
        assert all(torch.equal(part, buffer) for part in group.gathered(buffer[None])), buffer
    del model  # as a script's function does before its group ends: a reducer that outlives it may abort
    group.wait()
"""


def test_every_process_takes_the_first_ones_buffers():
    for status, said in pair(BUFFERS):
        assert status == 0, said
    network = torch.nn.BatchNorm2d(2)
    Group(0, 1, CPU).same_buffers(network)  # alone: nothing to do, nobody to ask


TELLING = """
import sys
sys.path.insert(0, {root!r})
from deeppose.errors import UserError, run
import torch
from deeppose.distributed import process_group
def main():
    with process_group(torch.device("cpu")) as group:
        if group.first and sys.argv[1] == "second":
            group.wait()  # which the other never comes to
        raise UserError("told by " + sys.argv[1])
run(main)
"""


@pytest.mark.parametrize("who", ["both", "second"])
def test_what_ends_all_processes_is_told_once_by_whoever_knows(tmp_path, who):
    (tmp_path / "telling.py").write_text(TELLING.format(root=str(ROOT)))
    command = [*TORCHRUN, str(tmp_path / "telling.py"), who]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode and done.stderr.count("error: told by ") == 1
    spoken = done.stderr.split("Sending process")[0].split("failed (exitcode")[0]  # before torchrun's own account
    assert "Traceback" not in spoken and "terminated" not in spoken


@pytest.mark.parametrize("sync, kind", [(True, torch.nn.SyncBatchNorm), (False, torch.nn.BatchNorm2d)])
def test_on_gpus_batchnorm_looks_at_the_whole_batch_unless_told_otherwise(monkeypatch, sync, kind):
    monkeypatch.setattr(deeppose.distributed, "DistributedDataParallel", lambda network, device_ids: network)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    group = SimpleNamespace(size=2, device=torch.device("cuda:1"))
    assert type(deeppose.distributed.distributed(network, group, sync)[1]) is kind
