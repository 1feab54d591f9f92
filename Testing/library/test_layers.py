"""Who may import whom, read off every file; and what a fresh interpreter really loads."""

import ast
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from MambaSynthLib.io.files import write_volume
from Testing.provenance_records import RECORD

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("MambaSynthLib", "MambaSynth", "training", "Testing")
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
)
LIBRARY = [name for name in FILES if name.startswith("MambaSynthLib/")]
PRODUCT = [name for name in FILES if not name.startswith("Testing/")]

# Imports at file scope point to the same room or to one above it.
GROUPS = (
    ("__init__", "errors", "installation", "provenance"),
    ("image",),
    ("watermark",),
    ("io",),
    ("gate",),
    ("phantom",),
    ("layers",),
    ("methods",),
    ("model",),
    ("backends",),
    ("install",),
    ("mask",),
    ("engine",),
    ("cine", "batch"),
    ("report",),
    ("server", "commands"),
    ("cli", "__main__", "alias"),
)
RANK = {part: rank for rank, group in enumerate(GROUPS) for part in group}

TORCH_FILES = (
    "MambaSynthLib/layers/*", "MambaSynthLib/methods/cravim/*", "MambaSynthLib/methods/mstg/*",
    "MambaSynthLib/methods/maskunet/network.py", "MambaSynthLib/backends/torch_backend.py",
    "training/*", "Testing/*",
)  # fmt: skip
ONNX_FILES = (
    "MambaSynthLib/layers/onnx_graph.py", "MambaSynthLib/methods/*/*graph.py",
    "MambaSynthLib/backends/onnx_backend.py",
)  # fmt: skip
SLICER_FILES = ("MambaSynth/*", "Testing/*")
TRITON_FILES = ("MambaSynthLib/layers/triton_*.py", "Testing/*")
ONNX = ("onnx", "onnxruntime")
HEAVY = ("torch", "triton", *ONNX, "SimpleITK", "scipy", "nibabel", "matplotlib", "skimage")


@cache
def tree(name):
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def modules_of(node, package):
    """The modules that an import statement names; relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*parts, *([node.module] if node.module else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def imports(name, body=None):
    """Every module imported in a file, or in the given statements of it."""
    package = name.rpartition("/")[0].replace("/", ".")
    nodes = [sub for node in body for sub in ast.walk(node)] if body else ast.walk(tree(name))
    return [module for node in nodes for module in modules_of(node, package)]


def at_file_scope(name):
    """The imports that run when the file is imported: not in functions, not for type checkers."""
    found = []

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
                continue
            found.extend(modules_of(node, name.rpartition("/")[0].replace("/", ".")))
            visit(ast.iter_child_nodes(node))

    visit(tree(name).body)
    return found


def top(modules):
    return {module.partition(".")[0] for module in modules}


def part(module):
    """'MambaSynthLib.io.files.read_volume' -> 'io'; the package itself -> '__init__'."""
    word = module.split(".")[1] if "." in module else "__init__"
    return word if word in RANK else "__init__"


def test_there_are_files_to_read():
    assert len(LIBRARY) > 20 and "MambaSynthLib/cli.py" in LIBRARY


def importing(names, forbidden, but=()):
    """Which of the files import one of the ``forbidden`` packages; ``but`` patterns may."""
    return [
        f"{name}: {', '.join(sorted(found))}"
        for name in names
        if not any(fnmatch(name, pattern) for pattern in but)
        and (found := top(imports(name)) & set(forbidden))
    ]


def test_torch_is_imported_only_where_networks_are():
    torch = ("torch", "torchvision", "mamba_ssm", "lightning")
    assert importing(FILES, torch, but=TORCH_FILES) == []


def test_slicer_is_imported_only_in_its_module():
    slicer = ("slicer", "vtk", "qt", "ctk", "vtkmodules", "PythonQt")
    assert importing(FILES, slicer, but=SLICER_FILES) == []


def test_the_product_imports_neither_training_nor_tests():
    product = [name for name in FILES if name.startswith("MambaSynth")]
    assert importing(product, ("MambaSynthTraining", "Testing")) == []


def test_the_library_does_not_know_its_slicer_module():
    assert importing(LIBRARY, ("MambaSynth",)) == []


def test_every_part_of_the_library_has_its_place_in_the_order():
    parts = {
        Path(name).relative_to("MambaSynthLib").parts[0].removesuffix(".py") for name in LIBRARY
    }
    assert parts == set(RANK)


def test_the_root_of_the_library_holds_at_most_seven_files():
    files = [name for name in LIBRARY if name.count("/") == 1]
    assert len(files) <= 7, files


def test_imports_at_file_scope_point_only_left():
    upward = []
    for name in LIBRARY:
        own = Path(name).relative_to("MambaSynthLib").parts[0].removesuffix(".py")
        ours = [m for m in at_file_scope(name) if m.partition(".")[0] == "MambaSynthLib"]
        upward += [f"{name}: {module}" for module in ours if RANK[part(module)] > RANK[own]]
    assert upward == []


LONGEST_FUNCTION = 60  # lines


def test_no_function_is_longer_than_a_screen():
    functions = [
        (name, node)
        for name in PRODUCT
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 1000
    long = [
        f"{name}: {node.name}, {length} lines"
        for name, node in functions
        if (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def file_of(module, files):
    """The file that an imported name is in: a module, or the one that defines the name."""
    for dotted in (module, module.rpartition(".")[0]):
        for root in ("", "training/"):
            path = f"{root}{dotted.replace('.', '/')}.py"
            if path in files:
                return path
    return None


def test_no_files_import_each_other_in_a_circle_not_even_for_their_types():
    modules = [name for name in PRODUCT if not name.endswith("__init__.py")]  # faces hand names on
    imported = {
        name: {found for module in imports(name) if (found := file_of(module, modules))} - {name}
        for name in modules
    }
    assert sum(map(len, imported.values())) > 500
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


def allowed_heavy(name):
    """The heavy packages that are the point of a file."""
    if any(fnmatch(name, pattern) for pattern in ONNX_FILES):
        return set(ONNX)
    allowed = {"torch"} if any(fnmatch(name, p) for p in TORCH_FILES) else set()
    return allowed | ({"triton"} if any(fnmatch(name, p) for p in TRITON_FILES) else set())


def test_heavy_packages_are_not_imported_at_file_scope_but_where_they_are_the_point():
    heavy = {name: top(at_file_scope(name)) & set(HEAVY) - allowed_heavy(name) for name in LIBRARY}
    assert {name: found for name, found in heavy.items() if found} == {}


# --- banned calls ---------------------------------------------------------------------------------

BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load",
                "logging.config.fileConfig", "subprocess.getoutput", "torch.hub.load"}  # fmt: skip


def keyword(call, name):
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def banned(source):
    """The banned things that ``source`` does."""
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [m for m in modules_of(node, "") if m.partition(".")[0] in BANNED_MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in BANNED_CALLS or called.endswith(".extractall"):
            found.append(called)
        if keyword(node, "shell") not in (None, "False"):
            found.append(f"{called}(shell=...)")
        if called == "torch.load" and keyword(node, "weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if called.endswith(("np.load", "numpy.load")) and keyword(node, "allow_pickle") not in (
            None,
            "False",
        ):
            found.append("np.load(allow_pickle=...)")
    return found


ARRAYS_ALONE = "training/MambaSynthTraining/evaluation/alexnet.py"


def test_nothing_is_executed_that_came_from_a_file():
    """One file unpickles: arrays of NumPy alone, of bytes whose sha256 is pinned; tested there."""
    found = {name: banned((ROOT / name).read_text(encoding="utf-8")) for name in PRODUCT}
    assert found.pop(ARRAYS_ALONE) == ["pickle"]
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval('1')", "exec(x)", "os.system('x')",
        "yaml.load(f)", "subprocess.run('x', shell=True)", "subprocess.run('x', shell=flag)",
        "torch.load(p)", "torch.load(p, weights_only=False)", "tar.extractall('x')",
        "np.load(p, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_search_for_banned_calls_finds_them(source):
    assert banned(source)


@pytest.mark.parametrize(
    "source", ["network.eval()", "re.compile('x')", "torch.load(p, weights_only=True)"]
)
def test_the_search_for_banned_calls_lets_harmless_ones_pass(source):
    assert banned(source) == []


# --- what is really loaded ------------------------------------------------------------------------


def loaded_after(code, *arguments):
    """The top-level packages that a fresh interpreter has loaded after ``code``."""
    report = "import sys; print('\\nLOADED', *sorted({m.partition('.')[0] for m in sys.modules}))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *arguments],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    return set(re.search(r"LOADED (.*)", done.stdout)[1].split())


def test_importing_the_library_loads_nothing_heavy():
    assert not loaded_after("import MambaSynthLib, MambaSynthLib.image.volume") & set(HEAVY)


COMMAND = """
import sys
from MambaSynthLib.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
assert code == 0
"""


@pytest.mark.parametrize("arguments", [["--help"], ["synthesize", "--help"], ["cine", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    assert not loaded_after(COMMAND, *arguments) & set(HEAVY)


def test_listing_models_and_verifying_files_need_no_torch(tmp_path, head):
    marked = tmp_path / "marked.nii.gz"
    write_volume(head, marked, provenance=RECORD)
    without = "import sys; sys.modules['torch'] = None\n" + COMMAND
    for arguments in (["models", "list"], ["verify", str(marked)]):
        assert "MambaSynthLib" in loaded_after(without, *arguments)


def test_without_torch_synthesis_says_what_to_install(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    code = "import sys; sys.modules['torch'] = None\nfrom MambaSynthLib.cli import main\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))",
         "models", "import", str(tmp_path / "x.pth"), "--to", "T2w"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "'torch' is not installed; run pip install" in done.stderr
