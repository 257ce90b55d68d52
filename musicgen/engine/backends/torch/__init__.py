"""Plain PyTorch: runs on every device, and is what the other back ends are compared with."""
