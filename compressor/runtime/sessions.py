"""Sessions of ONNX Runtime: how they are set up, started and run, and what it says where it refuses a model."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import MappingProxyType

import onnx_ir as ir

from compressor.config import PROVIDERS
from compressor.core.arrays import Array
from compressor.core.machine import wanted_threads
from compressor.core.scratch import scratch
from compressor.errors import DoesNotRun, ModelError, OutOfMemory, ProviderUnavailable
from compressor.graph.disk.stream import write_beside
from compressor.runtime import values
from compressor.runtime.library import FATAL, ort, silenced

Session = ort.InferenceSession

CPU, CUDA, TENSORRT = (PROVIDERS[short] for short in ("cpu", "cuda", "tensorrt"))
NOT_RUN = "the model does not run: "
"""How the message about a failed run begins, before the runtime's own words."""
_GRAPH_OPTION = MappingProxyType({CUDA: "enable_cuda_graph", TENSORRT: "trt_cuda_graph_enable"})
"""The option with which a provider records a run as a CUDA graph."""
_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate memory", "out of memory", "cudaerrormemoryallocation")
"""What the runtime and its allocators say when memory runs out, in lower case."""


_CRASHING = ("FuseFp16InitializerToFp32NodeTransformer",)
"""Passes of the runtime after which loading a sound file can end the process (1.31: a Transpose and a MatMul in
float16). It only stores weights in float32 that would else be cast whenever the model is run."""
_INTERNAL = (
    (re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "), ""),
    (
        re.compile(r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "),
        r"\1 node '\2': ",
    ),
    # The source file, and the function there with its arguments.
    (re.compile(r":?\s*/[^\s:]+\.(?:h|cc|cpp|cu):\d+ (?:[^()]*\([^()]*\)(?: const)? )?"), ": "),
)
"""What the runtime's messages say of itself, and what stands instead."""


@dataclass(frozen=True)
class Setup:
    """How a session is set up.

    Attributes:
        optimise: graph optimisations on.
        threads: threads inside an operator; 0 leaves it to the runtime, as users of the model do whose times are taken;
            None takes what ``OMP_NUM_THREADS`` says, or also leaves it.
        cuda_graph: the provider records its kernels once and replays them.
        profile: prefix of the file that a profile goes to; None does not profile.
        placement: the session can say which provider took which node.
        polite: threads stop spinning when a run ends, so that a session at rest takes no time from another.
        waits: threads wait without spinning, which costs a fifth less processor time in short runs, and latency in
            others; for results, not for times.
        lent: arrays in place of external initializers, by name; of their shapes and types, which the runtime does not
            ask. The CPU reads them where they are, so that they have to stay as long as the session.
        packed: weights may be copied into a form that kernels read faster; not worth it for one or two runs.
        guarded: the runtime leaves out what may end the process and changes no result, but for a time.
    """

    optimise: bool = True
    threads: int | None = None
    cuda_graph: bool = False
    profile: Path | None = None
    placement: bool = False
    polite: bool = False
    waits: bool = False
    lent: Mapping[str, Array] = field(default_factory=dict)
    packed: bool = True
    guarded: bool = True

    @staticmethod
    def for_results(*, optimise: bool = False, lent: Mapping[str, Array] = MappingProxyType({})) -> Setup:
        """For a few runs whose outputs are looked at and not their times."""
        return Setup(optimise=optimise, packed=optimise, waits=True, lent=lent)


def start_session(path: Path, provider: str, setup: Setup) -> ort.InferenceSession:
    """A session on the provider asked for, CPU as its fall-back for single nodes only.

    Args:
        path: the model file; never bytes, so that external data is found and checked.
        provider: short or full name.
        setup: how it is set up.

    Raises:
        ProviderUnavailable: it is not installed, or did not become active.
        ModelError: ONNX Runtime refuses the model.
        OutOfMemory: memory ran out.
    """
    name = full_name(provider)
    if name not in ort.get_available_providers():
        remedy = "choose one of these with --provider"
        if name in (CUDA, TENSORRT):
            remedy = "install onnxruntime-gpu where there is such a device, or say --provider cpu"
        raise ProviderUnavailable(
            f"provider {name} is not available here; available: {', '.join(ort.get_available_providers())}; {remedy}"
        )
    # Why a provider does not start is told once, below.
    with nullcontext() if name == CPU else silenced():
        said = "" if name == CPU else _preloaded()
        try:
            # From a path, so that the runtime finds external data beside it and a large model fits.
            options, lent = _options(setup), [(key, values.to_runtime(array)) for key, array in setup.lent.items()]
            if name == CPU:
                # In place: what is added as external initializers is copied, though it lies in the same memory. The
                # options do not keep what is lent alive, so that it has to last until the session has it.
                for key, value in lent:
                    options.add_initializer(key, value)
            elif lent:
                options.add_external_initializers(*map(list, zip(*lent, strict=True)))
            left_out = list(_CRASHING) if setup.guarded else []
            session = ort.InferenceSession(
                str(path), options, providers=_chosen(name, setup), disabled_optimizers=left_out
            )
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            _demand_memory(error)
            raise ModelError(f"ONNX Runtime refuses the model: {_sentence(error)}{_no_kernel(error)}") from None
    # The runtime falls back to the CPU without a word.
    if name not in session.get_providers():
        first = said.strip().splitlines()[:1]
        why = f" ({first[0][:200]})" if first else ""
        raise ProviderUnavailable(
            f"provider {name} is installed but did not start{why}: there is no such device, or its driver or libraries "
            "are missing (of CUDA, pip install 'onnxruntime-gpu[cuda,cudnn]'); install them, or say --provider cpu"
        )
    return session


UNKNOWN_OPERATOR = "is not a registered function/op"
"""What ONNX Runtime says of an operator that it does not have."""


def _no_kernel(error: Exception) -> str:
    """The remedy where the runtime has no kernel, or one of another version or for another device alone."""
    if UNKNOWN_OPERATOR in str(error):
        return "; a model with operators of your own is cut without being run with --no-verify --recover none"
    if "NOT_IMPLEMENTED" not in str(error):
        return ""
    return (
        "; convert the model to a newer operator set, such as with onnx.version_converter.convert_version(model, 17), "
        "or run it where there is one with --provider"
    )


def _preloaded() -> str:
    """Loads the libraries of CUDA, and gives what was said of those that are not there."""
    said = StringIO()
    with redirect_stdout(said):  # it prints what it does not find, and stdout is for results
        ort.preload_dlls()
    return said.getvalue()


def full_name(provider: str) -> str:
    """``cpu`` is CPUExecutionProvider; full names stay."""
    return PROVIDERS.get(provider, provider)


def placement(session: ort.InferenceSession) -> dict[str, int]:
    """Nodes that each provider took, before they are fused.

    Empty where the runtime cannot say, or the session was started without ``Setup(placement=True)``.
    """
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # noqa: BLE001 - older runtimes lack the method, and none tells of a session that did not record
        return {}
    taken: Counter[str] = Counter()
    for part in parts:
        taken[str(part.ep_name)] += len(part.get_nodes())
    return dict(taken)


def demand_active(session: ort.InferenceSession, provider: str) -> None:
    """Raises ProviderUnavailable where the provider asked for started, but took none of the model's nodes."""
    name, taken = full_name(provider), placement(session)
    if taken and name not in taken:  # empty: it cannot be told
        others = ", ".join(f"{other} {nodes}" for other, nodes in sorted(taken.items()))
        raise ProviderUnavailable(
            f"provider {name} is active but took no node of the model ({others}); choose another --provider"
        )


@contextmanager
def opened(model: ir.Model, provider: str, setup: Setup | None = None) -> Iterator[Session]:
    """A session for a model in memory, written to a temporary folder that lasts as long, weights beside it.

    Raises:
        ModelError: ONNX Runtime refuses the model.
        ProviderUnavailable: the provider is not there.
    """
    with placed(model) as path:
        yield start_session(path, provider, setup or Setup())


@contextmanager
def placed(model: ir.Model) -> Iterator[Path]:
    """A model in memory as a file in a temporary folder that lasts as long, weights beside it."""
    with scratch() as folder:
        path = Path(folder) / "model.onnx"
        write_beside(model, path)
        yield path


def run_session(
    session: ort.InferenceSession, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> list[Array]:
    """Outputs of one run, each as one array (``values.as_array``); names that the model does not have are left out.

    Raises:
        DoesNotRun: in the runtime's own words.
        OutOfMemory: memory ran out.
    """
    known = {i.name for i in session.get_inputs()}
    try:
        return values.caller(session, {name: array for name, array in feeds.items() if name in known}, outputs)()
    except Exception as error:  # noqa: BLE001 - as above
        _demand_memory(error)
        raise DoesNotRun(f"{NOT_RUN}{_sentence(error)}") from None


def _options(setup: Setup) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL  # what goes wrong comes as an exception
    options.intra_op_num_threads = wanted_threads() if setup.threads is None else setup.threads
    if not setup.optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    elif not setup.packed:
        # The level above brings layouts of their own for convolutions, and a copy of every kernel in them.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if setup.profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(setup.profile)
    if setup.placement:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if not setup.packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if setup.waits:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if setup.polite:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _chosen(name: str, setup: Setup) -> list[str | tuple[str, dict[str, str]]]:
    """The provider, and those that may take single nodes which it lacks."""
    graph = {_GRAPH_OPTION[name]: "1"} if setup.cuda_graph and name in _GRAPH_OPTION else {}
    first: str | tuple[str, dict[str, str]] = (name, graph) if graph else name
    if name == CPU:
        return [first]
    if name == TENSORRT and CUDA in ort.get_available_providers():
        # TensorRT leaves what it lacks to CUDA, which keeps data on the device.
        return [first, CUDA, CPU]
    return [first, CPU]


def _demand_memory(error: Exception) -> None:
    """Raises OutOfMemory where that is what ``error`` says; the runtime has no class of its own for it."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        raise OutOfMemory(
            f"memory ran out in ONNX Runtime ({_sentence(error)}); free some, or give smaller sizes with --dim or "
            "--input-shape"
        ) from None


def _sentence(error: Exception) -> str:
    """The first line of what the runtime says, without places in its own source, and the axes that it lists below."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    line = " ".join([first, *(text.strip() for text in rest if text.strip().startswith("index:"))])
    for pattern, instead in _INTERNAL:
        line = pattern.sub(instead, line)
    return line[:300]


def device_name(provider: str) -> str | None:
    """The first NVIDIA device, as its driver calls it, for a provider that runs there; None for any other."""
    tool = shutil.which("nvidia-smi")
    if full_name(provider) not in (CUDA, TENSORRT) or tool is None:
        return None
    query = [tool, "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - found by name
    return done.stdout.strip() or None
