"""The one import of ONNX Runtime, which reports to nobody.

Its wheels collect events (those of 1.31 for Linux, too), in a database in the user's cache folder, and send
them; it looks once, when it is imported, whether it was told not to.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

ort.disable_telemetry_events()  # for an ONNX Runtime that was imported before this module, and for Windows

__all__ = ["ort"]
