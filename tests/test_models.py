"""The checkpoint that is deployed where none is named: it does its tasks, and it is as small as it may be."""

import json

import pytest

from kinema import cell_file, paths
from kinema.apps import launch_plan, trials
from kinema.apps.rollouts import Player, play
from kinema.perception import divergence
from kinema.policies import checkpoint, registry
from kinema.virtual.tasks import SHIPPED
from kinema.workers import on_all_cores

FOLDER = paths.find(launch_plan.POLICY)
FOLDERS = sorted(file.parent for file in (paths.root() / "models").glob("*/checkpoint.json"))
SCENARIOS, ENOUGH = 10, 7  # of each task, and how many of them have to succeed


def test_it_succeeds_in_seven_of_ten_scenarios_of_each_task_that_nobody_has_shown():
    player = Player.of(str(FOLDER))
    cell = cell_file.load(cell_file.VIRTUAL)
    setting = player.setting(cell.control.execution)
    scenes = trials.scenes(list(SHIPPED), ["seen"], "choose", SCENARIOS)
    rollouts = list(on_all_cores(play, [(player, setting, scene, cell_file.VIRTUAL) for scene in scenes], 2))
    for task in SHIPPED:
        done = {row.scene.seed: row.outcome for row in rollouts if row.scene.task == task}
        good = sum(row.success for row in rollouts if row.scene.task == task)
        assert len(done) == SCENARIOS and good >= ENOUGH, (task, done)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_checkpoint_weighs_little_and_says_where_it_comes_from(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 15e6
    facts = json.loads((folder / "checkpoint.json").read_text())
    assert facts["calibration_origin"] and facts["training"]["hours"] > 0 and facts["executed"] > 0
    assert facts["kind"] in registry.LEARNED


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_usual_of_one_mode_keeps_no_other_from_being_deployed(folder):
    facts = checkpoint.read(folder)
    measured = [divergence.load(folder, facts.hash, mode) for mode in facts.latency]
    assert any(measured) == (folder / divergence.NAME).exists()
