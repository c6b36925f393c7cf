"""Constants as flags."""
import ast
import contextlib
import importlib.util
import shlex
import sys
from argparse import Namespace

import pytest

import deeppose.settings as settings_module
from deeppose.reports import PROJECT
from deeppose.settings import next_command, parse_settings

SCRIPT = '''"""Does a thing, 100% of it.

Not part of the help.
"""
EPOCHS = 3                        # 1 ... 1000: passes over 100% of the data
RATE = 5e-4                       # 1e-12 ... 1: step size
MODE = "fast"                     # fast | slow: how to go
RESUME = False                    # go on
SCALE = (0.5, 2.0)                # 0.1 ... 10, rising: least and largest
NAMES: tuple[str, ...] = ()       # all if empty
LIMIT: float | None = None        # 0 ... 1e9: none = unlimited
PATH = "data"                     # where
UNLISTED = 1
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script_under_test.py"
    path.write_text(SCRIPT)
    spec = importlib.util.spec_from_file_location("script_under_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["script_under_test"] = module
    spec.loader.exec_module(module)
    yield vars(module)
    del sys.modules["script_under_test"]


def test_defaults_are_the_constants(script):
    settings = parse_settings(script, [])
    assert vars(settings) == {"epochs": 3, "rate": 5e-4, "mode": "fast", "resume": False, "scale": (0.5, 2.0),
                              "names": (), "limit": None, "path": "data", "preset": None}


def test_flags_override(script):
    flags = "--epochs 5 --rate 1e-3 --mode slow --resume --scale 1 3 --names a b --limit 2.5 --path there".split()
    settings = parse_settings(script, flags)
    assert vars(settings) == {"epochs": 5, "rate": 1e-3, "mode": "slow", "resume": True, "scale": (1.0, 3.0),
                              "names": ("a", "b"), "limit": 2.5, "path": "there", "preset": None}
    assert parse_settings(script, ["--limit", "none", "--no-resume", "--names"]).limit is None


@pytest.mark.parametrize("flags, message", [
    (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
    (["--mode", "odd"], "argument --mode: invalid choice: 'odd'"),
    (["--scale", "1"], "argument --scale: expected 2 arguments"),
    (["--limit", "big"], "argument --limit: invalid float value: 'big'"),
    (["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
    (["--quite-another", "3"], "unrecognized arguments: --quite-another 3; script_under_test.py --help lists the"),
])
def test_wrong_flags_say_so(script, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, flags)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert message in text and text.startswith("error: ") and text.count("\n") == 1


def test_of_several_processes_the_first_tells_a_mistake(script, capsys, monkeypatch):
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as stop:
            parse_settings(script, ["--epochs", "0"])
        assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == lines


@pytest.mark.parametrize("flags, message", [
    (["--epochs", "0"], "--epochs is 0, expected 1 ... 1000 (script_under_test.py, line 5: 1 ... 1000: passes over"),
    (["--epochs", "-3"], "--epochs is -3, expected 1 ... 1000"),
    (["--epochs", "1001"], "--epochs is 1001, expected"),
    (["--rate", "0"], "--rate is 0.0, expected 1e-12 ... 1"),
    (["--rate", "nan"], "--rate is nan, expected finite numbers"),
    (["--limit", "inf"], "--limit is inf, expected finite numbers"),
    (["--scale", "2", "1"], "--scale is 2.0 1.0, expected the smaller number first"),
    (["--scale", "0", "1"], "--scale is 0.0 1.0, expected 0.1 ... 10"),
    (["--path", " "], "--path is empty"),
])
def test_a_value_out_of_its_range_is_told_with_the_settings_line(script, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, flags)
    text = capsys.readouterr().err
    assert stop.value.code == 2 and message in text and text.startswith("error: ") and text.count("\n") == 1


@pytest.mark.parametrize("name, value, message", [
    ("EPOCHS", 0, "--epochs is 0, expected 1 ... 1000"), ("MODE", "quick", "--mode is 'quick', expected fast | slow"),
    ("SCALE", (3.0, 1.0), "the smaller number first"), ("EPOCHS", 2.5, "--epochs is 2.5, expected a whole number")])
def test_a_value_set_in_the_file_is_held_to_its_range_too(script, capsys, name, value, message):
    script[name] = value
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, [])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("name, value, flags, preset, expected", [
    ("RATE", 1, [], {}, 1.0), ("RATE", 1, ["--rate", "0.5"], {}, 0.5),
    ("RATE", 1, ["--preset", "own"], {"rate": 0.25}, 0.25),
    ("SCALE", (1, 2), ["--scale", "0.5", "1.5"], {}, (0.5, 1.5)),
    ("SCALE", (1, 2), ["--preset", "own"], {"scale": [0.5, 2]}, (0.5, 2.0)),
    ("LIMIT", 1.5, ["--limit", "none"], {}, None), ("LIMIT", 1.5, ["--preset", "own"], {"limit": "none"}, None),
    ("LIMIT", 2, ["--limit", "0.5"], {}, 0.5), ("EPOCHS", 7, ["--epochs", "4"], {}, 4)])
def test_a_constant_may_be_edited_to_any_number_of_its_range(script, monkeypatch, name, value, flags, preset, expected):
    script[name] = value
    monkeypatch.setattr(settings_module, "read_preset", lambda name: {"script_under_test": preset})
    found = getattr(parse_settings(script, flags), name.lower())
    assert found == expected and type(found) is type(expected)
    assert not isinstance(found, tuple) or {type(each) for each in found} == {float}


SCRIPTS = sorted(path for folder in (PROJECT, PROJECT / "benchmarks") for path in folder.glob("*.py")
                 if "parse_settings(globals(), argv)" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_number_among_a_scripts_settings_has_a_range_that_its_value_is_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id.isupper() and node.value:
            with contextlib.suppress(ValueError):
                annotation = getattr(node, "annotation", None)
                values[target.id] = ast.literal_eval(node.value), ast.unparse(annotation) if annotation else ""
    settings = settings_module._constants(path)
    assert len(settings) >= 3  # so many has the shortest
    for name in settings.keys() & values.keys():
        value, annotation = values[name]
        line, note = settings[name]
        elements = value if isinstance(value, tuple) else (value,)
        numbers = [n for n in elements if isinstance(n, (int, float)) and not isinstance(n, bool)]
        if numbers or "int" in annotation or "float" in annotation:
            assert settings_module.RANGE.match(note), f"{path.name}, line {line}: {name} = {value}  # {note}"
            assert settings_module._fault(value, value, note) is None
            real = "float" in annotation or any(isinstance(number, float) for number in numbers)
            assert settings_module._is_real(note) is real, f"{path.name}, line {line}: {name} = {value}  # {note}"


def test_the_next_command_carries_unusual_folders_that_it_has(script):
    script |= {"DATA_DIR": "data", "RUN_DIR": "runs"}
    settings = Namespace(data_dir="there", run_dir="runs", epochs=5)
    assert next_command(script, settings, "a.py --b") == "next: python a.py --b --data-dir there"
    assert next_command(script, settings, "a.py", ()) == "next: python a.py"
    settings.data_dir = "my data/it's"
    words = next_command(script, settings, "a.py").removeprefix("next: ")
    if sys.platform != "win32":
        assert shlex.split(words) == ["python", "a.py", "--data-dir", "my data/it's"]
    assert '"my data' in words or "'my data" in words


def test_help_shows_the_first_paragraph_and_each_comment(script, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Does a thing, 100% of it." in text and "Not part of the help" not in text
    assert "1 ... 1000: passes over 100% of the data (default: 3)" in text and "(default: none)" in text
