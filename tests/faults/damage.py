"""Damage to a file, drawn by number: the same number damages the same bytes."""

import numpy as np

KINDS = ("bit", "bytes", "zeros", "header", "cut", "appended")


def damaged(content: bytes, number: int) -> tuple[str, bytes]:
    """The kind of a damage, and the damaged content.

    Args:
        content: of the file.
        number: of the damage.
    """
    random = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    spoilt = np.frombuffer(content, np.uint8).copy()
    header = 8 + int.from_bytes(content[:8], "little")
    place = int(random.integers(len(spoilt)))
    if kind == "bit":
        spoilt[place] ^= 1 << int(random.integers(8))
    elif kind == "bytes":
        places = random.integers(len(spoilt), size=200)
        spoilt[places] = random.integers(256, size=200)
    elif kind == "zeros":
        spoilt[place : place + 4096] = 0
    elif kind == "header":
        spoilt[int(random.integers(header))] ^= 1 << int(random.integers(8))
    elif kind == "cut":
        spoilt = spoilt[:place]
    else:
        spoilt = np.concatenate(
            [spoilt, random.integers(256, size=1 + place % 500, dtype=np.uint8)]
        )
    return kind, spoilt.tobytes()
