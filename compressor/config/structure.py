"""Settings of what is made smaller: channels, or single layers."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from compressor.config.choices import STRUCTURES
from compressor.config.section import Applies, Section, Shown

# Names come from the table of choices, which type checkers do not read.
if TYPE_CHECKING:
    StructureName = str
else:
    StructureName = STRUCTURES.literal()


class StructureSection(Section):
    """What a budget is taken from."""

    title: ClassVar[str] = "Structure"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("basis", "coefficients"),
            lambda s: STRUCTURES.find(s.structure).basis,
            "kernels are not written in a basis; choose --structure interspace",
        ),
        Applies(
            ("lower",),
            lambda s: STRUCTURES.find(s.structure).masks is not None,
            "no mask is laid over a layer; choose a --structure of masks",
        ),
    )

    structure: Annotated[StructureName, Shown("NAME")] = Field(
        default="channels",
        description=f"What goes: {', '.join(STRUCTURES)}. channels: whole channels; lowrank: a layer becomes two "
        "thinner ones; both: of channels and ranks what outputs lose least by; the others are masks over single "
        "weights of convolutions, or over the coefficients of their kernels in a basis (docs/structures.md).",
    )
    lower: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Write masked convolutions as smaller ones: where that was measured to be faster on --provider, "
        "wherever it can be done, or nowhere, so that zeros stay.",
    )

    basis: Literal["pca", "identity"] = Field(
        default="pca",
        description="Of --structure interspace: the basis that the kernels of a layer start from: their principal "
        "components, or single taps, by which coefficients are the weights.",
    )
    coefficients: Literal["float16", "float32"] = Field(
        default="float16",
        description="Of --structure interspace: what coefficients are stored in; float32 where float16 is too rough.",
    )

    @property
    def changes_layers(self) -> bool:
        """Do single layers change, beside channels that go or instead of them?"""
        return bool(STRUCTURES.find(self.structure).layers)
