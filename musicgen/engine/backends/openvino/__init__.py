"""OpenVINO graphs on x86-64 CPUs: the language model with paged attention, and EnCodec's decoder."""
