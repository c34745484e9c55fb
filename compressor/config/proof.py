"""Settings of the proof."""

from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from compressor.config.section import Section, Shown, did_you_mean

RTOL = 1e-4
"""Error that counts as equal, as a share of the largest value of an output."""
PROVIDERS = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
    }
)
"""Short name of each provider and its name in ONNX Runtime; others are asked for by their full name."""
PROVIDER = "cpu"
"""The one that runs models where nobody asks for another."""


def provider_name(value: str) -> str:
    """The short name where there is one, else the full name as given."""
    for short, full in PROVIDERS.items():
        if value.lower() in (short, full.lower()):
            return short
    # Providers that are not in the table are asked for by the name that ONNX Runtime has for them.
    if value.endswith("ExecutionProvider"):
        return value
    raise ValueError(f"{value!r} is not a provider{did_you_mean(value, PROVIDERS)} ({', '.join(PROVIDERS)})")


Provider = Annotated[str, AfterValidator(provider_name), Shown("NAME")]


def where_run(what: str) -> str:
    """The help of a ``provider`` that runs ``what``."""
    short = ", ".join(PROVIDERS)
    return f"Where ONNX Runtime runs {what}: {short} or a provider's full name; never replaced by another one."


def how_thoroughly(value: object) -> object:
    """``verify`` as it was before there were degrees of it: true is all of the proof, false none."""
    if isinstance(value, bool) or value in ("true", "false"):
        # Recipes and scripts from before still say true and false.
        return "full" if value in (True, "true") else "off"
    return value


class ProofSection(Section):
    """What ONNX Runtime has to confirm before a file is put in place, and where it runs."""

    title: ClassVar[str] = "Proof"

    verify: Annotated[Literal["full", "quick", "off"], BeforeValidator(how_thoroughly), Shown(off=True)] = Field(
        default="full",
        description="What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what "
        "the prepared graph gives, the result what that gives with the removed channels masked, the written file what "
        "the result gives, and a wrong cut would have been noticed. quick: the result alone.",
    )
    provider: Provider = Field(default=PROVIDER, description=where_run("the proof"))
    rtol: float = Field(
        default=RTOL,
        ge=0,
        description="Error that the proof allows, as a share of the largest value of an output.",
    )
    atol: float = Field(default=0.0, ge=0, description="Error that the proof allows on top of that, absolute.")
    seed: int = Field(
        default=0, ge=0, description="Seed of everything random: the proof's inputs, the random criterion."
    )

    @property
    def proves(self) -> bool:
        """Is the result proved, in full or in part?"""
        return self.verify != "off"
