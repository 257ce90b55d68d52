"""What servers of clips have in common: requests, a job queue, engines, and files that expire.

The page (`demo/`) is one of them. Nothing here depends on Gradio.
"""
