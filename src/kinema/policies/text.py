"""The task in words as one vector: by a small encoder that needs no download, or by CLIP."""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kinema.errors import CheckpointError, ObservationError

FIXED = "put the red block into the blue bowl"  # of the fixed moment that engines are measured at
SIGNS = 128  # numbers of a word before anything is learned
_PUBLISHED = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


@dataclass(frozen=True, slots=True)
class WordsConfig:
    """`width` of the vector; `longest` text in words."""

    kind: Literal["words"] = "words"
    width: int = 64
    longest: int = 24


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """CLIP's text tower as in OpenCLIP ViT-H/14, whose vectors Stable Video Diffusion's attention takes.

    `source` is a local folder or a hub id with the tokenizer's files and, for a training that begins, the weights.
    """

    kind: Literal["clip"] = "clip"
    width: int = 1024
    layers: int = 24
    heads: int = 16
    longest: int = 77
    source: str = _PUBLISHED


Config = WordsConfig | ClipConfig


class Told(NamedTuple):
    """What b texts say: `text` (b, n) to a video network, `query` to its look, None where there is no look."""

    text: Tensor
    query: Tensor | None


def encoder(config: Config) -> "Words | Clip":
    return Words(config) if isinstance(config, WordsConfig) else Clip(config)


def _too_long(text: str, length: int, longest: int, unit: str) -> ObservationError:
    return ObservationError(f"the text {text[:60]!r} has {length} {unit}, allowed are 1..{longest}")


class Words(nn.Module):
    """Words as fixed random signs, read one after the other by a small recurrent network.

    A word's signs come from its own hash: no vocabulary, and no two words share a vector.
    """

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Linear(SIGNS, config.width)
        self.read = nn.GRU(config.width, config.width, batch_first=True)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """(b, width) of b texts; raises ObservationError for one that is empty or too long."""
        words = [split(text, self.config.longest) for text in texts]
        tables = [torch.stack([signs(word) for word in found]) for found in words]
        padded = nn.utils.rnn.pad_sequence(tables, batch_first=True).to(self.word.weight)
        states, _ = self.read(self.word(padded))
        last = torch.tensor([len(found) - 1 for found in words], device=states.device)
        return states[torch.arange(len(words), device=states.device), last]


def split(text: str, longest: int) -> list[str]:
    """The words of a text; raises ObservationError for one that is empty or has more than `longest`."""
    found = re.findall(r"[^\W_]+", text.casefold())
    if not 1 <= len(found) <= longest:
        raise _too_long(text, len(found), longest, "words")
    return found


@functools.lru_cache(maxsize=4096)
def signs(word: str) -> Tensor:
    """(SIGNS,) numbers, 1 or -1, of a word's own hash."""
    digest = hashlib.shake_128(word.encode()).digest(SIGNS // 8)
    return torch.tensor([1.0 if byte >> bit & 1 else -1.0 for byte in digest for bit in range(8)])


class Clip(nn.Module):
    """CLIP's projected text vector (Radford et al. 2021); frozen."""

    def __init__(self, config: ClipConfig) -> None:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection  # seconds to import

        super().__init__()
        self.config = config
        self._tokenizer: Any = None
        sizes = CLIPTextConfig(
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            projection_dim=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.longest,
            hidden_act="gelu",
            eos_token_id=2,  # transformers' sign for: the vector is read at the highest token, which is the text's end
        )
        self.network = CLIPTextModelWithProjection(sizes).eval().requires_grad_(False)

    def load_pretrained(self) -> None:
        """Take the published weights; raises CheckpointError naming the files that are missing."""
        from transformers import CLIPTextModelWithProjection

        try:
            published = CLIPTextModelWithProjection.from_pretrained(self.config.source)
        except OSError as error:
            raise self._missing("config.json and model.safetensors") from error
        self.network.load_state_dict(published.state_dict())

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """(b, width) of b texts; raises ObservationError for one that is empty or too long."""
        tokenizer = self._tokens()
        for text in texts:
            length = len(tokenizer(text).input_ids)
            if not text.strip() or length > self.config.longest:
                raise _too_long(text, length, self.config.longest, "tokens")
        tokens = tokenizer(list(texts), padding="max_length", max_length=self.config.longest, return_tensors="pt")
        ids = tokens.input_ids.to(self.network.device)
        return self.network(input_ids=ids).text_embeds

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            from transformers import CLIPTokenizer

            try:
                self._tokenizer = CLIPTokenizer.from_pretrained(self.config.source)
            except OSError as error:
                raise self._missing("vocab.json, merges.txt and tokenizer_config.json") from error
        return self._tokenizer

    def _missing(self, files: str) -> CheckpointError:
        return CheckpointError(
            f"CLIP's text encoder is not in {self.config.source!r} and cannot be fetched; put {files} of "
            f"{_PUBLISHED} into a folder and name it as `text.source`"
        )
