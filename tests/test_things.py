"""Things: found where they are, drawn where they go, each with its own part of the latent."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from foreframe import Clip, ForeframeError, ModelConfig, VideoCVAE
from foreframe.config.recipes import recipe
from foreframe.data.lab import list_sequences
from foreframe.model.places.lessons import (
    FARTHEST,
    lesson_of_hand,
    lesson_of_motion,
    lesson_of_spread,
    places_told,
)
from foreframe.model.places.things import pasted
from foreframe.training.listener import Listener
from foreframe.training.options import TrainOptions
from foreframe.training.start import start

SMALL = {
    "net": "places64",
    "width": 0.25,
    "g_dim": 16,
    "z_dim": 64,
    "rnn_size": 8,
    "things": 3,
}
TOLD = torch.tensor([[[-0.48, -0.23], [0.26, 0.52], [float("nan")] * 2]])


@pytest.fixture(scope="module")
def model() -> VideoCVAE:
    """Small, and turned up: two things are found, and what actions and z do is plain to see."""
    torch.manual_seed(3)
    model = VideoCVAE(ModelConfig(**SMALL)).eval()
    movers = model.world.movers
    with torch.no_grad():
        movers.find.marks[-1].bias[0] = 0.0
        movers.find.marks[-1].weight.mul_(50)
        movers.mechanics.out[-1].weight.normal_(0, 0.5)
        movers.mechanics.first.weight.mul_(5)
    return model


def clip(batch=2, frames=7, seed=0, tracks=True) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    told = torch.rand(batch, frames, 6, generator=draw)
    told[:, :, 4:] = float("nan")
    return Clip(
        torch.rand(batch, frames, 3, 64, 64, generator=draw),
        torch.randn(batch, frames, 4, generator=draw),
        torch.randn(batch, frames, 3, generator=draw),
        told if tracks else None,
    )


NOISE = torch.randn(2, 3, 6, 64, generator=torch.Generator().manual_seed(1))


def generate(model, given, noise=NOISE):
    return model.generate(given.frames[:, :2], given.actions, n_samples=noise.shape[1], noise=noise)


def unrolled(model, told=TOLD, samples=1, seed=0):
    """A scene with things at ``told`` and the places they get to [steps, samples, things, 2]."""
    given, world = clip(1, seed=seed), model.world
    condition = model.condition(given.actions, None, 7)
    with torch.no_grad():
        seen, arm = world.look(given.frames[:, 1], given.frames[:, 0], condition[0], told)
        z = torch.randn(samples, 64, generator=torch.Generator().manual_seed(5))
        drive = world.drive(arm, condition[1:])
        taken, _ = world.advance(seen, world.begin(seen, arm, z), drive)
    return seen, taken


def test_stepping_gives_the_frames_of_the_whole(model):
    given = clip()
    whole = generate(model, given)
    now = model.begin(given.frames[:, :2], given.actions, n_samples=3, noise=NOISE[:, :, :1])
    for t in range(5):
        frames, now = model.step(now, given.actions[:, 1 + t])
        torch.testing.assert_close(frames, whole[:, :, t], atol=1e-5, rtol=0)


def test_samples_are_those_imagined_alone_and_differ_by_their_latent(model):
    given = clip()
    together = generate(model, given)
    for k in range(3):
        alone = generate(model, given, NOISE[:, k : k + 1])
        torch.testing.assert_close(together[:, k], alone[:, 0], atol=1e-5, rtol=0)
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-3


def test_joined_sessions_are_those_stepped_apart(model):
    parts = [
        model.begin(
            clip(n, seed=n).frames[:, :2],
            clip(n, seed=n).actions,
            n_samples=3,
            noise=NOISE[:n, :, :1],
        )
        for n in (1, 2)
    ]
    actions = [torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]
    apart = [model.step(part, action)[0] for part, action in zip(parts, actions, strict=True)]
    frames, joined = model.step(parts[0].join(parts), torch.cat(actions))
    torch.testing.assert_close(frames, torch.cat(apart), atol=1e-5, rtol=0)
    after = joined.split(parts)
    again, _ = model.step(after[1], actions[1])
    assert again.shape == (2, 3, 3, 64, 64)


def test_a_sprite_is_pasted_where_it_belongs():
    sprite = torch.zeros(1, 1, 4, 24, 24)
    sprite[..., 12, 12] = 1.0  # the pixel below and right of the sprite's middle
    place = torch.tensor([[[[0.0, 0.0]]], [[[0.25, -0.5]]]])
    whole = pasted(sprite, place)
    assert whole.shape == (2, 1, 4, 64, 64)
    torch.testing.assert_close(whole[0, 0, :, 32, 32], torch.ones(4))
    torch.testing.assert_close(whole[1, 0, :, 16, 40], torch.ones(4))
    assert whole.sum() == pytest.approx(8)
    halfway = pasted(sprite, place[:1] + torch.tensor([1 / 64, 0.0]))
    torch.testing.assert_close(halfway[0, 0, 0, 32, 32:34], torch.tensor([0.5, 0.5]))


def laid(model, seen, poses, behind=0.0, shown=9.0):
    """Things over one colour, which the arm hides nowhere."""
    batch = len(seen.last)
    frames = torch.full((len(poses), batch, 3, 64, 64), behind)
    with torch.no_grad():
        return model.world.movers.laid(
            frames, torch.full((len(poses), batch, 1, 64, 64), shown), seen.things, poses
        )


def at_rest(seen):
    return torch.cat([seen.things.place, torch.zeros_like(seen.things.there)], -1)[None]


def test_things_at_rest_show_the_given_frame(model):
    """Cut out and put down where they were, the pixels of a thing are those of the frame."""
    seen, _ = unrolled(model)
    x = laid(model, seen, at_rest(seen))[0]
    assert (seen.things.cover > 0.9).sum() > 100
    torch.testing.assert_close(x, seen.things.cover * seen.last, atol=1e-3, rtol=0)


def test_what_the_arm_hides_is_not_seen(model):
    seen, _ = unrolled(model)
    x = laid(model, seen, at_rest(seen), behind=0.25, shown=-20.0)
    torch.testing.assert_close(x, torch.full_like(x, 0.25))


def test_a_thing_that_moves_takes_its_pixels_along(model):
    """By whole pixels, to the bit; what lies below is never seen through it."""
    seen, _ = unrolled(model, TOLD[:, :1])
    moved = at_rest(seen) + torch.tensor([5 / 32, -3 / 32, 0.0])
    before, after = (laid(model, seen, poses)[0] for poses in (at_rest(seen), moved))
    torch.testing.assert_close(after, before.roll((-3, 5), (2, 3)), atol=1e-5, rtol=0)


def test_a_sprite_turns_on_the_table():
    """From x towards y, and flattened as the camera sees the table."""
    sprite = torch.zeros(1, 1, 1, 24, 24)
    sprite[..., 11:13, 18:20] = 1.0  # from 6 to 8 pixels to the right of its middle
    middle, quarter = torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 1), torch.pi / 2)
    turned = pasted(sprite, middle, quarter)[0, 0, 0]
    assert turned[38:40, 31:33].min() > 0.99  # below it
    assert turned.sum() == pytest.approx(4, abs=0.01)
    flat = pasted(sprite, middle, quarter, 0.5)[0, 0, 0]
    rows = (flat.sum(1) * (torch.arange(64) + 0.5)).sum() / flat.sum()
    assert float(rows) == pytest.approx(32 + 3.5, abs=0.1)


def test_what_is_beyond_the_image_is_cut_off():
    sprite = torch.ones(1, 1, 1, 24, 24)
    for place, seen in (((-1.0, 0.0), 12 * 24), ((1.0, 1.0), 12 * 12), ((-3.0, 0.0), 0)):
        whole = pasted(sprite, torch.tensor(place).view(1, 1, 1, 2))
        assert whole.sum() == pytest.approx(seen)


def test_an_empty_slot_draws_nothing_and_pushes_nobody(model):
    seen, taken = unrolled(model)
    assert seen.things.there[0, :, 0].tolist() == [1, 1, 0]
    assert seen.things.sprite[0, 2].abs().max() == 0
    _, alone = unrolled(model, TOLD[:, :2])
    torch.testing.assert_close(alone.things, taken.things[:, :, :2])


def test_each_thing_hears_the_latent_at_its_own_place(model):
    _, taken = unrolled(model, samples=2)
    assert (taken.things[-1, 0, :2] - taken.things[-1, 1, :2]).norm(dim=-1).min() > 1e-4
    # The scene knows nothing of the latent: samples share it.
    assert taken.scene.shape[1] == 1


def test_places_are_found_where_the_map_peaks(model):
    marks = torch.full((1, 3, 32, 32), -9.0)
    marks[:, 1:] = 0.0
    marks[0, 0, 5, 20] = 3.0
    marks[0, 0, 5, 21] = 2.0  # beside a higher one: no peak
    marks[0, 0, 30, 2] = 1.0
    marks[0, 1, 5, 20] = 0.5  # half a cell to the right
    place, there = model.world.movers.find._peaks(marks)
    assert there[0, :, 0].tolist() == [1, 1, 0]
    expected = torch.tensor([[(21.0) / 16 - 1, 5.5 / 16 - 1], [2.5 / 16 - 1, 30.5 / 16 - 1]])
    torch.testing.assert_close(place[0, :2], expected)


def test_finding_is_taught(model):
    seen, _ = unrolled(model)
    find = model.world.movers.find
    wrong = find.lesson(seen.things)
    apart = (find.cells - seen.things.place[:, :, None, None]) * 16
    near = (-apart.square().sum(-1) / 2.5).exp() * seen.things.there[..., None]
    target = near.amax(1)
    nearest = near.argmax(1)[:, None, :, :, None].expand(-1, -1, -1, -1, 2)
    beside = -apart.gather(1, nearest)[:, 0].permute(0, 3, 1, 2)
    marks = torch.cat([torch.logit(target[:, None], 1e-6), beside], 1)
    right = find.lesson(seen.things._replace(marks=marks))
    assert right < wrong / 2
    # And what was taught would be found.
    place, there = find._peaks(marks)
    assert there.sum() == 2
    found = place[0, :2][place[0, :2, 0].argsort()]
    torch.testing.assert_close(found, TOLD[0, :2], atol=1e-5, rtol=0)


def test_the_lesson_of_motion_is_squared_then_in_proportion():
    true = torch.zeros(1, 1, 3, 2)
    true[..., 2, :] = float("nan")  # unknown: counts for nothing
    near, far = 2 / 32, 10 / 32
    places = torch.tensor([[[[near, 0.0], [0.0, far], [9.0, 9.0]]]])
    limit = FARTHEST / 32
    expected = (near**2 + 2 * far * limit - limit**2) / 2
    torch.testing.assert_close(lesson_of_motion(places, true), torch.tensor(expected))


def test_samples_that_spread_as_the_truth_cost_least():
    """Of samples drawn from N(0, s^2), those with the truth's own s."""
    draw = torch.Generator().manual_seed(0)
    true = torch.randn(1, 8000, 1, 2, generator=draw) * 0.1
    unit = torch.randn(1, 16000, 1, 2, generator=draw) * 0.1
    cost = {s: float(lesson_of_spread(s * unit, true)) for s in (0.0, 0.5, 1.0, 1.5)}
    assert min(cost, key=cost.get) == 1.0
    unknown = torch.full_like(true, float("nan"))
    assert lesson_of_spread(unit, unknown) == 0


def test_unknown_tracks_spoil_no_gradient(model):
    places = torch.zeros(1, 1, 3, 2, requires_grad=True)
    true = torch.full((1, 1, 3, 2), float("nan"))
    lesson_of_motion(places, true).backward()
    assert places.grad.isfinite().all()
    learner = VideoCVAE(model.config).train()
    for alone in (True, False):
        learner.zero_grad()
        loss, _ = learner(clip(), NOISE[:, 0].transpose(0, 1), beta=1.0, n_past=2, arm_alone=alone)
        loss.backward()
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_hand_is_where_frames_change():
    frames = torch.zeros(2, 1, 3, 64, 64)
    frames[1, :, :, 20:24, 40:44] = 1.0  # middle at column 42, row 22
    middle = torch.tensor([42 / 32 - 1, 22 / 32 - 1])
    there = middle.expand(2, 1, 2)
    assert lesson_of_hand(there, frames) < 1e-6
    torch.testing.assert_close(
        lesson_of_hand(there + torch.tensor([0.1, 0.0]), frames), torch.tensor(0.01)
    )
    assert lesson_of_hand(there, torch.zeros_like(frames)) == 0


def test_forced_steps_begin_where_things_truly_were(model):
    given, world = clip(1), model.world
    condition = model.condition(given.actions, None, 7)
    true = places_told(given.tracks)
    with torch.no_grad():
        seen, arm = world.look(given.frames[:, 1], given.frames[:, 0], condition[0], true[1])
        drive = world.drive(arm, condition[1:])
        now = world.begin(seen, arm, torch.zeros(1, 64))
        free = world.advance(seen, now, drive)[0].things[..., :2]
        forced = world.pushed(seen, now.motion, drive.hand, true[2:])[..., :2]
    torch.testing.assert_close(free[0], forced[0])
    moved = (forced[1:, :, :2] - true[2:-1, :, :2]).norm(dim=-1)
    assert moved.max() < 1.5
    assert (free[-1, :, :2] - forced[-1, :, :2]).abs().max() > 1e-3


def test_without_tracks_it_trains_on_what_it_finds(model):
    learner = VideoCVAE(model.config).train()
    loss, logs = learner(clip(tracks=False), NOISE[:, 0].transpose(0, 1), beta=1.0, n_past=2)
    loss.backward()
    assert loss.isfinite()
    assert logs["kld"] > 0


def test_what_makes_no_sense_is_refused():
    config = ModelConfig(**SMALL)
    with pytest.raises(ForeframeError, match="--things -1: must be from 0 to 64"):
        VideoCVAE(replace(config, things=-1))
    with pytest.raises(ForeframeError, match="--things 2: only --net places64"):
        VideoCVAE(ModelConfig("dcgan64", things=2))


def test_who_trains_without_tracks_is_told(toy_data, tmp_path):
    config = recipe("foreframe-m")
    config = replace(config, model=replace(config.model, **SMALL))
    heard: list[str] = []
    listener = Listener()
    listener.message = heard.append
    start(config, toy_data, tmp_path / "run", TrainOptions(device="cpu"), listener=listener)
    assert [text for text in heard if "has no tracks" in text and "--things 0" in text]


def test_training_goes_on_to_the_bit_with_tracks(toy_data, tmp_path, in_two_goes):
    """Also across the end of the epochs in which nothing is drawn."""
    data = shutil.copytree(toy_data, tmp_path / "data", ignore=lambda _, names: [".foreframe"])
    draw = np.random.default_rng(0)
    for split in ("train", "validate"):
        for folder in list_sequences(data, split):
            rows = draw.uniform(0, 1, (len(list(folder.glob("*.png"))), 4)).astype(np.float32)
            np.savetxt(folder / "tracks.csv", rows, delimiter=",")
    config = recipe("foreframe-m")
    train = replace(
        config.train, epochs=2, steps_per_epoch=3, batch_size=2, n_future=4, arm_epochs=1
    )
    config = replace(config, model=replace(config.model, **SMALL), train=train)
    in_two_goes(config, data)
