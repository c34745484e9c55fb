"""What training-time regularizers share: what they act on, how strong they are, and when they say what goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from compressor.channels.channel_mask import ChannelMask
from compressor.errors import UsageError
from compressor.pruning.cut.analysis import Analysis
from compressor.train.loop.extension import Extension, Values
from compressor.train.regularizers.controller import Controller
from compressor.train.regularizers.coupled_channels import CoupledChannels

FIRST_SHARE = 0.1
"""Of the loss: what a penalty comes to at first where nobody says how strong it is."""


@dataclass(frozen=True)
class Flags:
    """How the command that trains calls what messages about a method speak of.

    Attributes:
        method: which method.
        strength: how strongly it acts.
        epochs: how long.
        amount: how many channels go.
    """

    method: str
    strength: str
    epochs: str
    amount: str


@dataclass(frozen=True)
class ChosenRegularizer:
    """A method as somebody asked for it.

    Attributes:
        name: in :data:`compressor.config.choices.REGULARIZERS`.
        flags: of the command where that was.
        strength: in the method's own unit; None: the method's own.
    """

    name: str
    flags: Flags
    strength: float | None = None


@dataclass(frozen=True)
class TrainedChannels:
    """What a regularizer acts on.

    Attributes:
        analysis: the analysed model that is trained; with BatchNormalization put in, where that is done.
        channels: its units, with those that the plan removes.
        cut: the same plan as a cut of ``analysis``.
        asked: the method.
    """

    analysis: Analysis
    channels: CoupledChannels
    cut: ChannelMask
    asked: ChosenRegularizer

    @property
    def strength(self) -> float | None:
        """As the user gave it; None: the method's own."""
        return self.asked.strength

    def demand(self, found: bool, what: str) -> None:
        """Raises UsageError unless the graph has something that the method acts on; ``what`` it would be."""
        if not found:
            raise UsageError(
                f"{self.asked.flags.method} {self.asked.name} acts on {what}, and this graph has none that may go; "
                "choose another"
            )


@dataclass(frozen=True)
class RegularizerRow:
    """A row of :data:`compressor.config.choices.REGULARIZERS`.

    Attributes:
        make: what takes part in training; raises UsageError where the graph has nothing that the method acts on.
        decides: which channels go is decided ``before`` training by the plan; ``within`` it, where the plan says how
            many of each group; or ``after`` it, on the trained weights.
        fades: channels that go are zero in the end, so that the cut changes nothing.
    """

    make: Callable[[TrainedChannels], Regularizer]
    decides: Literal["before", "within", "after"]
    fades: bool = False


class Regularizer(Extension):
    """Base of the methods: the weights of the last epoch count, as those of an earlier one are not sparse yet."""

    keeps_last = True

    @property
    def notes(self) -> list[str]:
        """What the user should know when training is over, of the weights as they are then."""
        return []

    def chosen(self) -> torch.Tensor | None:
        """Which units go, where that is decided within training; bool[count]."""
        return None


class ChannelRegularizer(Regularizer):
    """Base of those that act on the weights of coupled channels.

    Args:
        subject: what it acts on.
    """

    def __init__(self, subject: TrainedChannels) -> None:
        self.channels = subject.channels
        self._weights: dict[str, torch.Tensor] = {}
        self._steps = 1

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Finds the parameters; those that the module does not train are left out."""
        own = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._weights = {h.name: own[h.name] for h in self.channels.holdings if h.name in own}
        self._steps = max(1, steps_total)


class Penalty(ChannelRegularizer):
    """A regularizer that is a function of weights, whose gradient is added after clipping.

    Its first value is a stated share of a loss: of the loss that the plan's cut would give at once, as the loss of
    the network itself is zero where it imitates itself. ``strength`` is that share.

    Args:
        subject: what it acts on.
        share: the strength where the user gives none.
        controller: steers the strength, if there is one; it starts from one and multiplies the share.
    """

    def __init__(self, subject: TrainedChannels, share: float, controller: Controller | None = None) -> None:
        super().__init__(subject)
        self.share = share if subject.strength is None else subject.strength
        self.controller = controller
        self._flags = subject.asked.flags
        self.factor = 0.0
        self._done = 0

    def value(self) -> torch.Tensor:
        """The penalty before it is scaled; a scalar with its gradient's history."""
        raise NotImplementedError

    def rise(self, done: int) -> float:  # noqa: ARG002
        """Strength after so many steps, as a share of the full one."""
        return 1.0

    @property
    def strength(self) -> float:
        """What the penalty is multiplied by in the step to come."""
        steered = 1.0 if self.controller is None else self.controller.strength
        return self.factor * steered * self.rise(self._done)

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Finds the parameters, and starts with no strength and no steps done; the controller starts anew, too."""
        super().start(module, optimiser, steps_total)
        self._done, self.factor = 0, 0.0
        if self.controller is not None:
            self.controller.start(self._steps)

    @torch.no_grad()
    def calibrate(self, module: torch.nn.Module, loss: Callable[[], tuple[torch.Tensor, Values]]) -> None:  # noqa: ARG002
        """Sets the factor by the loss of the first batch with the plan's channels at zero."""
        with self.channels.without_gone(self._weights):
            reference = float(loss()[0])
        first = float(self.value())
        self.factor = scaled(self.share, reference, first)

    def after_clipping(self, module: torch.nn.Module) -> None:  # noqa: ARG002
        """Adds the gradient of the penalty, at its present strength, to the gradients of the loss."""
        strength = self.strength
        # Nothing to add before the strength has risen, and no pass over the weights is spent.
        if not strength:
            return
        names = [name for name, weight in self._weights.items() if weight.grad is not None]
        # Callers may hold ``no_grad``, under which the penalty would have no history.
        with torch.enable_grad():
            value = strength * self.value()
        if not value.requires_grad:
            return
        found = torch.autograd.grad(value, [self._weights[name] for name in names], allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            grad = self._weights[name].grad
            # A parameter without a gradient of the loss is not trained in this step, and the penalty does not change
            # that.
            if gradient is not None and grad is not None:
                grad.add_(gradient)

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Counts the step; the controller looks at the weights when it is due."""
        self._done = step
        if self.controller is not None and self.controller.due(step):
            self.controller.update(self.reached(self.controller.threshold))

    @property
    def finished(self) -> bool:
        """Is the ratio out of reach? More epochs would be spent in vain."""
        return self.controller is not None and self.controller.hopeless

    @property
    def notes(self) -> list[str]:
        """How far the weights came as they are now, where the controller did not come far enough."""
        if self.controller is None:
            return []
        notes, flags = self.controller.notes(self.reached(self.controller.threshold)), self._flags
        return [f"{note}; train longer with {flags.epochs}, or raise {flags.strength}" for note in notes]

    def scores(self) -> torch.Tensor:
        """How much each unit holds; [count]."""
        return self.channels.energy(self._weights, self.channels.holdings).sqrt()

    @torch.no_grad()
    def reached(self, threshold: float) -> float:
        """Share of the units whose score is no more than this share of the largest in their group."""
        scores = self.scores()
        return float((scores <= threshold * self.channels.group_extreme(scores, "amax")).double().mean())

    def state_dict(self) -> dict[str, Any]:
        """Steps done, the factor, and what the controller holds."""
        held = {} if self.controller is None else self.controller.state_dict()
        return {"done": self._done, "factor": self.factor, **{f"controller {k}": v for k, v in held.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._done, self.factor = int(state["done"]), float(state["factor"])
        if self.controller is not None:
            held = {k.partition(" ")[2]: v for k, v in state.items() if k.startswith("controller ")}
            self.controller.load_state_dict(held)


def scaled(share: float, reference: float, first: float) -> float:
    """The factor that makes a penalty's first value this share of a loss; zero where the penalty has no size yet.

    Raises:
        UsageError: one of the two is not finite.
    """
    if not (abs(reference) < float("inf") and abs(first) < float("inf")):
        raise UsageError(
            f"the regularizer cannot be scaled: the loss of the first batch is {reference} and the penalty {first}; "
            "look for NaN or infinity in the model and the data"
        )
    return share * reference / first if first > 0 else 0.0
