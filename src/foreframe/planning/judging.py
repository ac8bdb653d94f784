"""One policy on one task, in the simulator and inside a model: a job that any worker does."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from foreframe.config.results import Result
from foreframe.evaluation.provenance import code_hash
from foreframe.model.imagines import Imagines
from foreframe.planning.costs import picture
from foreframe.planning.following import follow, has_things
from foreframe.planning.policies import Policy, Sight, policy
from foreframe.planning.registration import Template
from foreframe.planning.tasks import Setting, Task, place_of, point_of, prepare
from foreframe.runs.hub import load_model
from foreframe.simulator.actions import next_target
from foreframe.system.files import write_json

_LATENT, _POLICY = 31, 32
"""Keys of the draws."""


@dataclass(frozen=True)
class JudgeJob:
    """What a worker is told.

    Attributes:
        task: what is to be done.
        other: a task whose actions the model is told in the place of the policy's own.
        policy: name of it.
        run: folder of the model.
        out: folder of the results.
        steps: actions of an episode.
        futures: that are imagined, each with a policy of its own.
        seed: of the policies' draws and of the latents.
    """

    task: Task
    other: Task
    policy: str
    run: Path
    out: Path
    steps: int
    futures: int
    seed: int

    @property
    def path(self) -> Path:
        """The file of the record."""
        return self.out / "episodes" / self.task.name / f"{self.policy}.json"


@dataclass(frozen=True, kw_only=True)
class Judgement(Result):
    """How a policy fares on a task.

    Attributes:
        task: its name.
        policy: its name.
        start: metres from the object to its goal.
        happened: metres at the end, in the simulator.
        imagined: metres at the end in each future of the model.
        shuffled: likewise, where the model is told the actions of another task's episode.
        code: SHA-256 of the program that judged.
    """

    WHAT = "the record of a judged episode"

    task: str
    policy: str
    start: float
    happened: float
    imagined: list[float]
    shuffled: list[float]
    code: str = field(default="")


def judge(job: JudgeJob) -> Judgement:
    """Carry out and imagine an episode, and write its record."""
    if job.path.is_file():
        return Judgement.read(job.path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whoever does the work
    try:
        model = _model(job.run)
        setting = prepare(job.task, size=model.config.frame_size[0])
        happened, _ = _carried_out(job, job.task, setting)
        imagined = _imagined(job, model, setting, None)
        setting_of_other = prepare(job.other, size=model.config.frame_size[0])
        told = _carried_out(job, job.other, setting_of_other)[1]
        shuffled = _imagined(job, model, setting, told)
    finally:
        torch.set_num_threads(threads)
    setting.live.restore(setting.start)
    made = Judgement(
        task=job.task.name,
        policy=job.policy,
        start=round(float(np.linalg.norm(place_of(job.task, setting.live) - setting.goal)), 6),
        happened=round(happened, 6),
        imagined=[round(x, 6) for x in imagined],
        shuffled=[round(x, 6) for x in shuffled],
        code=_code(),
    )
    write_json(job.path, made.to_json())
    return made


@lru_cache(maxsize=1)
def _model(run: Path) -> Imagines:
    model: Imagines = load_model(run)
    return model.eval()


@lru_cache(maxsize=1)
def _code() -> str:
    return code_hash()


def _policy(job: JudgeJob, task: Task) -> Policy:
    """The same in the simulator and in each future: what is random in it is of the episode."""
    return policy(job.policy, (job.seed, _POLICY, task.number), job.steps)


def _carried_out(
    job: JudgeJob, task: Task, setting: Setting
) -> tuple[float, Float64[np.ndarray, "steps 4"]]:
    """Metres to the goal after the episode in the simulator, and its actions."""
    live, act = setting.live, _policy(job, task)
    live.restore(setting.start)
    gripper, taken = setting.start.target, []
    for step in range(job.steps):
        action = act(Sight(gripper, place_of(task, live), setting.goal, step))
        live.step(action)
        gripper = next_target(gripper, action)
        taken.append(action)
    return float(np.linalg.norm(place_of(task, live) - setting.goal)), np.stack(taken)


class _Futures:
    """K futures of a task in the model, each a sequence of its own, and where the object is.

    Args:
        model: that imagines.
        setting: the task, at its start.
        height: of the object's origin above the table, in metres.
        noise: of all draws.
        count: futures K.
    """

    def __init__(
        self,
        model: Imagines,
        setting: Setting,
        height: float,
        noise: torch.Generator,
        count: int,
    ) -> None:
        self._model, self._setting, self._height = model, setting, height
        self._noise, self._count = noise, count
        config = model.config
        past = torch.stack([picture(frame) for frame in setting.frames])[None]
        told = torch.from_numpy(setting.action[None, None]).float()
        drawn = torch.randn(count, 1, past.shape[1] - 1, config.z_dim, generator=noise)
        self._moment = model.begin(
            past.expand(count, -1, -1, -1, -1), told.expand(count, -1, -1), noise=drawn
        )
        self._slot: int | None = None
        self._template = Template.of(past[0, -1], setting.thing)
        self._frames: Float[Tensor, "futures 3 height width"] = past[0, -1:].expand(
            count, -1, -1, -1
        )
        if has_things(self._moment):
            one = model.begin(past, told, noise=drawn[:1])
            found = follow(model, one, setting.thing, None, np.empty((0, 4)))  # type: ignore[arg-type]
            self._slot = None if found is None else found.slot

    def places(self) -> Float64[np.ndarray, "futures 2"]:
        """x and y of the object on the table in each future, in metres."""
        size = self._frames.shape[-1]
        if self._slot is not None:
            pixels = (self._moment.now.motion.place[:, self._slot] + 1) / 2 * size
        else:
            pixels = self._template.find(self._frames)
        camera = self._setting.live.scene.camera
        return camera.on_level(pixels.double().cpu().numpy(), size, self._height)

    def step(self, actions: Float64[np.ndarray, "futures 4"]) -> None:
        """Carry on each future by an action of its own."""
        config, noise = self._model.config, None
        if not config.latent_of_episode:
            noise = torch.randn(self._count, 1, config.z_dim, generator=self._noise)
        told = torch.from_numpy(actions).float()
        if self._slot is None:
            frames, self._moment = self._model.step(self._moment, told, noise=noise)
            self._frames = frames[:, 0]
        else:
            self._moment = self._model.step_unseen(self._moment, told, noise=noise)


def _imagined(
    job: JudgeJob,
    model: Imagines,
    setting: Setting,
    told: Float64[np.ndarray, "steps 4"] | None,
) -> list[float]:
    """Metres to the goal after the episode in each future.

    Args:
        job: what is judged.
        model: that imagines.
        setting: the task.
        told: actions that the model is told; None for those that the policy chooses.
    """
    setting.live.restore(setting.start)
    height = float(point_of(job.task, setting.live)[2])
    key = np.random.SeedSequence((job.seed, _LATENT, job.task.number))
    noise = torch.Generator().manual_seed(int(key.generate_state(1)[0]))
    futures = _Futures(model, setting, height, noise, job.futures)
    policies = [_policy(job, job.task) for _ in range(job.futures)]
    grippers = [setting.start.target] * job.futures
    for step in range(job.steps):
        actions = np.stack(
            [
                act(Sight(gripper, place, setting.goal, step))
                for act, gripper, place in zip(policies, grippers, futures.places(), strict=True)
            ]
        )
        grippers = [next_target(g, action) for g, action in zip(grippers, actions, strict=True)]
        futures.step(actions if told is None else np.tile(told[step], (job.futures, 1)))
    return np.linalg.norm(futures.places() - setting.goal, axis=1).tolist()
