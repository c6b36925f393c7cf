"""Steps in a wrong order, and folders whose files do not belong together: each must be told."""
import shutil

import faults_folders as folders
import faults_trial as trial
import numpy as np
import torch
from faults_foreign import npz, pt, putting
from faults_starts import FIGURES, good
from faults_trial import Case
from faults_user import ANEW

from figures.lsp import write as write_figures

TOLD = ("warning:", "note:")


def order_trials(starts, scratch, some=list):
    """some: function that chooses among things. Yields (Case, complaints, Answer)."""
    for name in some(MIXED):
        folder, tries = MIXED[name](starts, scratch)
        for step, flags in tries:
            flags = [] if flags is None else [*ANEW.get(step, []), *flags]  # None: what is finished is left as it is
            case = Case("orders", f"{name}; then {step}", step, flags, statuses=(0, 1, 2), start=name, rewrites=True)
            complaints, answer = trial.attempt(case, {name: folder}, scratch)
            if answer.status == 0 and not told(answer):
                complaints.append("not told")
            yield case, complaints, answer
    for step, absent in some(ABSENT):
        case = Case("orders", f"{step} before what makes {absent}", step, ANEW.get(step, []),
                    lambda folder, absent=absent: (folder / absent).unlink(), (absent.split("/")[-1],), (2,))
        complaints, answer = trial.attempt(case, starts, scratch)
        if "run: python" not in answer.err and "run again: python" not in answer.err:
            complaints.append("does not name the command to run")
        yield case, complaints, answer


def told(answer):
    return any(line.startswith(TOLD) for line in (answer.out + answer.err).splitlines())


def mixed(starts, scratch, name):
    place = scratch / f"mixed_{name}"
    folders.remove(place)
    return folders.copy_of(starts["done"], place)


def stage1_again(starts, scratch):
    folder = mixed(starts, scratch, "stage1_again")
    good("train_stage1", folder, "--restart", "--seed", "5")
    return folder, [("train_stage2", []), ("test_stage2", [])]


def stage1_again_then_generated(starts, scratch):
    folder = mixed(starts, scratch, "generated")
    good("train_stage1", folder, "--restart", "--seed", "5")
    good("generate_train_output", folder)
    return folder, [("test_stage2", []), ("train_stage2", None)]


def new_split(starts, scratch):
    folder = mixed(starts, scratch, "new_split")
    good("lsp_data", folder, "--seed", "9")
    return folder, [("test_stage1", []), ("generate_train_output", []), ("train_stage2", []), ("test_stage2", [])]


def other_test_set(starts, scratch):
    """Persons who trained the networks are now test persons."""
    folder = mixed(starts, scratch, "test_set")
    good("lsp_data", folder, "--lsp-train-images", "20")
    return folder, [("test_stage1", []), ("generate_train_output", []), ("train_stage2", []), ("test_stage2", [])]


def new_split_generated(starts, scratch):
    folder = mixed(starts, scratch, "new_split_generated")
    good("lsp_data", folder, "--seed", "9")
    good("generate_train_output", folder)
    return folder, [("train_stage2", [])]


def other_figures(starts, scratch, name="other_figures"):
    """The arrays of other figures with this data set's poses, or networks."""
    raw = scratch / "other_raw"
    if not raw.exists():
        write_figures(raw / "lsp_dataset", FIGURES, 4321, workers=1)
    folder = mixed(starts, scratch, name)
    good("lsp_data", folder, "--raw-dir", str(raw))
    return folder, [("train_stage2", [])]


def other_output(starts, scratch):
    """train_output.npy of another data set of the same size."""
    other, _ = other_figures(starts, scratch, "figures_of_output")
    good("generate_train_output", other)
    folder = mixed(starts, scratch, "other_output")
    link(other / "data/train_output.npy", folder / "data/train_output.npy")
    return folder, [("train_stage2", [])]


def older_error_model(starts, scratch):
    """train_output.npy of a newer stage 1 beside the error model of before, and the other way round."""
    folder = mixed(starts, scratch, "older_error_model")
    good("train_stage1", folder, "--restart", "--seed", "5")
    good("generate_train_output", folder)
    link(starts["done"] / "data/error_model.npz", folder / "data/error_model.npz")
    return folder, [("train_stage2", []), ("train_stage2", ["--errors", "gaussian"])]


def older_deltas(starts, scratch):
    folder = mixed(starts, scratch, "older_deltas")
    good("generate_train_output", folder, "--seed", "5")
    link(starts["done"] / "data/deltas.npy", folder / "data/deltas.npy")
    return folder, [("train_stage2", ["--errors", "fixed"])]


def other_context(starts, scratch):
    """Arrays of another --context beside an older dataset.json."""
    folder = mixed(starts, scratch, "context")
    good("lsp_data", folder, "--context", "2")
    link(starts["done"] / "data/dataset.json", folder / "data/dataset.json")
    return folder, [("train_stage1", []), ("test_stage1", []), ("generate_train_output", []), ("train_stage2", []),
                    ("test_stage2", [])]


def older_array(name):
    def make(starts, scratch):
        """One array of another preparation among those of this one."""
        folder = mixed(starts, scratch, f"older_{name}")
        good("lsp_data", folder, "--seed", "9", "--context", "2")
        link(starts["done"] / f"data/{name}.npy", folder / f"data/{name}.npy")
        return folder, [("train_stage1" if name.startswith("train") else "test_stage1", [])]
    return make


def swapped_joint(starts, scratch):
    folder = mixed(starts, scratch, "swapped")
    link(starts["done"] / "checkpoints/stage2_r_knee.pt", folder / "checkpoints/stage2_l_knee.pt")
    return folder, [("test_stage2", []), ("generate_train_output", ["--stage", "2"])]


def joint_of_stage_3(starts, scratch):
    folder = mixed(starts, scratch, "stage3")
    for path in (starts["done"] / "checkpoints").glob("stage2_*.pt"):
        link(path, folder / "checkpoints" / path.name.replace("stage2", "stage3"))
    return folder, [("test_stage2", [])]


def spoilt_network(file, value, tries):
    def make(starts, scratch):
        """A network whose weights are no numbers."""
        folder = mixed(starts, scratch, f"{file}_{value}")
        state = torch.load(folder / f"checkpoints/{file}.pt", weights_only=True)
        state["weights"] = {name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
                            for name, tensor in state["weights"].items()}
        putting(f"checkpoints/{file}.pt", pt(state))(folder)
        return folder, tries
    return make


def other_tie(file, key, tries):
    def make(starts, scratch):
        """A network that says it belongs to something else."""
        folder = mixed(starts, scratch, f"{file}_{key}")
        state = torch.load(folder / f"checkpoints/{file}.pt", weights_only=True)
        putting(f"checkpoints/{file}.pt", pt(state | {key: "0" * 16}))(folder)
        return folder, tries
    return make


def foreign_fingerprint(key):
    def make(starts, scratch):
        """An error model that says it belongs to something else."""
        folder = mixed(starts, scratch, f"fingerprint_{key}")
        with np.load(folder / "data/error_model.npz") as file:
            arrays = {name: file[name] for name in file.files}
        putting("data/error_model.npz", npz(arrays | {key: np.array("0" * 16)}))(folder)
        return folder, [("train_stage2", [])]
    return make


def link(source, target):
    folders.clear(target)
    shutil.copy(source, target)


ABSENT = (("test_stage1", "checkpoints/stage1.pt"), ("generate_train_output", "checkpoints/stage1.pt"),
          ("train_stage1", "data/dataset.json"), ("train_stage2", "data/train_output.npy"),
          ("train_stage2", "data/error_model.npz"), ("train_stage2", "data/deltas.npy"),
          ("test_stage2", "checkpoints/stage1.pt"), ("test_stage2", "data/dataset.json"),
          ("test_stage1", "data/test_images.npy"))
MIXED = {
    "stage 1 trained again": stage1_again,
    "stage 1 trained again and its output generated": stage1_again_then_generated,
    "a new split": new_split,
    "a new split, and the old networks' output generated": new_split_generated,
    "training persons among the test persons": other_test_set,
    "another data set's arrays": other_figures,
    "another data set's train_output.npy": other_output,
    "an older error_model.npz": older_error_model,
    "older deltas.npy": older_deltas,
    "arrays of another --context": other_context,
    **{f"an older {name}.npy": older_array(name) for name in (
        "train_images", "train_labels", "train_split", "train_head_sizes", "test_images", "test_labels",
        "test_head_sizes")},
    "one joint's file under another's name": swapped_joint,
    "stage 2's files under stage 3's names": joint_of_stage_3,
    "a stage 1 of NaN": spoilt_network("stage1", float("nan"), [
        ("test_stage1", []), ("generate_train_output", []), ("test_stage2", [])]),
    "a stage 1 of infinities": spoilt_network("stage1", float("inf"), [("test_stage1", [])]),
    "a joint's network of NaN": spoilt_network("stage2_neck", float("nan"), [
        ("test_stage2", []), ("generate_train_output", ["--stage", "2"])]),
    "a stage 1 of another split": other_tie("stage1", "split", [
        ("test_stage1", []), ("generate_train_output", []), ("test_stage2", [])]),
    "a joint's network of another stage 1's output": other_tie("stage2_neck", "refines", [("test_stage2", [])]),
    **{f"an error model of another {key}": foreign_fingerprint(key) for key in (
        "fingerprint", "labels", "poses", "deltas")},
}
