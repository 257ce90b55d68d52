"""Plain PyTorch: runs on every device, and is the reference for the other back ends."""
