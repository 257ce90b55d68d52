"""Where a server has its clips generated: in this process, or elsewhere."""
