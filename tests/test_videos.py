"""Poses in films: frames read, drawn and written, and smoothed over time."""
import json
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import predict
from deeppose import smoothing, videos
from deeppose.errors import Failure, UserError
from figures.scene import draw_figure

QUICK = ["--threads", "1", "--passes", "1", "--doubt", "0", "--no-flip-test"]
RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="PyAV is not installed: pip install av")


@pytest.fixture(scope="module")
def scene():
    """Frames (12, 200, 150, 3) in which a figure goes to the right, and its joints (12, 14, 2)."""
    figure, joints = draw_figure(5, 1)
    frames, places = [], []
    for step in range(12):
        frame = Image.new("RGB", (150, 200), (90, 110, 90))
        frame.paste(figure, (2 + 2 * step, 10))
        frames.append(np.asarray(frame))
        places.append(joints[:, :2] + (2 + 2 * step, 10))
    return np.stack(frames), np.stack(places)


def film(av, path, frames, codec="libx264", layout="yuv420p", wide=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], layout
        if wide:
            stream.codec_context.sample_aspect_ratio = wide
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def run(*arguments):
    predict.main(list(map(str, arguments)))
    torch.set_num_threads(1)


def images_of(out):
    return json.loads((out / "predictions.json").read_text())["images"]


def test_a_film_comes_back_drawn_as_browsers_play_it(av, scene, tmp_path):
    source = film(av, tmp_path / "odd.mkv", scene[0][:, :199, :149], "ffv1", "yuv444p")
    run(source, "--out", tmp_path / "out", *QUICK, "--batch-size", "5")
    drawn = tmp_path / "out/odd.mkv.mp4"
    with av.open(str(drawn)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate, stream.frames) == (148, 198, RATE, 12)
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    content = drawn.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    found = images_of(tmp_path / "out")
    assert [image["frame"] for image in found] == list(range(12)) and found[0]["width"] == 149
    assert np.allclose([image["seconds"] for image in found], [float(number / RATE) for number in range(12)], atol=2e-3)
    joints = np.array([image["persons"][0]["joints"] for image in found])
    errors = np.linalg.norm(joints - scene[1], axis=2)
    assert np.median(errors) < 12  # of some 140 pixels' height
    changed = np.abs(pictures[5] - scene[0][5, :198, :148]).sum(2) > 120
    assert changed.mean() > 0.01 and (np.abs(pictures[5] - scene[0][5, :198, :148])[~changed] < 40).mean() > 0.95
    x, y = joints[5].mean(0).astype(int)
    assert changed[max(0, y - 60):y + 60, max(0, x - 40):x + 40].sum() > 0.5 * changed.sum()  # there, and nowhere else


@pytest.mark.parametrize("times", [[0, 0.04, 0.12, 0.12, 0.16], [0, 0.04, 0.121, 0.1215, 0.16], [0, 0.04, 0.12, 0.1]])
def test_times_only_rise(monkeypatch, times):
    frames = [SimpleNamespace(pts=round(10_000 * seconds), time_base=Fraction(1, 10_000), rotation=0,
                              to_ndarray=lambda format: np.zeros((2, 2, 3), np.uint8)) for seconds in times]
    container = SimpleNamespace(decode=lambda stream: frames)
    found = videos._frames(SimpleNamespace(FFmpegError=ValueError), container,
                           SimpleNamespace(sample_aspect_ratio=None), Fraction(25))
    seconds = [frame.seconds for frame in found]
    assert (np.diff(seconds) > 5e-5).all() and np.allclose(seconds, times, atol=0.025) and seconds[:2] == [0, 0.04]


def test_a_film_turned_by_its_file_is_upright(av, scene, tmp_path):
    path = film(av, tmp_path / "turned.mp4", np.ascontiguousarray(np.rot90(scene[0][:2], 1, (1, 2))))
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # a player shall turn it clockwise: x' = -y, y' = x
    content[matrix:matrix + 36] = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 150 << 16, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(content)
    run(path, tmp_path / "turned.mp4", "--out", tmp_path / "out", *QUICK)
    image = images_of(tmp_path / "out")[0]
    assert (image["width"], image["height"]) == (150, 200)
    assert np.median(np.linalg.norm(np.subtract(image["persons"][0]["joints"], scene[1][0]), axis=1)) < 12


def test_a_film_of_wide_pixels_is_looked_at_as_it_is_shown(av, scene, tmp_path):
    narrow = np.stack([np.asarray(Image.fromarray(frame).resize((100, 200))) for frame in scene[0][:2]])
    path = film(av, tmp_path / "wide.mkv", narrow, wide=Fraction(3, 2))
    run(path, "--out", tmp_path / "out", *QUICK)
    image = images_of(tmp_path / "out")[0]
    assert (image["width"], image["height"]) == (150, 200)
    assert np.median(np.linalg.norm(np.subtract(image["persons"][0]["joints"], scene[1][0]), axis=1)) < 12
    with av.open(str(tmp_path / "out/wide.mkv.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio or 1) == (150, 200, 1)
    run(film(av, tmp_path / "nonsense.mkv", narrow, wide=Fraction(1000)), "--out", tmp_path / "nonsense", *QUICK)
    assert images_of(tmp_path / "nonsense")[0]["width"] == 100


def test_broken_films_are_named_and_the_rest_is_done(av, scene, tmp_path, capsys):
    film(av, tmp_path / "whole.mp4", scene[0][:2])
    noise = np.random.default_rng(0).integers(0, 255, scene[0].shape, np.uint8)
    broken = film(av, tmp_path / "later.avi", noise, "mjpeg", "yuvj420p")
    content = bytearray(broken.read_bytes())
    starts = [place for place in range(len(content)) if content[place:place + 2] == b"\xff\xd8"]
    content[starts[5]:starts[6] - 8] = bytes(starts[6] - 8 - starts[5])  # the sixth picture
    broken.write_bytes(content)
    (tmp_path / "none.mov").write_bytes(b"no film")
    with pytest.raises(Failure, match="2 of 3 inputs can't be used, or not to their end"):
        run(tmp_path, "--out", tmp_path / "out", *QUICK)
    counts = [sum(image["file"].endswith(name) for image in images_of(tmp_path / "out"))
              for name in ("later.avi", "none.mov", "whole.mp4")]
    assert counts == [5, 0, 2]
    told = capsys.readouterr().err
    assert "later.avi: broken after 0.13 seconds" in told and "none.mov: no video that can be read" in told
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == ["later.avi.mp4", "whole.mp4"]


def test_a_box_beside_a_film_is_told_and_nothing_is_written_of_it(av, scene, tmp_path, capsys):
    film(av, tmp_path / "a.mp4", scene[0][:2])
    with pytest.raises(Failure, match="none of the inputs"):
        run(tmp_path / "a.mp4", "--box", "4000", "0", "4100", "90", "--out", tmp_path / "out")
    assert "the box 4000 0 4100 90 lies beside it" in capsys.readouterr().err
    assert not (tmp_path / "out/a.mp4").exists()


def test_without_pyav_a_film_is_told_and_photographs_do_not_need_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    Image.new("RGB", (40, 50)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match="PyAV, which is not installed; run: pip install av"):
        run(tmp_path, "--out", tmp_path / "out", *QUICK)
    assert not (tmp_path / "out").exists()
    run(tmp_path / "b.png", "--out", tmp_path / "photo", *QUICK)


def test_smoothed_columns_stand_beside_the_raw_ones(av, scene, tmp_path):
    source = film(av, tmp_path / "a.mp4", scene[0])
    run(source, "--out", tmp_path / "raw", *QUICK)
    run(source, "--out", tmp_path / "smooth", *QUICK, "--smoothing", "4")
    raw, smooth = images_of(tmp_path / "raw"), images_of(tmp_path / "smooth")
    assert [image["persons"][0]["joints"] for image in raw] == [image["persons"][0]["joints"] for image in smooth]
    first, second = (np.array([image["persons"][0][name] for image in smooth])
                     for name in ("joints", "joints_smoothed"))
    # of most joints: one that jumps from frame to frame is left to jump
    rough = [np.median(np.abs(np.diff(joints, 2, 0))) for joints in (first, second)]
    assert rough[1] < 0.5 * rough[0], rough
    headers = [(tmp_path / name / "predictions.csv").read_text().splitlines()[0] for name in ("raw", "smooth")]
    assert headers[1] == headers[0] + ",x_smoothed,y_smoothed"


def test_smoothing_halves_the_jitter_and_follows_motion():
    rng, time = np.random.default_rng(0), np.arange(90)[:, None, None] / 30
    phase = rng.uniform(0, 6, (1, 14, 2))
    truth = 100 + 30 * np.sin(2 * np.pi * 0.8 * time + phase)  # limbs that swing within a second
    noisy = truth + rng.normal(0, 3, truth.shape)
    frames = [(pose[None], np.array([[0.0, 0.0, 200.0]])) for pose in noisy]
    found = np.concatenate([smoothing.smoothed(recent, place) for recent, place in smoothing.windows(frames, 4)])
    jitter = [np.diff(poses - truth, axis=0).std() for poses in (noisy, found)]
    assert jitter[1] < 0.5 * jitter[0]
    right = [(np.linalg.norm(poses - truth, axis=2) < 0.2 * 50).mean() for poses in (noisy, found)]
    assert right[1] > right[0] - 0.01


def test_a_joint_that_jumps_is_not_put_between_and_a_spike_is_left_out():
    places = np.r_[[10.0] * 6, [90.0] * 6]  # mistaken for another from the seventh frame on
    places[3] = 60
    frames = [(np.full((1, 14, 2), place), np.array([[0.0, 0.0, 200.0]])) for place in places]
    found = [smoothing.smoothed(recent, place)[0, 0, 0] for recent, place in smoothing.windows(frames, 3)]
    assert np.allclose(found, [10] * 6 + [90] * 6)
    found = [smoothing.smoothed(recent, place)[0, 0, 0] for recent, place in smoothing.windows(frames, 1)]
    assert np.allclose(found, [10] * 6 + [90] * 6)  # too few to fit a curve to
    assert [smoothing.smoothed(frames[2:5], place)[0, 0, 0] for place in range(3)] == [10] * 3


def test_persons_are_told_apart_while_smoothing():
    left, right = np.zeros((14, 2)), np.full((14, 2), 500.0)
    boxes = {"left": [0.0, 0.0, 100.0], "right": [450.0, 450.0, 100.0]}
    frames = []
    for number in range(9):  # in turn, one or the other comes first; on the right nobody is seen at first
        pair = [(left + number, boxes["left"]), (right + number % 2, boxes["right"])][:1 if number < 3 else 2]
        pair = pair[::-1] if number % 2 else pair
        frames.append((np.stack([pose for pose, _ in pair]), np.array([box for _, box in pair])))
    found = smoothing.smoothed(frames, 4)
    assert np.allclose(found[0], 4) and np.abs(found[1] - 500.4).max() < 0.4
    assert len(smoothing.smoothed(frames, 0)) == 1
    alone = [(left[None] + 7, np.array([boxes["left"]])), (np.empty((0, 14, 2)), np.empty((0, 3)))]
    assert (smoothing.smoothed(alone, 0) == 7).all() and smoothing.smoothed(alone, 1).shape == (0, 14, 2)


def test_windows_over_a_sequence():
    assert [(list(recent), place) for recent, place in smoothing.windows(range(5), 1)] == [
        ([0, 1], 0), ([0, 1, 2], 1), ([1, 2, 3], 1), ([2, 3, 4], 1), ([3, 4], 1)]
    assert [(list(recent), place) for recent, place in smoothing.windows(range(2), 3)] == [([0, 1], 0), ([0, 1], 1)]
    assert [(list(recent), place) for recent, place in smoothing.windows("ab", 0)] == [(["a"], 0), (["b"], 0)]
