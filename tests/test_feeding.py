"""Crops that are read ahead of each batch, and by which way they come."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import deeppose.feeding
from deeppose import arrays
from deeppose.feeding import AHEAD, crops_fit, stream
from deeppose.persons import load_persons
from deeppose.skeletons import LSP

CPU = torch.device("cpu")


def numbered(count):
    """Crops that each hold their own number."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 4, 4, 3).contiguous()


@pytest.mark.parametrize("batches", [1, AHEAD - 1, AHEAD, 25])
def test_streamed_batches_are_the_indexed_ones_in_order(batches):
    crops, generator = numbered(200), torch.Generator().manual_seed(0)
    chosen = [torch.randint(0, 200, (7 - batch % 2,), generator=generator) for batch in range(batches)]
    seen = 0
    for rows, batch in zip(chosen, stream(crops, chosen, CPU), strict=True):
        kept = batch.clone()
        assert torch.equal(batch, crops[rows])
        sum(range(20000))  # time for a thread that must not touch this batch yet
        assert torch.equal(batch, kept)
        seen += 1
    assert seen == batches


def test_a_stream_left_early_or_broken_ends():
    crops = numbered(50)
    batches = stream(crops, [torch.tensor([1, 2])] * 30, CPU)
    next(batches)
    batches.close()  # would hang if a thread waited on
    with pytest.raises((IndexError, RuntimeError)):
        list(stream(crops, [torch.tensor([1]), torch.tensor([50])], CPU))


@pytest.mark.parametrize("name", ["mps", "cpu", "xpu"])
def test_a_buffer_is_written_again_only_after_its_copy_where_no_event_tells_of_it(name, monkeypatch):
    asked = []

    def copied(tensor, device, non_blocking=False):
        asked.append((device.type, non_blocking))
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "to", copied)
    crops, rows = numbered(20), [torch.tensor([3, 1]), torch.tensor([19])] * 5
    for chosen, batch in zip(rows, stream(crops, rows, SimpleNamespace(type=name)), strict=True):
        assert torch.equal(batch, crops[chosen])
    assert asked == [(name, False)] * 10


def test_crops_are_streamed_where_a_gpu_has_not_the_memory_for_them(monkeypatch):
    crops = numbered(100)
    assert crops_fit(crops, CPU)
    for free, fits in ((crops.nbytes / deeppose.feeding.LARGEST_SHARE + 1, True), (crops.nbytes, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2 * free))
        assert crops_fit(crops, SimpleNamespace(type="cuda")) is fits


def test_persons_come_streamed_or_resident_as_asked(tmp_path):
    crops, rows = numbered(6), {"source": ["lsp"] * 6, "image": [f"im{number:04d}.jpg" for number in range(6)]}
    labels = np.full((6, 14, 2), np.nan, np.float32)
    for split in ("train", "test"):
        for name, array in (("images", crops.numpy()), ("labels", labels), ("boxes", np.ones((6, 3), np.float32)),
                            ("head_sizes", labels[:, 0, 0])):
            arrays.save(tmp_path / f"{split}_{name}.npy", array)
    arrays.save(tmp_path / "train_split.npy", np.zeros(6, np.uint8))
    arrays.save_json(tmp_path / "dataset.json", {
        "dataset": "lsp", "skeleton": LSP.plain(), "crop_size": 4, "context": 1.5, "train": rows, "test": rows,
        "test_duplicates": [], "settings": {"test_boxes": "image"}, "digests": arrays.digests(tmp_path)})
    rows = [torch.tensor([5, 0]), torch.tensor([3])]
    for images, streamed in (("streamed", True), ("resident", False), ("auto", False)):
        persons = load_persons(tmp_path, "test", CPU, images)
        assert persons.streamed is streamed
        assert [crops[places, 0, 0, 0].tolist() for crops, places in persons.crop_batches(rows)] == [[5, 0], [3]]
