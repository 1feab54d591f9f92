"""The measure of motion that acquired and made hearts share."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from made_up_hearts import ventricle
from scipy import ndimage

from MambaSynthLib.cli import main
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.beating_heart import beating_heart
from MambaSynthTraining.data.heart_cine import write_subject
from MambaSynthTraining.data.heart_slices import VOLUME
from MambaSynthTraining.data.heart_stacks import Grid
from MambaSynthTraining.data.motion_measure import HEADER, mean_of, measure, views

AFFINE = np.diag([-1.5, -1.5, 8.0, 1.0])


def moving_disc(shifts=(0.0, 1.0, 3.0, 4.0, 2.0, 1.0, 0.0)) -> Cine:
    """A disc of 10 pixels of 1.5 mm that walks along the columns, textured."""
    y, x = np.mgrid[:64, :64] - 31.5
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((64, 80)), 1.5)
    frames = []
    for shift in shifts:
        disc = 1 / (1 + np.exp(2 * (np.hypot(y, x - shift) - 10)))
        seen = ndimage.shift(texture, (0, shift), order=1)[:, 8:72]
        frames.append(Volume((0.1 + disc * (0.8 + seen))[..., None], AFFINE, "disc"))
    return Cine(tuple(frames), tuple(40.0 * n for n in range(len(shifts))), "disc")


def test_a_disc_moves_as_far_and_by_the_course_that_it_was_moved():
    found = measure(moving_disc())
    assert found.es_ms == 120
    assert found.pixels[1] == pytest.approx(4, abs=0.6)
    assert found.explained > 0.8
    assert found.course == pytest.approx((0.15, 0.35, 0.65, 0.85), abs=0.1)
    assert len(found.cells()) == len(HEADER)


def test_frames_without_one_between_or_without_motion_are_refused():
    with pytest.raises(RequestError, match="no frame lies between"):
        measure(moving_disc(), es=1)
    still = moving_disc((0.0,) * 4)
    with pytest.raises(RequestError, match="ED and ES are equal"):
        measure(still, es=3)


def test_a_made_heart_is_seen_in_both_views_and_moves_as_it_was_made_to():
    cine = beating_heart(ventricle(), 1, seed=3, frames=8, kinds=(VOLUME,))
    short, long = views(cine)
    assert short.frames[0].shape[2] == (cine.valid[0][1] - cine.valid[0][0]) // 3
    assert short.frames[0].spacing[2] == pytest.approx(9.45)
    assert long.frames[0].shape[2] == 1 and long.frames[0].spacing[0] == pytest.approx(1.5)
    found = measure(short, len(short.frames) - 1)
    true = np.hypot(*cine.fields[cine.es][1:])[cine.labels[cine.es] > 0]
    assert found.pixels[1] == pytest.approx(np.percentile(true, 90), rel=0.5)
    assert (np.diff(found.course) >= 0).all()


def test_the_command_prints_acquired_beside_made(tmp_path, capsys):
    frames = [SimpleITK.GetImageFromArray(f.array.T.copy()) for f in moving_disc().frames]
    disc = SimpleITK.JoinSeries(frames)
    disc.SetSpacing((1.5, 1.5, 8.0, 0.04))
    SimpleITK.WriteImage(disc, str(tmp_path / "disc.nii.gz"))
    small = Grid((16, 48, 48), (6.3, 2.0, 2.0))
    heart = beating_heart(ventricle(), 1, frames=8, grid=small, kinds=(VOLUME,))
    write_subject(tmp_path / "hearts", heart)
    splits = '{"train": ["heart-01"], "validation": [], "test": []}'
    (tmp_path / "hearts/splits.json").write_text(splits)
    words = ["heart-motion", str(tmp_path / "disc.nii.gz"), "--hearts", str(tmp_path / "hearts")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + 2
    assert "short axis (n = 1)" in lines[3] and "long axis (n = 1)" in lines[4]


def test_the_mean_of_rows_is_their_mean():
    one, other = measure(moving_disc()), measure(moving_disc((0.0, 1.0, 3.0, 2.0)), es=2)
    mean = mean_of("mean", [one, other])
    assert mean.pixels[1] == pytest.approx((one.pixels[1] + other.pixels[1]) / 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "names no cine and no --hearts"), (["--limit", "0", "--hearts", "x"], "--limit is 0")],
)
def test_nothing_to_measure_is_told(words, told, capsys):
    assert main(["heart-motion", *words]) == 2
    assert told in capsys.readouterr().err
