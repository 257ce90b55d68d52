"""The back ends of the engine, one package each; `musicgen.engine.selection` chooses among them."""
