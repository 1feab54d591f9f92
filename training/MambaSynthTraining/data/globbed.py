"""Any folder of volumes, described by one pattern per contrast.

What the wildcards of the patterns stand for is the subject: with 'study/*/T1.nii.gz' and
'study/*/T2.nii.gz' the folder names pair the images. Of several wildcards the first names the
patient, so that two sessions in 'sub-*/ses-*/anat/*_T1w.nii.gz' stay in one split.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.found import Layout, VolumeFiles

WILDCARD = re.compile(r"(\*\*/?|\*|\?|\[[^\]]+\])")
MOST_FILES = 100_000


@dataclass(frozen=True)
class Glob:
    """A pattern with wildcards * and ?, which stand for the subject's name; ** is any folder."""

    pattern: str

    def files(self) -> dict[str, Path]:
        """Subject -> file (or DICOM folder). Raises RequestError where nothing fits."""
        return {"_".join(words): path for words, path in self._matches()}

    def patients(self) -> dict[str, str]:
        """Subject -> patient, the text of the first wildcard."""
        return {"_".join(words): words[0] for words, _ in self._matches()}

    def _matches(self) -> Iterable[tuple[tuple[str, ...], Path]]:
        expression = re.compile(_as_expression(self.pattern))
        found = []
        for name in glob.iglob(self.pattern, recursive=True):
            match = expression.fullmatch(name)
            words = tuple(dict.fromkeys(match.groups())) if match else ()  # a name twice is one
            if words:
                found.append((words, Path(name)))
            if len(found) > MOST_FILES:
                raise RequestError(
                    f"{self.pattern}: fits more than {MOST_FILES} files; name a smaller folder."
                )
        if not found and not glob.has_magic(self.pattern) and Path(self.pattern).exists():
            raise RequestError(
                f"{self.pattern}: is one file, whose subject nothing names; put a * in the place "
                "of the subject, such as 'study/*/T1.nii.gz'."
            )
        if not found:
            raise RequestError(
                f"{self.pattern}: fits no file; give a pattern in quotes whose * stands for the "
                "subject, such as 'study/*/T1.nii.gz'."
            )
        return sorted(found)


def _as_expression(pattern: str) -> str:
    """The regular expression of a glob; what the wildcards but ** stand for are its groups."""
    parts = []
    for piece in WILDCARD.split(pattern):
        if piece.startswith("**"):
            parts.append("(?:.*/)?")
        elif piece in ("*", "?"):
            parts.append("([^/]*)" if piece == "*" else "([^/])")
        elif WILDCARD.fullmatch(piece):
            parts.append(f"({piece.replace('[!', '[^')})")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)


def find(patterns: Mapping[str, Glob], paired: bool, masks: Glob | None = None) -> Layout:
    """The subjects that the ``patterns`` (contrast -> glob) fit.

    Paired: those with all contrasts, the others are skipped by name. Unpaired: all of them.
    """
    files: dict[str, dict[str, list[Path]]] = {}
    patients: dict[str, str] = {}
    for contrast, pattern in patterns.items():
        for subject, path in pattern.files().items():
            files.setdefault(subject, {}).setdefault(contrast, []).append(path)
        patients |= pattern.patients()
    found, skipped = complete(files, list(patterns), partial=not paired)
    brains, without = with_masks(found, masks)
    subjects = [
        VolumeFiles(_as_file_name(id), found[id], patients[id], mask=mask)
        for id, mask in brains.items()
    ]
    return Layout(subjects, skipped + without)


def with_masks(
    subjects: Iterable[str], masks: Glob | None
) -> tuple[dict[str, Path | None], list[tuple[str, str]]]:
    """Subject -> its mask (None where no masks are asked for), and who lacks one."""
    if masks is None:
        return dict.fromkeys(sorted(subjects)), []
    files = masks.files()
    found: dict[str, Path | None] = {s: files[s] for s in sorted(subjects) if s in files}
    return found, [(s, "has no mask") for s in sorted(subjects) if s not in files]


def _as_file_name(subject: str) -> str:
    return re.sub(r"[^\w.-]", "-", subject)


def complete(
    files: Mapping[str, Mapping[str, Sequence[Path]]],
    contrasts: Sequence[str],
    partial: bool = False,
) -> tuple[dict[str, dict[str, Path]], list[tuple[str, str]]]:
    """Subjects with exactly one file per contrast, and (subject, reason) of the others.

    With ``partial`` one contrast is enough.
    """
    found: dict[str, dict[str, Path]] = {}
    skipped = []
    for subject, images in sorted(files.items()):
        missing = [contrast for contrast in contrasts if not images.get(contrast)]
        present = [contrast for contrast in contrasts if images.get(contrast)]
        double = [contrast for contrast in present if len(images[contrast]) > 1]
        if missing and not (partial and present):
            has = f"has {' and '.join(present)}" if present else "has no image"
            skipped.append((subject, f"{has} but no {' and no '.join(missing)}"))
        elif double:
            names = ", ".join(str(path) for path in images[double[0]][:3])
            skipped.append((subject, f"has several {double[0]} images: {names}"))
        else:
            found[subject] = {contrast: images[contrast][0] for contrast in present}
    return found, skipped
