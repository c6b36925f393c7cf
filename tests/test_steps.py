"""Steps one after another: recorded, gone on with, refused where they are others; presets and run.py."""
import importlib.util
import json
import sys
import textwrap

import pytest
import torch

import demo
import lsp_data
import run as run_script
import train_stage1
import train_stage2
from deeppose.errors import Failure, UserError
from deeppose.reports import PROJECT
from deeppose.settings import parse_settings, preset_names, read_preset
from deeppose.steps import command_of, labels, run_steps

CALLS = []


SCRIPT = '''"""A step."""

DATA_DIR = "data"  # arrays
STAGE = 2          # 2 ... 99: which
LAST = False       # whether it is the last
'''


@pytest.fixture
def script(tmp_path_factory, monkeypatch):
    """Makes a step of a name, of SCRIPT and further constants, that notes how it is called and can fail."""
    CALLS.clear()

    def make(name, more=""):
        path = tmp_path_factory.mktemp(name) / f"{name}.py"
        path.write_text(SCRIPT + more)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, name, module)
        module.failing = False

        def main(flags):
            CALLS.append((name, flags))
            if module.failing:
                raise KeyboardInterrupt

        module.main = main
        return module
    return make


@pytest.fixture
def modules(script):
    return [script("first"), script("second")]


def test_steps_get_the_folders_that_they_know(modules, tmp_path):
    seconds = run_steps([(modules[0], ["--x", 3]), (modules[1], ["--data-dir", "there"])], tmp_path, 7, "cpu")
    assert CALLS == [("first", ["--x", "3", "--data-dir", str(tmp_path / "data")]),
                     ("second", ["--data-dir", "there"])]
    assert list(seconds) == ["first.py", "second.py"] and not (tmp_path / "steps.json").exists()


def test_a_step_that_gave_way_to_others_leaves_the_next_its_threads(modules, tmp_path, monkeypatch):
    seen = []

    def main(flags):
        seen.append(torch.get_num_threads())
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for module in modules:
            monkeypatch.setattr(module, "main", main)
        run_steps([(module, []) for module in modules], tmp_path, 0, "cpu")
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 2]


def test_what_is_recorded_is_not_run_again_but_the_last_step_is(modules, tmp_path, capsys):
    first, second = modules
    steps = [(first, []), (second, []), (second, ["--stage", "3"])]
    second.failing = True
    with pytest.raises(KeyboardInterrupt):
        run_steps(steps, tmp_path, 0, "cpu", record=True)
    second.failing = False
    run_steps(steps, tmp_path, 0, "cpu", record=True)
    assert [name for name, _ in CALLS] == ["first", "second", "second", "second"]
    assert "finished already: python first.py" in capsys.readouterr().out
    run_steps(steps, tmp_path, 0, "cpu", record=True)
    assert [name for name, _ in CALLS][4:] == ["second"]
    run_steps([(first, []), (second, []), (first, []), (second, ["--stage", "3"])], tmp_path, 0, "cpu", record=True)
    assert [name for name, _ in CALLS][5:] == ["first", "second"]  # what comes again is a step of its own
    with pytest.raises(UserError, match="holds a run of 'python first.py' where now 'python first.py --last' is asked"):
        run_steps([(first, ["--last"])], tmp_path, 0, "cpu", record=True)


def test_another_seed_raw_folder_or_setting_is_refused_and_a_step_that_runs_has_later_ones_run(script, tmp_path):
    first = script("first", 'SEED = 0  # 0 ... 9: of all\nRAW_DIR = "raw"  # raw data\n')
    second = script("train_stage1", "EPOCHS = 1  # 1 ... 9: passes\nWORKERS = 0  # 0 ... 9: processes\n")
    preset = tmp_path / "own.toml"
    preset.write_text("[train_stage1]\nepochs = 3")
    steps = [(first, []), (second, ["--preset", str(preset)]), (first, ["--last"])]
    run_steps(steps, tmp_path / "run", 0, "cpu", "raw", record=True)
    for seed, raw, epochs, script, what in ((1, "raw", 3, "first", r"seed \(0, now 1\)"),
                                            (0, "other", 3, "first", r"raw folder \(raw, now other\)"),
                                            (0, "raw", 4, "train_stage1", r"epochs \(3, now 4\)")):
        preset.write_text(f"[train_stage1]\nepochs = {epochs}")
        with pytest.raises(UserError, match=rf"steps.json holds a run of 'python {script}.py\b.*' with another {what}; "
                                            "ask for the same, name another folder, or remove"):
            run_steps(steps, tmp_path / "run", seed, "cpu", raw, record=True)
    preset.write_text("# another comment\n[train_stage1]\nepochs = 3\nworkers = 2")  # which changes no result
    second.LAST = True  # its constant, edited
    with pytest.raises(UserError, match=r"another last \(False, now True\)"):
        run_steps(steps, tmp_path / "run", 0, "cpu", "raw", record=True)
    second.LAST = False
    first.main = lambda flags: 1 / 0  # a step that never finished is held to nothing
    with pytest.raises(ZeroDivisionError):
        run_steps(steps, tmp_path / "other", 0, "cpu", "wrong", record=True)
    first.main = lambda flags: CALLS.append(("first", flags))
    run_steps(steps, tmp_path / "other", 1, "cpu", "right", record=True)
    CALLS.clear()
    run_steps(steps, tmp_path / "run", 0, "cpu", "raw", record=True)
    assert [name for name, _ in CALLS] == ["first"]  # the last
    path = tmp_path / "run/steps.json"
    record = json.loads(path.read_text())
    del record["train_stage1.py"]
    record["first.py"].pop("asked")  # an older one
    path.write_text(json.dumps(record))
    CALLS.clear()
    run_steps([*steps[:2], (first, ["--stage", "2"]), steps[2]], tmp_path / "run", 0, "cpu", "raw", record=True)
    assert [name for name, _ in CALLS] == ["train_stage1", "first", "first"]
    path.write_text("{")
    with pytest.raises(Failure, match="steps.json is broken; remove it: what is trained stays"):
        run_steps(steps, tmp_path / "run", 0, "cpu", "raw", record=True)


def test_labels_and_commands(modules):
    first, second = modules
    assert labels([(first, ["--stage", 3]), (second, []), (first, []), (second, []), (second, ["--x"])]) == [
        "first.py --stage 3", "second.py", "first.py", "second.py (2)", "second.py (3)"]
    if sys.platform != "win32":
        assert command_of(modules[0], ["--dir", "a b"]) == "python first.py --dir 'a b'"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_one_that_its_scripts_take(name):
    taken(name, read_preset(name))


def taken(name, content):
    """Each setting of a preset arrives at its script."""
    for section in [key for key, value in content.items() if isinstance(value, dict)]:
        script = importlib.import_module(section)
        settings = vars(parse_settings(vars(script), ["--preset", name]))
        for key, value in content[section].items():
            assert settings[key] == (tuple(value) if isinstance(value, list) else value), (section, key)


def test_the_guides_own_preset_is_one(tmp_path):
    guide = (PROJECT / "docs/own_dataset.md").read_text(encoding="utf-8")
    block = guide[guide.index('    data = "coco_data"'):guide.index("\nand run all of it")]
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(block))
    content = read_preset(str(path))
    assert content["data"] == "coco_data" and {"coco_data", "train_stage1", "test_stage1"} < content.keys()
    taken(str(path), content)


def test_the_papers_preset_is_the_constants_as_they_stand():
    for script in (lsp_data, train_stage1, train_stage2):
        plain, paper = (vars(parse_settings(vars(script), flags)) for flags in ([], ["--preset", "paper"]))
        assert plain | {"preset": "paper"} == paper


def test_a_flag_goes_before_a_preset():
    settings = parse_settings(vars(train_stage1), ["--epochs", "3", "--preset", "small"])
    assert (settings.epochs, settings.backbone, settings.preset) == (3, "resnet18", "small")


@pytest.mark.parametrize("text, message", [
    ("[train_stage1]\nepoch = 3", "preset's [train_stage1] epoch: no such setting; did you mean epochs?"),
    ("[train_stage1]\nEPOCHS = 3", "preset's [train_stage1] EPOCHS: no such setting"),
    ("stage = 1", "own.toml has stage = 1 outside of any section"),
    ("epochs = 3\n[train_stage1]\nloss = 'mse'", "own.toml has epochs = 3 outside of any section"),
    ("stages = '1'", "own.toml has stages = '1', expected 1 ... 99"),
    ("stages = 2.0", "own.toml has stages = 2.0, expected 1 ... 99"),
    ("[train_stag1]\nepochs = 3", "has a section [train_stag1]; did you mean train_stage1?"),
    ("data = 'mpi_data'", "has data = 'mpi_data', expected the script that prepares them"),
    ("[train_stage1]\nepochs = 3.5", "epochs = 3.5, expected int"),
    ("[train_stage1]\nepochs = true", "epochs = True, expected int"),
    ("[train_stage1]\nresume = 1", "resume = 1, expected bool"),
    ("[train_stage1]\nscale = [1]", "scale = [1], expected a list of 2 float"),
    ("[train_stage1]\nscale = 1", "scale = 1, expected a list of 2 float"),
    ("[train_stage1]\noversample = [3]", "oversample = [3], expected a list of str"),
    ("[train_stage1]\nclip = 'x'", "clip = 'x', expected float"),
    ("[train_stage1]\nepochs = 0", "--epochs is 0, expected 1 ... 100000"),
    ("[train_stage1]\nloss = 'l1'", "--loss is 'l1', expected mse | smooth_l1 | rle"),
    ("[train_stage1", "can't be read ("),
    ("\x00", "can't be read ("),
])
def test_a_preset_that_makes_no_sense_is_told_in_a_line(tmp_path, capsys, text, message):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        parse_settings(vars(train_stage1), ["--preset", str(path)])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and message in told and told.startswith("error: ") and told.count("\n") == 1


def test_a_preset_may_hold_none_and_lists(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[train_stage1]\nclip = "none"\nscale = [1, 2]\nstep_epochs = []\noversample = ["lsp=2"]\n')
    settings = parse_settings(vars(train_stage1), ["--preset", str(path)])
    assert (settings.clip, settings.scale, settings.step_epochs, settings.oversample) == (None, (1.0, 2.0), (),
                                                                                         ("lsp=2",))


def test_a_preset_may_be_like_another_but_for_its_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('like = "lite-cascade"\nstages = 1\n[train_stage1]\nepochs = 3\n[lsp_data]\ncrop_size = 96\n')
    content, lite, cascade = (read_preset(name) for name in (str(path), "lite", "lite-cascade"))
    assert (content["stages"], cascade["stages"], content["data"]) == (1, 2, "lsp_data")
    assert content["train_stage1"] == lite["train_stage1"] | {"epochs": 3}
    assert content["train_stage2"] == cascade["train_stage2"] and content["lsp_data"] == {"crop_size": 96}
    settings = parse_settings(vars(train_stage1), ["--preset", str(path)])
    assert (settings.epochs, settings.backbone) == (3, "efficientnet_lite0")
    for text, message in (("like = 'lit'", r"there is no preset 'lit'; did you mean lite\? There are: "),
                          ("like = 'gone.toml'", "preset .*gone.toml not found"),
                          ("like = 'qqq'", "'qqq'; there are: "), ("like = 'own.toml'", "in a circle"),
                          ("like = 'lite'\ntrain_stage1 = 3", r"expected a section \[train_stage1\]")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_preset(str(path))


def test_run_py_takes_all_steps_of_a_preset(monkeypatch, tmp_path, capsys):
    taken = {}

    def noted(steps, folder, *more, **keywords):
        taken.update(steps=[command_of(*step) for step in steps], folder=folder, more=more)
        return {}

    monkeypatch.setattr(run_script, "run_steps", noted)
    run_script.main(["--preset", "small", "--folder", str(tmp_path), "--raw-dir", "raw"])
    told, folder = capsys.readouterr().out, tmp_path / "small"
    assert told.endswith(f"python report.py --data-dir {folder / 'data'} --checkpoint-dir {folder / 'checkpoints'} "
                         f"--run-dir {folder / 'runs'}\non other pictures: python predict.py PICTURES --checkpoint-dir "
                         f"{folder / 'checkpoints'}\n")
    assert taken["folder"] == tmp_path / "small" and taken["more"] == (0, "auto", "raw")
    assert taken["steps"] == [f"python {step}" for step in (
        "lsp_data.py --preset small", "train_stage1.py --preset small", "calibrate.py --preset small",
        "test_stage1.py --preset small",
        "generate_train_output.py --preset small", "train_stage2.py --preset small",
        "generate_train_output.py --preset small --stage 2", "train_stage2.py --preset small --stage 3",
        "calibrate.py --preset small", "test_stage2.py --preset small")]
    run_script.main(["--preset", "small", "--stages", "1"])
    assert len(taken["steps"]) == 4
    for name, flags in (("lite", " --flip-test"), ("lite-cascade", "")):  # whose own section sets it
        run_script.main(["--preset", name, "--stages", "3"])
        assert [step for step in taken["steps"] if "generate" in step] == [
            f"python generate_train_output.py --preset {name}{end}" for end in (flags, " --stage 2")]
    taken.clear()  # what is wrong with a later step is told before the first
    (tmp_path / "own.toml").write_text("[train_stage2]\nepoch = 3")
    with pytest.raises(SystemExit):
        run_script.main(["--preset", str(tmp_path / "own.toml")])
    assert "[train_stage2] epoch: no such setting; did you mean epochs?" in capsys.readouterr().err and not taken
    with pytest.raises(UserError, match="python run.py --preset NAME, one of alexnet-.*, paper, paper-cpu, scratch, "
                                        "small, or"):
        run_script.main([])
    for name, command in (("demo", "python demo.py$"), ("demo_mpii", "python demo.py --dataset mpii$")):
        with pytest.raises(UserError, match=f"'{name}' are drawn by demo.py; run: {command}"):
            run_script.main(["--preset", name])


def test_the_demos_preset_holds_what_the_demo_says():
    assert read_preset("demo")["lsp_data"]["lsp_train_images"] == demo.TRAIN_FIGURES
    commands = [command_of(*step) for step in demo.steps(parse_settings(vars(demo), ["--stage2-epochs", "5"]))]
    assert commands == [f"python {step}" for step in (
        "demo_data.py --figures 1350", "lsp_data.py --preset demo --lsp-train-images 1150 --validation-share 0.13",
        "train_stage1.py --preset demo --epochs 20", "calibrate.py --preset demo", "test_stage1.py --preset demo",
        "generate_train_output.py --preset demo", "train_stage2.py --preset demo --epochs 5",
        "calibrate.py --preset demo", "test_stage2.py --preset demo")]


@pytest.mark.parametrize("name, drawn, divided", [
    ("mpii", "--dataset mpii --figures 1350 --test-figures 200", "--test-share 0.1481 --validation-share 0.13"),
    ("k2hpd", "--dataset k2hpd --figures 1350 --test-figures 200", "--validation-share 0.13")])
def test_other_data_sets_demos_have_presets_of_their_own(name, drawn, divided):
    commands = [command_of(*step) for step in demo.steps(parse_settings(vars(demo), ["--dataset", name]))]
    assert commands[:2] == [f"python demo_data.py {drawn}", f"python {name}_data.py --preset demo_{name} {divided}"]
    assert commands[2].startswith(f"python train_stage1.py --preset demo_{name} --epochs ") and len(commands) == 9
