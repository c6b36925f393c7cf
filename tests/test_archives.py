"""Raw data in every layout, broken in every way, and downloaded from a server on this machine."""
import dataclasses
import hashlib
import http.server
import io
import os
import socket
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import lsp_data
from deeppose import archives, raw_files
from deeppose.errors import Failure, UserError

COUNT = 3
REAL = Path(__file__).parents[2] / "shared" / "data"
JOINTS = np.random.default_rng(0).uniform(1, 40, (COUNT, 14, 2))


def table(name, joints=JOINTS, third=1.0):
    """joints.mat as bytes, in the layout of LSP or LSPe."""
    with_third = np.concatenate([joints, np.broadcast_to(third, (*joints.shape[:2], 1))], 2)
    file = io.BytesIO()
    scipy.io.savemat(file, {"joints": with_third.transpose((2, 1, 0) if name == "lsp" else (1, 2, 0))})
    return file.getvalue()


def matlab(**variables):
    """A MATLAB file of these variables as bytes."""
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


def picture(number):
    file = io.BytesIO()
    Image.new("RGB", (40 + number, 30), (10 * number, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def files(name, images="images", joints="joints.mat"):
    return {joints: table(name)} | {f"{images}/im{number}.jpg": picture(number) for number in range(1, COUNT + 1)}


def unpack(folder, content):
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def pack(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["lsp", "lspet"])
@pytest.mark.parametrize("layout", ["folder", "deep folder", "links", "zip", "deep zip", "side by side", "raw folder"])
def test_every_layout_reads_the_same(tmp_path, name, layout):
    official, suffix = lsp_data.OFFICIAL[name], lsp_data.OFFICIAL[name].suffix
    plain = files(name)
    shadowed = {f"a/b/{key}": data for key, data in plain.items()} | dict.fromkeys(
        ("__MACOSX/a/b/images/im1.jpg", "a/b/images/._im1.jpg", "a/b/._joints.mat", "a/README.txt"), b"")
    if layout == "folder":
        unpack(tmp_path / official.file[:-4], plain)
    elif layout == "deep folder":
        unpack(tmp_path / official.file[:-4], shadowed)
    elif layout == "links":
        unpack(tmp_path / "elsewhere", plain)
        (tmp_path / official.file[:-4]).mkdir()
        for part in ("images", "joints.mat"):
            try:
                (tmp_path / official.file[:-4] / part).symlink_to(tmp_path / "elsewhere" / part)
            except OSError:
                pytest.skip("this system lets no links be made")
    elif layout == "zip":
        pack(tmp_path / official.file, plain)
    elif layout == "deep zip":
        pack(tmp_path / official.file, shadowed)
    elif layout == "side by side":
        unpack(tmp_path, files(name, f"images_{suffix}", f"joints_{suffix}.mat"))
        other = "21"[int(suffix) - 1]  # the other data set lies beside it
        unpack(tmp_path, {f"images_{other}/im1.jpg": b"", f"joints_{other}.mat": b""})
    elif name == "lsp":
        unpack(tmp_path, plain)
    else:
        pytest.skip("only LSP may lie in the raw folder itself")
    raw = lsp_data.find(tmp_path, name, "http://127.0.0.1:9")
    assert list(raw.members) == [1, 2, 3] and len(raw.sha256) == 64
    np.testing.assert_allclose(raw.joints, JOINTS)
    with archives.opened(raw.path) as read:
        assert [read(raw.members[number]) for number in raw.members] == [picture(number) for number in raw.members]


def test_the_third_value_says_annotated_in_lspe_and_occluded_in_lsp(tmp_path):
    third = np.ones((COUNT, 14, 1))
    third[1, 4] = 0
    joints = JOINTS.copy()
    joints[1, 4] = -30
    joints[2, 0, 1] = np.nan
    for name in ("lsp", "lspet"):
        unpack(tmp_path / lsp_data.OFFICIAL[name].file[:-4], files(name) | {"joints.mat": table(name, joints, third)})
    lsp, lspe = (lsp_data.find(tmp_path, name).joints for name in ("lsp", "lspet"))
    assert np.isnan(lsp[2, 0]).all() and np.isnan(lsp).sum() == 2
    np.testing.assert_allclose(lsp[1, 4], -30)
    assert np.isnan(lspe[1, 4]).all() and np.isnan(lspe[2, 0]).all() and np.isnan(lspe).sum() == 4


@pytest.mark.parametrize("layout", ["zip", "folder"])
def test_only_the_official_joints_are_moved_to_where_pixels_count_from_their_centres(tmp_path, official, layout):
    content = files("lsp")
    official(joints_sha256=hashlib.sha256(content["joints.mat"]).hexdigest(), offset=0.25)
    for name, moved in (("known", True), ("other", False)):
        (tmp_path / name).mkdir()
        here = content if moved else content | {"joints.mat": table("lsp", third=0.0)}
        write, file = (pack, "lsp_dataset.zip") if layout == "zip" else (unpack, "lsp_dataset")
        write(tmp_path / name / file, here)
        raw = lsp_data.find(tmp_path / name, "lsp")
        assert raw.offset == 0.25 * moved
        np.testing.assert_array_equal(raw.joints, JOINTS - 0.25 * moved)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real archives are not there")
@pytest.mark.parametrize("name", ["lsp", "lspet"])
def test_the_real_joints_are_the_official_ones(name):
    assert lsp_data.find(REAL, name).offset == lsp_data.OFFICIAL[name].offset > 0


@pytest.mark.parametrize("change, message", [
    ({"joints.mat": None}, "holds 0 files named joints.mat"),
    ({"more/joints.mat": b""}, "holds 2 files named joints.mat"),
    ({"joints.mat": b"no MATLAB file"}, r"joints.mat can't be used \(no MATLAB file: .*unpack lsp_dataset.zip again"),
    ({"joints.mat": b""}, "no MATLAB file"),
    ({"joints.mat": table("lsp")[:-500]}, "its joints are broken"),
    ({"joints.mat": table("lspet")}, r"joints is double \(14, 3, 3\), expected numbers \(3, 14, N\)"),
    ({"joints.mat": matlab(points=JOINTS)}, "holds 0 variables named joints"),
    ({"joints.mat": matlab(joints=np.array([JOINTS, "x"], object))}, r"joints is cell \(1, 2\)"),
    ({"joints.mat": matlab(joints=np.ones((3, 14, COUNT), bool))}, "joints is logical"),
    ({"joints.mat": matlab(joints=np.ones((3, 14, COUNT)) * 1j)}, "joints is complex128"),
    ({"joints.mat": table("lsp", JOINTS[:2])}, r"3 images in images/, joints for 2 .* images/im3.jpg has none"),
    ({"images/im0002.jpg": b""}, "im0002.jpg and images/im2.jpg have the same number"),
    ({"images/portrait.jpg": b""}, "portrait.jpg has no number in its name"),
    ({f"images/im{'1' * 200}.jpg": b""}, "1.jpg has no number in its name"),
    ({"images/im\n0002.jpg": b""}, r"a file named 'images/im\\n0002.jpg': .*rename or remove it"),
    ({f"images/im{number}.jpg": None for number in (1, 2, 3)}, "0 images in images/"),
])
def test_broken_data_is_told(tmp_path, change, message):
    content = {key: data for key, data in (files("lsp") | change).items() if data is not None}
    unpack(tmp_path / "lsp_dataset", content)
    with pytest.raises(Failure, match=message) as caught:
        lsp_data.find(tmp_path, "lsp")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_zip_is_told(tmp_path):
    (tmp_path / "lsp_dataset.zip").write_bytes(b"PK and nothing more")
    with pytest.raises(Failure, match="lsp_dataset.zip can't be opened as a zip .* get it anew and run again"):
        lsp_data.find(tmp_path, "lsp")


@pytest.mark.parametrize("member, message", [
    ("../images/im4.jpg", "a path out of it"), ("/images/im4.jpg", "a path out of it"),
    ("x" * 600 + "/images/im4.jpg", "a path out of it, or no name to work with"),
    ("images/im3.jpg", "images/im3.jpg and images/im3.jpg have the same number"),
])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_only_a_zip_can_hold_are_told(tmp_path, member, message):
    pack(tmp_path / "lsp_dataset.zip", files("lsp"))
    with zipfile.ZipFile(tmp_path / "lsp_dataset.zip", "a") as archive:
        archive.writestr(member, picture(4))
    with pytest.raises(Failure, match=message):
        lsp_data.find(tmp_path, "lsp")
    assert [path.name for path in tmp_path.iterdir()] == ["lsp_dataset.zip"]


def encrypt(path, member):
    """Set the flag that says so; what follows it need not be, to be refused."""
    content = bytearray(path.read_bytes())
    for start, flags, name in ((b"PK\1\2", 8, 46), (b"PK\3\4", 6, 30)):
        at = content.index(start)
        while content[at + name:at + name + len(member)] != member.encode():
            at = content.index(start, at + 1)
        content[at + flags] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize("member", ["joints.mat", "images/im2.jpg"])
def test_an_encrypted_member_is_told(tmp_path, member):
    path = tmp_path / "lsp_dataset.zip"
    pack(path, files("lsp"))
    encrypt(path, member)
    if member == "joints.mat":
        with pytest.raises(Failure, match=r"lsp_dataset.zip/joints.mat can't be used \(encrypted; unpack the zip with"):
            lsp_data.find(tmp_path, "lsp")
    else:
        with archives.opened(path) as read, pytest.raises(archives.Unreadable, match="encrypted"):
            read(member)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_FILE", 100_000)
    path = tmp_path / "lsp_dataset.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files("lsp").items():
            archive.writestr(name, content if name != "joints.mat" else content + bytes(1_000_000))
    with pytest.raises(Failure, match=r"joints.mat can't be used \([\d,]+ bytes or more, expected at most 100,000"):
        lsp_data.find(tmp_path, "lsp")
    read, blocks = zipfile.ZipExtFile.read, []
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda file, size: blocks.append(size) or read(file, size))
    for method, declared, message, largest_block in (
            (zipfile.ZIP_DEFLATED, 1_000_000, "1,000,000 bytes or more", 0),
            (zipfile.ZIP_DEFLATED, 900, "Bad CRC", 1 << 16),  # it is not unpacked at once
            (zipfile.ZIP_BZIP2, 900, "packed by another method than deflate", 0)):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("images/im1.jpg", bytes(1_000_000))
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, declared)
        path.write_bytes(content)
        blocks.clear()
        with archives.opened(path) as member, pytest.raises(archives.Unreadable, match=message):
            member("images/im1.jpg")
        assert max(blocks, default=0) == largest_block


@pytest.mark.parametrize("inside", [b"", "element"])
def test_a_compressed_variable_that_unpacks_to_much_is_refused_before_it_does(tmp_path, monkeypatch, inside):
    monkeypatch.setattr(archives, "LARGEST_FILE", 100_000)
    inside = b"" if inside == b"" else table("lsp")[128:]
    packed = zlib.compress(inside + bytes(5_000_000))
    content = table("lsp")[:128] + struct.pack("<2I", 15, len(packed)) + packed
    assert len(content) < 50_000
    unpack(tmp_path / "lsp_dataset", files("lsp") | {"joints.mat": content})
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(Failure, match="joints.mat can't be used .*100,000 bytes or more, expected at most 100,000"):
        lsp_data.find(tmp_path, "lsp")


def test_a_compressed_file_reads_as_a_plain_one(tmp_path):
    for name in ("plain", "packed"):
        file = io.BytesIO()
        joints = scipy.io.loadmat(io.BytesIO(table("lsp")))["joints"]
        scipy.io.savemat(file, {"a": 1, "joints": joints, "b": "text"}, do_compression=name == "packed")
        unpack(tmp_path / name / "lsp_dataset", files("lsp") | {"joints.mat": file.getvalue()})
        np.testing.assert_array_equal(lsp_data.find(tmp_path / name, "lsp").joints, JOINTS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("kind, message", [
    ("fifo", "a device, FIFO or socket, not a file"), ("socket", "a device, FIFO or socket, not a file"),
    ("device", "a device, FIFO or socket, not a file"), ("folder", "a folder, not a file"),
    ("dangling", "a link to what is not there: nowhere"), ("circle", "Too many levels of symbolic links"),
    ("sparse", "bytes or more, expected at most"),
])
@pytest.mark.parametrize("member", ["images/im2.jpg", "joints.mat"])
def test_what_is_no_file_is_told_and_never_waited_for(tmp_path, monkeypatch, member, kind, message):
    unpack(tmp_path / "lsp_dataset", files("lsp"))
    path = tmp_path / "lsp_dataset" / member
    path.unlink()
    monkeypatch.chdir(path.parent)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)  # a socket's whole path may have 108 letters
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(archives.LARGEST_FILE + 1)
    else:
        path.symlink_to({"device": "/dev/zero", "dangling": "nowhere", "circle": path.name}[kind])
    if member == "joints.mat":
        with pytest.raises(Failure, match="holds 0 files named joints.mat" if kind == "folder" else message):
            lsp_data.find(tmp_path, "lsp")
        return
    raw = lsp_data.find(tmp_path, "lsp")
    with archives.opened(raw.path) as read, pytest.raises(archives.Unreadable, match=message):
        read(raw.members[2])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_data_set_that_is_no_file_is_told(tmp_path):
    os.mkfifo(tmp_path / "lsp_dataset.zip")
    with pytest.raises(Failure, match="lsp_dataset.zip is no file; put the zip or its unpacked folder there"):
        lsp_data.find(tmp_path, "lsp")


def test_a_folder_that_links_back_to_itself_is_read_once(tmp_path):
    unpack(tmp_path / "lsp_dataset", files("lsp"))
    for name in ("a", "b"):  # 2 ** 40 paths to one that follows them
        try:
            (tmp_path / "lsp_dataset" / "images" / name).symlink_to("..")
        except OSError:
            pytest.skip("this system lets no links be made")
    assert list(lsp_data.find(tmp_path, "lsp").members) == [1, 2, 3]


def test_a_file_as_raw_folder_is_a_mistake(tmp_path):
    pack(tmp_path / "lsp_dataset.zip", files("lsp"))
    with pytest.raises(UserError, match="lsp_dataset.zip is no folder; name the one that holds") as caught:
        lsp_data.find(tmp_path / "lsp_dataset.zip", "lsp")
    assert caught.value.status == 2


def test_another_zip_than_the_known_one_is_a_warning(tmp_path, capsys, official):
    pack(tmp_path / "lsp_dataset.zip", files("lsp"))
    raw = lsp_data.find(tmp_path, "lsp")
    assert "warning" in capsys.readouterr().err
    official(sha256=raw.sha256)
    lsp_data.find(tmp_path, "lsp")
    assert capsys.readouterr().err == ""


@pytest.fixture
def official(monkeypatch):
    def change(**changes):
        monkeypatch.setitem(lsp_data.OFFICIAL, "lsp", dataclasses.replace(lsp_data.OFFICIAL["lsp"], **changes))
    return change


@pytest.fixture
def server(tmp_path, official):
    """A web server of one zip on this machine, with faults to switch on."""
    official(images=COUNT)
    pack(tmp_path / "served.zip", files("lsp"))

    class Handler(http.server.BaseHTTPRequestHandler):
        content = (tmp_path / "served.zip").read_bytes()
        ranges, stop_after, ignore_range, claimed_extra, status = [], None, False, 0, 200

        def do_GET(self):  # noqa: N802
            cls = type(self)
            cls.ranges.append(self.headers.get("Range"))
            start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") and not cls.ignore_range else 0
            if cls.status != 200 or self.path != "/lsp_dataset.zip":
                return self.send_error(404)
            if start >= len(cls.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(cls.content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(cls.content) - 1}/{len(cls.content)}")
            self.send_header("Content-Length", str(len(cls.content) - start + cls.claimed_extra))
            self.end_headers()
            self.wfile.write(cls.content[start:][:cls.stop_after])

        def log_message(self, *args):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.address = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield Handler
    listening.shutdown()
    listening.server_close()


def test_what_is_missing_is_downloaded(tmp_path, server):
    raw = lsp_data.find(tmp_path / "raw", "lsp", server.address + "/")
    np.testing.assert_allclose(raw.joints, JOINTS)
    assert [file.name for file in (tmp_path / "raw").iterdir()] == ["lsp_dataset.zip"]
    assert raw.path.read_bytes() == server.content
    lsp_data.find(tmp_path / "raw", "lsp", server.address)
    assert server.ranges == [None]  # it was not fetched again


@pytest.mark.parametrize("ignore_range", [False, True])
def test_an_interrupted_download_is_resumed(tmp_path, server, ignore_range):
    server.stop_after, server.ignore_range = 1000, ignore_range
    with pytest.raises(UserError, match="lsp_dataset.zip can't be downloaded .* run again to resume, or fetch http"):
        lsp_data._download("lsp", tmp_path, server.address)
    assert not (tmp_path / "lsp_dataset.zip").exists()
    assert (tmp_path / "lsp_dataset.zip.part").read_bytes() == server.content[:1000]
    server.stop_after = None
    assert lsp_data._download("lsp", tmp_path, server.address).read_bytes() == server.content
    assert server.ranges == [None, "bytes=1000-"]
    assert not (tmp_path / "lsp_dataset.zip.part").exists()


def test_a_part_that_is_already_whole_only_gets_its_name(tmp_path, server):
    (tmp_path / "lsp_dataset.zip.part").write_bytes(server.content)
    assert lsp_data._download("lsp", tmp_path, server.address).read_bytes() == server.content
    assert server.ranges == [f"bytes={len(server.content)}-"]


def test_a_part_longer_than_the_file_is_fetched_anew(tmp_path, server):
    (tmp_path / "lsp_dataset.zip.part").write_bytes(b"x" * (len(server.content) + 5))
    assert lsp_data._download("lsp", tmp_path, server.address).read_bytes() == server.content
    assert server.ranges[-1] is None


def test_a_server_that_promises_too_much_is_got_over_by_the_next_run(tmp_path, server):
    server.claimed_extra = 10
    with pytest.raises(UserError, match="can't be downloaded"):
        lsp_data._download("lsp", tmp_path, server.address)
    assert lsp_data._download("lsp", tmp_path, server.address).read_bytes() == server.content


@pytest.mark.parametrize("fault, message", [
    ("cut", "not the whole data set"),
    ("flipped byte", "im2.jpg is damaged"),
    ("too few", "it holds 3 images and 4 and joints.mat are expected"),
    ("web page", "File is not a zip file"),
])
def test_what_is_not_the_whole_data_set_never_gets_its_name(tmp_path, server, official, fault, message):
    if fault == "cut":
        server.content = server.content[:-100]
    elif fault == "flipped byte":
        spot = server.content.index(picture(2)) + 20
        server.content = server.content[:spot] + bytes([server.content[spot] ^ 1]) + server.content[spot + 1:]
    elif fault == "too few":
        official(images=COUNT + 1)
    else:
        server.content = b"<html>moved</html>"
    with pytest.raises(UserError, match=message):
        lsp_data._download("lsp", tmp_path, server.address)
    assert not list(tmp_path.glob("lsp_dataset*"))


def test_a_folder_of_images_beside_no_joints_is_another_data_sets(tmp_path, server):
    server.status = 404
    (tmp_path / "images").mkdir()
    with pytest.raises(Failure, match="fetch .*lsp_dataset.zip by hand"):
        lsp_data.find(tmp_path, "lsp", server.address)


@pytest.mark.parametrize("address", ["closed port", "no address", "not found"])
def test_without_network_the_error_says_what_to_fetch_and_where_to_put_it(tmp_path, server, address):
    server.status = 404
    url = {"closed port": "http://127.0.0.1:9", "no address": "http://[x", "not found": server.address}[address]
    with pytest.raises(UserError) as caught:
        lsp_data.find(tmp_path / "raw", "lsp", url)
    assert f"fetch {url}/lsp_dataset.zip by hand and put it into {tmp_path / 'raw'}" in str(caught.value)
    assert caught.value.status == (2 if address == "no address" else 1)
    with pytest.raises(UserError, match="leave LSPe out with --train-on lsp"):
        lsp_data.find(tmp_path / "raw", "lspet", url)
    with pytest.raises(UserError, match=f"LSP is not in {tmp_path / 'raw'}, and --download-from is 'a\\\\nb'"):
        lsp_data.find(tmp_path / "raw", "lsp", "a\nb")
    assert not (tmp_path / "raw").exists()


def test_images_of_a_folder_in_an_archive_are_found_with_and_without_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("train/a.jpg", "train/more/b.jpg", "val/a.jpg"):
            archive.writestr(name, "")
    path, within = raw_files.find_images(tmp_path, "train")
    found, faults = raw_files.named(path, ["a.jpg", "train/a.jpg", "more/b.jpg", "train/more/b.jpg", "c.jpg"], within)
    assert found == ["train/a.jpg"] * 2 + ["train/more/b.jpg"] * 2 + [None]
    assert faults[:4] == [None] * 4 and "no such image" in faults[4]
