"""A checkpoint as the paper's authors released it: their names for the tensors of this network.

Their video U-Net is laid out as Stability's generative-models lay out Stable Video Diffusion; their adapter and action
U-Net are numbered layers. Their action U-Net knows no committed steps: the channel that marks them says nothing.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from kinema.errors import CheckpointError
from kinema.policies.video_policy.model import VideoPolicyModel

_PREFIX = "model.diffusion_model."  # what else a released file holds is the frozen autoencoder and CLIP
_LEVEL = 3  # entries of input and output blocks to a level: two of layers, one of change of resolution

_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_BOTTLENECK = {
    "emb_layers.1": "label",
    "conv1.0": "enter",
    "conv1.1": "enter_norm",
    "conv2.0": "mix",
    "conv2.1": "mix_norm",
    "conv3.0": "leave",
    "conv3.1": "leave_norm",
    "downsample": "skip",
}
_BLOCK = {"blocks.0.block": "before", "blocks.1.block": "after", "cond_encoder.1": "film", "residual_conv": "skip"}
_HALVES = {"0": "first", "1": "second"}


def _begin(table: Mapping[str, str], name: str) -> str:
    """`name` with the beginning that the table has renamed."""
    for old, new in table.items():
        if name == old or name.startswith(old + "."):
            return new + name[len(old) :]
    raise KeyError(name)


# ---- the video U-Net


def _residual(name: str) -> str:
    if name.startswith("time_mixer."):
        return name
    if name.startswith("time_stack."):
        return "temporal_res_block." + _begin(_RESIDUAL, name.removeprefix("time_stack."))
    return "spatial_res_block." + _begin(_RESIDUAL, name)


def _attention(name: str) -> str:
    name = re.sub(r"^time_stack\.", "temporal_transformer_blocks.", name)
    return re.sub(r"^time_pos_embed\.([02])", lambda m: f"time_pos_embed.linear_{1 + int(m[1]) // 2}", name)


def _layer(kind: str, name: str) -> str:
    """What lies in an entry of blocks, by the kind of the layer that holds it."""
    if kind.startswith("resnets"):
        return f"{kind}.{_residual(name)}"
    return f"{kind}.{_attention(name)}" if kind.startswith("attentions") else f"{kind}.{name}"


def _input(match: re.Match[str]) -> str:
    level, layer = divmod(int(match[1]) - 1, _LEVEL)
    if layer == _LEVEL - 1:
        return f"down_blocks.{level}.downsamplers.0.conv{match[3].removeprefix('op')}"
    kind = f"{('resnets', 'attentions')[int(match[2])]}.{layer}"
    return f"down_blocks.{level}.{_layer(kind, match[3])}"


def _output(match: re.Match[str]) -> str:
    level, layer = divmod(int(match[1]), _LEVEL)
    kind = f"{('resnets', 'attentions', 'resnets')[int(match[2])]}.{layer}"
    if match[3].startswith("conv."):
        kind = "upsamplers.0"
    return f"up_blocks.{level}.{_layer(kind, match[3])}"


def _middle(match: re.Match[str]) -> str:
    return "mid_block." + _layer(_MIDDLE[match[1]], match[2])


# ---- adapter and action U-Net


def _view(match: re.Match[str]) -> str:
    """layer<row>_<view>[_cat].<block>.: each view's own rows; `_cat` brings a tap to what it joins."""
    row, view = int(match[1]) - 1, int(match[2]) - 1
    place = f"entries.{row - 1}" if match[3] else f"rows.{row}" if row < 5 else f"narrow.{row - 5}"
    return f"branches.{view}.{place}.{match[4]}.{_begin(_BOTTLENECK, match[5])}"


def _trunk(match: re.Match[str]) -> str:
    return f"trunk.{int(match[1]) - 8}.{match[2]}.{_begin(_BOTTLENECK, match[3])}"


def _level(part: str, name: str) -> str:
    return "resize" + name.removeprefix("conv") if part == "2" else f"{_HALVES[part]}.{_begin(_BLOCK, name)}"


_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"vision_encoder\.layer(\d+)_(\d)(_cat)?\.(\d+)\.(.+)", lambda m: "adapter." + _view(m)),
    (r"vision_encoder\.layer(\d+)\.(\d+)\.(.+)", lambda m: "adapter." + _trunk(m)),
    (r"vision_encoder\.norm\.(.+)", lambda m: f"adapter.norm.{m[1]}"),
    (r"pose_pred_net\.diffusion_step_encoder\.1\.(.+)", lambda m: f"head.step.{m[1]}"),
    (r"pose_pred_net\.(down|up)_modules\.(\d)\.(\d)\.(.+)", lambda m: f"head.{m[1]}.{m[2]}." + _level(m[3], m[4])),
    (r"pose_pred_net\.mid_modules\.(\d)\.(.+)", lambda m: f"head.middle.{_HALVES[m[1]]}.{_begin(_BLOCK, m[2])}"),
    (r"pose_pred_net\.final_conv\.0\.block\.(.+)", lambda m: f"head.out.0.{m[1]}"),
    (r"pose_pred_net\.final_conv\.1\.(.+)", lambda m: f"head.out.1.{m[1]}"),
    ("(" + "|".join(map(re.escape, _ENDS)) + r")\.(.+)", lambda m: f"unet.network.{_ENDS[m[1]]}.{m[2]}"),
    (r"input_blocks\.(\d+)\.(\d)\.(.+)", lambda m: "unet.network." + _input(m)),
    (r"output_blocks\.(\d+)\.(\d)\.(.+)", lambda m: "unet.network." + _output(m)),
    (r"middle_block\.(\d)\.(.+)", lambda m: "unet.network." + _middle(m)),
)


def renamed(name: str) -> str:
    """Our name of a released tensor, `model.diffusion_model.` taken off; raises CheckpointError for an unknown one."""
    for pattern, rule in _RULES:
        match = re.fullmatch(pattern, name)
        if match is not None:
            try:
                return rule(match)
            except KeyError:
                break
    raise CheckpointError(f"released checkpoint: {name!r} is no tensor of the authors' network")


def translated(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of video U-Net, adapter and action U-Net by our names; the frozen parts are left out."""
    tensors = {}
    for name, tensor in released.items():
        if name.startswith(_PREFIX):
            tensors[renamed(name.removeprefix(_PREFIX))] = tensor
    for name in ("head.down.0.first.before.0.weight", "head.down.0.first.skip.weight"):
        if name in tensors:
            tensors[name] = functional.pad(tensors[name], (0, 0, 0, 1))
    return tensors


def load(model: VideoPolicyModel, file: Path) -> None:
    """Put a released file's weights into a model of the full size, its frozen parts as `load_pretrained` leaves them.

    Raises CheckpointError for a file that can't be read, and naming what is missing, unknown or of another shape.
    """
    try:
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        tensors = translated(content["state_dict"])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: is no checkpoint as the authors released it: {error}") from error
    put(model, tensors)


def put(model: VideoPolicyModel, tensors: Mapping[str, Tensor]) -> None:
    """Set `translated` tensors; raises CheckpointError unless they are all that is learned, in the right shapes."""
    learned = {
        name: value.shape
        for name, value in model.state_dict().items()
        if name.startswith(("unet.", "adapter.", "head."))
    }
    found = {name: value.shape for name, value in tensors.items()}
    wrong = sorted(name for name in learned.keys() | found.keys() if learned.get(name) != found.get(name))
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f"released checkpoint: {len(wrong)} tensors do not fit; {first} is {found.get(first, 'missing')}, "
            f"needed is {learned.get(first, 'nothing of that name')}"
        )
    model.load_state_dict(tensors, strict=False)
