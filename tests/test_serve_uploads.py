"""Uploads made to do harm: each is refused in words, reads nothing, and ends in time."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import av
import numpy as np
import pytest
from PIL import GifImagePlugin, Image

from foreframe.data.container import container_of, open_video
from foreframe.data.lab import TooManyRowsError, parse_rows
from foreframe.data.recording import Recording
from foreframe.data.video_file import decode as decode_video
from foreframe.errors import ForeframeError
from foreframe.serve.aside import confinement, decoding, wire
from foreframe.serve.aside.pool import Aside
from foreframe.serve.options import Limits
from foreframe.serve.refusal import Refusal
from foreframe.serve.uploads import Uploads, decode

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.fixture(scope="module")
def aside():
    made = Aside()
    yield made
    made.close()


def bring(aside, files, actions=None, **limits):
    """What becomes of files, decoded as the service does it."""
    table = None if actions is None else io.BytesIO(actions)
    named = [(name, io.BytesIO(content)) for name, content in files]
    return decode(aside, named, table, None, size=(64, 64), limits=Limits(**limits))


def refused(aside, files, actions=None, **limits):
    with pytest.raises(Refusal) as refusal:
        bring(aside, files, actions, **limits)
    return refusal.value


def picture(kind="PNG", size=64, **more):
    file = io.BytesIO()
    shades = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    Image.fromarray(shades).save(file, kind, **more)
    return file.getvalue()


def flat(kind, size, frames=1):
    """A picture of one colour, or several: many pixels of few bytes."""
    pictures = [Image.fromarray(np.full((size, size), n, np.uint8)) for n in range(frames)]
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    file = io.BytesIO()
    pictures[0].save(file, kind, **more)
    return file.getvalue()


def video(kind="mp4", codec="mpeg4", shade=200):
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for _ in range(3):
            frame = np.full((64, 64, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_pictures_are_read_by_what_they_are_whatever_they_are_called(aside, kind):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = picture(kind, **lossless)
    recording = bring(aside, [("1.mp4", content), ("0.mp4", content)], b"1,2\n3,4\n")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(recording.frames, np.stack([expected] * 2))
    np.testing.assert_array_equal(recording.actions, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("kind", "codec", "demuxer"),
    [
        ("mp4", "mpeg4", "mov"),
        ("mov", "mpeg4", "mov"),
        ("matroska", "mpeg4", "matroska"),
        ("avi", "mpeg4", "avi"),
        ("gif", "gif", "gif"),
    ],
)
def test_videos_are_read_by_what_they_are_whatever_they_are_called(aside, kind, codec, demuxer):
    content = video(kind, codec)
    assert container_of(content[:16]) == demuxer
    recording = bring(aside, [("notes.txt", content)])
    assert recording.frames.shape == (3, 64, 64, 3)
    assert abs(recording.frames.mean() - 200) < 20


# -- files that name other files, or the network --------------------------------------------------

SCRIPTS = {
    "ffconcat": b"ffconcat version 1.0\nfile secret.png\nduration 1\n",
    "concat with a byte-order mark": b"\xef\xbb\xbfffconcat version 1.0\nfile secret.png\n",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.png\n#EXT-X-ENDLIST\n",
    "description of a stream": (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=video 45678 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ),
    "DASH": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "list of fields": b"secret.png\nsecret.png\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(secret.png) run\n%%EOF\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="secret.png"/></svg>',
    "subtitles": b"WEBVTT\n\n00:00.000 --> 00:01.000\nsecret\n",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("name", ["x.mp4", "x.gif", "%d.png", "x.m3u8"])
def test_a_script_is_no_video(aside, script, name):
    refusal = refused(aside, [(name, script)])
    assert refusal.status == 422
    assert "begins like no" in refusal.reason


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_an_import_takes_no_script_for_a_video(tmp_path, monkeypatch, script):
    """The same door: a folder of videos may come from anybody."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "x.mp4").write_bytes(script)
    with (
        (tmp_path / "x.mp4").open("rb") as file,
        pytest.raises(ForeframeError, match="does not begin like MP4"),
    ):
        list(decode_video(file, str(tmp_path / "x.mp4")))


@linux
def test_a_script_that_names_a_pipe_holds_nothing_up(aside, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    script = f"ffconcat version 1.0\nfile {tmp_path / 'pipe'}\n".encode()
    began = time.monotonic()
    refused(aside, [("x.mp4", script)])
    assert time.monotonic() - began < 10


def boxes(content, path):
    """Places of the boxes of a MOV along a path, each in the one before."""
    places, start, stop = [], 0, len(content)
    for wanted in path:
        while start < stop:
            size = struct.unpack(">I", content[start : start + 4])[0]
            if content[start + 4 : start + 8] == wanted:
                break
            start += size
        places.append(start)
        start, stop = start + 8, start + size
    return places


def elsewhere(content, path):
    """A MOV whose pictures lie in another file: its data reference is that file's alias."""
    way = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    places = boxes(content, way)
    name = path.encode()
    tail = struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    tail += struct.pack(">HH", 0xFFFF, 0)
    alias = bytes(6) + struct.pack(">H", 150 + len(tail)) + bytes(142) + tail
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    old = places[-1] + 16  # "url ", twelve bytes, that says: in this file
    changed = bytearray(content[:old] + entry + content[old + 12 :])
    for place in places:
        size = struct.unpack(">I", changed[place : place + 4])[0]
        changed[place : place + 4] = struct.pack(">I", size + len(entry) - 12)
    return bytes(changed)


def test_a_mov_whose_pictures_lie_in_another_file_is_not_followed(aside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.mov").write_bytes(video("mov", shade=30))
    content = elsewhere(video("mov", shade=200), str(tmp_path / "secret.mov"))
    try:
        shown = bring(aside, [("x.mov", content)]).frames
    except Refusal:
        return
    assert abs(shown.mean() - 30) > 60, "the other file was read"


def test_nothing_beside_the_file_is_opened(monkeypatch):
    """Whatever a demuxer would follow: FFmpeg has no protocol to open it with."""
    content, opened, real = video(), [], av.open

    def watched(file, mode, **more):
        opened.append(more)
        return real(file, mode, **more)

    monkeypatch.setattr(av, "open", watched)
    with open_video(io.BytesIO(content), "x"):
        pass
    (more,) = opened
    assert more["format"] == "mov"
    assert more["container_options"]["protocol_whitelist"] == "none"
    assert more["container_options"]["enable_drefs"] == "0"
    with pytest.raises(PermissionError):
        more["io_open"]("secret.png", 0, {})


# -- files that are too much ----------------------------------------------------------------------


def test_pictures_of_too_many_pixels_together_are_refused_undecoded(aside, monkeypatch):
    large = flat("PNG", 2000)
    began = time.monotonic()
    refusal = refused(aside, [(f"{n}.png", large) for n in range(300)])
    assert refusal.status == 413
    assert "300 million pixels" in refusal.reason
    assert time.monotonic() - began < 20


def test_a_gif_of_too_many_pixels_is_refused_while_it_is_read(aside):
    refusal = refused(aside, [("x.gif", flat("GIF", 1000, 40))], upload_megapixels=20)
    assert refusal.status == 413
    assert "20 million pixels" in refusal.reason


def test_frames_are_counted_while_they_are_read(monkeypatch):
    content, read, load = flat("GIF", 8, 200), [], GifImagePlugin.GifImageFile.load
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "load",
        lambda image: read.append(image.tell()) or load(image),
    )
    limits = Limits(upload_frames=5)
    with pytest.raises(Refusal, match="more than 5 frames"):
        decoding.decode([("x.gif", content)], None, None, size=(64, 64), limits=limits)
    assert max(read) <= 5


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_bomb_is_refused_by_its_header(aside, kind):
    large = Image.fromarray(np.zeros((12_000, 12_000), np.uint8))
    file = io.BytesIO()
    large.save(file, kind)
    refusal = refused(aside, [("x", file.getvalue())])
    assert refusal.status in (413, 422)
    assert "pixels" in refusal.reason


@pytest.mark.parametrize(
    "table",
    [b"1,2\n" * 5_000_000, b"1\n" * 5_000, b"1," * 10_000_000, b"1\x0c" * 10_000_000],
    ids=["rows", "short rows", "columns", "other ends of lines"],
)
def test_a_table_of_too_many_numbers_is_refused_unread(aside, table):
    began = time.monotonic()
    refusal = refused(aside, [("a.png", picture())], table)
    assert refusal.status == 413
    assert "rows" in refusal.reason
    assert time.monotonic() - began < 10


ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


def test_all_ends_of_lines_are_known():
    assert set(ENDS) - {"\r\n"} == {
        chr(n) for n in range(sys.maxunicode + 1) if len(f"1{chr(n)}2".splitlines()) == 2
    }


@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_rows_are_counted_whatever_ends_them(end):
    """A table of hardly more rows is read; one of many is refused before they are split."""
    assert len(parse_rows((f"1{end}" * 300).encode(), "a.csv", most=300)) == 300
    with pytest.raises(TooManyRowsError, match="more than 300 rows"):
        parse_rows((f"1{end}" * 302).encode(), "a.csv", most=300)
    began = time.monotonic()
    tracemalloc.start()
    content = (f"1{end}" * 600_000).encode()
    with pytest.raises(Refusal, match="more than 300 rows") as refusal:
        decoding.decode([("a.png", picture())], content, None, size=(64, 64), limits=Limits())
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal.value.status == 413
    assert held < 2**24
    assert time.monotonic() - began < 5


def scans(count):
    """A progressive JPEG that goes over its pixels again and again."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    first = content.index(b"\xff\xda")
    second = content.index(b"\xff\xda", first + 2)
    return content[:second] + content[first:second] * count + b"\xff\xd9"


def test_a_jpeg_of_a_thousand_scans_is_refused(aside):
    refusal = refused(aside, [("x.jpg", scans(1000))])
    assert refusal.status == 422
    assert "scans" in refusal.reason


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """Processes aside in which decoding takes what it is told to."""

    def make(deed, before=""):
        (tmp_path / "sitecustomize.py").write_text(
            f"{before}\n"
            "import foreframe.serve.aside.decoding as d\n"
            "def decode(files, *tables, **more):\n"
            f"    {deed}\n"
            "d.decode = decode\n"
        )
        paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        opened.append(Aside())
        return opened[-1]

    opened = []
    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("deed", "status", "words"),
    [
        ("import time; time.sleep(60)", 413, "longer than 1 s"),
        ("exec('while True: pass')", 413, "longer than 1 s"),
        ("bytearray(2**30)", 413, "more than 64 MB"),
        ("import os; os.abort()", 422, "broke off"),
        ("import os; os.write(1, bytes(2**16))", 422, "broke off"),
    ],
    ids=["waits", "computes", "takes memory", "crashes", "answers nonsense"],
)
def test_a_process_that_goes_too_far_is_ended_and_the_limit_named(slow, deed, status, words):
    if "bytearray" in deed and sys.platform != "linux":
        pytest.skip("limits of Linux")
    limits = {"upload_seconds": 1.0, "upload_memory_megabytes": 64.0}
    refusal = refused(slow(deed), [("a.png", picture())], **limits)
    assert (refusal.status, words in refusal.reason) == (status, True), refusal.reason


# Numbers of system calls on x86-64 and on 64-bit Arm, for those that Python has no function for.
NUMBERS = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "process_vm_readv": (310, 270),
}
PREAMBLE = f"""
import ctypes, encodings.idna, fcntl, os, platform, resource, signal, socket, stat, subprocess, sys
import threading, time
from foreframe.serve.aside.confinement import confine

library, parent = ctypes.CDLL(None, use_errno=True), os.getppid()
column = platform.machine() == "aarch64"
info = ctypes.create_string_buffer(bytes(8) + bytes([255] * 4), 128)  # from a user's own program

def call(name, *arguments):
    number = {NUMBERS!r}[name][column]
    done = library.syscall(*(ctypes.c_long(n) for n in (number, *arguments)))
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return done

"""

# A process that is not confined does all of these; see the next test. Signal 0 ends nobody, and is
# sent to those alone to whom others could be sent. A place is made free where one is needed for
# what would be opened.
DEEDS = {
    "read a file": "open('/etc/hostname').read()",
    "look at a file": "os.stat('/etc/hostname')",
    "see whether a file is there": "os.access('/etc/hostname', os.F_OK) or 1 / 0",
    "read a link": "os.readlink('/proc/self/exe')",
    "write a file": "open('{folder}/written', 'w').write('x')",
    "write a file in place of another": "os.close(2); open('{folder}/written', 'w')",
    "make a folder": "os.mkdir('{folder}/made')",
    "make a pipe with a name": "os.mkfifo('{folder}/made')",
    "make a node": "os.mknod('{folder}/made', 0o600 | stat.S_IFSOCK)",
    "make a link": "os.symlink('x', '{folder}/made')",
    "remove a folder": "os.rmdir('{empty}')",
    "change the mode of a folder": "os.chmod('{empty}', 0o700)",
    "change the owner of a folder": "os.chown('{empty}', -1, -1)",
    "change the time of a folder": "os.utime('{empty}')",
    "go to another folder": "os.chdir('/')",
    "connect": "socket.create_connection(('127.0.0.1', {port}), 2)",
    "make two sockets": "os.close(0); os.close(2); socket.socketpair()",
    "make a pipe": "os.close(0); os.close(2); os.pipe()",
    "open memory as a file": "os.close(2); os.memfd_create('x')",
    "open what waits": "os.close(2); import select; select.epoll()",
    "open what is open again": "os.close(2); os.dup(1)",
    "start a program": "os.execv('/bin/true', ['true'])",
    "start a process": "subprocess.run(['/bin/true'])",
    "fork": "os.fork()",
    "clone": "call('clone', signal.SIGCHLD, 0, 0, 0, 0)",
    "begin a session": "os.setsid()",
    "leave its group": "os.setpgid(0, 0)",
    "signal its parent": "os.kill(parent, 0)",
    "signal its parent's thread": "call('tgkill', parent, parent, 0)",
    "signal its parent with a word": "call('rt_sigqueueinfo', parent, 0, ctypes.addressof(info))",
    "signal its parent's thread with a word": (
        "call('rt_tgsigqueueinfo', parent, parent, 0, ctypes.addressof(info))"
    ),
    "signal its group": "os.killpg(0, 0)",
    "have its parent signalled": "fcntl.fcntl(1, fcntl.F_SETOWN, parent)",
    "hold its parent": "os.close(2); os.pidfd_open(parent)",
    "read its parent's limits": "resource.prlimit(parent, resource.RLIMIT_NOFILE)",
    "change its own limits": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "slow its parent down": (
        "os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent))"
    ),
    "place its parent": "os.sched_setaffinity(parent, os.sched_getaffinity(parent))",
    "read another's memory": "call('process_vm_readv', os.getpid(), 0, 0, 0, 0, 0)",
    "share memory": "call('shmctl', call('shmget', 0, 4096, 0o1600), 0, 0)",
    "share a semaphore": "call('semctl', call('semget', 0, 1, 0o1600), 0, 0, 0)",
    "share messages": "call('msgctl', call('msgget', 0, 0o1600), 0, 0)",
}


@linux
@pytest.mark.parametrize("confined", [True, False])
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_a_process_that_decodes_reaches_nothing(tmp_path, deed, confined):
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = confined_program(
            deed.format(folder=folder, empty=empty, port=server.getsockname()[1]), confined
        )
    assert (done.returncode != 0) == confined, done.stderr
    assert any(folder.iterdir()) == (not confined and "{folder}" in deed)
    assert empty.exists() == (confined or "rmdir" not in deed)


def confined_program(deed, confined=True):
    confine = "confine(seconds=5, megabytes=256)\n" if confined else ""
    program = f"{PREAMBLE}{confine}{deed}\n"
    # Errors go through a pipe, as a process aside has two; so its parent can be told of one.
    return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)


@linux
def test_a_confined_process_computes_in_threads_and_knows_its_limits():
    done = confined_program(
        "seen = []\n"
        "look = lambda: seen.append(os.urandom(3))\n"
        "threads = [threading.Thread(target=look) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "time.sleep(0.01)\n"
        "bytearray(2**24)\n"
        "assert len(seen) == 3\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (0, 0)\n"
        "print('done')\n"
    )
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr


@linux
def test_the_threads_that_a_library_has_begun_are_confined_too():
    begin = (
        "seen, go = [], threading.Event()\n"
        "def reach():\n"
        "    go.wait()\n"
        "    try:\n"
        "        os.kill(parent, 0)\n"
        "    except PermissionError:\n"
        "        seen.append(1)\n"
        "thread = threading.Thread(target=reach)\n"
        "thread.start()\n"
    )
    confine = "confine(seconds=5, megabytes=256)\n"
    end = "go.set(); thread.join(); sys.exit(seen != [1])"
    assert confined_program(begin + confine + end, confined=False).returncode == 0
    assert confined_program(begin + end, confined=False).returncode == 1


ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def answer(machine, number, *arguments, architecture=None):
    """What the kernel answers to a call of a confined process, by the filter's own words."""
    known = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
    six = (*arguments, *[0] * (6 - len(arguments)))
    shown = struct.pack("<IIQ6Q", number, architecture or known[machine], 0, *six)
    held, at, steps = 0, 0, confinement._filter(machine)
    while True:
        code, if_so, if_not, value = steps[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (held,) = struct.unpack_from("<I", shown, value)
        elif code == 0x54:
            held &= value
        else:
            at += if_so if {0x15: held == value, 0x35: held >= value}[code] else if_not


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_the_filter_of_each_architecture_allows_what_is_needed_and_no_more(machine, column):
    needed = {"read": (0, 63), "write": (1, 64), "mmap": (9, 222), "futex": (202, 98)}
    needed |= {"exit_group": (231, 94), "rseq": (334, 293), "getrandom": (318, 278)}
    for name, numbers in needed.items():
        assert answer(machine, numbers[column]) == ALLOWED, name
    refused = {"openat": (257, 56), "socket": (41, 198), "execve": (59, 221), "kill": (62, 129)}
    refused |= {"unshare": (272, 97), "mount": (165, 40), "io_uring_setup": (425, 425)}
    refused |= {"ptrace": (101, 117), "bpf": (321, 280), "fcntl": (72, 25), "ioctl": (16, 29)}
    refused |= {"memfd_create": (319, 279), "prctl": (157, 167), "keyctl": (250, 219)}
    refused |= {name: numbers for name, numbers in NUMBERS.items() if name != "clone3"}
    for name, numbers in refused.items():
        assert answer(machine, numbers[column]) == REFUSED, name
    assert answer(machine, NUMBERS["clone3"][column]) == UNKNOWN
    clone, prlimit = NUMBERS["clone"][column], (302, 261)[column]
    thread = 0x3D0F00  # the flags with which the C library begins one
    assert answer(machine, clone, thread) == ALLOWED
    for new in (0x02000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x00000080):
        assert answer(machine, clone, thread | new) == REFUSED, "with a namespace of its own"
    assert answer(machine, prlimit, 0, 7, 0) == ALLOWED
    assert answer(machine, prlimit, 1, 7, 0) == REFUSED, "another's"
    assert answer(machine, prlimit, 0, 7, 2**33) == REFUSED, "to change them"
    assert answer(machine, 2**30 + 1) == (KILLED, REFUSED)[column]
    assert answer(machine, needed["read"][column], architecture=0x40000003) == KILLED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_is_ended_with_all_that_it_has_begun(slow):
    """Where the kernel does not refuse it: a child must not keep the service waiting."""
    free = "import foreframe.serve.aside.confinement as c; c._refuse_calls = lambda: None\n"
    own = slow("import os, time; os.fork(); time.sleep(30)", free)
    began = time.monotonic()
    refusal = refused(own, [("a.png", picture())], upload_seconds=1.0)
    assert refusal.status == 413
    assert time.monotonic() - began < 15


@linux
@pytest.mark.parametrize("kind", ["gif", "mp4", "lab"])
def test_an_export_is_written_by_a_process_that_can_open_nothing(aside, kind):
    frames = np.random.default_rng(0).integers(0, 255, (2, 5, 64, 64, 3), np.uint8)
    header = {"work": "export", "format": kind, "rate": 10.0, "n_past": 2}
    content = aside.do(
        header | {"shapes": {"frames": frames.shape}},
        lambda stream: stream.write(frames.tobytes()),
        lambda answer, stream: wire.read_exactly(stream, answer["size"]),
        seconds=60,
        megabytes=384,
        what="the file",
    )
    assert content[:4] == {"gif": b"GIF8", "mp4": bytes(3) + b" ", "lab": b"PK\x03\x04"}[kind]


@linux
@pytest.mark.parametrize("deed", ["read a file", "write a file", "fork"])
def test_an_export_reaches_no_more_than_an_upload(slow, tmp_path, deed):
    code = DEEDS[deed].format(folder=tmp_path)
    own = slow("pass", f"import os, foreframe.serve.aside.exporting as e\n{WRITES.format(code)}")
    frames = np.zeros((1, 2, 64, 64, 3), np.uint8)
    content = own.do(
        {
            "work": "export",
            "format": "gif",
            "rate": 10.0,
            "n_past": 1,
            "shapes": {"frames": frames.shape},
        },
        lambda stream: stream.write(frames.tobytes()),
        lambda answer, stream: wire.read_exactly(stream, answer["size"]),
        seconds=30,
        megabytes=256,
        what="the file",
    )
    assert content == b"PermissionError" if deed == "fork" else b"Error" in content
    assert not (tmp_path / "written").exists()


WRITES = """
def as_file(kind, seen):
    try:
        {}
    except OSError as error:
        return type(error).__name__.encode()
    return b"done"
e.as_file, e.load_everything = as_file, lambda kind: None
"""


LIES = {
    "nothing but brackets": b"[" * 100_000,
    "no header": b"[1]",
    "an endless frame": b'{"shapes": {"frames": [Infinity, 64, 64, 3]}}',
    "no number of frames": b'{"shapes": {"frames": [NaN, 64, 64, 3]}}',
    "a huge number": b'{"shapes": {"frames": [1' + b"0" * 4000 + b", 64, 64, 3]}}",
    "a longer number": b'{"shapes": {"frames": [1' + b"0" * 9000 + b", 64, 64, 3]}}",
    "no list": b'{"shapes": {"frames": 1}}',
    "lists in a list": b'{"shapes": {"frames": [[1], 64, 64, 3]}}',
    "no shapes": b'{"shapes": [1]}',
    "nothing": b"{}",
    "null": b'{"shapes": null}',
    "a refusal of nothing": b'{"refused": []}',
    "a refusal that is a number": b'{"refused": 1}',
    "a success refused": b'{"refused": [200, "well"]}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES)
def test_an_answer_that_is_made_up_is_refused_in_words(monkeypatch, answer):
    """From a process that somebody has taken over."""
    refusal = refused(lying(monkeypatch, answer, bytes(2**16)), [("a.png", picture())])
    assert (refusal.status, "broke off" in refusal.reason) == (422, True)


@pytest.mark.parametrize(("rows", "content"), [(1, [0.5]), (2, [0.5, np.nan]), (2, [0.5, np.inf])])
def test_rows_that_are_made_up_are_refused(monkeypatch, rows, content):
    shapes = {"frames": [2, 64, 64, 3], "actions": [rows, 1]}
    answer = json.dumps({"shapes": shapes}).encode()
    after = bytes(2 * 64 * 64 * 3) + np.array(content, np.float32).tobytes()
    assert refused(lying(monkeypatch, answer, after), [("a.png", picture())]).status == 422
    shapes["actions"] = [2, 1]
    honest = bytes(2 * 64 * 64 * 3) + np.array([0.5, 1], np.float32).tobytes()
    own = lying(monkeypatch, json.dumps({"shapes": shapes}).encode(), honest)
    np.testing.assert_array_equal(bring(own, [("a.png", picture())]).actions, [[0.5], [1]])


def lying(monkeypatch, answer, after):
    """Processes aside that answer what they are told to, whatever they are asked."""
    said = b"+" + struct.pack("<I", len(answer)) + answer + after
    said = f"zlib.decompress({zlib.compress(said)!r})"
    program = f"import sys, zlib; sys.stdout.buffer.write({said}); sys.stdout.flush()"
    monkeypatch.setattr("foreframe.serve.aside.pool._BEGIN", program)
    return Aside(spares=0)


def test_processes_are_used_once_and_none_stays(aside):
    own = Aside()
    bring(own, [("a.png", picture())])
    first = {process.pid for process in own._idle}
    bring(own, [("a.png", picture())])
    second = {process.pid for process in own._idle}
    assert first.isdisjoint(second)
    idle = list(own._idle)
    own.close()
    assert all(process.poll() is not None for process in idle)
    with pytest.raises(Refusal, match="ending"):
        bring(own, [("a.png", picture())])


def test_a_process_holds_no_secret_of_the_services(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    own = Aside()
    bring(own, [("a.png", picture())])
    (idle,) = own._idle
    if sys.platform == "linux":
        with open(f"/proc/{idle.pid}/environ", "rb") as file:
            assert b"secret" not in file.read()
    own.close()


# -- what is kept ---------------------------------------------------------------------------------


def test_many_uploads_of_one_client_push_out_its_own():
    kept = Uploads(Limits(uploads_megabytes=1.0))
    recording = Recording(np.zeros((20, 64, 64, 3), np.uint8))  # a quarter of it
    honest = kept.add(recording, "honest")
    names = [kept.add(recording, "hostile") for _ in range(20)]
    assert kept.get(honest) is recording
    assert kept.get(names[-1]) is recording
    with pytest.raises(Refusal):
        kept.get(names[0])
