"""Figures that every test shares, drawn once a run."""
import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import narrow  # noqa: E402, F401

torch.set_num_threads(1)  # the tests' networks are too small to share
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the scripts that tests start would not stop


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory):
    """A raw folder as the user keeps it, with 40 drawn figures in place of LSP: 30 to train on, 10 to test."""
    from figures import lsp
    folder = tmp_path_factory.mktemp("raw")
    lsp.write(folder / "lsp_dataset", count=40, seed=7, workers=1)
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """The pictures of crops are empty files: drawing them takes longer than the rest of step 1 on a few figures."""
    def touch(path, *given, **more):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr("deeppose.drawing.contact_sheet", touch)
