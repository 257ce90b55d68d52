"""Engines, which generate the clips of a server: in its process, on another server, or on a cluster."""
