"""``python -m compressor`` is ``onnx-compress``."""

from compressor.cli.main import compress_entry

if __name__ == "__main__":
    compress_entry("python -m compressor")
