"""Settings of a parity check: whether two models give the same."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from compressor.config.data import DataSettings
from compressor.config.proof import PROVIDER, RTOL, Provider, provider_name
from compressor.config.section import Applies, Section, Shown


class ProvidersSection(Section):
    """Where the two models run."""

    title: ClassVar[str] = "Where it runs"

    provider: Provider = Field(
        default=PROVIDER,
        description="Where ONNX Runtime runs A, and B too unless said otherwise: cpu, cuda, tensorrt or a full name.",
    )
    provider_b: Annotated[
        # None stands for the provider of A, and has no name to be looked up.
        str | None, AfterValidator(lambda v: None if v is None else provider_name(v)), Shown("NAME")
    ] = Field(default=None, description="Where ONNX Runtime runs B, such as cuda, to compare providers.")


class EqualitySection(Section):
    """How far outputs may be apart, and on which inputs."""

    title: ClassVar[str] = "What counts as equal"

    rtol: float = Field(
        default=RTOL, ge=0, description="Error allowed, as a share of the largest value of an output of A."
    )
    atol: float = Field(default=0.0, ge=0, description="Error allowed on top of that, absolute.")
    trials: int = Field(default=2, ge=1, description="Seeded inputs for each set of shapes.")
    seed: int = Field(default=0, ge=0, description="Seed of the inputs that are made up, where no data is given.")


class SearchSection(Section):
    """The search for the first node that differs."""

    title: ClassVar[str] = "Search"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("bisect_memory",), lambda s: s.bisect is not False, "nothing is searched for; leave --no-bisect out"),
    )

    bisect: bool | None = Field(
        default=None,
        description="Name the first node that differs. Default: only where the outputs are not equal.",
    )
    bisect_memory: int = Field(
        default=256, ge=1, description="Megabytes of intermediate values that one run of the search may expose."
    )


class VerifySettings(ProvidersSection, EqualitySection, SearchSection, DataSettings):
    """Settings of a parity check; data is optional, seeded inputs stand in for it."""

    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("trials",), lambda s: s.data is None, "inputs are taken from --data; leave --data out"),
        Applies(("samples",), lambda s: s.data is not None, "inputs are made up, by --trials; give --data"),
    )

    @property
    def limited(self) -> bool:
        """Was it said how far outputs may be apart?"""
        return self.given("rtol", "atol")
