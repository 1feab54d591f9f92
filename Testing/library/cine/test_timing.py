"""Courses of time: monotone, exact at the ends, from a table, or one sentence about it."""

import numpy as np
import pytest

from MambaSynthLib.cine.timing import Timing, cardiac, read_timing
from MambaSynthLib.errors import FileError

TAUS = np.linspace(0, 1, 41)


@pytest.mark.parametrize("length_ms", [60, 300, 500])
@pytest.mark.parametrize("start_ms", [0, 30, 400])
def test_the_cardiac_course_grows_from_none_to_all_of_the_motion(length_ms, start_ms):
    shares = [cardiac(length_ms, start_ms)(tau) for tau in TAUS]
    assert shares[0] == 0 and shares[-1] == 1 and np.all(np.diff(shares) >= 0)


def test_the_wall_hardly_moves_in_isovolumic_contraction_and_is_fastest_in_the_middle():
    course = cardiac(300)
    assert course(28 / 300) == 0 and course(0.9) > 0.9
    speed = np.diff([course(tau) for tau in TAUS])
    assert 0.3 < TAUS[np.argmax(speed)] < 0.6


def test_an_ed_frame_after_the_r_wave_has_less_of_the_delay_left():
    assert cardiac(300, 30)(0.1) > 0 == cardiac(300, 0)(0.1)


def test_linear_is_time_itself():
    assert Timing("linear").course(300)(0.3) == 0.3


def test_a_table_of_milliseconds_and_volumes_is_a_course(tmp_path):
    file = tmp_path / "curve.csv"
    file.write_text("time,ejected\n100,0\n200,60\n300,80\n")
    course = read_timing(str(file)).course(300)
    assert [course(tau) for tau in (0, 0.5, 1)] == [0, 0.75, 1] and course(0.25) == 0.375


@pytest.mark.parametrize(
    ("text", "said"),
    [("1,2\n", "two or more"), ("0,0\n0,1\n", "do not grow"), ("0,1\n1,0\n", "fall"),
     ("0,0\n1,x\n", "not two numbers"), ("0\n1\n", "not two numbers"), ("0,0\n1,nan\n", "grow")],
)  # fmt: skip
def test_a_table_that_is_no_course_is_refused_with_its_name(tmp_path, text, said):
    file = tmp_path / "curve.csv"
    file.write_text(text)
    with pytest.raises(FileError, match=f"curve.csv.*{said}"):
        read_timing(str(file))


def test_a_word_that_is_no_file_is_refused():
    with pytest.raises(FileError, match="lunar: is neither linear nor cardiac"):
        read_timing("lunar")
