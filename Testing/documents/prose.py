"""What a Markdown file says in its own words: without code, addresses, and what stands in marks."""

from __future__ import annotations

import re
from pathlib import Path

from MambaSynthTraining.evaluation.marked_text import without_blocks

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```", re.M | re.S
)
INDENTED, INLINE = re.compile(r"^    .*$", re.M), re.compile(r"`[^`]*`")
ADDRESS, DOI = re.compile(r"\]\([^)]*\)"), re.compile(r"doi:\S+")
COMMENT = re.compile(r"<!--.*?-->", re.S)
NOT_PROSE = (FENCE, INDENTED, INLINE, ADDRESS, DOI, COMMENT)
UNIT = r"(?:dB|ms|[kMG]B|GFLOPS?|%|s|sec(?:onds?)?|min(?:utes?)?|hours?|x(?!\s*\d)|times)"
SCORE = r"(?:SSIM|PSNR|NMI|MSE|NMSE|LPIPS|Dice|AUC)"
MEASURED = re.compile(
    rf"(?<![\w.,-])\d[\d.,]*(?:\s?(?:to|-)\s?\d[\d.,]*)?\s?{UNIT}(?!\w)"
    rf"|\b{SCORE}(?:\s+(?:of|about|at|is))?\s+\(?\d[\d.]*|(?<![\w.])\d*\.\d{{3,}}"
)


def markdown_files() -> list[Path]:
    """Every Markdown file of the project, tracked or about to be."""
    import subprocess

    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split() if (ROOT / name).is_file()]


def prose(text: str) -> str:
    text = without_blocks(text)
    for pattern in NOT_PROSE:
        text = pattern.sub("", text)
    return text


def stray_numbers(text: str) -> list[str]:
    """Numbers with a measured unit, and scores, that no mark says the origin of."""
    return [match[0].strip() for match in MEASURED.finditer(prose(text))]
