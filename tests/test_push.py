"""The simulated robot: what its recordings must have in common whatever is drawn."""

import dataclasses

import numpy as np
import pytest

from foreframe.simulator.actions import REACH, draw_actions, next_target
from foreframe.simulator.camera import FIELD_OF_VIEW, LOOK_AT, POSITION, Camera
from foreframe.simulator.episode import Episode, moved_pixels, run_episode, simulate_sequence
from foreframe.simulator.renderer import Renderer
from foreframe.simulator.scene import (
    BIN,
    SPACING,
    Physics,
    Scene,
    draw_physics,
    draw_scene,
    nominal_physics,
)
from foreframe.simulator.things import Paint, Primitive, Thing
from foreframe.simulator.world import build_world

CAMERA = Camera(np.array(POSITION), np.array(LOOK_AT), FIELD_OF_VIEW)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    """Twenty sequences; small frames, since the physics does not know their size."""
    return [simulate_sequence(1, 0, number, size=16) for number in range(20)]


def _scene(gripper: tuple[float, float], box: tuple[float, float]) -> Scene:
    """A red box and the gripper, seen without jitter."""
    part = Primitive("box", (0.04, 0.04, 0.04), Paint((1.0, 0.0, 0.0)))
    return Scene(
        things=(Thing("box", (part,), 0.06, 0.04),),
        places=np.array([box]),
        turns=np.zeros(1),
        gripper=np.array([*gripper, 0.012, 0.0]),
        camera=CAMERA,
        exposure=1.0,
    )


def _picture(scene: Scene) -> np.ndarray:
    world = build_world(scene, nominal_physics(len(scene.things)))
    return Renderer(world, scene.camera, 64).frame()


def _red(picture: np.ndarray) -> int:
    return int((picture[..., 0] > 3 * picture[..., 1:].max(axis=-1)).sum())


def test_a_sequence_has_the_promised_shapes_and_types() -> None:
    episode = simulate_sequence(0, 0, 0)
    assert episode.frames.shape == (30, 64, 64, 3)
    assert episode.frames.dtype == np.uint8
    assert episode.actions.shape == (30, 4)
    assert episode.actions.dtype == np.float32
    assert episode.positions.shape == (30, 3)
    assert episode.positions.dtype == np.float32
    assert episode.centres.shape[0] == 30
    assert 4 <= episode.centres.shape[1] <= 8


def test_the_same_numbers_give_the_same_sequence_and_others_another() -> None:
    one, again = (simulate_sequence(5, 2, 3, size=32) for _ in range(2))
    assert np.array_equal(one.frames, again.frames)
    assert np.array_equal(one.positions, again.positions)
    for other in ((6, 2, 3), (5, 1, 3), (5, 2, 4)):
        assert not np.array_equal(one.actions, simulate_sequence(*other, size=16).actions)


def test_an_action_moves_the_gripper_between_its_own_frame_and_the_next(
    episodes: list[Episode],
) -> None:
    def correlation(delay: int) -> float:
        commanded = [e.actions[: 29 - delay, :2] for e in episodes]
        done = [np.diff(e.positions[delay:], axis=0)[:, :2] for e in episodes]
        pairs = np.corrcoef(np.concatenate(commanded).ravel(), np.concatenate(done).ravel())
        return float(pairs[0, 1])

    assert correlation(0) > 0.9
    assert correlation(1) < correlation(0) - 0.2


def test_actions_are_held_for_three_frames_and_keep_the_gripper_in_the_bin() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        scene = draw_scene(random)
        actions = draw_actions(scene, random, 30)
        assert np.array_equal(actions, np.repeat(actions[::3], 3, axis=0))
        target = scene.gripper
        for action in actions:
            target = next_target(target, action)
            assert np.all(np.abs(target[:2]) <= REACH)


def test_commands_are_spread_as_the_real_robot_s_were(episodes: list[Episode]) -> None:
    steps = np.concatenate([episode.actions[::3, :2] for episode in episodes])
    assert 0.035 < steps.std() < 0.05


def test_the_gripper_follows_its_target(episodes: list[Episode]) -> None:
    for episode in episodes:
        assert np.all(np.abs(episode.positions[:, :2]) <= REACH + 0.01)
        assert episode.positions[:, 2].min() > 0.0


def test_objects_stay_in_the_bin(episodes: list[Episode]) -> None:
    for episode in episodes:
        assert np.all(np.abs(episode.centres[..., :2]) < BIN)
        assert episode.centres[..., 2].min() > 0.0


def test_at_least_nineteen_sequences_in_twenty_move_an_object(episodes: list[Episode]) -> None:
    moved = [moved_pixels(e.centres, e.camera, 64).max() > 2 for e in episodes]
    assert np.mean(moved) >= 0.95


def test_moved_pixels_is_the_largest_shift_on_the_image() -> None:
    # One object crosses the middle of the view sideways, out and back again; one stays.
    shifts = np.array([0.0, 0.03, 0.05, 0.01])
    centres = np.tile(np.array(LOOK_AT), (4, 2, 1))
    centres[:, 0, 1] += shifts
    distance = np.linalg.norm(np.array(POSITION) - np.array(LOOK_AT))
    expected = 0.05 / distance / np.tan(np.radians(FIELD_OF_VIEW / 2)) * 32
    assert moved_pixels(centres, CAMERA, 64) == pytest.approx([expected, 0.0])


def test_a_pixel_s_ray_projects_back_into_the_middle_of_that_pixel() -> None:
    points = CAMERA.position + 0.7 * CAMERA.rays(64)
    columns, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    expected = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    assert np.allclose(CAMERA.project(points, 64), expected)


def test_other_physics_replay_the_same_beginning_into_another_future() -> None:
    base = simulate_sequence(1, 0, 0)
    replays = [simulate_sequence(1, 0, 0, physics=number) for number in (1, 2)]
    for replay in replays:
        assert np.array_equal(replay.frames[0], base.frames[0])
        assert np.array_equal(replay.actions, base.actions)
        assert not np.array_equal(replay.frames[-1], base.frames[-1])
    ends = np.stack([episode.centres[-1] for episode in (base, *replays)])
    assert np.ptp(ends, axis=0).max() > 0.01


def test_given_physics_and_given_actions_take_the_place_of_those_drawn() -> None:
    base = simulate_sequence(1, 0, 0, size=16)
    many = Physics(np.full(8, 0.03), np.full(8, 0.15), np.zeros((8, 3)))
    slippery = simulate_sequence(1, 0, 0, physics=many, size=16)
    assert np.array_equal(slippery.frames[0], base.frames[0])
    assert np.abs(slippery.centres[-1] - base.centres[-1]).max() > 0.01
    still = simulate_sequence(1, 0, 0, actions=np.zeros_like(base.actions), size=16)
    assert np.array_equal(still.frames[0], base.frames[0])
    assert np.ptp(still.positions, axis=0).max() < 0.01 < np.ptp(base.positions, axis=0).max()


def test_the_hidden_physics_are_the_objects_own() -> None:
    random = np.random.default_rng(3)
    scene = draw_scene(random)
    count = len(scene.things)
    physics = draw_physics(random, count)
    hidden, even = build_world(scene, physics), build_world(scene, nominal_physics(count))
    assert np.allclose(hidden.model.body_mass[hidden.things], physics.masses)
    shifts = (hidden.model.body_ipos - even.model.body_ipos)[hidden.things]
    assert np.allclose(shifts, physics.offsets)
    for body, friction in zip(hidden.things, physics.frictions, strict=True):
        assert np.allclose(
            hidden.model.geom_friction[hidden.model.geom_bodyid == body, 0], friction
        )


def test_a_slippery_object_slides_further_than_a_rough_one() -> None:
    # The same push over 9 cm, then the gripper backs off: what goes on is the object's own.
    scene = _scene(gripper=(0.0, -0.15), box=(0.0, -0.02))
    actions = np.zeros((12, 4), np.float32)
    actions[:3, 1], actions[3:6, 1] = 0.05, -0.03
    reach = []
    for friction in (0.15, 1.0):
        physics = dataclasses.replace(nominal_physics(1), frictions=np.array([friction]))
        episode = run_episode(scene, physics, actions, np.random.default_rng(0), size=16)
        reach.append(episode.centres[-1, 0, 1])
    assert reach[0] > reach[1] + 0.01
    assert reach[1] > 0.0


def test_objects_and_gripper_begin_apart() -> None:
    for seed in range(30):
        scene = draw_scene(np.random.default_rng(seed))
        places = np.concatenate([scene.places, scene.gripper[None, :2]])
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
        assert gaps[np.triu_indices(len(places), 1)].min() >= SPACING
        assert 4 <= len(scene.things) <= 8


def test_objects_lie_still_until_they_are_touched(episodes: list[Episode]) -> None:
    first = np.concatenate([e.centres[1] - e.centres[0] for e in episodes])
    assert np.median(np.linalg.norm(first, axis=1)) < 0.001


def test_the_arm_hides_what_is_behind_it() -> None:
    free = _red(_picture(_scene(gripper=(0.1, 0.2), box=(-0.1, 0.0))))
    hidden = _red(_picture(_scene(gripper=(0.02, 0.0), box=(-0.1, 0.0))))
    assert free > 30
    assert hidden < 0.7 * free


def test_a_box_darkens_the_table_on_the_side_away_from_the_lamp() -> None:
    with_box = _picture(_scene(gripper=(-0.17, -0.2), box=(0.0, 0.0)))
    without = _picture(_scene(gripper=(-0.17, -0.2), box=(0.1, -0.2)))
    column, row = CAMERA.project(np.array([-0.055, 0.05, 0.0]), 64).astype(int)
    assert with_box[row, column].mean() < 0.85 * without[row, column].mean()


def test_skipping_rays_that_cannot_matter_changes_no_pixel() -> None:
    for seed in range(3):
        scene = draw_scene(np.random.default_rng(seed))
        world = build_world(scene, nominal_physics(len(scene.things)))
        renderer = Renderer(world, scene.camera, 64)
        careful = renderer.frame()
        geoms, offsets, radii = renderer._balls
        renderer._balls = (geoms, offsets, np.full_like(radii, 100.0))
        assert np.array_equal(renderer.frame(), careful)


def test_pictures_are_bright_and_the_sensor_noise_is_small() -> None:
    frames = simulate_sequence(0, 0, 1).frames.astype(float) / 255
    assert 0.35 < frames.mean() < 0.7
    # Most pixels do not change in one frame, so that the median shows the sensor alone.
    spread = np.median(np.abs(frames[1] - frames[0])) / 0.6745 / np.sqrt(2)
    assert 0.007 < spread < 0.013
