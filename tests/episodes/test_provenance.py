"""Where an episode's calibration comes from: one file that is the simulator's truth, and the whole of it is."""

import dataclasses

import pytest

from kinema import paths
from kinema.calibration.bundle import load_bundle
from kinema.episodes.provenance import calibration_origin

TRUTH = load_bundle(paths.root() / "calibration/virtual", {"left": "VIRTUAL-LEFT", "tracker": "VIRTUAL-TRACKER"})


def measured(file):
    return file.model_copy(update={"provenance": file.provenance.model_copy(update={"origin": "measured"})})


MEASURED = dataclasses.replace(
    TRUTH,
    files={name: measured(file) for name, file in TRUTH.files.items()},
    latencies=measured(TRUTH.latencies),
)


@pytest.mark.parametrize(
    ("bundle", "origin"),
    [
        (TRUTH, "simulator truth"),
        (MEASURED, "measured"),
        (
            dataclasses.replace(MEASURED, files={**MEASURED.files, "left.yaml": TRUTH.files["left.yaml"]}),
            "simulator truth",
        ),
        (dataclasses.replace(MEASURED, latencies=TRUTH.latencies), "simulator truth"),
    ],
)
def test_one_file_of_the_simulator_labels_the_whole(bundle, origin):
    assert calibration_origin(bundle) == origin
