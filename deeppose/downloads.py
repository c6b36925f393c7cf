"""Files fetched from the web: an interrupted download goes on, and one gets its name when it is whole."""
import http.client
import os
import re
import urllib.error
import urllib.request

from tqdm import tqdm

from .archives import in_words
from .claims import claimed
from .errors import Failure, UserError


def download(url, path, title, flag, by_hand, fault_of):
    """Download a file, resuming an interrupted download; it gets its name when it is whole.

    title     what it is, for messages
    flag      the setting that names where it comes from
    by_hand   what else the user can do, for messages
    fault_of  function: path -> why what came is not the whole file; None where it is
    Raises    Failure where the server can't be reached, the connection ends early (the next call resumes), or what came
              is not whole; UserError for a senseless address
    """
    place = os.path.realpath(path.parent)
    if not re.fullmatch(r"\w+://\S+", url):
        raise UserError(f"{title} is not in {place}, and {flag} is {url.removesuffix('/' + path.name)!r}: "
                        f"put {path.name} there, or name a web address")
    part = path.with_name(path.name + ".part")
    print(f"{title} is not in {place}; downloading {url}")
    try:
        _fetch(url, part)
        fault = fault_of(part)
        if fault is None:
            part.replace(path)
            return
        part.unlink()
    except (OSError, ValueError, http.client.HTTPException) as error:
        kind = UserError if isinstance(error, ValueError) else Failure  # ValueError: no address
        raise kind(f"{path.name} can't be downloaded ({in_words(error).strip('<>')}); run again to resume, "
                   f"or {by_hand}") from None
    raise Failure(f"what {url} sent is not the whole data set ({fault}); run again, or {by_hand}")


def _fetch(url, part):
    """Bring `part` up to the length of the file at `url`."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing lies beyond what is there
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):
            return
        part.unlink()  # longer than the server's file: another file's beginning
        return _fetch(url, part)
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0  # a server that ignores Range sends the whole file
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (claimed(part.parent, part.stem), open(part, "ab" if start else "wb") as file,
              tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, leave=False,
                   disable=None) as bar):
            while block := response.read(1 << 18):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")
