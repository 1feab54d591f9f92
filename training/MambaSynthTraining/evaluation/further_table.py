"""The second table of a report: the native frame, sets of slices, and where the errors are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MambaSynthLib.report.evaluation import markdown
from MambaSynthTraining.evaluation.measures import BY_NAME, NOT_COMPUTED
from MambaSynthTraining.evaluation.results import Result

NATIVE = ("ssim", "nmi", "lpips", "mse", "psnr", "ms_ssim")
NOTES = (
    "Frame: native, every slice of the acquired volumes that shows anatomy, in their own pixels; "
    "the same synthetic volumes.",
    "",
    "* {ms_ssim.title}: {ms_ssim.convention}.",
    "* FID, KID x 1000: of all slices together, on AlexNet's last layer as LPIPS sees it, mean "
    "over the sampling seeds; not comparable with those on Inception. FID is too large for few "
    "slices, KID is not.",
    "* r: Pearson's correlation with the acquired target in its foreground. Negative: the contrast "
    "is not flipped, whatever the other numbers are.",
    "* error in a tissue: mean |synthetic - acquired|, both z-scored in the foreground; over those "
    "subjects whose tissues are known.",
)


def further_table(results: Sequence[Result]) -> list[str]:
    """Lines of Markdown; none where no result says more than the first table."""
    if not any("tissues" in result.record for result in results):
        return []
    names = dict.fromkeys(
        name for result in results for name in result.record.get("tissues", {}) if name != "r"
    )
    tissues = [f"error in {name}" for name in names]
    titles = [BY_NAME[name].title for name in NATIVE]
    lines = [["row", *titles, "FID", "KID x 1000", "r", *tissues]]
    for result in results:
        means = result.record.get("tissues", {})
        lines.append(
            [
                result.name,
                *(_measured(result, name) for name in NATIVE),
                _number(_over_seeds(result, "fid"), 3),
                _number([1000 * value for value in _over_seeds(result, "kid")], 3),
                *(_number([means[name]] if name in means else [], 3) for name in ("r", *names)),
            ]
        )
    return [*markdown(lines), "", *(note.format(**BY_NAME) for note in NOTES)]


def _measured(result: Result, name: str) -> str:
    measure = BY_NAME[name]
    values = [measure.scale * value for value in result.of_subjects(name).values()]
    return _number([value for value in values if np.isfinite(value)], measure.digits)


def _over_seeds(result: Result, name: str) -> list[float]:
    return [one[name] for one in result.record.get("distribution", []) if name in one]


def _number(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f}" if len(values) else NOT_COMPUTED
