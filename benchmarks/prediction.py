"""predict.py's start and rate beside the bare network, and what its second look and its search are worth.

The bare network is stage 1's, and so are the looks but for the default's, which are all stages'.

Reads   data/raw/lsp_dataset(.zip), the shipped model
Writes  results/prediction.json  seconds, images a second, PCK@0.2 of the whole pictures and of the same pasted into
                                 pictures two, three and four times as large, hardware, commit
"""
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deeppose.errors import Failure, run  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402

RAW_DIR = "data/raw"      # folder of LSP's zip or unpacked folder
RESULT_DIR = "results"    # where prediction.json goes
PHOTOGRAPHS = 1000        # 16 ... 1000: of LSP's test photographs
PASTED = 100              # 1 ... 1000: of them, and of drawn figures, pasted into larger pictures
LARGER: tuple[int, ...] = (2, 3, 4)  # 1 ... 100: times as large, the pictures that they are pasted into
REPEATS = 3               # 1 ... 100: of each time; the start's shortest counts, the rates' middle ratio

# stages, and how they look
WAYS = {"whole image, once": (1, {"passes": 1, "doubt": 0}), "twice": (1, {"doubt": 0}),
        "twice, and searched": (1, {}), "all stages, twice, and searched": (None, {})}


def main(argv=None):
    settings = parse_settings(globals(), argv)
    import numpy as np
    import torch

    import lsp_data
    import predict
    from deeppose import archives, arrays
    from deeppose.devices import Stopwatch, choose_device
    from deeppose.photos import Photo
    from deeppose.reports import provenance
    from figures.scene import draw_figure
    from networks.folding import folded
    from networks.posing import Posing
    from networks.trained_stages import load_stages
    from PIL import Image

    watch, device = Stopwatch(), choose_device("cpu")
    raw = lsp_data.find(settings.raw_dir, "lsp")
    stages, numbers = load_stages(predict.RELEASED, None, device), range(1001, 1001 + settings.photographs)
    with tempfile.TemporaryDirectory() as folder, archives.opened(raw.path) as read:
        photographs = Path(folder, "photographs")
        photographs.mkdir()
        for number in numbers:
            (photographs / f"{number}.jpg").write_bytes(read(raw.members[number]))
        one = [str(ROOT / "predict.py"), str(photographs / "1001.jpg"), "--overwrite",
               "--out", str(Path(folder, "one"))]
        commands = {"import torch": ["-c", "import torch"], "one photograph": one}
        start = {name: [] for name in commands}
        for _ in range(1 + settings.repeats):  # the first one fills the disk's cache
            for name, command in commands.items():
                start[name].append(seconds_of(*command))
        start = {name: dict(zip(("seconds", "of a core"), map(min, zip(*taken[1:])))) for name, taken in start.items()}
        print("from start to end: " + "; ".join(f"{name} {least['seconds']:.2f} s, {least['of a core']:.2f} s of a core"
                                                for name, least in start.items()), flush=True)

        sides = {"bare network": lambda: bare_rate(stages[0].network, stages[0].input_size, len(numbers)),
                 "bare network, folded": lambda: bare_rate(folded(stages[0].network), stages[0].input_size,
                                                           len(numbers))}
        first = ["--stages", "1"]
        for name, flags in (("one look, no pictures", [*first, "--passes", "1", "--no-overlays", "--doubt", "0"]),
                            ("one look", [*first, "--passes", "1", "--doubt", "0"]), ("stage 1", first),
                            ("default", []), ("default, bfloat16", ["--bfloat16"])):
            sides[name] = lambda flags=flags: predicted_rate(photographs, folder, flags)
        taken = {name: [] for name in sides}
        for _ in range(settings.repeats):
            for name, side in sides.items():  # in turns, since machines differ from minute to minute
                taken[name].append(side())
        rates = {name: median(values) for name, values in taken.items()}
        ratios = {name: median(a / b for a, b in zip(taken[name], taken["bare network"])) for name in sides}
        print(", ".join(f"{name} {rate:.1f}/s ({ratios[name]:.2f})" for name, rate in rates.items()), flush=True)

        images = [Image.open(photographs / f"{number}.jpg").convert("RGB") for number in numbers]
    sets = {"photographs": (images, raw.joints[[number - 1 for number in numbers]])}
    figures = [draw_figure(0, number) for number in range(settings.pasted)]
    sets["drawn figures"] = [image for image, _ in figures], np.stack([joints[:, :2] for _, joints in figures])
    for name in list(sets):
        few = sets[name][0][:settings.pasted], sets[name][1][:settings.pasted]
        sets |= {f"{name}, pasted into pictures {times} times as large": pasted(*few, times)
                 for times in settings.larger}
    scores = {}
    torch.set_num_threads(1)
    for name, (pictures, joints) in sets.items():
        photos = [Photo(image, image.size) for image in pictures]
        scores[name] = {way: score(Posing(stages[:count], device, **more), photos, joints)
                        for way, (count, more) in WAYS.items()}
        print(f"{name}: " + ", ".join(f"{way} {found['pck@0.2']:.1f} ({found['milliseconds']:.0f} ms)"
                                      for way, found in scores[name].items()), flush=True)
    path = Path(settings.result_dir, "prediction.json")
    arrays.save_json(path, {"what": "predict.py's start, rate and ways to look", "from start to end": start,
                            "images a second": rates, "ratio to the bare network": ratios, "runs": taken,
                            "scores": scores, **provenance(settings, watch.seconds)})
    print(f"written: {path}")


def seconds_of(*arguments):
    """Seconds that a command of Python takes from its start to its end, and seconds of a core that it computes, which
    is what it takes where nobody else does."""
    begun, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise Failure(f"a measurement ended: {done.stderr.strip().splitlines()[-1]}")
    spent, after = time.perf_counter() - begun, os.times()
    return spent, sum(after[2:4]) - sum(before[2:4])  # of children


def bare_rate(network, size, count, batch_size=16):
    """Images a second of a network that looks at one batch (batch_size, 3, size, size) again and again, with the flip
    test's second look; a batch on each core, which is its fastest way."""
    import torch

    from deeppose.parallel import usable_cores
    threads, images, network = usable_cores(), torch.randn(batch_size, 3, size, size), network.eval()
    images = images.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def look(_):
        network.joints((network(images) + network(images)) / 2)

    torch.set_num_threads(1)
    batches = -(-count // batch_size)
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        list(pool.map(look, range(batches)))
    return batches * batch_size / (time.perf_counter() - begun)


def predicted_rate(photographs, folder, flags):
    """Images a second of predict.py over a folder, from files to files, the loading of the model included."""
    import predict
    count = len(list(photographs.iterdir()))
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        predict.main([str(photographs), "--out", str(Path(folder, "out")), "--overwrite", "--device", "cpu", *flags])
    return count / (time.perf_counter() - begun)


def pasted(images, joints, times):
    """Pictures `times` as large along a side, of soft colours, with an image each at some place; and its joints there.
    """
    import numpy as np
    from PIL import Image
    rng, pictures, places = np.random.default_rng(0), [], np.array(joints)
    for number, image in enumerate(images):
        side = times * max(image.size)
        picture = images[number - 1].resize((16, 16)).resize((side, side), Image.Resampling.BICUBIC)
        corner = tuple(int(rng.integers(0, side - length + 1)) for length in image.size)
        picture.paste(image, corner)
        pictures.append(picture)
        places[number] += corner
    return pictures, places


def score(posing, photos, joints):
    import numpy as np

    from deeppose.metrics import diameters, joint_hits, overall_mean
    begun = time.process_time()
    found = np.concatenate([poses.joints for poses in posing.find(photos, [None] * len(photos))])
    spent = time.process_time() - begun
    hits = joint_hits(found, joints, diameters(joints, posing.first.skeleton), 0.2)
    return {"pck@0.2": 100 * overall_mean(hits), "standard_error": 100 * hits.mean(1).std() / len(hits) ** 0.5,
            "milliseconds": 1000 * spent / len(photos), "persons": len(photos)}


if __name__ == "__main__":
    run(main)
