"""Training goes on where it was cut off, bit for bit; its rate, its average, what it refuses."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kinema.errors import TrainingError
from kinema.policies.batch import Batch
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan

PLAN = Plan("action", steps=12, batch=8, seed=3, rate=1e-2, warm_up=4, save=5, measure=4)
TRUTH = torch.tensor([[0.5, -1.0, 2.0]])


class Line(nn.Module):
    """Learns a linear map through noise; `frozen` belongs to no stage."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen = nn.Linear(3, 1), nn.Linear(3, 1)
        for value in self.parameters():
            nn.init.constant_(value, 0.1)
        self.seen: list[float] = []

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        noisy = batch.actions + 0.1 * torch.randn_like(batch.actions)
        terms = {"fit": (self.layer(noisy) - batch.actions @ TRUTH.T).square().mean(), "small": noisy.mean() * 0.0}
        self.seen.append(terms["fit"].item())
        return terms

    def parameters_of(self, stage: str) -> list[dict]:
        return [{"params": [self.layer.weight]}, {"params": [self.layer.bias], "scale": 5.0}]


class Notes(Watcher):
    def __init__(self) -> None:
        self.reports, self.looks = [], []

    def reported(self, step, progress, rate, losses) -> None:
        self.reports.append((step, progress, rate, losses))

    def looked(self, step, model) -> None:
        assert not model.training
        self.looks.append((step, model.layer.weight.clone()))


def batch_of(step: int, piece: int) -> Batch:
    generator = torch.Generator().manual_seed(1000 * step + piece)
    actions = torch.randn(PLAN.batch, 3, generator=generator)
    nothing, prefix = torch.zeros(PLAN.batch, 0), torch.zeros(PLAN.batch, dtype=torch.long)
    return Batch(nothing, None, None, ("",) * PLAN.batch, actions, prefix)


def training(folder, plan: Plan = PLAN, told: dict | None = None) -> Training:
    folder.mkdir(exist_ok=True)
    return Training(Line(), plan, Accelerator(cpu=True), folder / "state.pt", told or {"seed": plan.seed})


def stopping_at(run: Training, step: int):
    return lambda: run.step >= step


# ---- going on


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, stop):
    whole = training(tmp_path / "whole")
    assert whole.run(batch_of, Watcher())
    first = training(tmp_path)
    assert not first.run(batch_of, Watcher(), stopping_at(first, stop))
    assert first.step == stop
    second = training(tmp_path)
    assert second.step == stop
    assert second.run(batch_of, Watcher())
    assert first.model.seen + second.model.seen == whole.model.seen
    assert len(set(whole.model.seen)) == PLAN.steps
    for own, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(own, other)
    with whole.averaged() as one, second.averaged() as other:
        assert torch.equal(one.layer.weight, other.layer.weight)


def test_a_run_that_was_killed_goes_on_from_its_last_state(tmp_path):
    def killed(step: int, piece: int) -> Batch:
        if step == 8:
            raise SystemExit
        return batch_of(step, piece)

    whole = training(tmp_path / "whole")
    whole.run(batch_of, Watcher())
    with pytest.raises(SystemExit):
        training(tmp_path).run(killed, Watcher())
    second = training(tmp_path)
    assert second.step == 5
    assert second.run(batch_of, Watcher())
    assert second.model.seen == whole.model.seen[5:]
    assert [file.name for file in tmp_path.glob("state*")] == ["state.pt"]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    training(tmp_path).run(batch_of, Watcher())
    again = training(tmp_path)
    assert again.run(batch_of, Watcher()) and again.model.seen == []


def test_a_state_of_another_run_is_refused_naming_the_difference(tmp_path):
    training(tmp_path, told={"seed": 3, "batch": 8}).run(batch_of, Watcher())
    with pytest.raises(TrainingError, match="of another run: batch was 8 and now is 16; give another --out"):
        training(tmp_path, told={"seed": 3, "batch": 16})


def test_a_file_that_is_no_state_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(TrainingError, match=r"state\.pt: is no state of a training"):
        training(tmp_path)


# ---- a step


def test_a_batch_in_pieces_gives_the_gradient_of_the_whole(tmp_path):
    class Clean(Line):
        def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
            return {"fit": (self.layer(batch.actions) - batch.actions @ TRUTH.T).square().mean()}

    def piece_of(step: int, piece: int) -> Batch:
        whole = batch_of(step, 0)
        mine = slice(piece * 4, piece * 4 + 4)
        return Batch(whole.now[mine], None, None, whole.text[mine], whole.actions[mine], whole.prefix[mine])

    plan = replace(PLAN, steps=3)
    one = Training(Clean(), plan, Accelerator(cpu=True), tmp_path / "one.pt", {})
    one.run(batch_of, Watcher())
    two = Training(Clean(), replace(plan, pieces=2), Accelerator(cpu=True), tmp_path / "two.pt", {})
    two.run(piece_of, Watcher())
    assert torch.allclose(one.model.layer.weight, two.model.layer.weight, atol=1e-6)


def test_what_no_stage_learns_is_frozen_and_groups_learn_at_their_own_rate(tmp_path):
    run = training(tmp_path, replace(PLAN, steps=1, decay=0.5, warm_up=1))
    frozen, bias = run.model.frozen.weight.clone(), run.model.layer.bias.clone()
    weight = run.model.layer.weight.clone()
    run.run(batch_of, Watcher())
    assert torch.equal(run.model.frozen.weight, frozen) and not run.model.frozen.weight.requires_grad
    # Adam's first step is the rate times the gradient's sign; matrices decay besides
    assert torch.allclose((run.model.layer.bias - bias).abs(), torch.tensor(5e-2), rtol=1e-3)
    moved = run.model.layer.weight - weight * (1 - 1e-2 * 0.5)
    assert torch.allclose(moved.abs(), torch.tensor(1e-2), rtol=1e-3)


def test_the_rate_warms_up_then_falls_to_nothing():
    rates = [PLAN.rate_at(step, step / PLAN.steps) for step in range(PLAN.steps)]
    assert rates[0] == pytest.approx(PLAN.rate / 4)
    assert rates.index(max(rates)) == 3
    assert rates[6] == pytest.approx(PLAN.rate / 2)
    assert PLAN.rate_at(PLAN.steps, 1.0) == 0.0 == PLAN.rate_at(7, 1.3)


def test_a_time_limit_ends_the_run_with_a_state_and_the_rate_follows_the_clock(tmp_path, monkeypatch):
    now = 100.0

    def tick() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("kinema.training.loop.time.monotonic", tick)
    notes, plan = Notes(), replace(PLAN, steps=1000, minutes=0.5, save=1)
    run = training(tmp_path, plan)
    assert run.run(batch_of, notes)
    assert 5 < run.step < 30
    steps, progress, rates, _ = zip(*notes.reports, strict=True)
    assert steps == tuple(range(1, run.step + 1)) and progress[-1] >= 1.0
    assert rates[-1] < 0.1 * PLAN.rate
    assert training(tmp_path, plan).step == run.step


def test_looks_are_at_averaged_weights_which_lag_behind(tmp_path):
    notes = Notes()
    run = training(tmp_path)
    run.run(batch_of, notes)
    assert [step for step, _ in notes.looks] == [4, 8, 12]
    begin, end = torch.tensor(0.1), run.model.layer.weight
    averaged = notes.looks[-1][1]
    assert ((averaged - begin).abs() < (end - begin).abs()).all()
    assert run.model.training and run.model.layer.weight is end


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_state(tmp_path):
    def broken(step: int, piece: int) -> Batch:
        batch = batch_of(step, piece)
        if step >= 7:
            batch.actions.fill_(float("nan"))
        return batch

    with pytest.raises(TrainingError, match="loss 'fit' is nan before step 10"):
        training(tmp_path).run(broken, Watcher())
    assert training(tmp_path).step == 5


def test_f07_out_of_memory_is_said_with_its_remedy(tmp_path):
    class Large(Line):
        def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(TrainingError, match=r"allocate 20\.00 GiB; take a batch in more --pieces"):
        Training(Large(), PLAN, Accelerator(cpu=True), tmp_path / "state.pt", {}).run(batch_of, Watcher())


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("steps", 0, "at least 1"), ("warm_up", 0, "at least 1"), ("rate", -1e-3, "at least 0"), ("average", 1.0, "less")],
)
def test_a_plan_out_of_range_is_refused_by_name(name, value, allowed):
    with pytest.raises(TrainingError, match=f"{name} is {value}; {allowed}"):
        replace(PLAN, **{name: value})


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="a batch of 8 can't be shared by 1 processes in 3 pieces each"):
        training(tmp_path, replace(PLAN, pieces=3))
