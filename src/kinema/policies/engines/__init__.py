"""What a policy's networks run on: torch, onnxruntime or TensorRT, all behind one small protocol.

A policy is made of a few parts from tensors to tensors (`graph`). Whoever samples asks for them by name, `run("video",
...)`, and samples in 32 bits outside. `backends` is the table of what can answer; `parity` lets none of them act that
does not compute what torch does.
"""
