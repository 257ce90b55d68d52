"""Our speed beside the peers', measured in one run on the same weights and the same work."""
