"""Settings of models that are several files, or hold functions."""

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
    """Further files that belong to the model, and what else its files hold."""

    title: ClassVar[str] = "Files"

    also: Annotated[tuple[str, ...], BeforeValidator(_checked), Shown("FILE[:IN=OUT,...]")] = Field(
        default=(),
        description="Another file of the same model, such as the decoder of an encoder, which reads outputs of those "
        "before it: its inputs of the same names, or IN=OUT; all are pruned as one, and written beside the output as "
        "FILE.pruned.onnx; repeatable.",
    )
    keep_functions: bool = Field(
        default=False,
        description="Keep calls of the model's local functions where the cut changes nothing in them; the others are "
        "inlined, and named.",
    )
