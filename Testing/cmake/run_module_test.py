"""What ``ctest`` runs: the module file of the build tree on the stand-in, and its own test."""

import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))


def main(module_file: Path) -> int:
    from slicerstand.start import start

    stand = start()
    import slicer

    module = stand.modules.load_scripted(module_file)
    slicer.selfTests[module.name]()
    import MambaSynthLib

    library = Path(MambaSynthLib.__file__).resolve()
    if module_file.resolve().parent not in library.parents:
        raise RuntimeError(f"the library was not taken from the build tree but from {library}")
    return 1 if stand.record.slot_errors else 0


if __name__ == "__main__":
    try:
        code = main(Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        code = 1
    print("FAILED" if code else "OK", flush=True)
    os._exit(code)  # Qt and VTK are torn down in no order that can be relied on
