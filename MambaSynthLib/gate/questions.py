"""What the gate's network is asked about a look, and which answers it can give.

One softmax for each question, all of one network. An orientation is (top, face): to which
directions, by the labels of the affine, the top of the head and the face point. Left and right
look alike, so a mirrored head is not told.
"""

from __future__ import annotations

DIRECTIONS = "RLASPI"
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
ORIENTATIONS = tuple(
    top + face for top in DIRECTIONS for face in DIRECTIONS if face not in (top, OPPOSITE[top])
)
UPRIGHT = "SA"
WORDS = {"R": "right", "L": "left", "A": "forwards", "P": "backwards", "S": "up", "I": "down"}

CONTRASTS = ("T1w", "T2w", "FLAIR", "PDw", "T1w with contrast agent")
QUESTIONS: dict[str, tuple[str, ...]] = {
    "kind": ("MR", "CT", "noise", "drawing", "inverted"),
    "anatomy": ("head", "brain", "heart", "other"),
    "contrast": CONTRASTS,
    "orientation": ORIENTATIONS,
    "proportions": ("natural", "stretched"),
}
FITTING = {
    "kind": ("MR",),
    "anatomy": ("head", "brain"),
    "orientation": (UPRIGHT,),
    "proportions": ("natural",),
}  # those of "contrast" are the model's
OUTPUTS = sum(map(len, QUESTIONS.values()))

LOOKS = {
    "CT": "like CT",
    "noise": "like noise",
    "drawing": "like a phantom or a drawing",
    "inverted": "like an inverted image",
    "heart": "like a heart",
    "other": "like neither a head nor a brain",
    "stretched": "stretched along one axis",
}


def words_for(question: str, answer: str) -> str:
    """What follows "it looks": 'like a T2w image', 'upside down by its affine'."""
    if question == "contrast":
        return f"like a {answer.replace(' with', ' image with')}" + " image" * (" " not in answer)
    if question == "orientation":
        top, face = (WORDS[letter] for letter in answer)
        return f"turned: by its affine the top of the head points {top}, the face {face}"
    return LOOKS[answer]
