"""What the pipeline adds to the bare networks: throughput, latency and memory of each step, as ratios within one run.

The reference is the same network, batch, precision and optimiser on one constant batch that lies on the device. Peak
host memory is the process's, which on a CPU keeps what earlier sections have freed.

Reads   the raw archives in RAW_DIR for step 1 (without them it is not measured); all else runs on made-up persons
Writes  RESULT_DIR/<name>_<hardware>.json
Prints  each figure, and beside it the published one of the same hardware and settings, if there is one

On two cores the constants below take about five minutes. On a large GPU:
    python benchmarks/speed.py --name speed_full --stored-size 256 --backbone resnet34 --input-size 224 \
        --stage1-batch 64 --crop-size 227 --width 1 --sigma 2 --stage2-batch 128
"""
import copy
import io
import math
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io
import torch
from memory import PeakMemory
from speed_size import measure_size
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import train_stage1  # noqa: E402
import train_stage2  # noqa: E402
from cascade_net import CascadeNet  # noqa: E402
from deeppose import arrays  # noqa: E402
from lsp_data import OFFICIAL  # noqa: E402
from deeppose.cascade import CascadeData, training_pairs  # noqa: E402
from deeppose.checkpoints import halved, save_checkpoint  # noqa: E402
from deeppose.devices import Stopwatch, choose_device, mixed_precision  # noqa: E402
from deeppose.error_model import fit_error_model  # noqa: E402
from deeppose.errors import run  # noqa: E402
from deeppose.metrics import diameters  # noqa: E402
from deeppose.persons import load_persons  # noqa: E402
from deeppose.reports import provenance  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402
from deeppose.skeletons import LSP  # noqa: E402
from deeppose.training import index_batches, make_optimiser, train_one_epoch  # noqa: E402
from networks.integral import IntegralNet  # noqa: E402
from resnet_stage1 import ResNetRegressor  # noqa: E402
from networks.trained_stages import CascadeStage, Stage1, cascade_path, run_with_confidence  # noqa: E402

RAW_DIR = "data/raw"         # raw archives, for step 1
RESULT_DIR = "runs"          # where <name>_<hardware>.json goes; the published ones are in results/
NAME = "speed"               # of the JSON; what is published under it is compared
SEED = 0                     # 0 ... 4294967295: of networks, persons and batches
DEVICE = "auto"              # auto, cpu, cuda, cuda:1, mps
IMAGES = "auto"              # auto | resident | streamed: on the device whole or read ahead of each batch
PERSONS = 512                # 20 ... 100000: made-up persons
STORED_SIZE = 160            # 32 ... 1024: side of their stored crops, pixels
BACKBONE = "resnet18"        # of stage 1
INPUT_SIZE = 96              # 32 ... 1024: of stage 1, pixels
STAGE1_BATCH = 32            # 2 ... 65536: persons a step
CROP_SIZE = 67               # 67 ... 1024: of stage 2, pixels
WIDTH = 0.5                  # 0.001 ... 10: of stage 2
SIGMA = 1.0                  # 0.01 ... 100: side of its windows, in diameters
STAGE2_BATCH = 64            # 2 ... 65536: windows a step
SECONDS = 4.0                # 1e-6 ... 3600: about how long each throughput is measured, each time
REPEATS = 3                  # 1 ... 1000: how often; the two sides of a ratio take turns, and the middle one counts
SECTIONS: tuple[str, ...] = ()  # step1 | stage1 | stage2 | inference | compile | memory | size; empty = not the last 3
SIZE_PERSONS = 100000        # 4000 ... 10000000: persons of the section size
SIZE_DATA: tuple[str, ...] = ()  # k2hpd | lip | mpii | coco: of the section size; all if empty


# in boxes, in LSP's order; the persons' torsos are about as long as LSP's
STANDING = np.array([(0.42, 0.92), (0.43, 0.72), (0.45, 0.52), (0.55, 0.52), (0.57, 0.72), (0.58, 0.92), (0.35, 0.5),
                     (0.38, 0.4), (0.42, 0.25), (0.58, 0.25), (0.62, 0.4), (0.65, 0.5), (0.5, 0.22), (0.5, 0.08)])
# of the persons, in boxes
USUAL_DIAMETER = 0.3


def main(argv=None):
    settings = parse_settings(globals(), argv)
    watch = Stopwatch()
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    path = Path(settings.result_dir, f"{settings.name}_{hardware_name(device)}.json")
    published = ROOT / "results" / path.name
    before = arrays.load_json(published, "python benchmarks/speed.py") if published.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        persons = make_persons(folder / "data", settings, device)
        rate = matrix_rate(device)
        figures = {"matrix rate, TFLOP/s": rate}

        def publish(title, measured):
            figures[title] = measured
            arrays.save_json(path, {
                "what": "throughput, latency and memory of each step; ratio = share of the bare network's rate",
                "figures": figures, **provenance(settings, watch.seconds, device)})

        for section, title, measure in (
                ("step1", "step 1", lambda: measure_step1(folder, settings)),
                ("stage1", "stage 1", lambda: measure_stage1(persons, settings, rate)),
                ("stage2", "stage 2", lambda: measure_stage2(folder / "data", persons, settings, rate)),
                ("inference", "inference", lambda: measure_inference(folder, persons, settings, rate)),
                ("compile", "compile", lambda: measure_compile(settings, device)),
                ("memory", "freed memory kept", lambda: measure_kept_memory(settings))):
            if section in settings.sections or not settings.sections and section not in ("compile", "memory"):
                publish(title, measure())
        if "size" in settings.sections:  # an hour or more: each data set is published as it is measured
            measure_size(folder, settings.size_data, settings.size_persons, settings.seed,
                         lambda done: publish("at size", done))
    report(figures, before, settings)
    print(f"\n{watch.seconds:.0f} s; written: {path}")


def hardware_name(device):
    """In a file's name: a CUDA device's model, else the kind of device: cpu, mps."""
    return torch.cuda.get_device_name(device).lower().replace(" ", "_") if device.type == "cuda" else device.type


# step 1

def measure_step1(folder, settings):
    """Images a second, seconds and peak memory for a thousand images and for all."""
    raw = Path(settings.raw_dir)
    if not all((raw / official.file).exists() for official in OFFICIAL.values()):
        return {"images a second": "not measured: no raw archives in --raw-dir"}
    figures = {}
    for count, source in ((1000, subset(raw, folder / "raw", 6)), (12000, raw)):
        watch = Stopwatch()
        step = subprocess.Popen([sys.executable, "lsp_data.py", "--raw-dir", str(source.resolve()), "--data-dir",
                                 str(folder / "step1"), "--run-dir", str(folder / "runs"),
                                 *(["--lsp-train-images", "83"] if count == 1000 else [])],
                                cwd=ROOT, stdout=subprocess.DEVNULL)
        with PeakMemory(step.pid) as memory:
            if step.wait():
                raise RuntimeError("step 1 failed")
        seconds = watch.seconds
        images = len(np.load(folder / "step1/train_boxes.npy")) + len(np.load(folder / "step1/test_boxes.npy"))
        figures[f"{images} images"] = {"seconds": seconds, "images a second": images / seconds,
                                       "peak host MB": memory.host_mb}
    few, all_ = figures.values()
    figures["seconds, times as many"] = all_["seconds"] / few["seconds"]
    figures["memory, times as much"] = all_["peak host MB"] / few["peak host MB"]
    return figures


def subset(raw, folder, every):
    """Zips of about a thousand images in the proportion of the whole: LSP's first 166, LSPe's first 834."""
    folder.mkdir()
    for official in OFFICIAL.values():
        count = round(official.images / (2 * every))
        with zipfile.ZipFile(raw / official.file) as whole, zipfile.ZipFile(folder / official.file, "w") as part:
            for member in whole.namelist():
                path = PurePosixPath(member)
                if path.name == "joints.mat":
                    joints = scipy.io.loadmat(whole.open(member))["joints"]
                    table = io.BytesIO()
                    scipy.io.savemat(table, {"joints": joints[..., :count]})
                    part.writestr("joints.mat", table.getvalue())
                elif path.suffix == ".jpg" and int(path.stem[2:]) <= count:
                    part.writestr(f"images/{path.name}", whole.read(member))
    return folder


# the networks' steps

def measure_stage1(persons, settings, rate):
    """Batch augmentation alone, and the training step beside the bare one."""
    device, size = persons.device, settings.stage1_batch
    knobs = parse_settings(vars(train_stage1), ["--input-size", str(settings.input_size)])
    network = new_stage1(settings, device)
    rows = torch.arange(len(persons.joints_px), device=device)
    generator = torch.Generator(device).manual_seed(settings.seed)

    def batches():
        chosen = index_batches(rows, size, generator)
        return train_stage1.batches(persons, chosen, generator, knobs), len(chosen)

    def augment():
        return sum(len(images) for images, _ in batches()[0])

    target = torch.rand(size, len(LSP.joints), 2, device=device) - 0.5
    return measure_step(network, batches, augment, target, settings.input_size, "adamw", rate, settings, "images")


def measure_compile(settings, device):
    """The bare step of the small integral network, compiled beside plain, and the seconds of compiling."""
    plain, twin = (new_integral(device) for _ in range(2))
    compiled = torch.compile(twin, dynamic=False)
    seconds, _ = timed(stepping(twin, compiled, settings, device, 1), device)
    steps = math.ceil(settings.persons / settings.stage1_batch)
    rates = compare({"bare": stepping(plain, plain, settings, device, steps),
                     "pipeline": stepping(twin, compiled, settings, device, steps)}, device, settings)
    return {"plain step, images/s": rates["bare"], "compiled step, images/s": rates["pipeline"],
            "compiled, times as fast": rates["ratio"], "first compiled step, seconds": seconds}


def measure_kept_memory(settings):
    """The bare step of the small integral network on the CPU, in processes that keep freed memory as the scripts do
    beside ones that give it back, in turns."""
    program = "import sys; sys.path.insert(0, 'benchmarks'); import speed; speed.step_in_a_process(*sys.argv[1:])"
    sides = {"given back": [], "kept": []}
    for _ in range(settings.repeats):
        for side, found in sides.items():
            flags = ["--stage1-batch", settings.stage1_batch, "--input-size", settings.input_size,
                     "--seconds", settings.seconds]
            done = subprocess.run([sys.executable, "-c", program, side, *map(str, flags)], cwd=ROOT, check=True,
                                  capture_output=True, text=True)
            found.append([float(value) for value in done.stdout.split()])
    (given_back, less), (kept, more) = (map(statistics.median, zip(*found)) for found in sides.values())
    return {"given back, images/s": given_back, "kept, images/s": kept,
            "times as fast": statistics.median(k[0] / g[0] for g, k in zip(*sides.values())),
            "given back, peak host MB": less, "kept, peak host MB": more}


def step_in_a_process(memory, *flags):
    """Print images/s of the bare step and the process's peak host MB. memory: "kept", as the scripts have it, or "given
    back"; flags: of this script."""
    settings = parse_settings(globals(), flags)
    device = choose_device("cpu") if memory == "kept" else torch.device("cpu")
    network = new_integral(device)
    step = stepping(network, network, settings, device, 1)
    step()
    with PeakMemory() as peak:
        rate = rate_of(step, device, settings)
    print(rate, peak.host_mb)


def new_integral(device):
    return IntegralNet().to(device, memory_format=torch.channels_last)


def stepping(network, model, settings, device, steps):
    """A function that takes training steps of a network, as `model` computes it, on one batch; it returns how many
    images they were."""
    size, side = settings.stage1_batch, settings.input_size
    images = torch.randn(size, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.rand(size, len(LSP.joints), 2, device=device) - 0.5
    optimiser = make_optimiser("adamw", network.parameters(), 1e-4)
    batch, mixed = [(images, target)] * steps, mixed_precision(True, device)
    return lambda: train_one_epoch(model, network, batch, steps, optimiser, lambda epoch: 1e-4, 0, mixed=mixed)[1]


def measure_stage2(data_dir, persons, settings, rate):
    """Window sampling alone, and the training step beside the bare one."""
    device, size = persons.device, settings.stage2_batch
    knobs = parse_settings(vars(train_stage2), ["--crop-size", str(settings.crop_size)])
    data = CascadeData(persons, data_dir, 2, settings.sigma, knobs.errors)
    pairs = training_pairs(data, torch.tensor([LSP.index("r_knee")], device=device))
    generator = torch.Generator(device).manual_seed(settings.seed)
    outside = torch.zeros(2, device=device)

    def batches():
        chosen = index_batches(pairs, size, generator)
        return train_stage2.batches(data, chosen, outside, generator, knobs), len(chosen)

    def sample():
        return sum(len(images) for images, _ in batches()[0])

    network = CascadeNet(settings.crop_size, settings.width, outputs=1)
    target = torch.rand(size, 1, 2, device=device) - 0.5
    return measure_step(on_device(network, device), batches, sample, target, settings.crop_size, "adagrad", rate,
                        settings, "crops")


def measure_step(network, batches, prepare, target, side, optimiser, rate, settings, unit):
    """prepare: one pass over the batches without the network, gives how many there were."""
    device = target.device
    images = channels(torch.randn(len(target), 3, side, side, device=device))
    mixed = mixed_precision(True, device)
    twin = copy.deepcopy(network)
    steps = [make_optimiser(optimiser, model.parameters(), 1e-4) for model in (network, twin)]

    def bare():
        twin.train()
        for _ in range(count):
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                output = twin(images)
            loss = twin.loss(output, target)
            steps[1].zero_grad(set_to_none=True)
            loss.backward()
            steps[1].step()
        return count * len(target)

    def pipeline():
        loader, number = batches()
        return train_one_epoch(network, network, loader, number, steps[0], lambda epoch: 1e-4, 0, mixed=mixed)[1]

    count = math.ceil(settings.persons / len(target))
    with PeakMemory() as memory:
        rates = compare({"bare": bare, "pipeline": pipeline, "alone": prepare}, device, settings)
    with FlopCounterMode(display=False) as counter:
        twin.loss(twin(images), target).backward()
    flops = counter.get_total_flops() / len(target)
    return {f"batches alone, {unit}/s": rates["alone"], f"bare step, {unit}/s": rates["bare"],
            f"training, {unit}/s": rates["pipeline"], "ratio": rates["ratio"], f"GFLOP a {unit[:-1]}": flops / 1e9,
            "share of the matrix rate": rates["pipeline"] * flops / (rate * 1e12),
            "bare step's share of the matrix rate": rates["bare"] * flops / (rate * 1e12),
            "peak host MB": memory.host_mb, "peak device MB": memory.device_mb}


def measure_inference(folder, persons, settings, rate):
    """Predicting all persons with each stage beside the bare forward passes; one person; from nothing to a pose."""
    device = persons.device
    rows = torch.arange(len(persons.joints_px), device=device)
    network = new_stage1(settings, device).eval().to(memory_format=torch.channels_last)  # as they are loaded
    stage1 = Stage1(network, settings.input_size, other_split=False, other_held_out=False, fingerprint="1",
                    skeleton=persons.skeleton, pixels=persons.pixels, crop_size=persons.crop_size,
                    context=persons.context)
    networks = [on_device(CascadeNet(settings.crop_size, settings.width), device).eval() for _ in LSP.joints]
    stage2 = CascadeStage({joint: (network, 0) for joint, network in enumerate(networks)}, sigma=settings.sigma,
                          smallest_diameter=0.1, usual_side=USUAL_DIAMETER * settings.sigma, flip_test=False,
                          refines="1", fingerprint="2", pixels=persons.pixels)
    poses = persons.joints_px  # an untrained stage 1's would lie anywhere
    batch1, batch2 = 64, 256  # those of the scripts

    def bare(models, side, batch):
        images = channels(torch.randn(min(batch, len(rows)), 3, side, side, device=device))

        @torch.inference_mode()
        def forward():
            for first in range(0, len(rows), batch):
                for model in models:
                    model(images[:len(rows) - first])
            return len(rows)
        return forward

    figures = {}
    with PeakMemory() as memory:
        rates = compare({"bare": bare([stage1.network], settings.input_size, batch1),
                         "pipeline": lambda: len(stage1.predict(persons, rows, batch_size=batch1))}, device, settings)
        figures |= {"stage 1, persons/s": rates["pipeline"], "stage 1, bare forward passes, persons/s": rates["bare"],
                    "stage 1, ratio": rates["ratio"]}
        rates = compare({"bare": bare(networks, settings.crop_size, batch2),
                         "pipeline": lambda: len(stage2.refine_with_confidence(persons, rows, poses, None, batch2)[0])},
                        device, settings)
        figures |= {"stage 2, persons/s": rates["pipeline"], "stage 2, bare forward passes, persons/s": rates["bare"],
                    "stage 2, ratio": rates["ratio"]}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        stage1.network(torch.zeros(1, 3, settings.input_size, settings.input_size, device=device))
    figures["stage 1, share of the matrix rate"] = \
        figures["stage 1, persons/s"] * counter.get_total_flops() / (rate * 1e12)
    for name, stages in (("stage 1", [stage1]), ("stages 1 and 2", [stage1, stage2])):
        run_with_confidence(stages, persons, rows[:1])
        seconds = [timed(lambda stages=stages: run_with_confidence(stages, persons, rows[:1]), device)[0]
                   for _ in range(20)]
        figures[f"one person, {name}, ms"] = 1000 * statistics.median(seconds)
    figures["from process start to first pose, s"] = first_pose(folder, stage1, networks, settings)
    return figures | {"peak host MB": memory.host_mb, "peak device MB": memory.device_mb}


def first_pose(folder, stage1, networks, settings):
    """Seconds of a new process that loads both stages and one person and gives the pose."""
    save_checkpoint(folder / "checkpoints/stage1.pt", {
        "network": stage1.network.arguments, "weights": stage1.network.state_dict(), "dataset": "lsp",
        "input_size": stage1.input_size, "split": "", "settings": {}, "history": []})
    for name, network in zip(LSP.joints, networks, strict=True):
        save_checkpoint(cascade_path(folder / "checkpoints", 2, name), {
            "network": network.arguments, "weights": halved(network.state_dict()), "dataset": "lsp",
            "sigma": settings.sigma, "smallest_diameter": 0.1, "usual_side": USUAL_DIAMETER * settings.sigma,
            "flip_test": False, "refines": "", "settings": {}, "history": []})
    program = ("import sys, torch; from deeppose.persons import load_persons; "
               "from deeppose.devices import choose_device; "
               "from networks.trained_stages import load_stages, run_with_confidence; "
               "folder, device = sys.argv[1], choose_device(sys.argv[2]); "
               "persons = load_persons(folder + '/data', 'train', device, 'streamed'); "
               "stages = load_stages(folder + '/checkpoints', persons, device); "
               "print(run_with_confidence(stages, persons, torch.tensor([0], device=device))[0][-1].shape)")
    command = [sys.executable, "-c", program, str(folder), str(choose_device(settings.device))]
    seconds = []
    for _ in range(settings.repeats):
        watch = Stopwatch()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds.append(watch.seconds)
    return statistics.median(seconds)


# measuring

def compare(sides, device, settings):
    """Rates of functions that return how many they did: each in turn, REPEATS times.

    Returns  name -> middle rate a second; "ratio": the middle one of pipeline / bare
    """
    for side in sides.values():  # warm up: caches, kernels, clocks
        side()
    rates = {name: [] for name in sides}
    for _ in range(settings.repeats):
        for name, side in sides.items():
            rates[name].append(rate_of(side, device, settings))
    ratios = [p / b for p, b in zip(rates["pipeline"], rates["bare"])]
    return {name: statistics.median(values) for name, values in rates.items()} | {"ratio": statistics.median(ratios)}


def rate_of(side, device, settings):
    """How many a second, over about SECONDS, a function does that returns how many it did."""
    seconds, done = 0.0, 0
    while seconds < settings.seconds:
        more, count = timed(side, device)
        seconds, done = seconds + more, done + count
    return done / seconds


def timed(function, device):
    """Seconds, result."""
    synchronise(device)
    watch = Stopwatch()
    result = function()
    synchronise(device)
    return watch.seconds, result


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def matrix_rate(device):
    """TFLOP/s of a large product in the precision that networks are trained in: bfloat16 on CUDA, else float32."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def product():
        for _ in range(20 if device.type == "cuda" else 3):
            a @ b
        return (20 if device.type == "cuda" else 3) * 2 * size ** 3
    timed(product, device)
    return max(flops / seconds for seconds, flops in (timed(product, device) for _ in range(5))) / 1e12


# what is measured on

def make_persons(folder, settings, device):
    """Made-up persons in the files of steps 1 and 4: noise for pictures, poses that differ a little."""
    random = np.random.default_rng(settings.seed)
    count, size = settings.persons, settings.stored_size
    joints = (size * (1 + 4 * STANDING + random.normal(0, 0.15, (count, *STANDING.shape))) / 6).astype(np.float32)
    predicted = joints + size * random.normal(0, 0.02, joints.shape).astype(np.float32)
    images = random.integers(0, 256, (count, size, size, 3), np.uint8)
    boxes = np.tile(np.float32([0, 0, size]), (count, 1))
    for split, rows in (("train", slice(None)), ("test", slice(1))):
        for name, array in (("images", images), ("labels", joints), ("boxes", boxes),
                            ("head_sizes", np.full(count, size / 10, np.float32))):
            arrays.save(folder / f"{split}_{name}.npy", array[rows])
    arrays.save(folder / "train_split.npy", (np.arange(count) % 10 == 9).astype(np.uint8))
    photographs = {"source": ["lsp"] * count, "image": [f"im{row:04d}.jpg" for row in range(count)]}
    arrays.save_json(folder / "dataset.json", {
        "dataset": "lsp", "skeleton": LSP.plain(), "crop_size": size, "context": 1.5, "train": photographs,
        "test": {"source": ["lsp"], "image": ["im9999.jpg"]}, "test_duplicates": [],
        "settings": {"test_boxes": "image"}, "digests": arrays.digests(folder)})
    persons = load_persons(folder, "train", device, settings.images)
    deltas = random.normal(0, 0.1, (len(LSP.joints), 40, 2)).astype(np.float32)
    model = fit_error_model(predicted, joints, diameters(predicted, LSP), LSP.joints, smallest_diameter=0.1,
                            flip_test=False, fingerprint="", labels=persons.labels, poses=arrays.digest(predicted),
                            deltas=arrays.digest(deltas))
    arrays.save(folder / "train_output.npy", predicted)
    arrays.save(folder / "deltas.npy", deltas)
    model.save(folder / "error_model.npz")
    return persons


def new_stage1(settings, device):
    return on_device(ResNetRegressor(settings.backbone, len(LSP.joints)), device)


def on_device(network, device):
    """As the training scripts lay it out."""
    return network.to(device, memory_format=torch.channels_last if device.type == "cuda" else torch.contiguous_format)


def channels(images):
    return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cuda" else images


# what is printed

def report(figures, before, settings):
    same = before and all(before["settings"].get(name, value) == value for name, value in vars(settings).items()
                          if name not in ("raw_dir", "result_dir", "device", "sections"))
    print(f"{'':48}{'this run':>12}" + (f"{'published':>12}{'ratio':>8}" if same else ""))
    for group, content in figures.items():
        for name, value in flat(content):
            old = dict(flat(before["figures"].get(group, {}))).get(name) if same else None
            line = f"{(group + ': ' + name).rstrip(': '):48}" + cell(value)
            if old is not None and isinstance(value, float) and isinstance(old, (int, float)):
                line += cell(old) + f"{value / old:8.2f}"
            print(line.rstrip())
    if before and not same:
        print("the published figures were measured with other settings: nothing to compare")


def flat(content, before=""):
    if not isinstance(content, dict):
        return [(before, content)]
    return [pair for name, value in content.items()
            for pair in flat(value, f"{before}: {name}" if before else name)]


def cell(value):
    if isinstance(value, str):
        return f"  {value}"
    return f"{'-' if math.isnan(value) else format(value, '.4g'):>12}"


if __name__ == "__main__":
    run(main)
