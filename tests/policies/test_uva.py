"""UVA at a tiny size: what each task is given, what it learns from that, and how it behaves behind the seam."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kinema.chunk import ActionChunk, Observation, ObservationSpec, check_chunk
from kinema.clock import to_ns
from kinema.errors import CheckpointError, ChunkError, ConfigError, EpisodeError, NonFiniteChunkError, ObservationError
from kinema.geometry import Pose, distance
from kinema.policies import checkpoint, registry, sampling, tool_state
from kinema.policies.actions import DONE, WIDTH, ActionSpace
from kinema.policies.assembly import committed_steps
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.codec import PatchesConfig
from kinema.policies.image_encoder import EncodersConfig, ImageEncoderConfig
from kinema.policies.look import EyeConfig, LookConfig
from kinema.policies.text import WordsConfig
from kinema.policies.uva import dynamics, sampler
from kinema.policies.uva.model import TASKS, HeadConfig, UvaConfig, UvaModel, masked
from kinema.policies.warm_up import blank, warm_up

torch.set_num_threads(1)

CAMERAS, SIZE, FRAMES, HORIZON = ("gripper", "left"), (16, 8), 2, 8
SIDE = 6  # so many columns of an action follow from where the patch is, the others from whether it moves up
TINY = UvaConfig(
    codec=PatchesConfig(patch=8, predicted=8, shown=8),
    text=WordsConfig(width=16),
    frames=FRAMES,
    width=32,
    depth=(1, 1),
    heads=2,
    words=2,
    video_head=HeadConfig(48, 2, 16),
    action_head=HeadConfig(128, 2, 16),
    draws=4,
    action_steps=6,
    video_steps=6,
    imagine=2,
    prefix=4,
    latency={"action": 0.15, "full:1": 0.25, "full:3": 0.5},
)
LOOK = LookConfig(eyes=(EyeConfig(8, 16, 16),) * 2, width=16, inner=32, features=16)
EYES = EncodersConfig(image=ImageEncoderConfig(8, False, (16,), (2,), 1, "whole", 4, 16), text=WordsConfig(width=16))
SPACE = ActionSpace(horizon=HORIZON, dt=0.1, offset=0.1, executable=6, mean=(0.1,) * WIDTH, std=(0.2,) * WIDTH)


def moments(count: int, vague: float = 0.5) -> Batch:
    """A bright patch, left or right in one camera's images, moves up or down as the text says, and the actions do.

    A share of the texts says neither.
    """
    right, up = torch.randint(2, (count,)), torch.randint(2, (count,))
    now = torch.zeros(count, len(CAMERAS), SIZE[1], SIZE[0], 3, dtype=torch.uint8)
    for image in now[:, 0]:  # something stands anywhere in the other camera's, and stays
        row, column = (int(torch.randint(2, ())) for _ in range(2))
        image[4 * row : 4 * row + 4, 8 * column : 8 * column + 8] = 255
    future = now[:, :, None].repeat(1, 1, FRAMES, 1, 1, 1)
    for i in range(count):
        columns = slice(8 * int(right[i]), 8 * int(right[i]) + 8)
        now[i, 1, 2:6, columns] = 255
        future[i, 1, :, 0:4, columns] = 255 * up[i]
        future[i, 1, :, 4:8, columns] = 255 * (1 - up[i])
    signs = torch.stack([right] * SIDE + [up] * (WIDTH - SIDE), dim=1) * 2.0 - 1.0
    way = torch.linspace(0.4, 1.6, HORIZON)[:, None] * signs[:, None]
    told = torch.rand(count) >= vague
    text = tuple(("lift it" if u else "lower it") if t else "move it" for u, t in zip(up, told, strict=True))
    state, prefix = torch.zeros(count, tool_state.WIDTH), torch.zeros(count, dtype=torch.int64)
    past, done = now[:, :, None].repeat(1, 1, FRAMES - 1, 1, 1, 1), torch.zeros(count, HORIZON, DONE)
    return Batch(now, state, future, text, way, prefix, past=past, done=done)


def fresh(**changes) -> UvaModel:
    torch.manual_seed(0)
    model = UvaModel(TINY.model_copy(update=changes), len(CAMERAS), SIZE)
    batch = moments(16)
    model.prepare([batch], batch.text)
    return model


def stirred(model: UvaModel) -> UvaModel:
    """What begins at zero hides what stands before it."""
    for value in model.parameters():
        if not value.any():
            torch.nn.init.normal_(value, std=0.1)
    return model


@pytest.fixture(scope="module")
def learned() -> UvaModel:
    """All five tasks at once."""
    model, steps = fresh(change=True), 600
    some = moments(256)
    optimiser = torch.optim.Adam(model.parameters_of("joint")[0]["params"], 3e-3, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)
        optimiser.zero_grad()
        sum(model.loss(rows(some, torch.randint(256, (32,))), "joint").values()).backward()
        optimiser.step()
    return model.eval()


def rows(batch: Batch, which: torch.Tensor) -> Batch:
    """Some of its moments."""
    parts = {name: getattr(batch, name) for name in ("now", "state", "future", "actions", "prefix", "past", "done")}
    text = tuple(batch.text[i] for i in which.tolist())
    return Batch(text=text, **{name: part[which] for name, part in parts.items()})


# ---- the full size


@pytest.fixture(scope="module")
def full() -> UvaModel:
    with torch.device("meta"):
        return UvaModel(UvaConfig.full(), 1, (256, 256)).eval()


def test_the_full_size_is_the_papers(full):
    def count(*parts) -> float:
        return sum(value.numel() for part in parts for value in part.parameters()) / 1e6

    assert (full.tokens, full.numbers, full.frames, full.horizon, full.executable) == (256, 16, 4, 16, 8)
    halves = full.transformer.first, full.transformer.last
    assert [len(half.blocks) for half in halves] == [12, 12]
    assert count(*(half.blocks for half in halves)) == pytest.approx(170.1, abs=0.1)
    for head in (full.video_head, full.action_head):
        assert len(head.layers) == 6 and count(head.layers) == pytest.approx(31.5, abs=0.1)
    assert full.config.action_steps == 16 and full.look is None
    assert count(full.transformer, full.gather, full.video_head, full.action_head) == pytest.approx(254, abs=2)
    assert not any(value.requires_grad for part in (full.codec, full.text) for value in part.parameters())


def test_one_pass_of_the_full_size_costs_what_the_facts_say(full):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        z = full.transformer(
            torch.empty(1, 4, 256, 16),
            torch.empty(1, 16, DONE),
            torch.ones(1, 1, dtype=torch.bool),
            torch.empty(1, 4, 256, 16),
            torch.ones(1, 256, dtype=torch.bool),
            torch.empty(1, 16, WIDTH),
            torch.ones(1, 16, dtype=torch.bool),
            torch.empty(1, 1024),
        )
    assert z.shape == (1, 4, 256, 768)
    assert flops.get_total_flops() / 1e12 == pytest.approx(0.46, abs=0.01)


def test_without_the_autoencoders_files_it_says_which_to_put_where(full):
    with pytest.raises(CheckpointError, match=r"kl-f16 is not in 'models/kl-f16'; put config\.json .* `codec\.source`"):
        full.load_pretrained()


def test_configurations_survive_json_and_the_small_size_fits_what_may_be_shipped():
    for config in (UvaConfig.full(), UvaConfig.small()):
        assert UvaConfig.model_validate_json(config.model_dump_json()) == config
    with torch.device("meta"):
        small = UvaModel(UvaConfig.small(), 3, (128, 96))
    assert (small.tokens, small.horizon) == (36, 16)
    assert 2 * sum(tensor.numel() for tensor in small.state_dict().values()) < 16e6  # bytes


def test_sizes_that_do_not_fit_together_are_refused():
    with pytest.raises(ConfigError, match="20 x 16 px: both sides must be multiples of 8"):
        UvaModel(TINY, 3, (20, 16))
    with pytest.raises(ValueError, match="a width of 32 can't be shared by 3 heads"):
        UvaConfig(width=32, heads=3)
    with pytest.raises(ValueError, match="mode 'fast' is not known; allowed: action, full:PASSES"):
        UvaConfig(latency={"fast": 0.1})


# ---- what a task is given


@settings(max_examples=8)
@given(task=st.sampled_from(sorted(TASKS)), prefix=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_nothing_reaches_a_task_that_it_is_not_given(task, prefix, seed):
    """By gradients: what moves the latents is known, and nothing else is."""
    model = _UNTRAINED
    torch.manual_seed(seed)
    batch = dataclasses.replace(moments(2), prefix=torch.full((2,), prefix))
    missing = masked(2, model.tokens, torch.device("cpu"))
    known, _, there = model.given(batch, [TASKS[task]], batch.prefix * 0, missing)
    done, actions = (torch.randn_like(part).requires_grad_() for part in (known.done, known.actions))
    tokens = torch.randn(2, FRAMES, model.tokens, model.numbers, requires_grad=True)
    seen = torch.randn(2, FRAMES, model.tokens, model.numbers, requires_grad=True)
    text = torch.randn(2, 16, requires_grad=True)
    z = model.transformer(seen, done, known.had, tokens, there, actions, known.known, text)
    (z * torch.randn_like(z)).sum().backward()
    rules = TASKS[task]
    moved = {name: part.grad.abs().sum(dim=-1) > 0 for name, part in (("done", done), ("actions", actions))}
    assert (moved["done"] == rules.done).all()
    steps = HORIZON if rules.actions else prefix * rules.done
    assert (moved["actions"] == (torch.arange(HORIZON) < steps)).all()
    told = {"none": torch.zeros_like(missing), "some": ~missing, "all": torch.ones_like(missing)}[rules.future]
    moved_tokens = tokens.grad.abs().sum(dim=-1) > 0
    assert (moved_tokens == told[:, None]).all(), "the same places in all frames"
    assert (seen.grad.abs().sum(dim=-1) > 0).all() and (text.grad != 0).any()


_UNTRAINED = fresh()


@settings(max_examples=30)
@given(tokens=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_most_tokens_are_missing_in_training(tokens, seed):
    torch.manual_seed(seed)
    share = masked(20, tokens, torch.device("cpu")).sum(dim=1) / tokens
    assert (share >= 0.7).all() and (share <= 1).all()


@settings(max_examples=50)
@given(tokens=st.integers(1, 300), steps=st.integers(1, 20))
def test_a_video_is_drawn_token_by_token_ever_more_at_once(tokens, steps):
    counts = sampler.portions(tokens, steps)
    assert sum(counts) == tokens and min(counts) >= 1 and len(counts) <= steps
    assert len(counts) == steps or tokens < 3 * steps


def test_no_loss_knows_what_its_task_may_not():
    model, batch = stirred(fresh()), moments(6)
    others = moments(6)

    def loss(stage: str, **changes) -> dict[str, float]:
        torch.manual_seed(5)
        return {name: value.item() for name, value in model.loss(dataclasses.replace(batch, **changes), stage).items()}

    assert set(loss("action")) == {"action"} and set(loss("video")) == {"video"}
    assert set(loss("joint")) == {"video", "action"}
    assert loss("action", future=torch.randint_like(batch.future, 255)) == loss("action", future=None)
    unknown = loss("video", actions=None, done=None, state=None)
    assert unknown == loss("video", actions=others.actions, done=torch.randn(6, HORIZON, DONE))
    assert unknown != loss("video", past=torch.randint_like(batch.past, 255))


def test_without_a_task_that_learns_actions_nothing_is_learned_of_them():
    """A piece of a batch may have no moment of some kind: its loss is 0 then, not a lack of numbers."""
    model = stirred(fresh())
    loss = model._video_loss(torch.zeros(0, TINY.width), torch.zeros(0, model.numbers))
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("look", [None, LOOK, EYES], ids=["bare", "look", "encoders"])
def test_every_part_learns_in_its_stage_and_no_other_does(look):
    model = stirred(fresh(look=look))
    names = {id(value): name for name, value in model.named_parameters()}
    for stage in model.stages:
        model.zero_grad()
        batch = dataclasses.replace(moments(96), prefix=torch.full((96,), 2), done=torch.randn(96, HORIZON, DONE))
        if stage == "video":
            batch = dataclasses.replace(batch, actions=None, done=None, state=None)
        sum(model.loss(batch, stage).values()).backward()
        moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
        meant = {names[id(value)] for group in model.parameters_of(stage) for value in group["params"]}
        assert moved == meant, stage
    assert meant == set(names.values())


def test_what_sees_stays_still_where_it_is_not_to_learn():
    for some in (EYES, LOOK):
        assert fresh(look=some, grounded_rate=0.0).still and not fresh(look=some, grounded_rate=0.5).still
    assert not fresh(look=None, grounded_rate=0.0).still


def test_it_learns_in_mixed_precision():
    model = fresh(look=LOOK)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(moments(4), "joint")
    sum(losses.values()).backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("change", [True, False])
def test_tokens_have_unit_variance_and_decode_to_what_happened(change):
    model, batch = fresh(change=change, codec=PatchesConfig(patch=4, predicted=48, shown=8), group=2), moments(32)
    tokens = model._encode(batch.now, batch.future)
    assert tokens.shape == (32, FRAMES, model.tokens, model.numbers) == (32, FRAMES, 4, 192)
    assert tokens.std() == pytest.approx(1.0, abs=0.2)
    (images,) = model._decode(tokens, batch.now)
    assert ((images.movedim(3, -1) + 1) * 127.5 - batch.future).abs().max() < 1


# ---- what it has learned


def share(found: torch.Tensor, batch: Batch) -> tuple[float, float]:
    """Error of what follows from the side and of what follows from the text, as a share of what they do."""
    error = (found - batch.actions).square().mean(dim=(0, 1)) / batch.actions.square().mean(dim=(0, 1))
    return float(error[:SIDE].mean()), float(error[SIDE:].mean())


def moved_right(video: torch.Tensor, batch: Batch) -> float:
    """How far a video is from what happened, as a share of how far repeating the present is."""
    happened = batch.future.float()
    still = batch.now[:, :, None].expand_as(batch.future)
    error, of_repeating = ((frames.float() - happened).square().mean() for frames in (video, still))
    return float(error / of_repeating)


def test_it_acts_and_imagines_as_the_text_says(learned):
    torch.manual_seed(1)
    batch = moments(32, vague=0.0)
    acted = share(learned.act(batch, sampling.generator(0)), batch)
    imagined = moved_right(learned.imagine(batch, sampling.generator(0)), batch)
    vague = dataclasses.replace(batch, text=("move it",) * 32)
    guessed = share(learned.act(vague, sampling.generator(0)), batch)
    assert max(acted) < 0.7 and imagined < 0.6 and guessed[1] > 1.0, (acted, imagined, guessed)


def test_where_the_text_says_nothing_actions_tell_the_video_and_the_video_tells_the_actions(learned):
    torch.manual_seed(2)
    batch = moments(32, vague=1.0)
    forward, video = (
        moved_right(learned.imagine(batch, sampling.generator(0), task), batch) for task in ("forward", "video")
    )
    inverse = share(learned.act(batch, sampling.generator(0), "inverse"), batch)
    assert forward < 0.6 < video and max(inverse) < 0.7, (forward, video, inverse)


# ---- behind the seam


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory) -> Path:
    return saved(learned, tmp_path_factory.mktemp("trained"), {"stage": "joint"})


def saved(model, folder, training, space=SPACE) -> Path:
    facts = Checkpoint(
        kind="uva",
        config=model.config.model_dump(mode="json"),
        action=space,
        cameras=CAMERAS,
        image_size=SIZE,
        dataset="",
        calibration_origin=("simulator truth",),
        latency=model.latency,
        training=training,
    )
    checkpoint.save(folder, facts, model.state_dict())
    return folder


def stood(dt: float = SPACE.dt, steps: int = HORIZON) -> ActionChunk:
    """Executed actions of a tool that stood still."""
    return blank(ObservationSpec(executed_actions=steps, executed_dt=dt)).executed_actions


def observed(batch: Batch, **changes) -> Observation:
    """The first moment of a batch as a policy meets it."""
    history = torch.cat([batch.past[0], batch.now[0][:, None]], dim=1).numpy()
    pose = Pose.from_rotvec([0.4, 0.0, 0.2], [3.1, 0.0, 0.0])
    observation = Observation(
        10**9,
        dict(zip(CAMERAS, history, strict=True)),
        (pose,) * FRAMES,
        np.full(FRAMES, 0.08),
        None,
        batch.text[0],
        executed_actions=stood(),
    )
    return dataclasses.replace(observation, **changes)


@pytest.mark.parametrize("mode", ["action", "full:3"])
def test_a_chunk_and_its_video_are_pure_functions_of_observation_seed_and_count(folder, mode):
    torch.manual_seed(2)
    observation = observed(moments(1))
    policy = registry.make(str(folder), mode=mode, seed=3)
    first, second = (policy.predict(observation) for _ in range(2))
    late = policy.imagine(observation, first).video
    policy.reset()
    again = policy.predict(observation)
    at_once = policy.imagine(observation, again)
    other = registry.make(str(folder), mode=mode, seed=4).predict(observation)
    check_chunk(first.chunk)
    assert [prediction.chunk.id for prediction in (first, second, again)] == [1, 2, 3] and first.video is None
    assert (first.chunk.policy, first.chunk.executable, len(first.chunk)) == ("uva", 6, HORIZON)
    np.testing.assert_array_equal(first.chunk.T_rel, again.chunk.T_rel)
    for different in (second, other):
        assert not np.array_equal(first.chunk.T_rel, different.chunk.T_rel)
    assert at_once.video_dt == pytest.approx(0.4)
    for camera in CAMERAS:
        assert late[camera].shape == (1 + FRAMES, SIZE[1], SIZE[0], 3)
        np.testing.assert_array_equal(late[camera], at_once.video[camera])
        np.testing.assert_array_equal(late[camera][0], observation.images[camera][-1])
    assert ("video" in first.timing) is (mode != "action"), "who only acts runs no video head"
    with pytest.raises(ObservationError, match=r"chunk 1 is none of this episode's, which are 3\.\.3"):
        policy.imagine(observation, first)


def test_a_video_beside_it_changes_no_chunk(folder):
    observation = observed(moments(1))
    chunks = [registry.make(str(folder), mode=mode).predict(observation).chunk for mode in ("action", "full:1")]
    np.testing.assert_array_equal(chunks[0].T_rel, chunks[1].T_rel)


def test_several_chunks_of_a_moment_are_those_that_it_would_predict_in_turn(folder):
    observation = observed(moments(1))
    in_turn = registry.make(str(folder), seed=3)
    chunks = [in_turn.predict(observation).chunk for _ in range(3)]
    several = registry.make(str(folder), seed=3).propose(observation, 3)
    assert [chunk.id for chunk in several] == [1, 2, 3]
    for one, other in zip(several, chunks, strict=True):
        np.testing.assert_array_equal(one.T_rel, other.T_rel)


def test_it_asks_for_a_history_and_nothing_that_only_a_simulator_knows(folder):
    spec = registry.make(str(folder)).spec
    assert (spec.cameras, spec.image_size, spec.text) == (CAMERAS, SIZE, True)
    assert (spec.history, spec.history_dt) == (FRAMES, pytest.approx(0.4))
    assert (spec.executed_actions, spec.executed_dt) == (HORIZON, pytest.approx(0.1))
    assert spec.committed_prefix == 3  # 0.15 s of latency are two steps, which lie between three
    assert not (spec.force or spec.simulator_truth or spec.goal_image)
    assert warm_up(registry.make(str(folder))) > 0


def test_what_is_committed_comes_back_as_it_was(folder):
    torch.manual_seed(3)
    observation = observed(moments(1))
    policy = registry.make(str(folder))
    playing = policy.predict(observation).chunk
    later = dataclasses.replace(
        observation,
        stamp_ns=observation.stamp_ns + to_ns(0.3),
        T_base_tcp=(playing.target(2),) * FRAMES,
        committed=committed_steps(playing, 2, policy.spec.committed_prefix),
    )
    chunk = policy.predict(later).chunk
    for i in range(2):
        assert max(distance(chunk.target(i), playing.target(3 + i))) < 1e-4
    assert max(distance(chunk.target(2), playing.target(5))) > 1e-5


def test_f02_an_observation_that_is_not_as_in_training_is_rejected(folder):
    policy, observation = registry.make(str(folder)), observed(moments(1))
    newest = {name: images[-1:] for name, images in observation.images.items()}
    larger = {name: np.zeros((FRAMES, 20, 24, 3), np.uint8) for name in CAMERAS}
    for changes, said in (
        ({"images": newest}, r"gripper: the observation has a history of 1 moments, the policy needs 2; it waits"),
        ({"images": {}}, "no image of camera 'gripper'"),
        ({"images": larger}, r"gripper: the image is uint8 of shape \(20, 24, 3\), needed"),
        ({"executed_actions": None}, r"the policy needs the last 8, 0\.100 s apart; there are none"),
        ({"executed_actions": stood(steps=3)}, r"there are 3, 0\.100 s apart"),
        ({"executed_actions": stood(dt=0.2)}, r"there are 8, 0\.200 s apart"),
        ({"text": "word " * 30}, r"has 30 words, allowed are 1\.\.24"),
    ):
        with pytest.raises(ObservationError, match=said):
            policy.predict(dataclasses.replace(observation, **changes))


def test_f01_numbers_that_are_none_are_found_before_anything_moves(learned, folder, tmp_path):
    model = registry.make(str(folder))._model
    with torch.no_grad():
        kept = model.action_head.leave.bias.clone()
        model.action_head.leave.bias[3] = torch.nan
        chunk = registry.make(str(folder)).predict(observed(moments(1))).chunk
        model.action_head.leave.bias.copy_(kept)
    with pytest.raises(NonFiniteChunkError, match="is not finite"):
        check_chunk(chunk)


def test_f07_a_checkpoint_that_can_not_do_what_is_asked_is_refused(learned, folder, tmp_path):
    with pytest.raises(CheckpointError, match="has learned to imagine, not to act"):
        registry.make(str(saved(learned, tmp_path / "video", {"stage": "video"})))
    alone = saved(learned, tmp_path / "alone", {"stage": "action"})
    assert not hasattr(registry.make(str(alone)), "imagine")
    with pytest.raises(CheckpointError, match="has learned to act and not to imagine; allowed is the mode 'action'"):
        registry.make(str(alone), mode="full:1")
    with pytest.raises(ConfigError, match="no mode 'full:2'; allowed: action, full:1, full:3"):
        registry.make(str(folder), mode="full:2")
    slow = SPACE.model_copy(update={"dt": 0.4})
    with pytest.raises(CheckpointError, match=r"looks back 1\.6 s, images are kept for 1\.5 s"):
        registry.make(str(saved(learned, tmp_path / "slow", {"stage": "joint"}, slow)))
    longer = SPACE.model_copy(update={"horizon": 32})
    with pytest.raises(CheckpointError, match="its chunks have 32 steps, its network makes 8"):
        registry.make(str(saved(learned, tmp_path / "longer", {"stage": "joint"}, longer)))
    facts, tensors = checkpoint.load(folder)
    checkpoint.save(tmp_path / "key", facts.model_copy(update={"config": facts.config | {"layers": 3}}), tensors)
    with pytest.raises(CheckpointError, match="key 'layers' is unknown"):
        registry.make(str(tmp_path / "key"))


def test_half_as_many_bits_are_enough(folder, tmp_path, monkeypatch):
    (tmp_path / "launch").mkdir()
    monkeypatch.setenv("KINEMA_ROOT", str(tmp_path))  # where it is written down what passed
    observation = observed(moments(1))
    right, found = (registry.make(str(folder), backend=name).predict(observation) for name in ("torch", "torch-bf16"))
    np.testing.assert_allclose(found.chunk.T_rel, right.chunk.T_rel, atol=0.2)


# ---- dynamics


def candidate(jaw: float, steps: int = HORIZON, id: int = 0) -> ActionChunk:
    """A chunk of some other policy, by the jaw's normalised travel."""
    values = torch.zeros(steps, WIDTH)
    values[:, 9:] = jaw * torch.linspace(0.4, 1.6, steps)[:, None]
    return SPACE.model_copy(update={"horizon": steps}).chunk(values, observed(moments(1)), id, "other")


def test_of_candidates_the_one_is_chosen_whose_imagined_outcome_is_worth_most(folder):
    torch.manual_seed(4)
    batch = moments(1, vague=1.0)
    policy, observation = registry.make(str(folder)), observed(batch)
    rows = torch.stack([batch.actions[0], batch.actions[0] * torch.tensor([1.0] * SIDE + [-1.0] * (WIDTH - SIDE))])
    same, other = (video["left"][-1].astype(float) for video in policy.foresee(observation, rows))
    happened = batch.future[0, 1, -1].numpy()
    assert ((same - happened) ** 2).mean() < 0.5 * ((other - happened) ** 2).mean()

    def high(video) -> float:
        return float(video["left"][-1][:4].mean())

    chunks = [candidate(jaw, id=i) for i, jaw in enumerate((-1.0, 1.0))]
    choice = dynamics.choose(policy, observation, chunks, high)
    assert choice.chunk is chunks[choice.index] and choice.rewards[choice.index] == max(choice.rewards)
    turned = dynamics.choose(policy, observation, chunks[::-1], high)
    assert turned.chunk is choice.chunk
    assert turned.rewards == pytest.approx(choice.rewards[::-1], abs=1), "all by the same noise"


def test_f02_a_candidate_that_ends_too_early_and_a_reward_that_is_no_number_are_refused(folder):
    policy, observation = registry.make(str(folder)), observed(moments(1))
    with pytest.raises(ChunkError, match=r"chunk 7 of other: is 3 steps of 0\.100 s long, needed are 8"):
        dynamics.choose(policy, observation, [candidate(1.0, steps=3, id=7)], lambda video: 0.0)
    with pytest.raises(ConfigError, match="the reward of candidate 0 is not finite"):
        dynamics.choose(policy, observation, [candidate(1.0)], lambda video: np.nan)
    with pytest.raises(ConfigError, match="there is no candidate to choose from"):
        dynamics.choose(policy, observation, [], lambda video: 0.0)


def test_a_videos_actions_are_followed_to_its_end(learned, monkeypatch):
    """Chunk by chunk: each begins where the one before it ended."""
    rows = np.zeros((HORIZON, WIDTH))
    turn = np.linspace(0, np.pi / 2, HORIZON + 1)[1:]
    rows[:, 0] = np.linspace(0, 0.08, HORIZON + 1)[1:]
    rows[:, 3], rows[:, 4], rows[:, 6], rows[:, 7] = np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)
    rows[:, 9], rows[:, 10] = -0.001, 2.0
    asked = []

    def act(self, batch, generator, task):
        asked.append((len(batch), task))
        return torch.from_numpy(np.tile(SPACE.normalise(rows), (len(batch), 1, 1)))

    monkeypatch.setattr(UvaModel, "act", act)
    states = dynamics.infer(learned, SPACE, np.zeros((20, len(CAMERAS), SIZE[1], SIZE[0], 3), np.uint8), "move it")
    assert states.shape == (20, WIDTH) and asked == [(3, "inverse")]
    np.testing.assert_allclose(states[[0, 8, 16], :3], [[0, 0, 0], [0.08, 0, 0], [0.08, 0.08, 0]], atol=1e-6)
    np.testing.assert_allclose(states[[0, 9, 17], 9], [0, -0.002, -0.003], atol=1e-6)
    np.testing.assert_allclose(SPACE.relative(states, 8)[0], rows[0], atol=1e-5)
    with pytest.raises(EpisodeError, match="a video of 1 images tells of no action"):
        dynamics.infer(learned, SPACE, np.zeros((1, len(CAMERAS), SIZE[1], SIZE[0], 3), np.uint8), "move it")
