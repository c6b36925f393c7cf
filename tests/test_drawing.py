"""The pictures are whole PNG files that show what they are given where it lies."""
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deeppose import drawing
from deeppose.drawing import contact_sheet, pdj_curves, training_curves
from deeppose.looks import COLOURS, DARKEST, TRUTH, on_screen, score_title, segments
from deeppose.errors import Failure
from deeppose.reports import THRESHOLDS
from deeppose.skeletons import LSP, Skeleton

NAN = np.nan
GREY = (90, 90, 90)
HORSE = Skeleton(("nose", "r_hoof", "l_hoof", "tail"), pairs=(("r_hoof", "l_hoof"),))
SNAIL = Skeleton(("nose", "tail"))
HAND = Skeleton(tuple(f"{side}_{number}" for side in ("r", "l") for number in range(12)),
                pairs=tuple((f"r_{number}", f"l_{number}") for number in range(12)))


def joints_in_a_grid(size):
    """One pose with all joints well apart, at whole crop pixels."""
    places = np.stack(np.meshgrid([0.15, 0.4, 0.65, 0.9], [0.15, 0.4, 0.65, 0.9]), -1).reshape(-1, 2)[:14]
    return np.round(places * size)[None]


def sheet(path, images, *arguments, skeleton=LSP, **keywords):
    contact_sheet(path, images, skeleton, *arguments, **keywords)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def grey(count, size):
    return np.full((count, size, size, 3), GREY, np.uint8)


def on_sheet(joint, size, row=0, column=0, row_height=0):
    """Where a joint of a tile lies on the sheet: (y, x)."""
    tile = max(drawing.SMALLEST_TILE, size)
    x, y = np.round((joint + 0.5) * tile / size - 0.5).astype(int) + drawing.GAP
    return y + row * row_height, x + column * (tile + drawing.GAP)


@pytest.mark.parametrize("size", [64, 192, 256])
def test_joints_have_the_colour_of_their_side_where_they_lie(tmp_path, size):
    joints = joints_in_a_grid(size)
    predicted = sheet(tmp_path / "predicted.png", grey(1, size), [(joints, "predicted")])
    truth = sheet(tmp_path / "truth.png", grey(1, size), [(joints, "truth")])
    for joint, name in zip(joints[0], LSP.joints, strict=True):
        side = COLOURS[{"r_": "right", "l_": "left"}.get(name[:2], "centre")]
        assert tuple(predicted[on_sheet(joint, size)]) == side, name
        assert tuple(truth[on_sheet(joint, size)]) == TRUTH, name


def test_limbs_are_drawn_and_the_predicted_ones_bolder(tmp_path):
    joints = np.full((1, 14, 2), NAN)
    joints[0, [LSP.index("r_ankle"), LSP.index("r_knee")]] = (100, 20), (100, 180)
    picture = {style: sheet(tmp_path / f"{style}.png", grey(1, 200), [(joints, style)])[drawing.GAP + 100]
               for style in ("predicted", "truth")}
    bold = (picture["predicted"] == COLOURS["right"]).all(-1).sum()
    thin = (picture["truth"].astype(int).min(-1) > 180).sum()
    assert bold >= 2 and thin == 1
    for row in picture.values():
        assert (row.max(-1) < 60).sum() >= 2  # a dark outline on either side


def test_missing_joints_and_far_ones_are_left_out(tmp_path):
    plain = sheet(tmp_path / "plain.png", grey(2, 200), [(np.full((2, 14, 2), NAN), "predicted")])
    joints = np.full((2, 14, 2), NAN)
    joints[0, 0] = NAN, 50
    joints[1, 3] = 1e30, -np.inf
    np.testing.assert_array_equal(sheet(tmp_path / "none.png", grey(2, 200), [(joints, "predicted")]), plain)
    joints[0, [LSP.index("neck"), LSP.index("head_top")]] = (100, 100), (1e9, 100)
    row = sheet(tmp_path / "far.png", grey(2, 200), [(joints, "predicted")])[drawing.GAP + 100]
    assert tuple(row[drawing.GAP + 190]) == COLOURS["centre"]  # its limb leaves the tile where it points
    assert tuple(row[drawing.GAP + 200 + 1]) == drawing.PAPER


def test_tiles_stand_in_rows_each_with_its_own_image_and_pose(tmp_path):
    images = grey(5, 200)
    images[4] = 0, 0, 200
    joints = np.full((5, 14, 2), NAN)
    joints[4, 0] = 150, 60
    arguments = [(joints, "predicted")], ["a", "b", "c", "d", "e"]
    picture = sheet(tmp_path / "rows.png", images, *arguments, columns=3)
    assert picture.shape[1] == 3 * 200 + 4 * drawing.GAP
    row_height = 200 + drawing.LINE_HEIGHT + drawing.GAP
    assert tuple(picture[on_sheet(joints[4, 0], 200, 1, 1, row_height)]) == COLOURS["right"]
    assert tuple(picture[on_sheet(np.array([20, 20]), 200, 1, 1, row_height)]) == (0, 0, 200)
    assert tuple(picture[on_sheet(np.array([20, 20]), 200, 1, 0, row_height)]) == GREY
    assert tuple(picture[on_sheet(np.array([20, 20]), 200, 1, 2, row_height)]) == drawing.PAPER
    one_row = sheet(tmp_path / "one.png", images, *arguments)
    assert one_row.shape[1] == 5 * 200 + 6 * drawing.GAP
    assert picture.shape[0] - one_row.shape[0] == row_height


def test_captions_take_the_room_they_need_and_no_more(tmp_path):
    layers = [(joints_in_a_grid(192).repeat(2, 0), "truth")]
    heights = [sheet(tmp_path / "sheet.png", grey(2, 192), layers, captions).shape[0] for captions in
               (None, ["one", "line"], ["words " * 7, "one line"], ["a_name_without_a_single_break" * 9, "é 腕"])]
    assert [height - heights[0] for height in heights] == [0, *(n * drawing.LINE_HEIGHT for n in (1, 2, 1))]
    picture = sheet(tmp_path / "sheet.png", grey(2, 192), layers, ["", "text"])
    below = picture[drawing.GAP + 192:drawing.GAP + 192 + drawing.LINE_HEIGHT]
    assert below[:, :200].max() <= max(drawing.PAPER) and below[:, 204:].max() > 200


def test_the_legend_names_the_styles_that_are_drawn(tmp_path):
    joints = np.full((3, 14, 2), NAN)
    footers = [sheet(tmp_path / "sheet.png", grey(3, 192), [(joints, style) for style in styles])[drawing.GAP + 192:]
               for styles in ([], ["truth"], ["truth", "predicted"])]
    shown = [[(footer == colour).all(-1).any() for colour in COLOURS.values()]
             for footer in footers]
    assert shown == [[False] * 3, [False] * 3, [True] * 3]
    assert footers[1].max() > 200 > footers[0].max()


def test_the_legend_shows_dots_where_there_are_no_limbs_and_the_sides_that_there_are(tmp_path):
    pair = ("r_eye", "l_eye")
    widths = []
    for limbs in ({}, {"eyes": (pair[:1], pair[1:])}):
        foot = sheet(tmp_path / "sheet.png", grey(3, 192), [(np.full((3, 2, 2), NAN), "predicted")],
                     skeleton=Skeleton(pair, pairs=(pair,), limbs=limbs))[drawing.GAP + 192:]
        shown = [(foot == colour).all(-1) for colour in COLOURS.values()]
        widths.append([int(each.any(0).sum()) for each in shown])
    dots, lines = widths
    assert 4 <= min(dots[:2]) <= max(dots[:2]) <= 7 and dots[2] == 0  # 3.2 pixels in radius
    assert min(lines) > 20  # the limb between the eyes is neither's


def test_scores_have_the_titles_that_the_field_gives_them():
    assert [score_title(column) for column in ("pdj", "pdj_lsp", "pcp_lspet", "pck_box_my_own")] == [
        "PDJ@0.2", "PDJ@0.2, lsp", "strict PCP@0.5, lspet", "PCK@0.1 of the box, my_own"]


def test_a_limb_between_pairs_is_the_line_between_their_middles_and_those_across():
    joints = np.array([[0.0, 0], [2, 0], [0, 8], [4, 8], [NAN, NAN]])
    trunk = Skeleton(tuple("abcde"), limbs={"trunk": (("a", "b"), ("c", "d")), "arm": (("b",), ("e",))})
    lines = segments(joints, trunk)
    assert [(ends.tolist(), names) for ends, names in lines[:3]] == [
        ([[1, 0], [2, 8]], list("abcd")), ([[0, 0], [2, 0]], list("abcd")), ([[0, 8], [4, 8]], list("abcd"))]
    assert len(lines) == 4 and np.isnan(lines[3][0][1]).all() and lines[3][1] == ["b", "e"]


def test_8_bits_are_shown_as_they_are_and_16_stretched():
    generator = np.random.default_rng(0)
    colour = generator.integers(256, size=(9, 9, 3), dtype=np.uint8)
    assert on_screen(colour) is colour
    np.testing.assert_array_equal(on_screen(colour[:, :, :1]), colour[:, :, :1].repeat(3, 2))
    depth = np.zeros((20, 20, 1), np.uint16)
    depth[4:] = 2000 + 10 * np.arange(320).reshape(16, 20, 1)  # millimetres, of a range that 8 bits do not hold
    depth[19, 19] = 60000
    shown = on_screen(depth)
    assert shown.shape == (20, 20, 3) and shown.dtype == np.uint8 and not shown[:4].any()
    grey = shown[4:, :, 0].ravel()
    assert (np.diff(grey.astype(int)) >= 0).all() and grey[0] == DARKEST and grey[-1] == 255
    assert len(set(grey)) > 150
    for level in (0, 7, 65535):
        flat = on_screen(np.full((5, 5, 1), level, np.uint16))
        assert len(set(flat.ravel())) == 1 and bool(flat.any()) == (level > 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_sheet_of_one_channel_and_of_joints_alone(tmp_path, dtype):
    images = np.full((1, 200, 200, 1), 200, dtype)
    joints = np.array([[[50.0, 50], [150, 150]]])
    contact_sheet(tmp_path / "snail.png", images, SNAIL, [(joints, "truth"), (joints, "predicted")])
    with Image.open(tmp_path / "snail.png") as picture:
        picture = np.asarray(picture)
    for joint in joints[0]:
        assert tuple(picture[on_sheet(joint, 200)]) == COLOURS["centre"]
    middle = picture[on_sheet(np.array([100, 100]), 200)]  # no limb lies there
    assert tuple(middle) == (200, 200, 200) if dtype == np.uint8 else len(set(middle)) == 1
    footer = picture[drawing.GAP + 200:]
    assert [(footer == colour).all(-1).any() for colour in COLOURS.values()] == [
        False, False, True]  # it has no sides


def test_a_sheet_of_nobody_is_a_picture(tmp_path):
    assert sheet(tmp_path / "none.png", grey(0, 64), [(np.empty((0, 14, 2)), "truth")], []).size


def test_sheet_refuses_captions_that_do_not_fit_the_images(tmp_path):
    with pytest.raises(ValueError):
        contact_sheet(tmp_path / "sheet.png", grey(2, 64), LSP, [], ["one"])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved while a test runs."""
    figures, savefig = [], Figure.savefig

    def keep(figure, *arguments, **keywords):
        figures.append(figure)
        savefig(figure, *arguments, **keywords)
    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_pdj_curves(tmp_path, drawn):
    rates = np.linspace(0, 1, 10)[:, None] * np.linspace(0.2, 0.9, 14)  # (T, J)
    rates[:, LSP.index("r_knee")] = NAN
    rates[:, [LSP.index("neck"), LSP.index("head_top")]] = NAN
    pdj_curves(tmp_path / "pdj.png", {"mean pose": rates / 2, "stage 1": rates}, THRESHOLDS, LSP)
    with Image.open(tmp_path / "pdj.png") as picture:
        assert picture.width >= 1200 and picture.info["dpi"][0] >= 119
    panels = {axis.get_title(): axis.lines for axis in drawn[0].axes}
    assert list(panels) == [*LSP.groups, "mean of all joints"]
    assert [line.get_label() for line in panels["hips"]] == ["mean pose", "stage 1"]
    np.testing.assert_allclose(panels["knees"][1].get_ydata(), 100 * rates[:, LSP.index("l_knee")])
    np.testing.assert_allclose(panels["mean of all joints"][0].get_ydata(), 50 * np.nanmean(rates, 1))
    assert np.isnan(panels["head"][0].get_ydata()).all()


@pytest.mark.parametrize("skeleton, titles", [
    (HORSE, ["nose", "hoof", "tail", "mean of all joints"]), (SNAIL, ["nose", "tail", "mean of all joints"]),
    (HAND, ["mean of all joints"])])
def test_curves_without_groups_and_torso(tmp_path, drawn, skeleton, titles):
    rates = np.random.default_rng(0).uniform(size=(10, len(skeleton.joints)))
    pdj_curves(tmp_path / "pdj.png", {"stage 1": rates}, [t / 2 for t in THRESHOLDS], skeleton)
    panels = {axis.get_title(): axis for axis in drawn[0].axes}
    assert list(panels) == titles
    assert panels["mean of all joints"].get_xlabel() == "threshold, box sides"
    if skeleton == HORSE:
        np.testing.assert_allclose(panels["hoof"].lines[0].get_ydata(), 50 * (rates[:, 1] + rates[:, 2]))


def epoch_rows(count):
    return [{"epoch": e + 1, "loss": 1 / (e + 1), "validation_loss": 2 / (e + 1), "pdj": 10.0 * e, "pcp": 9.0 * e,
             "pdj_lsp": 8.0 * e, "learning_rate": 1e-3 / (1 + e), "memory_mib": NAN, "seconds": 3.0}
            for e in range(count)]


@pytest.mark.parametrize("count, panels", [(1, 3), (2, 4), (60, 4)])
def test_training_curves_of_epochs(tmp_path, drawn, count, panels):
    rows = epoch_rows(count)
    training_curves(tmp_path / "curves.png", rows)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width >= 600 and picture.info["dpi"][0] >= 119
    axes = drawn[0].axes
    assert len(axes) == panels
    assert [len(axis.lines) for axis in axes[:3]] == [1, 1, 3]  # losses of two kinds never share an axis
    for axis, loss in zip(axes, ("loss", "validation_loss")):
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), [row[loss] for row in rows])
    np.testing.assert_array_equal(axes[1].lines[0].get_xdata(), np.arange(1, count + 1))


def test_losses_of_one_kind_are_drawn_together(tmp_path, drawn):
    training_curves(tmp_path / "curves.png", [row | {"training_loss": 0.5} for row in epoch_rows(3)])
    assert [line.get_label() for line in drawn[0].axes[1].lines] == ["validation", "training, not augmented"]


def test_scores_that_no_epoch_has_leave_no_panel(tmp_path, drawn):
    training_curves(tmp_path / "curves.png", [row | {"pdj": NAN, "pcp": NAN, "pdj_lsp": NAN} for row in epoch_rows(3)])
    assert [axis.get_title() for axis in drawn[0].axes] == [
        "training, as minimised", "validation, coordinates alone", "learning rate"]


def test_training_curves_of_a_cascade_show_each_joints_gain(tmp_path, drawn):
    rows = [{"joint": joint, "epoch": e + 1, "loss": 0.1, "pdj": 50.0 + e, "pdj_before": 48.0, "pdj_area": 40.0,
             "area_before": 41.0, "learning_rate": 1e-3} for joint in LSP.joints for e in range(3)]
    training_curves(tmp_path / "curves.png", rows[:-1], LSP)  # the last joint has an epoch to go
    loss, pdj, area = drawn[0].axes
    assert [line.get_label() for line in loss.lines] == list(LSP.joints)
    np.testing.assert_array_equal([line.get_ydata() for line in pdj.lines[1:14]], [[2, 3, 4]] * 13)
    np.testing.assert_array_equal(pdj.lines[14].get_ydata(), [2, 3])
    np.testing.assert_array_equal(area.lines[1].get_ydata(), [-1, -1, -1])
    looks = {(line.get_color(), line.get_linestyle()) for line in loss.lines}
    assert len(looks) == 14


def test_training_curves_of_a_skeleton_without_torso(tmp_path, drawn):
    rows = [{"epoch": e + 1, "loss": 1.0, "pck_box": 10.0 * e, "pck_box_wild": 9.0 * e, "learning_rate": 1e-3}
            for e in range(3)]
    training_curves(tmp_path / "curves.png", rows)
    assert [line.get_label() for line in drawn[0].axes[1].lines] == ["PCK@0.1 of the box", "PCK@0.1 of the box, wild"]
    rows = [{"joint": joint, "epoch": e + 1, "loss": 0.1, "pck_box": 50.0, "pck_box_before": 48.0,
             "pck_box_area": 40.0, "area_before": 41.0} for joint in HAND.joints for e in range(2)]
    training_curves(tmp_path / "cascade.png", rows, HAND)
    assert [axis.get_title() for axis in drawn[1].axes] == [
        "training", "validation PCK@0.1 of the box, over the stage before",
        "validation PCK, mean of 0.025 ... 0.25, likewise"]
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn[1].axes[0].lines]
    assert len(set(looks)) == 24
    assert [look[0] for look in looks[:12]] == [look[0] for look in looks[12:]]  # a pair has one colour
    training_curves(tmp_path / "shared.png", [row | {"joint": "shared"} for row in rows[:2]], HAND)
    assert [line.get_label() for line in drawn[2].axes[0].lines] == ["shared"]


@pytest.mark.parametrize("write", [
    lambda path: contact_sheet(path, grey(1, 64), LSP, []),
    lambda path: pdj_curves(path, {"stage 1": np.ones((10, 14))}, THRESHOLDS, LSP),
    lambda path: training_curves(path, epoch_rows(2)),
])
def test_a_failing_disk_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch, write):
    def fail(self, file, **keywords):
        file.write_bytes(b"half a picture")
        raise OSError("disk full")
    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr(Figure, "savefig", fail)
    (tmp_path / "old.png").write_bytes(b"old")
    with pytest.raises(Failure, match=r"old.png can't be written \(disk full\)"):
        write(tmp_path / "old.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.png", b"old")]


def test_drawing_needs_neither_torch_nor_a_screen():
    code = ("import sys, deeppose.drawing, deeppose.metrics, deeppose.reports; "
            "sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=drawing.Path(drawing.__file__).parents[1]).returncode == 0
