"""Damage to a file, drawn by number: the same number damages the same bytes."""

import json

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


def mutated(text: str, number: int) -> bytes:
    """JSON text with one value replaced, or some bytes of it."""
    random = np.random.default_rng((7, number))
    if number % 3 == 0:
        return damaged(text.encode(), int(random.integers(1 << 30)) * 6 + number // 3 % 2)[1]
    values = json.loads(text)
    for _ in range(1 + number % 2):
        odd = [
            None,
            True,
            -1,
            0,
            1e308,
            10**30,
            -0.5,
            "",
            "x",
            [],
            {},
            [[]],
            {"a": 1},
            "NaN",
            1 << 62,
        ]
        holder, key = values, None
        while isinstance(holder, dict | list) and holder:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            key = keys[int(random.integers(len(keys)))]
            if not isinstance(holder[key], dict | list) or random.random() < 0.3:
                break
            holder = holder[key]
        if key is not None and isinstance(holder, dict | list) and holder:
            holder[key] = odd[int(random.integers(len(odd)))]
    return json.dumps(values).encode()
