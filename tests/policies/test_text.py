"""Texts as vectors: what differs looks different, what the encoder can't take is refused by name."""

import json

import pytest
import torch

from kinema.errors import CheckpointError, ObservationError
from kinema.policies.text import Clip, ClipConfig, Words, WordsConfig


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_order_of_words_matters_and_company_does_not():
    words = Words(WordsConfig(width=16))
    texts = ["put the red mug into the blue bowl", "put the blue mug into the red bowl", "open the drawer"]
    together = words(texts)
    assert together.shape == (3, 16)
    assert torch.pdist(together).min() > 0.01
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(row, words([text])[0])
    assert torch.equal(words(["Open the DRAWER!"]), words(["open the drawer"]))


@pytest.mark.parametrize(("text", "length"), [("", 0), ("...", 0), ("a b c d e", 5)])
def test_a_text_that_does_not_fit_is_refused(text, length):
    with pytest.raises(ObservationError, match=rf"has {length} words, allowed are 1\.\.4"):
        Words(WordsConfig(longest=4))([text])


@pytest.fixture
def source(tmp_path):
    """A folder with a tokenizer that knows single letters."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    return tmp_path


def test_clip_reads_texts_and_refuses_longer_ones_than_it_takes(source):
    clip = Clip(ClipConfig(width=16, layers=1, heads=2, longest=8, source=str(source)))
    vectors = clip(["ab", "ba"])
    assert vectors.shape == (2, 16) and not vectors.requires_grad
    assert torch.pdist(vectors) > 1e-4
    with pytest.raises(ObservationError, match=r"has 9 tokens, allowed are 1\.\.8"):
        clip(["abcdefg"])


def test_without_its_files_clip_says_which_to_put_where(tmp_path):
    clip = Clip(ClipConfig(width=16, layers=1, heads=2, source=str(tmp_path / "nothing")))
    with pytest.raises(CheckpointError, match=r"vocab.json, merges.txt.*text.source"):
        clip(["open"])
    with pytest.raises(CheckpointError, match=r"model.safetensors of laion/CLIP-ViT-H-14"):
        clip.load_pretrained()
