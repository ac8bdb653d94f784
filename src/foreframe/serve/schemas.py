"""What goes in and out, as the OpenAPI description has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
# One mistake is enough: to list all of a long row takes longer than to read it.
Row = Annotated[list[Finite], Field(min_length=1, max_length=256, fail_fast=True)]
Rows = Annotated[list[Row], Field(max_length=1024, fail_fast=True)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Strict(BaseModel):
    """A message whose unknown fields are refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


class Reason(BaseModel):
    """The answer to a request that was not served."""

    reason: str


class Health(BaseModel):
    """That the service answers."""

    status: Literal["ok"]
    version: str


class NumberOut(BaseModel):
    """One number of an action or position, and its range in the training split."""

    label: str
    description: str
    low: float
    high: float
    mean: float
    deviation: float


class AxisOut(BaseModel):
    """The number of the action that moves the arm along an axis of the screen."""

    index: int
    sign: int


class PlanarOut(BaseModel):
    """How the arm is moved over the picture."""

    right: AxisOut
    up: AxisOut


class LimitsOut(BaseModel):
    """What may be asked for."""

    samples: int
    upload_bytes: int
    upload_frames: int
    steps_per_second: float
    n_future: int


class RunOut(BaseModel):
    """A run."""

    run: str
    name: str
    recipe: str
    net: str
    frame_size: tuple[int, int]
    prior: str
    z_dim: int
    latent_of_episode: bool
    condition: str
    timing: str
    n_past: int
    frame_rate: float
    playable: bool
    actions: list[NumberOut]
    positions: list[NumberOut]
    positions_rolled: bool
    planar: PlanarOut
    planar_known: bool
    sequences: int
    simulated: bool
    notes: list[str]
    z_directions: list[float]
    limits: LimitsOut


class SequenceOut(BaseModel):
    """A test sequence."""

    sequence: int
    name: str
    frames: int


class SequencesOut(BaseModel):
    """Some of the test sequences."""

    total: int
    items: list[SequenceOut]


class RowsOut(BaseModel):
    """What a recording's CSV files hold; row t acts between frame t and t + 1."""

    actions: list[list[float]] | None
    positions: list[list[float]] | None


class HistoryOut(BaseModel):
    """A training so far."""

    epochs: int
    running: bool
    rows: list[dict[str, float | int | None]]


class FindingOut(BaseModel):
    """What a diagnosis or a probe says; stale where the weights are newer."""

    title: str
    words: list[str]
    stale: bool
    command: str


class UploadOut(BaseModel):
    """A recording that was uploaded."""

    upload: str
    frames: int
    size: tuple[int, int]
    actions: int | None
    positions: int | None


class SessionIn(Strict):
    """A session to begin: of a test sequence or of an upload."""

    run: Annotated[str, Field(max_length=200)]
    sequence: Count | None = None
    upload: Annotated[str, Field(max_length=64)] | None = None
    start: Count = 0
    samples: Annotated[int, Field(ge=1, le=1024)] = 1
    seed: Seed = 0
    both: bool = False


class SessionOut(BaseModel):
    """A session; its moment 0 lies after the given frames."""

    session: str
    node: int
    samples: int
    n_past: int
    first_row: int
    size: tuple[int, int]
    both: bool
    expires_seconds: float


class PredictIn(Strict):
    """Given frames and what is done then."""

    run: Annotated[str, Field(max_length=200)]
    frames: Annotated[
        str,
        Field(
            description="uint8 [n_past, H, W, 3], RGB, in base64",
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]
    actions: Rows | None = None
    positions: Rows | None = None
    samples: Annotated[int, Field(ge=1, le=1024)] = 1
    n_future: Annotated[int, Field(ge=1, le=4096)] | None = None
    seed: Seed = 0


class PredictOut(BaseModel):
    """K futures: uint8 [K, T, H, W, 3] in base64."""

    shape: tuple[int, int, int, int, int]
    frames: str


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = Annotated[list[Share], Field(min_length=2, max_length=2)]


class PlanIn(Strict):
    """Where something shall go: an object to a place, or the whole picture to another one."""

    session: Annotated[str, Field(max_length=200)]
    node: Count
    thing: Annotated[
        Point | None, Field(description="where the object is: x and y, shares of the picture")
    ] = None
    goal: Annotated[Point | None, Field(description="where it shall be, likewise")] = None
    picture: Annotated[
        str | None,
        Field(
            description="what the picture shall look like: uint8 [H, W, 3], RGB, in base64",
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ] = None
    steps: Annotated[int, Field(ge=1, le=15)] = 10


class PlanOut(BaseModel):
    """Actions that were found, and futures that were thought of.

    The first of ``paths`` and ``frames`` is of the plan, the others are candidates from the first
    draw, from good to bad: x and y of the object at each moment, and the last frame, uint8 [N, H,
    W, 3] in base64.
    """

    actions: list[list[float]]
    cost: float
    paths: list[list[list[float]]]
    shape: tuple[int, int, int, int]
    frames: str
    imagined: int
    seconds: float


class LatentIn(Strict):
    """How the z of a step is chosen."""

    mode: Literal["sampled", "fixed", "directions"]
    values: Annotated[
        list[Annotated[float, Field(ge=-6, le=6, allow_inf_nan=False)] | None],
        Field(max_length=64),
    ] = []


class StepIn(Strict):
    """A step, over the socket."""

    type: Literal["step"]
    id: Annotated[int, Field(ge=0, le=2**32 - 1)]
    origin: Annotated[int, Field(alias="from", ge=0, le=2**31 - 1)]
    action: Annotated[list[Finite], Field(max_length=256, fail_fast=True)] | None = None
    position: Row | None = None
    z: LatentIn | None = None
