"""Training steps beside other busy programs: all threads, threads that wait passively, threads for the free cores.

Each figure is taken in a process of its own, the sides in turns; neighbours are programs that count without end.

Writes  results/shared_cores.json  images a second and their ratios to all threads, settings, hardware, commit
"""
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deeppose.errors import Failure, run  # noqa: E402
from deeppose.settings import parse_settings  # noqa: E402

RESULT_DIR = "results"                   # where shared_cores.json goes
NEIGHBOURS: tuple[int, ...] = (0, 1, 2)  # 0 ... 1000: other busy programs
REPEATS = 3                              # 1 ... 100: of each figure, the middle one counts
SECONDS = 4.0                            # 0.1 ... 3600: of each figure, after a look at the free cores
INPUT_SIZE = 128                         # 32 ... 1024: of stage 1's network, pixels
BATCH_SIZE = 32                          # 2 ... 4096: images and windows a step

SIDES = {"all threads": {}, "waiting passively": {"OMP_WAIT_POLICY": "passive"}, "free cores": {}}
NETWORKS = ("stage 1", "cascade")
SPIN = "while True: pass"


def main(argv=None):
    settings = parse_settings(globals(), argv)
    from deeppose import arrays
    from deeppose.devices import Stopwatch
    from deeppose.reports import provenance
    watch, figures = Stopwatch(), {}
    for neighbours in settings.neighbours:
        spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(neighbours)]
        try:
            for network in NETWORKS:
                taken = {side: [] for side in SIDES}
                for _ in range(settings.repeats):
                    for side in SIDES:
                        taken[side].append(rate_of(network, side, settings))
                rates = {side: median(values) for side, values in taken.items()}
                figures[f"{neighbours} neighbours, {network}"] = {
                    "images a second": rates, "runs": taken,
                    "ratio to all threads": {side: median(a / b for a, b in zip(taken[side], taken["all threads"]))
                                             for side in SIDES if side != "all threads"}}
                print(f"{neighbours} busy neighbours, {network}: "
                      + ", ".join(f"{side} {rate:.0f}/s" for side, rate in rates.items()), flush=True)
        finally:
            for process in spinning:
                process.kill()
                process.wait()
    path = Path(settings.result_dir, "shared_cores.json")
    arrays.save_json(path, {"what": "training steps beside busy programs", "figures": figures,
                            **provenance(settings, watch.seconds)})
    print(f"written: {path}")


def rate_of(network, side, settings):
    """Images a second of one side, in a process of its own: OpenMP reads how it is to wait when it is loaded."""
    program = (f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]; import shared_cores; "
               f"shared_cores.steps({network!r}, {side!r}, {settings.input_size}, {settings.batch_size}, "
               f"{settings.seconds})")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | SIDES[side])
    if done.returncode:
        raise Failure(f"a measurement ended: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def steps(network, side, input_size, batch_size, seconds):
    """Print how many images a second pass through training steps."""
    import torch

    from cascade_net import CascadeNet
    from deeppose.devices import LOOK_SECONDS, Cores, choose_device
    from deeppose.training import make_optimiser
    from networks.integral import IntegralNet
    choose_device("cpu")
    cores = Cores(0 if side == "free cores" else torch.get_num_threads())
    torch.manual_seed(0)
    if network == "stage 1":
        model, images = IntegralNet(), torch.randn(batch_size, 3, input_size, input_size)
        targets = torch.rand(batch_size, 14, 2) - 0.5
        model, images = (it.to(memory_format=torch.channels_last) for it in (model, images))
    else:
        model, images = CascadeNet(67, 0.25, 0.0, 1, "smooth_l1"), torch.randn(batch_size, 3, 67, 67)
        targets = torch.rand(batch_size, 1, 2) - 0.5
    optimiser = make_optimiser("adam", model.parameters(), 1e-3)

    def step():
        cores.look()
        loss = model.loss(model(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    begun = time.perf_counter()
    while time.perf_counter() < begun + LOOK_SECONDS + 0.5:
        step()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        step()
        count += 1
    print(count * batch_size / (time.perf_counter() - begun))


if __name__ == "__main__":
    run(main)
