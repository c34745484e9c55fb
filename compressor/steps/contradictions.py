"""Settings of training that contradict others: said before any work."""

from __future__ import annotations

from compressor.config import AMOUNTS, PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.errors import UsageError

NO_LABELS = "--refit-last learns from labels; give --data with labels, or leave it out"


def demand_together(settings: PruneSettings, *, replayed: bool = False) -> None:
    """Raises UsageError where settings of training contradict others, or the plan that is ``replayed``."""
    if settings.resume and not settings.trains:
        raise UsageError("--resume goes on with training, and nothing is trained; add --recover finetune, or drop it")
    if settings.reinitialise != "no" and not settings.trains:
        raise UsageError("--reinitialise takes what the network has learnt, so that it needs --recover finetune")
    _demand_labels(settings)
    if settings.keep_functions and settings.also:
        raise UsageError("--keep-functions is for a model of one file; leave it out, or --also")
    _demand_depth(settings)
    _demand_reachable(settings)
    _demand_rewind(settings, replayed=replayed)
    name = settings.method
    if name is None:
        asked = {"sparsify_epochs", "sparsify_strength"} & settings.model_fields_set
        if asked:
            raise UsageError(f"--{min(asked).replace('_', '-')} says nothing without --sparsify")
        return
    flag = "--decay-epochs" if settings.decay_epochs else "--sparsify"
    if not settings.trains:
        raise UsageError(f"{flag} trains, which needs --recover finetune")
    if settings.lossless:
        raise UsageError(f"{flag} trains towards a cut, and --lossless takes only what is zero already; give a ratio")
    if settings.expand:
        raise UsageError(f"{flag} looks at the weights, which --expand makes products of; leave one of them out")


def _demand_labels(settings: PruneSettings) -> None:
    """Raises UsageError where labels are learnt from and samples would be made up, which have none."""
    if settings.data is not None:
        return
    if settings.refit_last:
        raise UsageError(NO_LABELS)
    if settings.trains and settings.loss in ("cross-entropy", "mixed"):
        raise UsageError(f"--loss {settings.loss} learns from labels, and made-up samples have none; give --data")


def _demand_depth(settings: PruneSettings) -> None:
    """Raises UsageError where residual blocks are asked for together with what looks at channels alone."""
    unfit = {
        "--sparsify": settings.method is not None and not settings.decay_epochs,
        "--decay-epochs": settings.decay_epochs > 0,
        "--sensitivity": settings.sensitivity is not None,
        "--target-latency": settings.target_latency is not None,
    }
    given = [flag for flag, is_so in unfit.items() if is_so]
    if settings.depth and given:
        raise UsageError(f"--depth takes whole blocks, and {given[0]} looks at channels alone; leave one of them out")


def _demand_reachable(settings: PruneSettings) -> None:
    """Raises UsageError where a target counts what the structure takes nothing of."""
    target = next((name for name in AMOUNTS if name != "ratio" and getattr(settings, name) is not None), None)
    if target is not None and not STRUCTURES.find(settings.structure).lowers:
        raise UsageError(
            f"--structure {settings.structure} leaves zeros in the file, which takes no multiply-accumulates, "
            f"parameters or bytes out of it, so that no --{target.replace('_', '-')} is reached; say with --ratio "
            "which share of the weights becomes zero (0.5 keeps 2 of every 4), or choose --structure channels"
        )


def _demand_rewind(settings: PruneSettings, *, replayed: bool) -> None:
    if settings.rewind is None:
        return
    if replayed:
        raise UsageError("a plan already says what goes, which --rewind trains to find out; leave one of them out")
    if not settings.trains:
        raise UsageError("--rewind trains fresh weights, which needs --recover finetune")
    if settings.lossless:
        raise UsageError(
            "--rewind chooses by trained weights, and --lossless takes only what is zero already; give a ratio"
        )
    others = {
        "--reinitialise": settings.reinitialise != "no",
        "--decay-epochs": settings.decay_epochs > 0,
        "--sparsify": settings.sparsify is not None,
        "--structure": settings.changes_layers,
    }
    for flag in (flag for flag, given in others.items() if given):
        raise UsageError(f"--rewind goes back to weights from before what {flag} does; leave one of them out")
