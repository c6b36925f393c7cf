"""Bad flags of every script, and folders that can't be read or written."""
import re

import faults_folders as folders
import faults_trial as trial
from faults_trial import Case, script

SCRIPTS = ("demo_data", "demo", *trial.STEPS)
CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*)(?:: ([^=]+))? = (.+?)  +# (.*)$", re.MULTILINE)
RANGE = re.compile(r"([-+.\de]+) \.\.\. ([-+.\de]+)(, rising)?:")
CHOICES = re.compile(r"([\w.-]+(?: \| [\w.-]+)+)")
# what makes no sense together, or with forty figures
NONSENSE = {
    "lsp_data": ["--lsp-train-images 40", "--lsp-train-images 1000000", "--validation-share 1", "--crop-size 0",
                 "--context 0.5", "--copy-scale 1.2 0.8", "--copy-scale 0 1", "--download-from", "--workers -1",
                 "--largest-unreadable 2", "--duplicate-distance 256", "--copy-flip 1.5", "--seed -1"],
    "train_stage1": ["--epochs 0", "--batch-size 0", "--batch-size -8", "--scale 0 1", "--scale 1.2 0.8",
                     "--learning-rate -1", "--learning-rate 0", "--average-decay 2", "--average-decay 1",
                     "--dropout 1", "--dropout -0.1", "--flip 1.5", "--colour -1",
                     "--momentum -1", "--weight-decay -1", "--step-epochs 9 3", "--clip 0", "--clip -1",
                     "--patience -1", "--warmup-epochs -1", "--frozen-stages -1", "--frozen-stages 99",
                     "--input-size 0", "--input-size -32", "--network integral --input-size 40",
                     "--network integral --loss rle", "--backbone resnet19", "--backbone vgg16", "--device cuda:99",
                     "--device abc", "--device cpu:x", "--seed -1", "--rotation 1e9", "--shift -1"],
    "train_stage2": ["--joints nose", "--joints neck nose", "--stage 1", "--stage 0", "--stage -2", "--crop-size 66",
                     "--crop-size 0", "--width 0", "--width -1", "--sigma 0", "--sigma -2", "--epochs 0",
                     "--crops-per-image 0", "--batch-size 0", "--shared-network --joints neck", "--device cuda:99",
                     "--scale 1.2 0.8", "--scale 0 1", "--dropout 1", "--average-decay 2", "--flip -1", "--stage 4",
                     "--learning-rate 0", "--seed -1"],
    "test_stage1": ["--batch-size 0", "--batch-size -1", "--device abc", "--seed -1"],
    "test_stage2": ["--batch-size 0", "--batch-size -1", "--device abc", "--seed -1"],
    "generate_train_output": ["--stage 0", "--stage -1", "--stage 3", "--batch-size 0", "--device abc", "--seed -1"],
    "demo_data": ["--figures 0", "--figures -1", "--seed -1", "--workers -1"],
    "demo": ["--train-figures 0", "--test-figures 0", "--validation-share 1", "--validation-share 0",
             "--stage1-epochs 0", "--stage2-epochs 0", "--seed -1"],
}


def flag_cases():
    for step in SCRIPTS:
        restart = ["--restart"] if hasattr(script(step), "RESTART") else []

        def case(*flags, mention=(), restart=restart, step=step):
            # too many values, or one such as -1e18 that looks like a flag, are told by themselves
            return Case("flags", " ".join(flags), step, [*restart, *flags], statuses=(2,),
                        mention=mention or (flags[0], f"unrecognized arguments: {flags[-1]}"))

        for words in NONSENSE[step]:
            flags = words.split()
            yield case(*flags, mention=tuple(f for f in flags if f.startswith("--")) + tuple(flags[1:2]) + (
                ("stage",) if "--stage" in flags else ()))
        for wrong in (["--nonsense", "1"], ["nonsense"], ["--seed"], ["--seed", "1", "2"], ["-x"], ["--seeds", "1"],
                      ["--see", "1"]):
            yield case(*wrong, mention=(wrong[0], wrong[-1], "--seed"))
        source = (trial.ROOT / f"{step}.py").read_text(encoding="utf-8")
        for name, annotation, default, note in CONSTANT.findall(source):
            flag = "--" + name.lower().replace("_", "-")
            for values in bad_values(annotation, default, note):
                yield case(flag, *values)
            if (is_number(annotation, default)) and not RANGE.match(note):
                yield Case("flags", f"{name} has no range in its comment", step, [flag, "1e999"], statuses=())


def is_number(annotation, default):
    return bool(re.match(r"-?\.?\d|\(-?\.?\d", default) or re.search(r"\b(int|float)\b", annotation))


def bad_values(annotation, default, note):
    """Values that a constant can't take, each a list of words."""
    limits, choices = RANGE.match(note), CHOICES.match(note)
    count = default.count(",") + (not default.rstrip(")").endswith(",")) if default.startswith("(") else 1
    many = "..." in annotation
    if choices:
        return [["odd"], [""], [choices[1].split(" | ")[0].upper() + "x"], []]
    if default in ("True", "False"):
        return []
    if not is_number(annotation, default):
        return []
    whole = "int" in annotation or not annotation and not re.search(r"[.e]", default)
    words = ["text", "nan", "inf", "", "1,5"] + (["1.5"] if whole else [])
    if limits:
        low, high = float(limits[1]), float(limits[2])
        beyond = [low - 1, high + 1, -1e18, 1e18]
        words += [str(int(number)) if whole else repr(number) for number in beyond
                  if not low <= (int(number) if whole else number) <= high]
    values = [[word] * count for word in words]
    if count > 1 and not many:
        values += [["1"] * (count + 1), ["1"] * (count - 1)]
        if limits and limits[3]:
            values.append([repr(high), repr(low)][:count])
    if count == 1 and not many:
        values.append([])
    return values


OUTPUTS = {"lsp_data": ("data_dir", "run_dir"), "train_stage1": ("checkpoint_dir", "run_dir"),
           "test_stage1": ("run_dir",), "generate_train_output": ("data_dir",),
           "train_stage2": ("checkpoint_dir", "run_dir"), "test_stage2": ("run_dir",)}
INPUTS = {"lsp_data": ("raw_dir",), "train_stage1": ("data_dir",), "test_stage1": ("data_dir", "checkpoint_dir"),
          "generate_train_output": ("data_dir", "checkpoint_dir"), "train_stage2": ("data_dir",),
          "test_stage2": ("data_dir", "checkpoint_dir")}
WRITTEN = {"lsp_data": ("data/train_images.npy", "data/test_labels.npy", "data/train_split.npy", "data/dataset.json",
                        "runs/dataset.png"),
           "train_stage1": ("checkpoints/stage1.pt", "checkpoints/stage1_last.pt", "runs/stage1_training.csv"),
           "test_stage1": ("runs/stage1.json", "runs/stage1_predictions.npy", "runs/stage1.png", "runs/stage1_pdj.png"),
           "generate_train_output": ("data/train_output.npy", "data/error_model.npz", "data/deltas.npy"),
           "train_stage2": ("checkpoints/stage2_neck.pt", "checkpoints/stage2_neck_last.pt",
                            "runs/stage2_training.csv"),
           "test_stage2": ("runs/stage2.json", "runs/stage2_predictions.npy", "runs/stage2.png")}
# in words, its name, what makes it
NO_FOLDERS = (("a file", "x", lambda path: folders.put(path, b"of the user's")), ("a FIFO", "x", folders.put_fifo),
              ("a link to itself", "x", folders.put_link(None)), ("a device", "/dev/null", None),
              ("of a name too long", "n" * 300, None))
ANEW = {"train_stage1": ["--restart"], "train_stage2": ["--joints", "neck", "--restart"]}


def folder_cases():
    for step in trial.STEPS:
        flags = ANEW.get(step, [])
        for kind in OUTPUTS[step]:
            usual = trial.FOLDERS[kind.upper()]
            for what, name, make in (*NO_FOLDERS, ("read-only", usual, read_only), ("in /proc", "/proc/nowhere", None),
                                     ("below a file", "x/y", lambda path: folders.put(path.parent, b"the user's")),
                                     ("a link to nowhere deep", "x", folders.put_link("/proc/nowhere/deep"))):
                if kind == "data_dir" and step == "generate_train_output" and what != "read-only":
                    continue  # it is read first
                spoil = (lambda folder, make=make, name=name: make(folder / name)) if make else None
                yield Case("folders", f"--{kind.replace('_', '-')} is {what}", step, flags, spoil,
                           (name.split("/")[-1], name), (1, 2), inside=trial.hold_to_permissions,
                           folders={kind: name})
        for kind in INPUTS[step]:
            usual = trial.FOLDERS[kind.upper()]
            for what, name, make in (*NO_FOLDERS, ("unreadable", usual, unreadable), ("absent", "x", None),
                                     ("empty", "x", lambda path: path.mkdir())):
                spoil = (lambda folder, make=make, name=name: make(folder / name)) if make else None
                yield Case("folders", f"--{kind.replace('_', '-')} is {what}", step, flags, spoil,
                           (name.split("/")[-1], name), (1, 2), inside=trial.hold_to_permissions,
                           folders={kind: name})
        for file in WRITTEN[step]:
            yield Case("folders", f"a folder lies where {file} goes", step, flags,
                       lambda folder, file=file: folders.put_folder(folder / file), (file.split("/")[-1],), (1, 2),
                       rewrites=True)


def read_only(path):
    path.chmod(0o555)


def unreadable(path):
    path.chmod(0)
