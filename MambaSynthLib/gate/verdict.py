"""What the gate says of a volume: it fits, it is doubtful, or it is refused, and why.

Rules come first; where one has something to say, the network is not asked. Not judged: left and
right, lesions, image quality, children, and whether the image is synthetic, see ``admission``.
"""

from __future__ import annotations

from dataclasses import dataclass

from MambaSynthLib.gate import rules
from MambaSynthLib.gate.look import Look, coarsened, look_at
from MambaSynthLib.gate.network import Gate, shipped_gate
from MambaSynthLib.gate.questions import CONTRASTS, FITTING, words_for
from MambaSynthLib.gate.rules import Finding
from MambaSynthLib.image.volume import Volume

FITS, DOUBTFUL, REFUSED = "fits", "doubtful", "refused"
AGENT = "T1w with contrast agent"  # so like T1w that it is never a reason to refuse


@dataclass(frozen=True)
class Verdict:
    """The reasons against a volume, the surest first; none where it fits."""

    name: str
    findings: tuple[Finding, ...] = ()

    @property
    def answer(self) -> str:
        """fits, doubtful or refused."""
        if not self.findings:
            return FITS
        return REFUSED if self.findings[0].sure else DOUBTFUL

    def sentence(self) -> str:
        """The first reason with its remedy, without the name and the full stop."""
        return f"{self.findings[0].looks}; {self.findings[0].remedy}" if self.findings else FITS


def examine(volume: Volume, contrast: str, gate: Gate | None = None) -> Verdict:
    """Whether ``volume`` is an upright head or brain in ``contrast``, as it says it is.

    A ``contrast`` that the gate does not know is not judged. ``gate``: another than the shipped
    one. Raises ModelError where the shipped one is damaged, VolumeError for a constant volume.
    """
    look = look_at(coarsened(volume), volume.name)
    content = volume.array > look.threshold
    found = [rules.mask_or_labels(volume, content), rules.holes(volume, content), rules.ct(volume),
             rules.noise_around(volume), rules.size(look.extent_mm)]  # fmt: skip
    findings = [finding for finding in found if finding]
    if not findings:
        findings = network_findings(look, contrast, gate or shipped_gate())
    return Verdict(volume.name, tuple(sorted(findings, key=lambda finding: not finding.sure)))


def network_findings(look: Look, contrast: str, gate: Gate) -> list[Finding]:
    """What the network has against a look: the first question whose answer does not fit.

    The later questions mean nothing then: noise has no contrast, a heart no face.
    """
    fitting = dict(FITTING)
    if contrast in CONTRASTS:
        fitting["contrast"] = (contrast,)
    shares = gate.answers(look.image)
    doubts = []
    for question, wanted in fitting.items():
        share = sum(shares[question][answer] for answer in wanted)
        if share >= gate.thresholds[question].doubtful:
            continue
        others = {a: p for a, p in shares[question].items() if a not in wanted}
        answer = max(others, key=lambda a: others[a])
        sure = share < gate.thresholds[question].refused
        sure = sure and not (question == "contrast" and {answer, contrast} == {"T1w", AGENT})
        finding = Finding(question, f"looks {words_for(question, answer)}",
                          _remedy(question, answer, contrast), sure)  # fmt: skip
        if sure:
            return [finding]
        doubts.append(finding)
    return doubts


def _remedy(question: str, answer: str, contrast: str) -> str:
    if question == "contrast":
        return f"give the {contrast} image, or choose a model for what this is"
    if question == "orientation":
        return "correct the orientation in its header"
    if question == "proportions":
        return "correct the voxel size in its header"
    return f"give a {contrast} image of a head or brain"
