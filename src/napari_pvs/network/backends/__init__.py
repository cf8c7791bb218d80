"""What runs the network: PyTorch or OpenVINO."""
