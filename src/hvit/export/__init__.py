"""Models leave for other programs: ONNX, OpenVINO and torch.export files, compared with the model they come from."""
