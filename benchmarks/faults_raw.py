"""Bad raw data: archives, joints.mat, images."""
import io
import struct
import zipfile
import zlib

import numpy as np
from faults_foreign import file_cases, foreign, making, mat, putting
from faults_starts import FIGURES, raw_files, zip_of
from faults_trial import Case
from PIL import Image

ARCHIVE, TABLE, IMAGES = "raw/lsp_dataset.zip", "raw/lsp_dataset/joints.mat", "raw/lsp_dataset/images"
TABLE_IN_ZIP, IMAGE_IN_ZIP = "lsp_dataset/joints.mat", "lsp_dataset/images/im0005.jpg"
PREPARING = {"step": "lsp_data"}
GIGABYTES = 3


def archive_cases(done):
    files = raw_files(done)
    good = zip_of(files)
    more = {"start": "zipped", "mention": ("lsp_dataset.zip",)}
    yield from file_cases("archive", "lsp_data", ARCHIVE, good, done, cut=28, **more)

    def case(what, content, *mention, statuses=(1,)):
        return Case("archive", what, **PREPARING, spoil=putting(ARCHIVE, content), start="zipped",
                    mention=mention or ("lsp_dataset.zip",), statuses=statuses)

    for member, mention in ((TABLE_IN_ZIP, ("joints.mat",)), (IMAGE_IN_ZIP, ("im0005.jpg",)),
                            ("lsp_dataset/images/im0040.jpg", ("im0040.jpg",))):
        mention += ("lsp_dataset.zip",)
        short = member.rsplit("/", 1)[-1]
        yield case(f"{short} is encrypted", patched(good, member, flags=1), *mention)
        yield case(f"the checksum of {short} is another's", patched(good, member, crc=12345), *mention)
        for method in (1, 6, 97, 99):
            yield case(f"{short} is compressed by method {method}", patched(good, member, method=method), *mention)
        yield case(f"the data of {short} are damaged", damaged(good, member), *mention)
        yield case(f"{short} says that it is empty", patched(good, member, size=0), *mention)
        for honest in (True, False):
            yield case(f"{short} unpacks to {GIGABYTES} GB{'' if honest else ' and does not say so'}",
                       zip_bomb(files, member, GIGABYTES << 30, honest), *mention)
    yield case("everything is encrypted", patched(good, None, flags=1))
    yield case("a member begins beyond the end", patched(good, IMAGE_IN_ZIP, offset=10 ** 9), "lsp_dataset.zip",
               "im0005.jpg")
    yield case("a member begins where another does", patched(good, IMAGE_IN_ZIP, offset=0), "lsp_dataset.zip",
               "im0005.jpg")
    table, images = files[TABLE_IN_ZIP], {name: data for name, data in files.items() if name != TABLE_IN_ZIP}
    wrong = {
        "there is no joints.mat": images,
        "there are two joints.mat": files | {"other/joints.mat": table},
        "there is no image": {TABLE_IN_ZIP: table},
        "half of the images are absent": {TABLE_IN_ZIP: table} | dict(list(images.items())[::2]),
        "an image has no number": files | {"lsp_dataset/images/portrait.jpg": files[IMAGE_IN_ZIP]},
        "two images have the same number": files | {"lsp_dataset/images/other0005.jpg": files[IMAGE_IN_ZIP]},
        "an image has a number beyond the joints": files | {"lsp_dataset/images/im0999.jpg": files[IMAGE_IN_ZIP]},
        "an image has the number 0": files | {"lsp_dataset/images/im0000.jpg": files[IMAGE_IN_ZIP]},
        "the images lie in another folder": {name.replace("images", "pictures"): data for name, data in files.items()},
        "the images have another ending": {name.replace(".jpg", ".bmp"): data for name, data in files.items()},
        "a zip lies in the zip": {"lsp_dataset.zip": good},
        "joints.mat is a link": files | {TABLE_IN_ZIP: b"/etc/hostname"},
        "every image is a link": {TABLE_IN_ZIP: table} | dict.fromkeys(images, b"../../../../etc/hostname"),
    }
    for what, members in wrong.items():
        yield case(what, zip_of(members), "lsp_dataset.zip", "im0", "number ", statuses=(1, 2))
    for kind, content in foreign(done).items():
        yield case(f"joints.mat is {kind}", zip_of(files | {TABLE_IN_ZIP: content}), "joints.mat")
    # odd, but nothing of it may land outside
    odd = {"names climb out with ../": {name.replace("lsp_dataset/", "../../"): data for name, data in files.items()},
           "names begin at the root": {f"/tmp/{name}": data for name, data in files.items()},
           "another member climbs out with ../": files | {"../../../case_escaped": b"outside"},
           "a name has backslashes": files | {"..\\..\\escaped": b"outside"}}
    for what, members in odd.items():
        yield Case("archive", what, **PREPARING, spoil=putting(ARCHIVE, zip_of(members)), start="zipped",
                   statuses=(0, 1, 2))


def patched(content, member, flags=None, method=None, crc=None, size=None, offset=None):
    """A zip whose headers of a member (None: of all) say something else."""
    content = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        chosen = [info for info in archive.infolist() if member in (None, info.filename)]
        place = archive.start_dir
        infos = archive.infolist()
    for info in infos:
        name = len(info.filename.encode())
        if info in chosen:
            for start, shift in ((place, 2), (info.header_offset, 0)):  # central directory, then the member's own
                for value, form, at in ((flags, "<H", 6), (method, "<H", 8), (crc, "<I", 14), (size, "<I", 22)):
                    if value is not None:
                        struct.pack_into(form, content, start + at + shift, value)
            if offset is not None:
                struct.pack_into("<I", content, place + 42, offset)
        place += 46 + name + len(info.extra) + len(info.comment)
    return bytes(content)


def damaged(content, member):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo(member)
    start = info.header_offset + 30 + len(info.filename.encode())
    middle = start + info.compress_size // 2
    return content[:middle] + bytes(b ^ 0xFF for b in content[middle:middle + 16]) + content[middle + 16:]


def zip_bomb(files, member, size, honest):
    """A zip with a member of `size` zeros, a thousandth of that packed; it says its size, or the real file's."""
    good = zip_of(files | {member: b""})
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        info = archive.getinfo(member)
    packed = deflated_zeros(size)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            if name != member:
                archive.writestr(zipfile.ZipInfo(name), data)
        start = file.tell()
        info.header_offset, info.compress_size = start, len(packed)
        info.file_size = size if honest else len(files[member])
        info.CRC = 0
        file.write(info.FileHeader(zip64=False) + packed)
        archive.filelist.append(info)
        archive.NameToInfo[member] = info
        archive.start_dir = file.tell()
        archive._didModify = True
    return file.getvalue()


def deflated_zeros(size):
    """Deflated zeros, packed once and repeated: no need to pack gigabytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def table_cases(done):
    good = (done / TABLE).read_bytes()
    yield from file_cases("joints.mat", "lsp_data", TABLE, good, done, cut=24)
    joints = np.random.default_rng(0).uniform(20, 90, (3, 14, FIGURES))
    joints[2] = 0

    def case(what, content, *mention, statuses=(1,)):
        return Case("joints.mat", what, **PREPARING, spoil=putting(TABLE, content),
                    mention=mention or ("joints.mat",), statuses=statuses)

    arrays = {
        "text": "joints", "a cell": np.array([joints, "a"], object), "a struct": {"x": joints},
        "logical": joints > 50, "complex": joints + 1j, "of shape (14, 3, N)": joints.transpose(1, 0, 2),
        "of shape (N, 14, 3)": joints.T, "of shape (2, 14, N)": joints[:2], "of shape (3, 13, N)": joints[:, :13],
        "of shape (3, 15, N)": np.concatenate([joints, joints[:, :1]], 1), "of shape (3, 14)": joints[..., 0],
        "of shape (3, 14, 0)": joints[..., :0], "of shape (3, 14, N, 2)": np.stack([joints, joints], -1),
        "a number": 5.0, "empty": np.zeros((0, 0)), "flat": joints.ravel(),
        "of fewer rows than images": joints[..., :FIGURES - 5], "of one row": joints[..., :1],
        "of twice as many rows as images": np.concatenate([joints, joints], -1),
    }
    for what, array in arrays.items():
        yield case(f"joints is {what}", mat({"joints": array}), "joints.mat", "number ", statuses=(1, 2))
    names = {"of another name": {"points": joints}, "in upper case": {"JOINTS": joints}, "nowhere": {},
             "inside a struct": {"data": {"joints": joints}}}
    for what, variables in names.items():
        yield case(f"joints are {what}", mat(variables))
    for what, value in {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf, "1e30": 1e30, "-1e30": -1e30,
                        "1e300": 1e300, "1e6": 1e6, "-1e6": -1e6, "99999": 99999}.items():
        everywhere, once = joints.copy(), read_joints(done)
        everywhere[:2] = value
        once[0, 3, 4] = value
        yield case(f"all joints are {what}", mat({"joints": everywhere}), "joints", "im0", "number ")
        if what != "NaN":
            yield case(f"a joint of figure 5 is {what}", mat({"joints": once}), "im0005.jpg")
    yield case("joints unpacks to gigabytes", mat_bomb())
    for place, what in ((124, "version"), (126, "byte order"), (128, "first type")):
        yield case(f"its {what} is damaged", good[:place] + b"\xfe\xfe" + good[place + 2:])
    yield case("it is of MATLAB 7.3", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF\r\n\x1a\n" + bytes(500))


def read_joints(done):
    import scipy.io
    return scipy.io.loadmat(done / TABLE)["joints"].copy()


def mat_bomb():
    """A compressed variable of gigabytes: element 15 of the format holds a zlib stream with the whole variable."""
    persons = 4_000_000
    size = 3 * 14 * persons * 8
    head = (struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIiiii", 5, 12, 3, 14, persons, 0)
            + struct.pack("<II", 1, 6) + b"joints\0\0" + struct.pack("<II", 9, size))
    variable = struct.pack("<II", 14, len(head) + size) + head
    deflate = zlib.compressobj(9)
    packed = deflate.compress(variable) + deflate.flush(zlib.Z_FULL_FLUSH) + deflated_zeros(size)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    return header + struct.pack("<II", 15, len(packed)) + packed


def image_cases(done):
    file = f"{IMAGES}/im0005.jpg"
    good = (done / file).read_bytes()
    mention = ("im0005.jpg", "number 5")
    yield from file_cases("image", "lsp_data", file, good, done, cut=24, longest=len(good) * 9 // 10,
                          without=("jpg", "png"), mention=mention)
    for kind, content in foreign(done).items():
        if kind not in ("jpg", "png"):
            yield Case("image", f"every image is {kind}", **PREPARING, mention=("im00",),
                       spoil=lambda folder, content=content: every_image(folder, content))
    png = encoded("PNG", Image.new("RGB", (64, 96), "grey"))
    special = {
        "a PNG of 3.6 gigapixels": png[:16] + struct.pack(">II", 60000, 60000) + png[24:],
        "a PNG of 60,000 by 60,000 with its checksum": png_sized(60000, 60000),
        "a PNG of no width": png_sized(0, 96), "a PNG with a damaged chunk": png[:45] + b"\xff\xff" + png[47:],
        "a PNG cut off": png[:len(png) * 2 // 3], "a JPEG without its tables": good[:2] + good[len(good) // 2:],
        "one pixel": encoded("PNG", Image.new("RGB", (1, 1))), "two pixels": encoded("PNG", Image.new("L", (2, 1))),
        "a TIFF of floats": encoded("TIFF", Image.fromarray(np.linspace(0, 1, 6400, dtype=np.float32).reshape(80, 80))),
        "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "a GIF cut off": encoded("GIF", Image.new("P", (64, 96)))[:20],
        "a JPEG of 65,500 by 65,500": jpeg_sized(good, 65500, 65500), "a JPEG of no height": jpeg_sized(good, 0, 50),
    }
    for what, content in special.items():
        yield Case("image", f"im0005.jpg is {what}", **PREPARING, spoil=putting(file, content), mention=mention)
    yield Case("image", "im0005.jpg is a device", **PREPARING, spoil=making(device, file), mention=mention,
               statuses=(1, 2))
    yield Case("image", "im0005.jpg is absent", **PREPARING, spoil=lambda folder: (folder / file).unlink(),
               mention=mention)


def every_image(folder, content):
    for path in list((folder / IMAGES).iterdir()):
        putting(path.name, content)(path.parent)


def device(path):
    path.unlink()
    path.symlink_to("/dev/tty")  # nothing to read from, and no right is needed to make it


def encoded(kind, image):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png_sized(width, height):
    """A small PNG whose header, checksum and all, claims another size."""
    png = encoded("PNG", Image.new("RGB", (64, 96), "grey"))
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def jpeg_sized(jpeg, width, height):
    """A JPEG whose frame header claims another size."""
    place = next(at for at in range(len(jpeg)) if jpeg[at] == 0xFF and jpeg[at + 1] in (0xC0, 0xC1, 0xC2))
    return jpeg[:place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9:]


