"""mdelib.data.archives: checked downloads from a local server, and archives that try to climb out."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mdelib.data.archives import download, safe_extract, verify_archive

BODY = bytes(range(256)) * 40


@pytest.fixture
def server():
    """Serves what is put into `answers` ({path: [bodies]}; the last one stays), and counts the requests."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            bodies = self.server.answers.get(self.path)
            if not bodies:
                self.send_error(404)
                return
            body, length = bodies.pop(0) if len(bodies) > 1 else bodies[0]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    held = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.answers, held.asked = {}, []
    held.url = f"http://127.0.0.1:{held.server_address[1]}"
    thread = threading.Thread(target=held.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield held
    held.shutdown()
    thread.join()
    held.server_close()


def whole(body=BODY):
    return body, len(body)


SHA256 = hashlib.sha256(BODY).hexdigest()


def test_a_right_file_is_fetched_once(server, tmp_path):
    server.answers["/d/a.bin"] = [whole()]
    path = download(f"{server.url}/d/a.bin", tmp_path / "new", sha256=SHA256)
    assert path == tmp_path / "new" / "a.bin" and path.read_bytes() == BODY
    assert download(f"{server.url}/d/a.bin", tmp_path / "new", sha256=SHA256) == path
    assert server.asked == ["/d/a.bin"]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]  # no temporary file stays


@pytest.mark.parametrize("first", [(BODY[:100], 100), (BODY[:100], len(BODY)), (BODY[:-1] + b"x", len(BODY))],
                         ids=["short", "cut off", "altered"])
def test_a_broken_download_is_refused_and_tried_again(server, tmp_path, first):
    server.answers["/a.bin"] = [first, whole()]
    path = download(f"{server.url}/a.bin", tmp_path, md5=hashlib.md5(BODY).hexdigest(), wait=0)
    assert path.read_bytes() == BODY and len(server.asked) == 2


def test_without_a_checksum_size_and_check_decide(server, tmp_path):
    server.answers["/a.bin"] = [(BODY[:100], 100), whole()]
    assert download(f"{server.url}/a.bin", tmp_path, size=len(BODY), wait=0).read_bytes() == BODY

    def check(path):
        if path.read_bytes() != BODY:
            raise ValueError("not the body")

    server.answers["/b.bin"] = [whole(b"<html>"), whole()]
    assert download(f"{server.url}/b.bin", tmp_path, name="c.bin", check=check, wait=0).read_bytes() == BODY
    assert len(server.asked) == 4


def test_a_file_that_stays_wrong_is_removed_and_the_error_says_what_to_do(server, tmp_path):
    server.answers["/a.bin"] = [whole(b"wrong")]
    with pytest.raises(ValueError, match=r"could not be fetched in 3 attempts .*put it at .*a.bin"):
        download(f"{server.url}/a.bin", tmp_path, sha256=SHA256, wait=0)
    assert len(server.asked) == 3 and list(tmp_path.iterdir()) == []


def test_a_wrong_file_that_is_already_there_is_replaced(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"half")
    server.answers["/a.bin"] = [whole()]
    assert download(f"{server.url}/a.bin", tmp_path, sha256=SHA256, wait=0).read_bytes() == BODY
    (tmp_path / "a.bin").write_bytes(b"half")
    assert download(f"{server.url}/a.bin", tmp_path, size=len(BODY), wait=0).read_bytes() == BODY


def test_a_missing_address_and_a_silent_server_are_sentences(server, tmp_path):
    with pytest.raises(ValueError, match=r"1 attempts .*404"):
        download(f"{server.url}/gone.bin", tmp_path, retries=1)
    with pytest.raises(ValueError, match="could not be fetched in 2 attempts"):
        download("http://127.0.0.1:9/a.bin", tmp_path, retries=2, wait=0)


def test_a_full_disk_is_noticed_before_the_download(server, tmp_path):
    server.answers["/a.bin"] = [whole()]
    with pytest.raises(ValueError, match=r"GB free and a.bin needs"):
        download(f"{server.url}/a.bin", tmp_path, size=10**18)
    assert server.asked == []


# --- archives -------------------------------------------------------------------------------------------------


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members:
            held.writestr(name, content)
    return path


def make_tar(path, members):
    """Members are (name, bytes) or ready TarInfo objects."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as held:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                held.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                held.addfile(info, io.BytesIO(member[1]))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_plain_archives_unpack_and_resume(tmp_path, suffix):
    make = make_zip if suffix == ".zip" else make_tar
    archive = make(tmp_path / f"a{suffix}", [("d/one.txt", b"one"), ("d/e/two.txt", b"two"), ("three.txt", b"3")])
    verify_archive(archive)
    out = tmp_path / "out"
    paths = safe_extract(archive, out, only=lambda name: name.startswith("d/"))
    assert paths == [out / "d/one.txt", out / "d/e/two.txt"] and not (out / "three.txt").exists()
    (out / "d/one.txt").write_bytes(b"ONE")  # the full size: kept
    (out / "d/e/two.txt").write_bytes(b"t")  # cut off: written again
    assert len(safe_extract(archive, out)) == 3
    assert (out / "d/one.txt").read_bytes() == b"ONE" and (out / "d/e/two.txt").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "..\\evil", "C:/evil", "\\evil"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_names_that_climb_out_are_refused_and_nothing_is_unpacked(tmp_path, suffix, name):
    make = make_zip if suffix == ".zip" else make_tar
    archive = make(tmp_path / f"a{suffix}", [("good.txt", b"x"), (name, b"evil")])
    with pytest.raises(ValueError, match=r"evil.*outside the folder.*nothing was unpacked"):
        safe_extract(archive, tmp_path / "out", only=lambda member: member == "good.txt")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


@pytest.mark.parametrize(("name", "target"), [("evil", "/etc/passwd"), ("evil", "../x"), ("a/evil", "../../x"),
                                              ("a/evil", "b/../../../x"), ("evil", "b/..")])
def test_links_that_climb_out_are_refused(tmp_path, name, target):
    archive = make_tar(tmp_path / "a.tar", [("good.txt", b"x"), link(name, target)])
    with pytest.raises(ValueError, match=r"link '.*evil'.*nothing was unpacked"):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hard_links_devices_and_files_behind_links_are_refused(tmp_path):
    for number, (member, message) in enumerate((
            (link("evil", "../x", tarfile.LNKTYPE), "outside the folder"),
            (link("evil", "", tarfile.CHRTYPE), "the device 'evil'"),
            (link("evil", "", tarfile.FIFOTYPE), "the device 'evil'"))):
        archive = make_tar(tmp_path / f"{number}.tar", [("good.txt", b"x"), member])
        with pytest.raises(ValueError, match=message):
            safe_extract(archive, tmp_path / "out")
    archive = make_tar(tmp_path / "behind.tar", [link("d", "."), ("d/evil", b"x")])
    with pytest.raises(ValueError, match="'d/evil' behind a link"):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_that_stay_inside_are_kept(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [("rgb/1.txt", b"one"), link("views/1.txt", "../rgb/1.txt")])
    safe_extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "views" / "1.txt").read_bytes() == b"one"


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("evil")
    info.external_attr = 0o120777 << 16
    archive = make_zip(tmp_path / "a.zip", [("good.txt", b"x"), (info, "/etc/passwd")])
    with pytest.raises(ValueError, match="link or device 'evil'"):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_damaged_archives_are_named(tmp_path, suffix):
    make = make_zip if suffix == ".zip" else make_tar
    archive = make(tmp_path / f"a{suffix}", [("one.bin", BODY), ("two.bin", BODY)])
    content = archive.read_bytes()
    archive.write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match=f"a{suffix}"):
        verify_archive(archive)
    with pytest.raises(ValueError, match=f"a{suffix} (cannot be unpacked|is damaged)"):
        safe_extract(archive, tmp_path / "out")
    archive.write_bytes(b"<html>please log in</html>")
    for act in (verify_archive, lambda path: safe_extract(path, tmp_path / "out")):
        with pytest.raises(ValueError, match=f"a{suffix}"):
            act(archive)


def test_a_flipped_byte_is_found_by_the_archives_own_checksum(tmp_path):
    archive = make_zip(tmp_path / "a.zip", [("one.bin", BODY)])
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"'one.bin' does not match its checksum"):
        verify_archive(archive)
    with pytest.raises(ValueError, match=r"cannot be unpacked .*one.bin"):
        safe_extract(archive, tmp_path / "out")


def test_an_absent_archive_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.zip is not there"):
        safe_extract(tmp_path / "gone.zip", tmp_path / "out")
