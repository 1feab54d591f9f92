"""``mambasynth models``: list, show, verify, import, choose and remove model packages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthLib.model.package import ModelPackage


def add_parser(commands: Any) -> None:
    models = commands.add_parser(
        "models", help="list, show, verify, import, choose and remove model packages"
    )
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the installed models")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    listing.set_defaults(run=run_list)

    show = actions.add_parser("show", help="the card of one model")
    show.add_argument("model", metavar="ID|FOLDER")
    show.set_defaults(run=run_show)

    verify = actions.add_parser("verify", help="check hashes, keys and values of the weights")
    verify.add_argument("models", metavar="ID|FOLDER", nargs="*", help="default: all installed")
    verify.set_defaults(run=run_verify)

    importing = actions.add_parser(
        "import", help="install a package, or make one from a checkpoint of CRAViM or DDM"
    )
    add = importing.add_argument
    add("path", metavar="FOLDER|ZIP|CHECKPOINT|HTTPS-ADDRESS",
        help="for example netG_A2B_100.pth")  # fmt: skip
    add("--sha256", metavar="HEX", help="that the publisher states of a file at an address")
    add("--replace", action="store_true", help="also another version that is installed")
    add("--to", metavar="CONTRAST", help="target contrast of a CRAViM checkpoint, such as T2w")
    add("--from", dest="source", default="T1w", metavar="CONTRAST", help="default: T1w")
    add("--id", metavar="NAME", help="default: made from the file name")
    add("--title", help="what people read")
    add("--license", default="NOASSERTION", help="SPDX identifier of the weights' license")
    add("--trained-on", default="not stated by whoever imported it", help="the training data")
    add("--spacing", type=float, metavar="MM", help="pixel size of the training slices "
        "(default: each volume's own)")  # fmt: skip
    add("--size", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="default: 256 256")
    add("-o", "--output", type=Path, metavar="FOLDER", help="default: the user's model folder")
    importing.set_defaults(run=run_import)

    default = actions.add_parser(
        "default", help="choose the model that a plain synthesize or cine takes for its direction"
    )
    default.add_argument("model", metavar="ID")
    default.set_defaults(run=run_default)

    remove = actions.add_parser("remove", help="delete a model from the user's model folder")
    remove.add_argument("model", metavar="ID")
    remove.set_defaults(run=run_remove)


def run_list(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.model.registry import find_all

    found = find_all()
    packages = [item.package for item in found if item.package]
    defaults = _ids_of_defaults(packages)
    record = {
        "models": [
            {"id": p.card.id, "version": p.card.version, "task": p.card.task,
             "direction": p.card.direction, "default": p.card.id in defaults,
             "title": p.card.title, "license": p.card.license, "sha256": p.sha256,
             "folder": str(p.folder)}
            for p in packages
        ],
        "broken": [{"folder": str(item.folder), "problem": item.problem}
                   for item in found if not item.package],
    }  # fmt: skip
    width = max((len(p.card.id) for p in packages), default=0)
    lines = [f"{p.card.id:{width}}  {p.card.version}  {p.card.direction}  {p.card.title}"
             f"{'  (default)' if p.card.id in defaults else ''}"
             for p in packages] or ["no model is installed"]  # fmt: skip
    lines += [f"unusable: {item.problem}" for item in found if not item.package]
    console.result(record, lines, options.json)
    return 0


def _ids_of_defaults(packages: list[ModelPackage]) -> set[str]:
    """The ids that plain commands take, one for each direction; said aloud where one is missing."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.errors import ModelError
    from MambaSynthLib.model.registry import default_of

    directions: dict[str, list[ModelPackage]] = {}
    for package in packages:
        directions.setdefault(package.card.direction, []).append(package)
    ids = set()
    for fitting in directions.values():
        try:
            ids.add(default_of(fitting).card.id)
        except ModelError as error:  # listing must work, to see what else can be chosen
            console.note(str(error))
    return ids


def run_show(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.model.card import ContrastCard
    from MambaSynthLib.model.registry import find_model

    package = find_model(options.model)
    console.say(package.describe() or f"# {package.card.title}\n\n{package.card.trained_on}")
    if isinstance(package.card, ContrastCard) and package.card.neighbors:
        console.say(f"neighboring slices seen on either side: {package.card.neighbors} (2.5-D)")
    console.say(f"folder: {package.folder}\nweights sha256: {package.weights_sha256}")
    console.say(f"package sha256: {package.sha256}")
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Check each package to the last byte; exit code 2 if one fails."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.errors import ModelError
    from MambaSynthLib.model.registry import find_all, find_model

    checks = options.models or [item.folder for item in find_all()]
    failures = 0
    for name in checks:
        try:
            package = find_model(name)
            count = _check_package(package)
            console.say(f"{package.card.id} {package.card.version}: sound, {count:,} values")
        except ModelError as error:
            failures += 1
            console.say(f"NOT sound: {error}")
    return 2 if failures else 0


def _check_package(package: ModelPackage) -> int:
    """The number of values in the weights, after building the network from them."""
    from MambaSynthLib.backends import choose_backend

    choose_backend(device="cpu").load_network(package, "cpu")
    return sum(array.size for array in package.read_weights().values())


def run_import(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.install.checkpoints import import_checkpoint
    from MambaSynthLib.install.importing import import_package

    path = Path(options.path)
    if "://" in options.path:
        package = _import_from(options.path, options)
    elif path.is_dir() or path.suffix.lower() == ".zip":
        package = import_package(path, options.output, replace=options.replace)
    else:
        package = import_checkpoint(
            path,
            source_contrast=options.source,
            target_contrast=options.to,
            folder=options.output,
            model_id=options.id,
            title=options.title,
            license=options.license,
            trained_on=options.trained_on,
            in_plane_spacing_mm=options.spacing,
            size=tuple(options.size) if options.size else None,
        )
    with console.after_writing():
        console.say(f"installed {package.card.id} ({package.card.direction}) in {package.folder}")
    return 0


def _import_from(address: str, options: argparse.Namespace) -> ModelPackage:
    """Once its sha256 was compared. Raises RequestError: it was not, or it is another."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.errors import RequestError
    from MambaSynthLib.install.importing import import_package
    from MambaSynthLib.install.offer import discard, fetch_offer

    with console.slice_progress("fetching", "bytes") as progress:
        offer = fetch_offer(address, progress)
    try:
        card = offer.card
        told = f"{card.id} {card.version} ({card.direction}), {offer.size:,} bytes"
        if options.sha256 is None:
            raise RequestError(
                f"{told}, has the sha256 {offer.sha256}; compare it with what its publisher "
                "states, then run the same with --sha256 and that."
            )
        if options.sha256.lower() != offer.sha256:
            raise RequestError(
                f"{told}, has the sha256 {offer.sha256}, not {options.sha256[:64]}; do not use it."
            )
        return import_package(offer.path, options.output, replace=options.replace)
    finally:
        discard(offer.path)


def run_default(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.install.own_models import choose_default

    package = choose_default(options.model)
    with console.after_writing():
        console.say(f"{package.card.id} is now the default for {package.card.direction}")
    return 0


def run_remove(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.install.own_models import remove_model

    removed = remove_model(options.model)
    with console.after_writing():
        console.say(f"removed {removed}")
    return 0
