"""What a look finds: the thing and the goal that a text names, for whatever company texts are in, as one vector."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.policies import checkpoint, look, look_file
from kinema.policies.image_encoder import Encoders, EncodersConfig, ImageEncoderConfig
from kinema.policies.look import EyeConfig, Look, LookConfig
from kinema.policies.text import WordsConfig

torch.set_num_threads(1)

SIZE = (48, 36)
EYE = EyeConfig(8, 16, 16)
ONE = LookConfig(eyes=(EYE,), width=16, inner=32, features=32, longest=8)
THREE = dataclasses.replace(ONE, eyes=(EYE, EYE, EYE))
COLOURS = ("red", "green")


def fresh(config: LookConfig = THREE) -> Look:
    torch.manual_seed(0)
    return Look(config, len(config.eyes), SIZE).eval()


def spots(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark images (b, 1, 3, 36, 48) with a red and a green spot, and their cells (b, 2) of a map of 12 x 9."""
    cells = torch.stack([torch.randperm(108)[:2] for _ in range(count)])
    images = torch.full((count, 1, 3, 36, 48), -1.0)
    for image, pair in zip(images, cells.tolist(), strict=True):
        for colour, cell in enumerate(pair):
            x, y = 4 * (cell % 12), 4 * (cell // 12)
            image[0, colour, y : y + 4, x : x + 4] = 1.0
    return images, cells


def named(count: int) -> tuple[list[str], torch.Tensor]:
    """Texts, and which spots (b, 2) are their thing and goal."""
    thing = torch.randint(2, (count,))
    texts = [f"put the {COLOURS[one]} spot onto the {COLOURS[1 - one]} one" for one in thing.tolist()]
    return texts, torch.stack([thing, 1 - thing], dim=1)


def test_the_queries_find_the_thing_and_the_goal_that_a_text_names():
    network = fresh(ONE).train()
    optimiser = torch.optim.Adam(look.grounded(network), 5e-3)
    for _ in range(150):
        (images, cells), (texts, which) = spots(32), named(32)
        (match,) = network.matches(network.places(images), network.read(texts))
        loss = -match.flatten(2).gather(2, cells.gather(1, which)[..., None]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    (images, cells), (texts, which) = spots(100), named(100)
    (match,) = network.matches(network.places(images), network.read(texts))
    assert (match.flatten(2).argmax(dim=2) == cells.gather(1, which)).float().mean() > 0.9


def test_a_text_is_read_alike_in_whatever_company():
    network = fresh()
    texts = ["open the drawer", "put the red spot onto the green one", "open"]
    together = network.read(texts)
    assert together.shape == (3, len(look.QUERIES), 16)
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(row, network.read([text])[0])
    assert torch.pdist(together.flatten(1)).min() > 0.01


@pytest.mark.parametrize(("text", "length"), [("", 0), ("?!", 0), ("one two three four five six seven eight nine", 9)])
def test_a_text_that_does_not_fit_is_refused(text, length):
    with pytest.raises(ObservationError, match=rf"has {length} words, allowed are 1\.\.8"):
        fresh().read(["open it", text])


def test_matches_are_probabilities_over_each_image_and_eyes_know_no_text():
    network, images = fresh(), torch.rand(2, 3, 3, SIZE[1], SIZE[0])
    places = network.places(images)
    assert [tuple(place.shape) for place in places] == [(2, 16, 9, 12)] * 3
    for match, place in zip(network.matches(places, network.read(["open it", "close it"])), places, strict=True):
        assert match.shape == (2, len(look.QUERIES), *place.shape[2:])
        torch.testing.assert_close(match.exp().sum(dim=(2, 3)), torch.ones(2, len(look.QUERIES)))


def test_a_sure_match_is_read_at_its_place():
    network, match = fresh(), torch.full((1, 2, 9, 12), -1e9)
    match[0, 0, 0, 11] = match[0, 1, 8, 0] = 0.0  # top right, bottom left
    wanted = torch.tensor([[[11 / 12, -8 / 9], [-11 / 12, 8 / 9]]])  # middles of these cells
    torch.testing.assert_close(network.position(match), wanted)


@pytest.mark.parametrize("known", [True, False])
def test_images_text_and_state_become_one_vector(known):
    network = fresh(dataclasses.replace(THREE, state=known))
    images, told, state = (
        torch.rand(2, 3, 3, SIZE[1], SIZE[0]),
        network.read(["open it", "close it"]),
        torch.rand(2, 10),
    )
    found = network(images, told, state)
    assert found.shape == (2, network.features)
    assert (found[1] != network(images, told[:1].expand(2, -1, -1), state)[1]).any()
    for camera in range(3):
        other = images.clone()
        other[:, camera] = 0.0
        assert (found != network(other, told, state)).any(dim=1).all()
    assert (found != network(images, told, state + 0.1)).any() == known


def test_grounding_teaches_what_compares_words_and_places_and_nothing_else():
    network = fresh()
    taught = {id(value) for value in look.grounded(network)}
    names = {name.partition(".")[0] for name, value in network.named_parameters() if id(value) in taught}
    assert names == {"sharpness", "eyes", "reader", "locate", "lie"}
    image = ImageEncoderConfig(stem=8, pool=False, channels=(16,), strides=(2,), blocks=1, maps=4, features=8)
    encoders = Encoders(EncodersConfig(image=image, text=WordsConfig(width=8), join=(16,)), 1, SIZE)
    assert {id(value) for value in look.grounded(encoders)} == {id(value) for value in encoders.views.parameters()}


def test_a_glimpse_is_how_far_off_both_are_also_told_finely_and_how_one_lies():
    network, told = fresh(), fresh().read(["open it"] * 64)
    glimpses = network.glimpse(torch.rand(64, 3, 3, SIZE[1], SIZE[0]), told, torch.rand(64, 10)).detach()
    offsets, near = glimpses[:, :6].unflatten(1, (2, 3)), glimpses[:, 6:12].unflatten(1, (2, 3))
    assert glimpses.shape == (64, 14)
    assert (torch.nn.functional.cosine_similarity(offsets, near, dim=2) > 0.999).all()
    assert (near.norm(dim=2) < 1).all() and (near.norm(dim=2).argsort(0) == offsets.norm(dim=2).argsort(0)).all()
    network.fit(1e3 * glimpses + 5.0)
    moved = (1e3 * glimpses + 5.0 - network.centre) / network.spread
    assert moved.mean(dim=0).abs().max() < 1e-2 and (moved.std(dim=0) - 1).abs().max() < 1e-3


def test_cameras_without_eyes_are_refused():
    with pytest.raises(ConfigError, match=r"look\.eyes: 3 of them, for 2 cameras"):
        Look(THREE, 2, SIZE)


# ---- as a file


def test_a_look_comes_back_from_its_file_as_it_was(tmp_path):
    one = fresh()
    torch.manual_seed(1)
    other = Look(THREE, 3, SIZE).eval()
    assert not torch.equal(one.read(["open it"]), other.read(["open it"]))
    saved = look_file.save(tmp_path, one, {"steps": 3})
    assert look_file.restore(other, tmp_path) == saved == look_file.save(tmp_path, other, {"steps": 3})
    taught = zip(look.grounded(one), look.grounded(other), strict=True)
    assert all(torch.equal(value, restored) for value, restored in taught)
    assert not torch.equal(one.join[0].weight, other.join[0].weight), "what a policy learns is not the file's"
    assert [file.name for file in tmp_path.iterdir()] == [look_file.NAME]


def test_a_look_is_taken_from_a_policy_that_sees_by_it(tmp_path):
    one = fresh()
    torch.manual_seed(1)
    other = Look(THREE, 3, SIZE).eval()
    save_file({f"look.{name}": value for name, value in one.state_dict().items()}, tmp_path / checkpoint.WEIGHTS)
    look_file.restore(other, tmp_path)
    taught = zip(look.grounded(one), look.grounded(other), strict=True)
    assert all(torch.equal(value, restored) for value, restored in taught)
    save_file({"head.weight": torch.ones(1)}, tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: does not fit this look: it has other parts"):
        look_file.restore(other, tmp_path)


@pytest.mark.parametrize("fault", ["missing", "cut", "another"])
def test_f07_a_file_that_does_not_fit_is_refused_by_name(tmp_path, fault):
    network = fresh()
    if fault != "missing":
        look_file.save(tmp_path, fresh(ONE) if fault == "another" else network, {})
    if fault == "cut":
        (tmp_path / look_file.NAME).write_bytes((tmp_path / look_file.NAME).read_bytes()[:1000])
    with pytest.raises(
        CheckpointError, match=r"look\.safetensors: does not fit this look: .*make one with `kinema gro"
    ):
        look_file.restore(network, tmp_path)
