"""Fetching files that are checked before they are believed, and unpacking archives that cannot climb out.

Downloads go through pooch, which writes under a temporary name and moves the file only when its checksum is
right.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

__all__ = ["download", "safe_extract", "verify_archive"]

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def download(url: str, folder: Path, *, name: str | None = None, sha256: str | None = None,
             md5: str | None = None, size: int | None = None, check: Callable[[Path], None] | None = None,
             retries: int = 3, wait: float = 2.0) -> Path:
    """Fetch a file into `folder`, or keep the one that is there if it is the right one.

    Args:
        url: http(s) address.
        folder: made if absent.
        name: the file's name; the address's last part by default.
        sha256, md5: its published checksum, if there is one.
        size: its published size in bytes, if there is one.
        check: a further check, for example `verify_archive`, which raises ValueError.
        retries: how often to try in all; what fails a check is removed before the next try.
        wait: seconds before the second try; one more each time.

    Returns:
        The file's path.

    Raises:
        ValueError: after `retries` attempts there is no file that passes the checks, or the disk is too full.
    """
    import pooch
    import requests

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or url.rsplit("/", 1)[-1])
    if size is not None and not path.is_file() and shutil.disk_usage(folder).free < size:
        raise ValueError(f"{folder} has {shutil.disk_usage(folder).free / 1e9:.1f} GB free and {path.name} "
                         f"needs {size / 1e9:.1f} GB: free some space or choose another --out")
    known = f"sha256:{sha256}" if sha256 else f"md5:{md5}" if md5 else None
    pooch.get_logger().setLevel("WARNING")
    fetcher = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=60)
    reason = ""
    for attempt in range(max(1, retries)):
        if attempt:
            time.sleep(wait + attempt - 1)
        try:
            pooch.retrieve(url, known_hash=known, fname=path.name, path=folder, downloader=fetcher)
            _believe(path, size, check)
            return path
        except requests.exceptions.RequestException as error:
            reason = str(error)
            if error.response is not None:
                error.response.close()
        except ValueError as error:  # a checksum (pooch removed the file), a size or a check that failed
            reason = str(error)
            path.unlink(missing_ok=True)
    raise ValueError(f"{url} could not be fetched in {max(1, retries)} attempts ({_short(reason)}): look at "
                     f"the connection and try again, or fetch it by other means and put it at {path}")


def verify_archive(path: Path) -> None:
    """Check every member of a zip or tar archive against the archive's own checksums.

    Raises:
        ValueError: the file is not an archive, is cut short, or a member is damaged.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as held:
                bad = held.testzip()
            if bad is not None:
                raise ValueError(f"{path} is damaged: its member {bad!r} does not match its checksum; fetch "
                                 "it again")
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as held:
                for member in held:
                    if member.isfile() and (stream := held.extractfile(member)) is not None:
                        while stream.read(1 << 20):
                            pass
        else:
            raise ValueError(f"{path} is neither a zip nor a tar archive: the download was cut short, or "
                             "the address answered with a page; fetch it again")
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error}): a whole archive was expected; fetch it "
                         "again") from None


def safe_extract(archive: Path, folder: Path, *, only: Callable[[str], bool] | None = None) -> list[Path]:
    """Unpack a zip or tar archive below `folder`; files already there in their full size are kept.

    Every member's name is checked before the first is written: an archive that would write anywhere else
    leaves no trace.

    Args:
        archive: zip, or tar with any compression that Python reads.
        folder: made if absent.
        only: keeps a member by its name; all by default.

    Returns:
        The files' paths, those kept included.

    Raises:
        ValueError: the archive is damaged or unknown, or a member has an absolute path, climbs with "..", is
            a link that leads out or lies behind a link, or is a device.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} is not there: an archive to unpack was expected; fetch it first")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as held:
                return _extract_zip(held, archive, folder, only)
        with tarfile.open(archive) as held:
            return _extract_tar(held, archive, folder, only)
    except _DAMAGE as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}): a whole zip or tar archive was expected; "
                         "fetch it again") from None


def _extract_zip(held: zipfile.ZipFile, archive: Path, folder: Path, only) -> list[Path]:
    for member in held.infolist():
        _refuse_outside(member.filename, archive)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{archive} holds the link or device {member.filename!r}: plain files and "
                             "folders were expected; nothing was unpacked, get it from its publisher")
    paths = []
    for member in held.infolist():
        if member.is_dir() or (only is not None and not only(member.filename)):
            continue
        path = folder / member.filename
        if not (path.is_file() and path.stat().st_size == member.file_size):
            held.extract(member, folder)
        paths.append(path)
    return paths


def _extract_tar(held: tarfile.TarFile, archive: Path, folder: Path, only) -> list[Path]:
    members = held.getmembers()
    links = {_normal(member.name) for member in members if member.issym()}
    for member in members:
        _refuse_outside(member.name, archive)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise ValueError(f"{archive} holds the device {member.name!r}: files, folders and links were "
                             "expected; nothing was unpacked, get the archive from its publisher")
        if links & {parent.as_posix() for parent in PurePosixPath(_normal(member.name)).parents}:
            raise ValueError(f"{archive} holds {member.name!r} behind a link: such a file can land "
                             "anywhere; nothing was unpacked, get the archive from its publisher")
        if member.issym():
            _refuse_link(member.name, member.linkname, archive)
        elif member.islnk():
            _refuse_outside(member.linkname, archive)
    paths = []
    for member in members:
        if member.isdir() or (only is not None and not only(member.name)):
            continue
        path = folder / member.name
        if not (member.isfile() and path.is_file() and path.stat().st_size == member.size):
            held.extract(member, folder, filter="data")  # a second guard, at the moment of writing
        paths.append(path)
    return paths


def _normal(name: str) -> str:
    return PurePosixPath(name).as_posix().removeprefix("./")


def _refuse_outside(name: str, archive: Path) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{archive} holds the member {name!r}, which lies outside the folder it is "
                         "unpacked to: nothing was unpacked, get the archive from its publisher")


def _refuse_link(name: str, target: str, archive: Path) -> None:
    """A link may climb at its start, as far as the archive's root, and then only go down."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    depth = len([part for part in name.split("/") if part not in ("", ".")]) - 1
    if target.startswith("/") or climbs > depth or ".." in parts[climbs:]:
        raise ValueError(f"{archive} holds the link {name!r} to {target!r}, which leads outside the folder "
                         "it is unpacked to: nothing was unpacked, get the archive from its publisher")


def _believe(path: Path, size: int | None, check: Callable[[Path], None] | None) -> None:
    seen = os.path.getsize(path)
    if size is not None and seen != size:
        raise ValueError(f"{path.name} has {seen} bytes where {size} were expected")
    if check is not None:
        check(path)


def _short(reason: str) -> str:
    """A library's message on one line, and not the whole of it if it goes on and on."""
    text = " ".join(reason.split())
    return text if len(text) <= 300 else text[:297] + "..."
