"""Does a run listen to its actions, and do its samples spread as the hidden physics does?

options       what one may choose
probe         both questions asked of a run folder
result        the answers as a dataclass and as JSON; words puts them into sentences
listen        what false conditions cost, and which actions the frames show
inverse       the net that recovers an action from two frames
spread        samples and replays of the same scenes
readout       where objects are, read from frames
calibrate     the spread of the samples held against that of the physics
moments       mean and variance of frames that are not kept
"""
