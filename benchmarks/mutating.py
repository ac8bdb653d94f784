"""Mutated inputs in a process of their own, which may be killed, crash or hold too much.

Used by ``faults.py``. The process reads one mutation after the other and says of each, before it
begins, what it is; the benchmark watches its time and its memory.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.campaign import keep, mutate  # noqa: E402

LONGEST = 20.0  # seconds for one input; then it hangs
MOST = 1 << 30  # bytes beyond those of the process that has read the sound input


@dataclass
class Outcome:
    """What became of the mutations of one input.

    Attributes:
        counts: how many were refused and taken, wholly or in part.
        faults: what was raised, or hung, or crashed, in words; with its place in the corpus.
        longest: seconds of the slowest.
        megabytes: the most that was held beyond what reading the sound input holds.
    """

    counts: dict[str, int]
    faults: list[str]
    longest: float
    megabytes: float


def held() -> int:
    """Bytes of the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _work(name: str, examples: int, seed: int, wire: Any, now: Path) -> None:
    warnings.simplefilter("ignore")
    sys.stderr = (now.parent / "said").open("w")
    state = {"at": 0.0, "longest": 0.0, "base": 0}

    def before(path: Path, content: bytes, exact: bool) -> None:
        at = time.monotonic()
        if state["at"]:
            state["longest"] = max(state["longest"], at - state["at"])
        else:
            state["base"] = held()
        head = f"{path.relative_to(now.parent / 'input')}\n{int(exact)}\n"
        now.write_bytes(head.encode() + content)
        wire.send("next")
        state["at"] = time.monotonic()

    place = now.parent / "input"
    place.mkdir()
    try:
        counts = mutate(name, place, examples, seed, before)
        fault = ""
    except BaseException:
        counts, fault = {}, traceback.format_exc()
    wire.send((dict(counts), fault, state["longest"], (held() - state["base"]) / 2**20))


def _once(name: str, examples: int, seed: int) -> Outcome:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder) / "now"
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(name, examples, seed, theirs, now))
        process.start()
        theirs.close()
        outcome, seen = Outcome({}, [], 0.0, 0.0), 0
        first = True
        while True:
            said: Any = None
            try:
                if ours.poll(60.0 if first else LONGEST):
                    said = ours.recv()
                    first = False
            except EOFError:
                said = "ended"
            if said == "next":
                seen += 1
                continue
            if isinstance(said, tuple):
                outcome = Outcome(said[0], [said[1]] if said[1] else [], *said[2:])
            else:
                what = "crashed" if said else f"takes more than {LONGEST:.0f} s"
                outcome.faults.append(what)
            break
        process.kill()
        process.join()
        outcome.counts["tried"] = seen
        if outcome.megabytes * 2**20 > MOST:
            outcome.faults.append(f"held {outcome.megabytes:.0f} MB")
        if outcome.faults and now.exists():
            relative, exact, content = now.read_bytes().split(b"\n", 2)
            where = keep(name, Path(relative.decode()), content, exact == b"1")
            outcome.faults = [f"{fault}\n{where.relative_to(ROOT)}" for fault in outcome.faults]
        return outcome


def campaign(name: str, examples: int, seed: int) -> Outcome:
    """Read ``examples`` mutations of an input; at most five faults end it early."""
    whole, done, number = Outcome({}, [], 0.0, 0.0), 0, seed
    while done < examples and len(whole.faults) < 5:
        part = _once(name, examples - done, number)
        for key, value in part.counts.items():
            whole.counts[key] = whole.counts.get(key, 0) + value
        done += max(part.counts["tried"], 1) if part.faults else examples
        whole.faults += part.faults
        whole.longest = max(whole.longest, part.longest)
        whole.megabytes = max(whole.megabytes, part.megabytes)
        number += 1000
    return whole
