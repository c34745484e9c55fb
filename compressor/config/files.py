"""Settings of models that are several files."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.section import Section, Shown
from compressor.core.notation import parse_also, parse_texts


def _checked(value: object) -> object:
    texts = parse_texts(value)
    for text in texts if isinstance(texts, (list, tuple)) else ():
        parse_also(str(text))
    return tuple(map(str, texts)) if isinstance(texts, (list, tuple)) else texts


class FilesSection(Section):
    """Further files that belong to the model."""

    title: ClassVar[str] = "Files"

    also: Annotated[tuple[str, ...], BeforeValidator(_checked), Shown("FILE[:IN=OUT,...]")] = Field(
        default=(),
        description="Another file of the same model, such as the decoder of an encoder, which reads outputs of those "
        "before it: its inputs of the same names, or IN=OUT; all are pruned as one, and written beside the output as "
        "FILE.pruned.onnx; repeatable.",
    )
