"""The actions that the robots of the simulated worlds take."""

import numpy as np

from foreframe.planning.planner import ActionSpace
from foreframe.simulator.actions import LONGEST_STEP, STEP, TURN

SPACE = ActionSpace(
    low=np.array([-LONGEST_STEP, -LONGEST_STEP, 0.0, -3 * TURN]),
    high=np.array([LONGEST_STEP, LONGEST_STEP, 0.09, 3 * TURN]),
    mean=np.zeros(4),
    deviation=np.array([STEP, STEP, 0.03, TURN]),
)
"""The simulator's robot: as large as the commands that it is recorded with."""

PUSHT_SPACE = ActionSpace(
    low=np.full(2, -100.0), high=np.full(2, 100.0), mean=np.zeros(2), deviation=np.full(2, 40.0)
)
"""PushT's disc: where its target is seen from it, in 512ths of the plane."""
