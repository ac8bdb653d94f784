"""All that a source gives, as the tests of sources look at it."""

import pickle

import numpy as np

from foreframe.data.sources.source import Skip, Source
from foreframe.errors import ForeframeError


def everything(source: Source, key=lambda found: found.name) -> tuple[dict, list[Skip]]:
    """Frames, actions and positions of each recording, and what was skipped.

    Args:
        source: is pickled and read back first, as for a worker.
        key: of a recording in what is returned.
    """
    recordings, skips = {}, []
    for part in pickle.loads(pickle.dumps(source)).parts():
        for found in source.read(part):
            if isinstance(found, Skip):
                skips.append(found)
                continue
            try:
                frames = np.stack(list(found.frames))
            except ForeframeError as error:
                skips.append(Skip(found.name, str(error)))
                continue
            assert frames.dtype == np.uint8
            recordings[key(found)] = (frames, found.actions, found.positions)
    return recordings, skips
