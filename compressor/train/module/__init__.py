"""An ONNX graph as a module of torch, and how nodes become its program."""
