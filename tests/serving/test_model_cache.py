"""The model cache: sharing and eviction."""

import gc
import threading
import time
import weakref

import pytest

from musicgen.serving.model_cache import ModelCache
from musicgen.serving.models import ModelCatalog


def test_auto_shares_the_loaded_model() -> None:
    cache = ModelCache(ModelCatalog(), "cpu", max_models=2)
    with cache.use("mini", "auto") as one, cache.use("mini", "float32") as other:
        assert one is other
    assert cache.loaded() == [("mini", "float32")]
    cache.close()


def test_the_least_recently_used_model_is_unloaded() -> None:
    cache, seen = ModelCache(ModelCatalog(), "cpu", max_models=2), {}
    for name in ("mini", "mini-melody", "mini", "mini-stereo-melody"):
        with cache.use(name, "float32") as scheduler:
            assert scheduler.model.name.endswith(name)
            seen[name] = weakref.ref(scheduler.model)
    del scheduler
    assert [name for name, _ in cache.loaded()] == ["mini", "mini-stereo-melody"]
    gc.collect()
    assert seen["mini-melody"]() is None  # its memory is free again
    assert seen["mini"]() is not None


def test_models_in_use_are_never_unloaded() -> None:
    cache = ModelCache(ModelCatalog(), "cpu", max_models=9, free_memory=lambda: 0)
    with cache.use("mini", "float32"), cache.use("mini-melody", "float32"):
        assert len(cache.loaded()) == 2
    with cache.use("mini-stereo-melody", "float32"):
        assert cache.loaded() == [("mini-stereo-melody", "float32")]


def test_concurrent_users_load_a_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from musicgen import checkpoint

    loads, load = [], checkpoint.load

    def slow(*arguments, **named):
        loads.append(arguments)
        time.sleep(0.2)
        return load(*arguments, **named)

    monkeypatch.setattr(checkpoint, "load", slow)
    cache, seen = ModelCache(ModelCatalog(), "cpu"), []

    def visit() -> None:
        with cache.use("mini", "float32") as model:
            seen.append(model)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(seen) == 4
    assert len({id(model) for model in seen}) == 1
