"""Settings of reading and writing a graph."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.section import Section, Shown
from compressor.core.notation import parse_dims, parse_input_shapes

Count = Annotated[int, Field(ge=1)]
Shape = tuple[Count, ...]


class GraphSection(Section):
    """Sizes that are bound, how the graph is prepared, and how it is written."""

    title: ClassVar[str] = "Graph"

    input_shapes: Annotated[
        dict[str, Shape], BeforeValidator(parse_input_shapes), Shown("NAME:1,3,224,224", flag="input-shape")
    ] = Field(
        default={},
        description="Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable.",
    )
    dims: Annotated[dict[str, Count], BeforeValidator(parse_dims), Shown("NAME=N", flag="dim")] = Field(
        default={},
        description="Size to use for a symbolic dimension when counting and proving; repeatable. "
        "The written file keeps it symbolic.",
    )
    simplify: bool = Field(default=True, description="Fold constants and remove dead nodes before anything else.")
    external_data: bool | None = Field(
        default=None,
        description="Write the weights to a data file beside the model, or to as many as they were read from; by "
        "default for models of 256 MB and more.",
    )
    keep_metadata: bool = Field(
        default=False,
        description="Keep what exporters write beside the graph: stack traces, names of modules, doc strings.",
    )
