"""Models as ONNX, which onnxruntime runs without torch.

`texts` runs a text tower, for queries; `encoder` a whole model, which lies in a `folder`, by one of
onnxruntime's `providers`. `text_export` and `export` write them, both by `tracing`.
"""
