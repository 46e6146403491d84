"""`kinema episodes list | recover | trim`, as people call them."""

import importlib

import pytest

from kinema.apps import cli, episodes
from kinema.clock import NS
from kinema.episodes import facts as facts_file
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import JawSample, encode, typestore
from kinema.episodes.writer import EpisodeWriter
from kinema.topics import TOPICS

FACTS = Facts(
    source="handheld",
    text="put it there",
    operator="ada",
    began_ns=NS,
    simulated=True,
    images=ImageFacts(compression="jpeg", quality=90, width=320, height=240),
)


def record(folder, **facts) -> EpisodeWriter:
    """Five seconds; closed when facts are given."""
    writer = EpisodeWriter(folder, [TOPICS["jaw/state"]], typestore(), FACTS)
    for i in range(50):
        writer.write("jaw/state", NS + i * NS // 10, encode(typestore(), JawSample(NS + i * NS // 10, 0.0, True)))
    if facts:
        writer.close(FACTS.replace(ended_ns=5 * NS, **facts))
    return writer


@pytest.fixture
def root(tmp_path):
    record(tmp_path / "t/1", ended="by the operator", success=True)
    record(tmp_path / "t/2", rejected="the tracker jumped twice")
    record(tmp_path / "t/3", success=False, ended="the cup fell")
    return tmp_path


def lines(capsys) -> dict[str, str]:
    """What was printed, by the first word."""
    return {
        line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines() if line.strip()
    }


def test_list_tells_what_may_be_used_and_why_not(root, capsys):
    alive = record(root / "t/4")
    record(root / "t/5")  # forgotten as by a kill: its lock goes with it
    record(root / "t/.draft/7", ended="not seen")
    (root / "t/6").mkdir()
    (root / "t/6/episode.yaml").write_text("format: 7\n")
    assert cli.main(["episodes", "list", str(root)]) == 0
    shown = lines(capsys)
    assert shown["t/1"] == "put it there ada 4.0 s 320x240 jpeg good by the operator"
    assert shown["t/2"].endswith("rejected the tracker jumped twice")
    assert shown["t/3"].endswith("failure the cup fell")
    assert shown["t/4"].endswith("recording")
    assert shown["t/5"].endswith(f"unfinished kinema episodes recover {root}/t/5")
    assert "unreadable" in shown["t/6"] and not any(".draft" in name for name in shown)
    assert shown["1"].endswith("1 unreadable; 4 s are good")
    alive.close(FACTS)


def test_recover_finishes_what_is_unfinished_and_leaves_the_rest(root, capsys):
    before = facts_file.load(root / "t/1")
    record(root / "t/5")
    assert cli.main(["episodes", "recover", str(root)]) == 0
    assert "recovered 4.0 s, 41 messages" in capsys.readouterr().out
    assert facts_file.load(root / "t/5").finished and facts_file.load(root / "t/1") == before
    assert cli.main(["episodes", "recover", str(root)]) == 0
    assert capsys.readouterr().out == ""


def test_recover_says_what_it_could_not_do(root, capsys):
    alive = record(root / "t/4")
    assert cli.main(["episodes", "recover", str(root / "t/4")]) == 1
    assert "being recorded at this moment" in capsys.readouterr().err
    alive.close(FACTS)


def test_trim_says_what_is_left_or_what_is_allowed(root, capsys):
    assert cli.main(["episodes", "trim", str(root / "t/1"), "--start", "0.5", "--end", "2.5"]) == 0
    assert "2.000 s; " in capsys.readouterr().out
    assert cli.main(["episodes", "trim", str(root / "t/1"), "--end", "99"]) == 2
    assert capsys.readouterr().err.startswith("kinema episodes trim: ")


@pytest.mark.parametrize("table", [cli.COMMANDS, episodes.COMMANDS])
def test_every_command_of_the_tables_is_there(table):
    for name, (module, text) in table.items():
        command = importlib.import_module(module)
        assert callable(command.configure), name
        assert text and not text.endswith("."), name


@pytest.mark.parametrize(
    "words",
    [
        ["show", "f", "--moments", "0"],
        ["replay", "f", "--jobs", "0"],
        ["export", "lerobot", "--out", "o", "--rate", "-30"],
        ["export", "lerobot", "--out", "o", "--crf", "52"],
        ["export", "shards", "--out", "o", "--quality", "0"],
    ],
)
def test_a_number_that_makes_no_sense_is_refused_before_any_work(words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["episodes", *words])
    assert words[-2] in capsys.readouterr().err


def test_a_command_that_is_not_there_is_refused_with_those_that_are(capsys):
    with pytest.raises(SystemExit):
        cli.main(["episodes", "delete"])
    assert "list" in capsys.readouterr().err
