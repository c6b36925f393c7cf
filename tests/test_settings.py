"""Constants as flags."""
import importlib.util
import sys
from argparse import Namespace

import pytest

from deeppose.settings import next_command, parse_settings

SCRIPT = '''"""Does a thing, 100% of it.

Not part of the help.
"""
EPOCHS = 3                        # passes over 100% of the data
RATE = 5e-4                       # step size
MODE = "fast"                     # fast | slow: how to go
RESUME = False                    # go on
SCALE = (0.5, 2.0)                # least and largest
NAMES: tuple[str, ...] = ()       # all if empty
LIMIT: float | None = None        # none = unlimited
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
                              "names": (), "limit": None, "path": "data"}


def test_flags_override(script):
    flags = "--epochs 5 --rate 1e-3 --mode slow --resume --scale 1 3 --names a b --limit 2.5 --path there".split()
    settings = parse_settings(script, flags)
    assert vars(settings) == {"epochs": 5, "rate": 1e-3, "mode": "slow", "resume": True, "scale": (1.0, 3.0),
                              "names": ("a", "b"), "limit": 2.5, "path": "there"}
    assert parse_settings(script, ["--limit", "none", "--no-resume", "--names"]).limit is None


@pytest.mark.parametrize("flags, message", [
    (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
    (["--mode", "odd"], "argument --mode: invalid choice: 'odd'"),
    (["--scale", "1"], "argument --scale: expected 2 arguments"),
    (["--limit", "big"], "argument --limit: invalid float value: 'big'"),
    (["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
    (["--quite-another", "3"], "unrecognized arguments: --quite-another 3\n"),
])
def test_wrong_flags_say_so(script, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, flags)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert message in text and text.startswith("error: ") and text.count("\n") == 2


def test_the_next_command_carries_unusual_folders_that_it_has(script):
    script |= {"DATA_DIR": "data", "RUN_DIR": "runs"}
    settings = Namespace(data_dir="there", run_dir="runs", epochs=5)
    assert next_command(script, settings, "a.py --b") == "next: python a.py --b --data-dir there"
    assert next_command(script, settings, "a.py", ()) == "next: python a.py"


def test_help_shows_the_first_paragraph_and_each_comment(script, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_settings(script, ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Does a thing, 100% of it." in text and "Not part of the help" not in text
    assert "passes over 100% of the data (default: 3)" in text and "(default: none)" in text
