"""Bad networks: stage 1's, the cascade's, what going on needs, and files given as --weights."""
import io
import shutil
import struct

import torch
from faults_foreign import file_cases, pt, putting, rezipped
from faults_starts import BEGUN
from faults_trial import Case

WRONG = (None, "text", -1, [], {}, [1, "a"])
NEEDED = {"checkpoints/stage1.pt": ("network", "weights", "input_size", "dataset", "split"),
          "checkpoints/stage2_neck.pt": ("network", "weights", "sigma", "smallest_diameter", "flip_test", "refines",
                                         "dataset"),
          "checkpoints/stage1_last.pt": ("model", "optimiser", "history", "best_epoch", "settings"),
          "checkpoints/stage2_neck_last.pt": ("model", "optimiser", "history", "best_epoch", "settings")}
TIES = ("split", "refines")  # any text may be one: another's is told as a mixed folder is
READ = (("network, stage 1", "test_stage1", "checkpoints/stage1.pt", "done", []),
        ("network, cascade", "test_stage2", "checkpoints/stage2_neck.pt", "one joint", []),
        ("going on, stage 1", "train_stage1", "checkpoints/stage1_last.pt", "begun", BEGUN["train_stage1"]),
        ("going on, cascade", "train_stage2", "checkpoints/stage2_neck_last.pt", "begun", BEGUN["train_stage2"]))


def network_cases(starts):
    for reader, step, file, start, flags in READ:
        good = (starts[start] / file).read_bytes()
        more = {"start": start, "flags": flags, "mention": (file.rsplit("/", 1)[-1],)}
        # a link that leads nowhere is no training to go on with, and no joint's network
        yield from file_cases(reader, step, file, good, starts["done"], cut=16, without=() if "stage1.pt" in file else (
            "a dangling link", "a link to itself"), **more)
        state = torch.load(io.BytesIO(good), weights_only=True)
        for what, content in bad_states(state, file).items():
            # of other settings it is another training's, of another data set the user's mistake
            yield Case(reader, what, step, spoil=putting(file, lambda content=content: pt(content)), **more,
                       statuses=(1, 2) if what.startswith(("settings", "dataset")) else (1,))
        for what, content in damaged(good).items():
            yield Case(reader, what, step, spoil=putting(file, content), **more)
    # step 4 reads stage 1 as well
    good = (starts["done"] / READ[0][2]).read_bytes()
    for what, content in damaged(good).items():
        yield Case(READ[0][0], what, "generate_train_output", spoil=putting(READ[0][2], content),
                   mention=("stage1.pt",))
    yield Case(READ[0][0], "stage1.pt is absent", "test_stage1", mention=("stage1.pt",), statuses=(2,),
               spoil=lambda folder: (folder / READ[0][2]).unlink())
    yield Case(READ[1][0], "no network of stage 2 is there", "test_stage2", mention=("stage 2",), statuses=(2,),
               spoil=without_cascade)
    yield Case(READ[1][0], "one joint's file under another's name", "test_stage2", mention=("stage2_neck.pt",),
               statuses=(1, 2), spoil=lambda folder: putting("checkpoints/stage2_neck.pt", (
                   folder / "checkpoints/stage2_r_knee.pt").read_bytes())(folder))
    yield Case(READ[1][0], "stage 1's network under a joint's name", "test_stage2", mention=("stage2_neck.pt",),
               statuses=(1, 2), spoil=lambda folder: putting("checkpoints/stage2_neck.pt", (
                   folder / "checkpoints/stage1.pt").read_bytes())(folder))
    yield Case(READ[0][0], "a joint's network as stage 1's", "test_stage1", mention=("stage1.pt",), statuses=(1, 2),
               spoil=lambda folder: putting("checkpoints/stage1.pt", (
                   folder / "checkpoints/stage2_neck.pt").read_bytes())(folder))


def without_cascade(folder):
    for path in (folder / "checkpoints").glob("stage2_*"):
        path.unlink()


def bad_states(state, file):
    """What is wrong -> a checkpoint's content."""
    bad = {"it holds a list": [state], "it holds a tensor": torch.ones(3), "it holds nothing": {}, "it is None": None,
           "it is a number": 5, "it is a text": "checkpoint", "it holds only its weights": state.get(
               "weights", state.get("model")), "its keys are numbers": dict(enumerate(state.values()))}
    for key in NEEDED[file]:
        if key not in state:
            continue
        bad[f"no {key}"] = {name: value for name, value in state.items() if name != key}
        for value in WRONG:
            if value != state[key] and not (key in (*TIES, "dataset") and isinstance(value, str)):  # any text will do
                bad[f"{key} is {value!r}"] = state | {key: value}
        if not isinstance(state[key], torch.Tensor):
            bad[f"{key} is a tensor"] = state | {key: torch.ones(2, 2)}
    weights = "weights" if "weights" in NEEDED[file] else "model"
    for what, content in bad_weights(state[weights]).items():
        bad[f"{weights}: {what}"] = state | {weights: content}
    if isinstance(state.get("network"), dict):
        for what, network in bad_networks(state["network"]).items():
            bad[f"network: {what}"] = state | {"network": network}
    numbers = {"input_size": (0, -1, 10 ** 9, 0.5, True), "sigma": (0, -1.0, float("nan"), float("inf"), 1e30),
               "smallest_diameter": (0, -1.0, float("nan"), float("inf"), 1e30)}
    for key, values in numbers.items():
        if key in NEEDED[file]:
            for value in values:
                bad[f"{key} is {value}"] = state | {key: value}
    return bad


def bad_weights(weights):
    """What is wrong -> a state_dict."""
    first = next(name for name, value in weights.items() if value.is_floating_point() and value.ndim > 1)
    last = [name for name, value in weights.items() if value.is_floating_point()][-1]

    def filled(name, number):
        value = weights[name].clone()
        value.reshape(-1)[-1] = number
        return weights | {name: value}

    return {
        "none": {}, "one missing": {name: value for name, value in weights.items() if name != first},
        "one more": weights | {"more.weight": torch.ones(2)}, "one of another shape": weights | {
            first: weights[first][1:]}, "one without dimensions": weights | {first: torch.tensor(1.0)},
        "one that is a list": weights | {first: [1.0, 2.0]}, "one that is None": weights | {first: None},
        "one that is a text": weights | {last: "weights"}, "a NaN in the first": filled(first, float("nan")),
        "a NaN in the last": filled(last, float("nan")), "an infinity in the first": filled(first, float("inf")),
        "minus infinity in the last": filled(last, float("-inf")), "NaN throughout": {
            name: torch.full_like(value, float("nan")) if value.is_floating_point() else value
            for name, value in weights.items()},
        "their names changed": {f"module.{name}": value for name, value in weights.items()},
        "complex": weights | {first: weights[first].to(torch.complex64)}}


def bad_networks(network):
    bad = {"an argument more": network | {"colour": 3}, "none": {}}
    for key in network:
        if key in ("dropout", "loss", "heatmap_weight"):
            continue
        bad[f"no {key}"] = {name: value for name, value in network.items() if name != key}
        for value in (None, "text", -1, [], 10 ** 6):
            bad[f"{key} is {value!r}"] = network | {key: value}
    bad["loss is a text"] = network | {"loss": "text"}
    bad["dropout is 5"] = network | {"dropout": 5}
    # what has a default may be left out where the default is the network's own
    return {what: content for what, content in bad.items() if not what.startswith("no ")}


def damaged(good):
    """A checkpoint's zip with something wrong inside."""
    def inside(change):
        return lambda: rezipped(good, lambda members: change(members, next(
            name for name in members if name.endswith("data.pkl"))))

    def drop(members, name):
        del members[name]

    def shorten(members, name):
        members[name] = members[name][:-20]

    def text(members, name):
        members[name] = b"text"

    def lose_tensor(members, name):
        tensor = next(n for n in members if "/data/" in n)
        del members[tensor]

    def cut_tensor(members, name):
        tensor = max((n for n in members if "/data/" in n), key=lambda n: len(members[n]))
        members[tensor] = members[tensor][:8]

    middle = len(good) // 2
    return {"its pickle is missing": inside(drop), "its pickle is cut off": inside(shorten),
            "its pickle is text": inside(text), "a tensor's file is missing": inside(lose_tensor),
            "a tensor's file is cut off": inside(cut_tensor),
            "its directory is damaged": lambda: good[:-200] + bytes(180) + good[-20:],
            "its head is damaged": lambda: b"XX" + good[2:60] + struct.pack("<I", 99) + good[64:],
            "its first half is there twice": lambda: good[:middle] * 2}


def weights_cases(starts):
    """Files for train_stage1.py --weights."""
    done = starts["done"]
    good = (done / "checkpoints/stage1.pt").read_bytes()
    file = "weights.pt"
    more = {"start": "prepared", "flags": ["--weights", file], "mention": (file,)}
    yield from file_cases("initial weights", "train_stage1", file, good, done, cut=16, without=("pt",), **more)
    state = torch.load(io.BytesIO(good), weights_only=True)
    backbone = {name.removeprefix("backbone."): value for name, value in state["weights"].items()
                if name.startswith("backbone.")}
    contents = {f"a checkpoint: {what}": value for what, value in bad_states(
        {key: state[key] for key in ("network", "weights", "split")}, "checkpoints/stage1.pt").items()
        if what.startswith(("it ", "its ", "weights"))}
    contents |= {f"a state_dict: {what}": value for what, value in bad_weights(backbone).items()
                 # the package of these weights has other names, and more
                 if what not in ("one more", "their names changed")}
    contents["a state_dict of something else"] = {"a": torch.ones(2)}
    del contents["a checkpoint: it holds only its weights"]  # which would do, of a backbone
    for what, content in contents.items():
        yield Case("initial weights", what, "train_stage1", spoil=putting(file, lambda content=content: pt(content)),
                   statuses=(1, 2), **more)
    for what, other in {"a joint's network": "checkpoints/stage2_neck.pt", "an array": "data/train_output.npy",
                        "what going on needs": "checkpoints/stage1_last.pt"}.items():
        yield Case("initial weights", what, "train_stage1", statuses=(1, 2),
                   spoil=lambda folder, other=other: shutil.copy(done / other, folder / file), **more)
    for what, content in damaged(good).items():
        yield Case("initial weights", what, "train_stage1", spoil=putting(file, content), **more)
    yield Case("initial weights", "a file that is not there", "train_stage1", statuses=(2,), **more)
    yield Case("initial weights", "a network of another kind", "train_stage1", spoil=putting(file, good),
               statuses=(1, 2), **(more | {"flags": [*more["flags"], "--backbone", "resnet18"]}))
    lesser = state | {"weights": {name: value for name, value in state["weights"].items()
                                  if not name.startswith("head")}}
    yield Case("initial weights", "a checkpoint without its last layer", "train_stage1",
               spoil=putting(file, lambda: pt(lesser)), statuses=(1, 2), **more)
