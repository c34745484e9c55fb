"""Nothing in the package remembers: what a function does follows from what it is given.

What is left of it is listed here, each with its reason: caches of what follows from arguments alone, and settings of
the process, which are put back behind a block or belong to a process of the program's own.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import compressor

ROOT = Path(compressor.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}

ENVIRONMENT = {"environ", "environb", "getenv", "putenv", "unsetenv"}
ROOM = "core/machine.py"
"""Where the environment is read and set."""
WRITABLE = {
    *("dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"),
    *("ContextVar", "local", "Repr"),
}
CACHES = {
    "channels and operators": {
        "graph/ir/opsets.py": {"place_of": "a schema takes as long to read as the rule of a node"},
        "operators/signature.py": {
            "parse": "thousands of nodes have some dozens of signatures, at 40 us each",
            "_frame": "asked for every node in every pass over the graph, at 60 us",
        },
        "operators/work.py": {"_products": "a search for a target counts the nodes again at each candidate"},
    },
    "numbers": {
        "torch_ops/resize.py": {"_taps": "each step of training comes with the same sizes"},
        "data/synthetic/fractal.py": {"_amplitudes": "made-up images of one size share their spectrum; not writable"},
        "data/synthetic/features.py": {"_mixing": "inputs of one width share their causes; not writable"},
    },
    "what is opened once": {
        "core/choices.py": {"_installed": "entry points of all distributions, by the path that they are looked for on"},
        "render/html.py": {"_environment": "templates take longer to compile than to print; they are files of ours"},
        "experiments/run.py": {"_open": "a process that measures keeps the model that it was given, and only one"},
    },
}
"""Functions that remember what they gave, by module, and why; each gives the same for the same arguments."""
PROCESS = {
    "put back behind a block": {
        "cli/command.py": {"warnings.catch_warnings": "numpy's notes on the user's numbers are told where they matter"},
        "core/machine.py": {"os.environ": "ONNX Runtime is imported without its reports"},
        "core/threads.py": {"threadpool_limits": "narrow matrices are worth one thread of linear algebra"},
        "core/user_code.py": {"sys.path": "code of the user's is imported from the folder where the command runs"},
        "runtime/latency.py": {"gc.disable": "no collection in a timed run", "gc.enable": "behind it"},
        "runtime/library.py": {"ort.set_default_logger_severity": "errors come as exceptions, and are told once"},
        "runtime/quantizer.py": {
            "logging.disable": "its advice is for programmers",
            "uuid.uuid1": "onnx names files by it",
            "warnings.catch_warnings": "as its advice",
        },
        "train/loop/fit.py": {"torch.manual_seed": "torch has one generator a process; others find theirs as it was"},
        "train/loop/interrupt.py": {"signal.signal": "a checkpoint is written before the signal has its way"},
        "train/loop/stepping.py": {"torch.manual_seed": "within the block of fit.py"},
    },
    "of a process of the program's own": {
        "cli/main.py": {"signal.signal": "Ctrl-C and SIGTERM unwind", "atexit.register": "see collect_no_more"},
        "core/lazy_modules.py": {"sys.modules": "sympy is loaded when it is first used"},
        "core/machine.py": {
            "os.environ": "threads of OpenMP and OpenBLAS read on their own how they are to wait",
            "gc.set_threshold": "a graph is many objects that stay",
            "gc.freeze": "the process ends",
        },
        "experiments/run.py": {
            "signal.signal": "Ctrl-C ends a process that measures at once",
            "warnings.filterwarnings": "as in the process that the user started",
        },
    },
    "for good": {"runtime/library.py": {"ort.disable_telemetry_events": "ONNX Runtime reports to nobody"}},
}
"""What is set of the process, by module, and why."""
SETTERS = {
    *("atexit.register", "gc.disable", "gc.enable", "gc.freeze", "gc.set_threshold", "logging.disable"),
    *("ort.disable_telemetry_events", "ort.set_default_logger_severity", "signal.signal", "torch.manual_seed"),
    *("warnings.catch_warnings", "warnings.filterwarnings", "warnings.simplefilter"),
    *("os.chdir", "os.umask", "random.seed", "np.random.seed", "np.seterr", "locale.setlocale"),
    *("os.environ.setdefault", "os.environ.pop", "sys.path.insert", "sys.path.append", "sys.path.remove"),
    *("torch.set_num_threads", "torch.set_default_dtype", "torch.use_deterministic_algorithms"),
}
SETS = re.compile(r"set_\w+|\w+_limits")
"""What functions of libraries that set something of the process are called, also those that nobody listed."""
Display = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def scopes(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import: those of the module, of its classes, and of what stands under an if or with."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from scopes([child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)])


def writable(value: ast.expr | None) -> bool:
    called = value.func if isinstance(value, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    return isinstance(value, Display) or name in WRITABLE


def state_of(text: str) -> list[str]:
    """Lines on which a module makes something that it could write to later, or writes to a name of its own."""
    tree = parsed(text)
    found = [
        ast.unparse(statement)
        for statement in scopes(tree.body)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and writable(statement.value)
        and "__all__" not in ast.unparse(statement)
    ]
    return found + [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Global)]


def surroundings_of(text: str) -> list[str]:
    """Uses of the environment."""
    found = []
    for node in ast.walk(parsed(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [node.attr] if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" else []
        found += [ast.unparse(node)] if ENVIRONMENT.intersection(names) else []
    return found


def caches_of(text: str) -> list[str]:
    """Functions that remember what they gave."""
    functions = [node for node in ast.walk(parsed(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    marks = {f: {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in f.decorator_list} for f in functions}
    return [function.name for function in functions if marks[function] & {"cache", "lru_cache"}]


def ours(statement: ast.ImportFrom) -> bool:
    return (statement.module or "").partition(".")[0] == "compressor"


def sets(name: str, libraries: set[str]) -> bool:
    """Is this called of a library, and called as what sets something?"""
    first, *_, last = name.split(".") if "." in name else (name, name)
    return first in libraries and SETS.fullmatch(last) is not None


def settings_of(text: str) -> set[str]:
    """What is set of the process: calls that do so, and attributes and entries of imported modules."""
    tree = parsed(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    modules = {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}
    named = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    foreign = {alias.asname or alias.name for node in named if not ours(node) for alias in node.names}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = {name for name in calls if name in SETTERS or sets(name, modules | foreign)}
    found = {name.rpartition(".")[0] if name.count(".") > 1 and name[:2] in ("os", "sy") else name for name in found}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
        for target in (part for given in targets for part in getattr(given, "elts", [given])):
            place = target.value if isinstance(target, ast.Subscript) else target
            words = ast.unparse(place).split(".")
            if isinstance(place, ast.Attribute) and words[0] in modules and all(word.isidentifier() for word in words):
                found.add(ast.unparse(place))
    return found


def test_caches_are_listed_with_their_reason() -> None:
    found = {module: sorted(names) for module, path in MODULES.items() if (names := caches_of(text_of(path)))}
    assert found == {module: sorted(names) for kind in CACHES.values() for module, names in kind.items()}


def test_what_is_set_of_the_process_is_listed_with_its_reason() -> None:
    listed = defaultdict(set)
    for kind in PROCESS.values():
        for module, names in kind.items():
            listed[module] |= set(names)
    found = {module: names for module, path in MODULES.items() if (names := settings_of(text_of(path)))}
    assert found == listed


def test_tables_cannot_be_written_to() -> None:
    found = {module: state for module, path in MODULES.items() if (state := state_of(text_of(path)))}
    assert not found, "make it a MappingProxyType, a tuple or a frozenset, or hold it in an object that is handed on"


def test_the_environment_is_read_and_set_in_one_room() -> None:
    found = {module: uses for module, path in MODULES.items() if (uses := surroundings_of(text_of(path)))}
    assert set(found) == {ROOM}, "ask compressor.core.machine"


@pytest.mark.parametrize(
    "text",
    [
        "SEEN = {}",
        "SEEN: dict[str, int] = {'a': 1}",
        "SEEN = list()",
        "if True:\n    SEEN = [n for n in range(2)]",
        "class A:\n    seen = set()",
        "from collections import defaultdict\nSEEN = defaultdict(int)",
        "NOW = ContextVar('now')",
        "N = 0\ndef count():\n    global N\n    N += 1",
    ],
)
def test_this_test_sees_state(text: str) -> None:
    assert state_of(text)
    assert not state_of("__all__ = ['a']\nTABLE = MappingProxyType({'a': 1})\ndef f():\n    return {}")


@pytest.mark.parametrize(
    "text",
    [
        "import gc\ngc.freeze()",
        "import os\nos.environ['A'] = '1'",
        "import uuid\nold, uuid.uuid1 = uuid.uuid1, None",
        "import sys\nsys.path.insert(0, 'a')",
        "import warnings\nwith warnings.catch_warnings():\n    pass",
        "from threadpoolctl import threadpool_limits\nthreadpool_limits(1)",
        "import torch\ntorch.set_flush_denormal(True)",
    ],
)
def test_this_test_sees_what_is_set_of_the_process(text: str) -> None:
    assert settings_of(text)
    assert not settings_of("import sys\nself.path = sys.path[0]")
    assert not settings_of("from compressor.a import set_sizes\nset_sizes(1)\nnode.set_name('a')")


@pytest.mark.parametrize("mark", ["cache", "lru_cache(maxsize=1)", "functools.cache"])
def test_this_test_sees_caches(mark: str) -> None:
    assert caches_of(f"@{mark}\ndef f():\n    return 1") == ["f"]
    assert not caches_of("@cached_property\ndef f():\n    return 1")


@pytest.mark.parametrize("text", ["os.environ['A']", "from os import getenv", "x = {**os.environ}", "os.getenv('A')"])
def test_this_test_sees_the_environment(text: str) -> None:
    assert surroundings_of(text)
    assert not surroundings_of("from compressor.results.environment import environment\nreport.environment")
