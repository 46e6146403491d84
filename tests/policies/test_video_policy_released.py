"""The authors' released layout, on the meta device: every tensor of theirs finds its place, and nothing else does."""

import itertools

import pytest
import torch

from kinema.errors import CheckpointError
from kinema.policies.video_policy import released
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel

C = 320
ACTIONS = 7  # of the released RoboCasa policies
BRANCH = [(320, 320), (640, 640), (1280, 1280), (1920, 1280), (1920, 1280), (1280, 864), (864, 576)]
ENTRIES = [(640, 320), (1280, 640), (1280, 640), (1280, 640)]
TRUNK = [(1728, 1280), (1280, 960), (960, 720), (720, 540), (540, 420)]


def _with(name, weight):
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _residual(name, inputs, outputs):
    for stack, kernel in (("", (3, 3)), ("time_stack.", (3, 1, 1))):
        first = inputs if not stack else outputs
        yield from _with(f"{name}.{stack}in_layers.0", (first,))
        yield from _with(f"{name}.{stack}in_layers.2", (outputs, first, *kernel))
        yield from _with(f"{name}.{stack}emb_layers.1", (outputs, 4 * C))
        yield from _with(f"{name}.{stack}out_layers.0", (outputs,))
        yield from _with(f"{name}.{stack}out_layers.3", (outputs, outputs, *kernel))
    if inputs != outputs:
        yield from _with(f"{name}.skip_connection", (outputs, inputs, 1, 1))
    yield f"{name}.time_mixer.mix_factor", (1,)


def _attention(name, width):
    yield from _with(f"{name}.norm", (width,))
    for part in ("proj_in", "proj_out"):
        yield from _with(f"{name}.{part}", (width, width))
    for stack, feeds in (("transformer_blocks.0", ("ff",)), ("time_stack.0", ("ff_in", "ff"))):
        for i in (1, 2, 3):
            yield from _with(f"{name}.{stack}.norm{i}", (width,))
        if len(feeds) == 2:
            yield from _with(f"{name}.{stack}.norm_in", (width,))
        for feed in feeds:
            yield from _with(f"{name}.{stack}.{feed}.net.0.proj", (8 * width, width))
            yield from _with(f"{name}.{stack}.{feed}.net.2", (width, 4 * width))
        for attention, context in (("attn1", width), ("attn2", 1024)):
            yield f"{name}.{stack}.{attention}.to_q.weight", (width, width)
            for part in ("to_k", "to_v"):
                yield f"{name}.{stack}.{attention}.{part}.weight", (width, context)
            yield from _with(f"{name}.{stack}.{attention}.to_out.0", (width, width))
    yield from _with(f"{name}.time_pos_embed.0", (4 * width, width))
    yield from _with(f"{name}.time_pos_embed.2", (width, 4 * width))
    yield f"{name}.time_mixer.mix_factor", (1,)


def video_unet():
    """Stable Video Diffusion as Stability names it: 12 input blocks, a middle, 12 output blocks."""
    yield from _with("time_embed.0", (4 * C, C))
    yield from _with("time_embed.2", (4 * C, 4 * C))
    yield from _with("label_emb.0.0", (4 * C, 768))
    yield from _with("label_emb.0.2", (4 * C, 4 * C))
    yield from _with("input_blocks.0.0", (C, 8, 3, 3))
    widths, before, skips, block = (C, 2 * C, 4 * C, 4 * C), C, [C], 1
    for level, width in enumerate(widths):
        for _ in range(2):
            yield from _residual(f"input_blocks.{block}.0", before, width)
            if level < 3:
                yield from _attention(f"input_blocks.{block}.1", width)
            before, block = width, block + 1
            skips.append(width)
        if level < 3:
            yield from _with(f"input_blocks.{block}.0.op", (width, width, 3, 3))
            block += 1
            skips.append(width)
    yield from _residual("middle_block.0", before, before)
    yield from _attention("middle_block.1", before)
    yield from _residual("middle_block.2", before, before)
    for block, (level, last) in enumerate(itertools.product((3, 2, 1, 0), (False, False, True))):
        width = widths[level]
        yield from _residual(f"output_blocks.{block}.0", before + skips.pop(), width)
        if level < 3:
            yield from _attention(f"output_blocks.{block}.1", width)
        if last and level:
            yield from _with(f"output_blocks.{block}.{1 if level == 3 else 2}.conv", (width, width, 3, 3))
        before = width
    yield from _with("out.0", (C,))
    yield from _with("out.2", (4, C, 3, 3))


def _bottlenecks(name, inputs, outputs, count, narrower, moved):
    middle = outputs // narrower
    for i in range(count):
        block, first = f"{name}.{i}", inputs if i == 0 else outputs
        yield from _with(f"{block}.emb_layers.1", (middle, 4 * C))
        convolutions = ((middle, first, 1), (middle, middle, 3), (outputs, middle, 1))
        if i == 0 and (moved or inputs != outputs):
            yield f"{block}.downsample.0.weight", (outputs, first, 1, 1, 1)
            yield from _with(f"{block}.downsample.1", (outputs,))
        for j, (out, into, kernel) in enumerate(convolutions, 1):
            yield f"{block}.conv{j}.0.weight", (out, into, kernel, kernel, kernel)
            yield from _with(f"{block}.conv{j}.1", (out,))


def vision_encoder():
    for view in (1, 2, 3):
        for row, (inputs, outputs) in enumerate(BRANCH, 1):
            yield from _bottlenecks(f"vision_encoder.layer{row}_{view}", inputs, outputs, 2, 4, row <= 3)
        for row, (inputs, outputs) in enumerate(ENTRIES, 2):
            yield from _bottlenecks(f"vision_encoder.layer{row}_{view}_cat", inputs, outputs, 2, 4, False)
    for row, (inputs, outputs) in enumerate(TRUNK, 8):
        yield from _bottlenecks(f"vision_encoder.layer{row}", inputs, outputs, 2, 4, False)
    for row in (13, 14):
        yield from _bottlenecks(f"vision_encoder.layer{row}", 420, 420, 2, 2, False)
    for row in (15, 16, 17):
        yield from _bottlenecks(f"vision_encoder.layer{row}", 420, 420, 4, 2, True)
    yield from _with("vision_encoder.norm", (420,))


def _actions(name, inputs, outputs):
    for i, into in enumerate((inputs, outputs)):
        yield from _with(f"{name}.blocks.{i}.block.0", (outputs, into, 5))
        yield from _with(f"{name}.blocks.{i}.block.1", (outputs,))
    yield from _with(f"{name}.cond_encoder.1", (2 * outputs, 6720 + 256))
    if inputs != outputs:
        yield from _with(f"{name}.residual_conv", (outputs, inputs, 1))


def pose_pred_net():
    head, widths = "pose_pred_net", (ACTIONS, 256, 512, 1024)
    yield from _with(f"{head}.diffusion_step_encoder.1", (256, 4 * C))
    for level, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        yield from _actions(f"{head}.down_modules.{level}.0", inputs, outputs)
        yield from _actions(f"{head}.down_modules.{level}.1", outputs, outputs)
        if level < 2:
            yield from _with(f"{head}.down_modules.{level}.2.conv", (outputs, outputs, 3))
    for i in (0, 1):
        yield from _actions(f"{head}.mid_modules.{i}", 1024, 1024)
    for level, (outputs, inputs) in enumerate(((512, 1024), (256, 512))):
        yield from _actions(f"{head}.up_modules.{level}.0", 2 * inputs, outputs)
        yield from _actions(f"{head}.up_modules.{level}.1", outputs, outputs)
        yield f"{head}.up_modules.{level}.2.conv.weight", (outputs, outputs, 4)
        yield f"{head}.up_modules.{level}.2.conv.bias", (outputs,)
    yield from _with(f"{head}.final_conv.0.block.0", (256, 256, 5))
    yield from _with(f"{head}.final_conv.0.block.1", (256,))
    yield from _with(f"{head}.final_conv.1", (ACTIONS, 256, 1))


@pytest.fixture(scope="module")
def model():
    with torch.device("meta"):
        return VideoPolicyModel(VideoPolicyConfig.full(), 3, (256, 256), ACTIONS).to("meta")


@pytest.fixture
def checkpoint():
    names = itertools.chain(video_unet(), vision_encoder(), pose_pred_net())
    return {f"model.diffusion_model.{name}": torch.empty(shape, device="meta") for name, shape in names}


def test_every_released_tensor_finds_its_place_and_no_place_stays_empty(model, checkpoint):
    assert len(checkpoint) == 2711
    frozen = {"first_stage_model.decoder.conv_in.weight": torch.empty(1), "conditioner.embedders.0.x": torch.empty(1)}
    released.put(model, released.translated(checkpoint | frozen))


def test_a_tensor_that_is_unknown_missing_or_of_another_shape_is_named(model, checkpoint):
    with pytest.raises(CheckpointError, match=r"'out.7.weight' is no tensor of the authors' network"):
        released.translated(checkpoint | {"model.diffusion_model.out.7.weight": torch.empty(1)})
    del checkpoint["model.diffusion_model.out.0.bias"]
    with pytest.raises(CheckpointError, match=r"1 tensors do not fit; unet.network.conv_norm_out.bias is missing"):
        released.put(model, released.translated(checkpoint))
    checkpoint["model.diffusion_model.out.0.bias"] = torch.empty(7, device="meta")
    with pytest.raises(CheckpointError, match=r"conv_norm_out.bias is torch.Size\(\[7\]\)"):
        released.put(model, released.translated(checkpoint))


def test_what_marks_committed_steps_says_nothing_in_a_released_network():
    weight = torch.randn(256, ACTIONS, 5)
    name = "pose_pred_net.down_modules.0.0.blocks.0.block.0.weight"
    tensors = released.translated({f"model.diffusion_model.{name}": weight})
    (padded,) = tensors.values()
    assert torch.equal(padded[:, :ACTIONS], weight) and (padded[:, ACTIONS] == 0).all()


def test_a_file_that_is_none_of_theirs_is_refused(model, tmp_path):
    torch.save({"weights": {}}, tmp_path / "other.ckpt")
    for name in ("other.ckpt", "missing.ckpt"):
        with pytest.raises(CheckpointError, match=f"{name}: is no checkpoint as the authors released it"):
            released.load(model, tmp_path / name)
