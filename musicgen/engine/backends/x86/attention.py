"""Attention of single tokens on the quantised KV cache (`kv_cache`), and cross-attention in float32.

Integer dot products need quantised queries and softmax weights too. What is multiplied with int8 codes is quantised to
15 bits, as two signed bytes; what is multiplied with int4 codes to 8 bits with a scale per page, whose error is far
below that of the int4 codes. The integer sums are exact.

Shapes: N tokens, H heads, D = 64 channels per head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86 import HEAD_DIM, LANES, PAGE_SIZE, RECENT_PAGES
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.kv_cache import (
    BLOCK_BYTES,
    FACTORS,
    MIN_ABSMAX,
    OFFSETS,
    SCALES,
    ZERO_POINT,
    int4_page,
    int8_page,
    page_qparams,
)
from musicgen.engine.backends.x86.simd import (
    absolute,
    add_f32,
    add_i32,
    address_of,
    broadcast_u8x4,
    dot,
    exp2,
    fma,
    high_nibbles_in_place,
    load_bf16x16,
    load_f32,
    load_f32x16,
    load_i8x16,
    load_u8x16,
    load_u8x64,
    maximum,
    mul,
    prefetch,
    reduce_add,
    reduce_max,
    round_to_i32,
    splat_f32,
    splat_i32,
    store_as_i8x16,
    store_f32,
    store_f32x16,
    sub_i32,
    to_f32,
)

PREFETCH_PAGES = 8
"""Pages between what is loaded and what is prefetched: enough to hide the latency of memory."""
SCORE_SCALE = np.float32(HEAD_DIM**-0.5 * 1.4426950408889634)
"""1 / sqrt(D), times log2(e): scores are to base 2, for `exp2`."""
_MAX_TWO_BYTES = np.float32(16000)
"""Largest number quantised to two bytes: its high byte is 125, and rounding adds at most one."""
_MAX_INT8 = np.float32(127)
_MEAN_CODE = np.float32(7.5)
"""Mean of the int4 codes 0 ... 15."""
_MASKED = np.float32(-1e30)


@jit(parallel=True)
def self_attention(qkv, cache_rows, positions, cache, queries, scores, result):
    """Causal attention of each token on the positions of its cache row up to its own.

    Args:
        qkv: [N, >= 3 H D] float32; the queries are read.
        cache_rows: [N] int64.
        positions: [N] int64.
        cache: [rows, H, 2, bytes] uint8 of one layer, with the tokens' own keys and values.
        queries: Scratch memory [N, H, 2 D] int8.
        scores: Scratch memory [N, H, >= capacity] float32.
        result: Output [N, >= H D] float32.
    """
    heads, size = cache.shape[1], cache.shape[3]
    for task in prange(cache_rows.shape[0] * heads):
        token, head = task // heads, task % heads
        count, query_codes, head_scores = positions[token] + 1, queries[token, head], scores[token, head]
        query, target = qkv[token, head * HEAD_DIM : (head + 1) * HEAD_DIM], result[token, head * HEAD_DIM :]
        keys, values = address_of(cache[cache_rows[token], head, 0]), address_of(cache[cache_rows[token], head, 1])
        # What is read next: it is prefetched towards the end of what is read now.
        following = address_of(cache[cache_rows[token], (head + 1) % heads, 0])
        page = positions[token] // PAGE_SIZE
        int4_pages = max(page + 1 - RECENT_PAGES, 0)
        first = int4_pages * PAGE_SIZE
        _score_int4(keys, values, size, address_of(query), int4_pages, address_of(head_scores))
        _score_int8(
            keys,
            values,
            int4_pages,
            address_of(query),
            address_of(query_codes),
            count - first,
            address_of(head_scores[first:]),
        )
        inverse = softmax(head_scores, count)
        _weighted_sum_int4(values, following, size, address_of(head_scores), int4_pages, address_of(target))
        _weighted_sum_int8(
            values, following, int4_pages, address_of(head_scores[first:]), count - first, inverse, address_of(target)
        )


@jit(parallel=True)
def cross_attention(query, cache_rows, keys, values, masks, lengths, scores, result):
    """Attention of each token on the condition of its cache row, in float32.

    Args:
        query: [N, >= H D] float32.
        cache_rows: [N] int64.
        keys: [rows, H, T, D] float32 of one layer.
        values: The same shape.
        masks: [rows, T] float32, added to the scores (to base 2).
        lengths: [rows] int64, number of condition vectors of each row, at most T.
        scores: Scratch memory [N, H, >= T rounded up to LANES] float32.
        result: Output [N, >= H D] float32.
    """
    heads = keys.shape[1]
    for task in prange(cache_rows.shape[0] * heads):
        token, head = task // heads, task % heads
        cache_row, head_scores = cache_rows[token], scores[token, head]
        source, key, value = (
            address_of(query[token, head * HEAD_DIM :]),
            address_of(keys[cache_row, head]),
            address_of(values[cache_row, head]),
        )
        for position in range(lengths[cache_row]):
            a = mul(load_f32x16(source), load_f32x16(key + position * 256))
            for index in range(64, 256, 64):
                a = fma(load_f32x16(source + index), load_f32x16(key + position * 256 + index), a)
            head_scores[position] = reduce_add(a) * SCORE_SCALE + masks[cache_row, position]
        inverse = splat_f32(softmax(head_scores, lengths[cache_row]))
        target = address_of(result[token, head * HEAD_DIM :])
        for index in range(0, 256, 64):
            a = splat_f32(np.float32(0))
            for position in range(lengths[cache_row]):
                a = fma(load_f32x16(value + position * 256 + index), splat_f32(head_scores[position]), a)
            store_f32x16(target + index, mul(a, inverse))


@inline_jit()
def _two_bytes(numbers):
    """Numbers of magnitude up to 16,000 as 128 high + low, both signed bytes."""
    high = round_to_i32(mul(numbers, splat_f32(np.float32(1 / 128))))
    return high, round_to_i32(fma(to_f32(high), splat_f32(np.float32(-128)), numbers))


@inline_jit()
def _score_int4(keys, values, size, query, pages, scores):
    """Scores, to base 2, of a query with the keys of `pages` int4 pages; prefetches the values that are read afterwards.

    All but `size` (bytes of the head's keys) and `pages` are addresses.
    """
    # First pass: per page, the query times the channel scales is quantised to int8. It is stored where the page's
    # scores will be, with the offsets' contribution to the scores and the scale of the products.
    for page in range(pages):
        qparams, target = page_qparams(keys, size, page), scores + page * 128
        absmax, offsets = splat_f32(MIN_ABSMAX), splat_f32(np.float32(0))
        for index in range(4):
            number = load_f32x16(query + index * 64)
            absmax = maximum(absmax, absolute(mul(number, load_u8x16(qparams + index * 16))))
            offsets = fma(number, load_i8x16(qparams + OFFSETS + index * 16), offsets)
        scale = reduce_max(absmax) / _MAX_INT8
        inverse = splat_f32(np.float32(1) / scale)
        for index in range(4):
            number = mul(load_f32x16(query + index * 64), load_u8x16(qparams + index * 16))
            store_as_i8x16(target + 64 + index * 16, round_to_i32(mul(number, inverse)))
        store_f32(target, load_f32(qparams + FACTORS + 4) * SCORE_SCALE * reduce_add(offsets))
        store_f32(target + 4, load_f32(qparams + FACTORS) * SCORE_SCALE * scale)
    zero, sixteenth = splat_i32(np.int32(0)), np.float32(1 / 16)
    for page in range(pages):
        source, ahead, target = int4_page(keys, page), _ahead(page, pages, keys, values), scores + page * 128
        _prefetch_qparams(values, size, page)
        score, factor = splat_f32(load_f32(target)), load_f32(target + 4)
        a, b, c, d = zero, zero, zero, zero
        for vector in range(0, 16, 2):
            p, q = load_u8x64(source + vector * 64), load_u8x64(source + vector * 64 + 64)
            prefetch(ahead + vector * 64)
            prefetch(ahead + vector * 64 + 64)
            word = broadcast_u8x4(target + 64 + vector * 4)
            next_word = broadcast_u8x4(target + 64 + vector * 4 + 4)
            # Whole bytes are low + 16 high: the products of the high nibbles (times 16) are subtracted at the end.
            a, b = dot(a, p, word), dot(b, high_nibbles_in_place(p), word)
            c, d = dot(c, q, next_word), dot(d, high_nibbles_in_place(q), next_word)
        both, high = add_i32(a, c), add_i32(b, d)
        store_f32x16(target, fma(to_f32(sub_i32(both, high)), splat_f32(factor), score))
        store_f32x16(target + 64, fma(to_f32(high), splat_f32(factor * sixteenth), score))


@inline_jit()
def _score_int8(keys, values, first, query, query_codes, count, scores):
    """Scores, to base 2, of a query with `count` keys of the int8 pages from `first` on. Other arguments are addresses."""
    scale = _absmax(query) / _MAX_TWO_BYTES
    high, low = splat_i32(np.int32(0)), splat_i32(np.int32(0))
    for index in range(4):
        a, b = _two_bytes(mul(load_f32x16(query + index * 64), splat_f32(np.float32(1) / scale)))
        store_as_i8x16(query_codes + index * 16, a)
        store_as_i8x16(query_codes + HEAD_DIM + index * 16, b)
        high, low = add_i32(high, a), add_i32(low, b)
    # The zero point's contribution, subtracted from the start.
    start = splat_i32(np.int32(-ZERO_POINT * np.int32(reduce_add(_from_two_bytes(high, low)))))
    zero, factor = splat_i32(np.int32(0)), splat_f32(scale * SCORE_SCALE)
    for tile in range((count + LANES - 1) // LANES):
        page, ahead = int8_page(keys, first + tile // 2), int8_page(values, first + tile // 2)
        prefetch(ahead + SCALES)
        high, low = zero, start
        for index in range(4):
            within, word = (tile % 2 * 4 + index) * BLOCK_BYTES, query_codes + index * 16
            a, b, c, d = _load_block(page + within, ahead + within)
            high, low = _add_products(high, low, a, word, word + HEAD_DIM)
            high, low = _add_products(high, low, b, word + 4, word + HEAD_DIM + 4)
            high, low = _add_products(high, low, c, word + 8, word + HEAD_DIM + 8)
            high, low = _add_products(high, low, d, word + 12, word + HEAD_DIM + 12)
        scales = mul(load_bf16x16(page + SCALES + tile % 2 * 32), factor)
        store_f32x16(scores + tile * 64, mul(_from_two_bytes(high, low), scales))


@inline_jit()
def _absmax(numbers):
    """The largest magnitude of D numbers at an address."""
    absmax = absolute(load_f32x16(numbers))
    for index in range(64, 4 * HEAD_DIM, 64):
        absmax = maximum(absmax, absolute(load_f32x16(numbers + index)))
    return max(reduce_max(absmax), MIN_ABSMAX)


@inline_jit()
def _ahead(page, pages, current, following):
    """The address to prefetch while int4 page `page` of `pages` is read; the pages of `following` are read after those
    of `current`."""
    page += min(PREFETCH_PAGES, pages)
    return int4_page(current, page) if page < pages else int4_page(following, page - pages)


@inline_jit()
def _prefetch_qparams(begin, size, page):
    qparams = page_qparams(begin, size, page)
    prefetch(qparams)
    prefetch(qparams + 64)


@inline_jit()
def _load_block(source, ahead):
    """The four vectors of a block of an int8 page; prefetches the block at `ahead`."""
    prefetch(ahead)
    prefetch(ahead + 64)
    prefetch(ahead + 128)
    prefetch(ahead + 192)
    return load_u8x64(source), load_u8x64(source + 64), load_u8x64(source + 128), load_u8x64(source + 192)


@inline_jit()
def _add_products(high, low, codes, high_word, low_word):
    """high and low + the products of codes with four bytes at either address."""
    return dot(high, codes, broadcast_u8x4(high_word)), dot(low, codes, broadcast_u8x4(low_word))


@inline_jit()
def _from_two_bytes(high, low):
    """128 high + low."""
    return fma(to_f32(high), splat_f32(np.float32(128)), to_f32(low))


@inline_jit()
def softmax(scores, count):
    """Replace `count` scores by 2^(score - largest), followed by zeros up to a multiple of LANES.

    Returns:
        1 / the sum of these weights.
    """
    tiles = (count + LANES - 1) // LANES
    scores[count : tiles * LANES] = _MASKED
    address = address_of(scores)
    largest = splat_f32(_MASKED)
    for tile in range(tiles):
        largest = maximum(largest, load_f32x16(address + tile * LANES * 4))
    shift, sums = splat_f32(-reduce_max(largest)), splat_f32(np.float32(0))
    for tile in range(tiles):
        weight = exp2(add_f32(load_f32x16(address + tile * LANES * 4), shift))
        sums = add_f32(sums, weight)
        store_f32x16(address + tile * LANES * 4, weight)
    return np.float32(1) / reduce_add(sums)


@inline_jit()
def _weighted_sum_int4(values, following, size, weights, pages, result):
    """The sum of the values of `pages` int4 pages times their weights -> result [D]; prefetches `following`.

    All but `size` (bytes of the head's values) and `pages` are addresses. The weights, float32, are overwritten: the
    first 32 of a page's 128 bytes take its weights, quantised to int8; then come three float32, their scale, their sum,
    and the sum of what quantisation took from them. The last is added back as if every code were the mean code.
    """
    for page in range(pages):
        source = weights + page * 128
        first, second = load_f32x16(source), load_f32x16(source + 64)
        scale = max(reduce_max(maximum(first, second)), MIN_ABSMAX) / _MAX_INT8
        first_codes = round_to_i32(mul(first, splat_f32(np.float32(1) / scale)))
        second_codes = round_to_i32(mul(second, splat_f32(np.float32(1) / scale)))
        weight_sum = reduce_add(add_f32(first, second))
        code_sum = reduce_add(to_f32(add_i32(first_codes, second_codes)))
        store_as_i8x16(source, first_codes)
        store_as_i8x16(source + LANES, second_codes)
        store_f32(source + 32, scale)
        store_f32(source + 36, weight_sum)
        store_f32(source + 40, weight_sum - scale * code_sum)
    zero_i32, zero_f32 = splat_i32(np.int32(0)), splat_f32(np.float32(0))
    w, x, y, z = zero_f32, zero_f32, zero_f32, zero_f32
    for page in range(pages):
        source, qparams, words = int4_page(values, page), page_qparams(values, size, page), weights + page * 128
        ahead = _ahead(page, pages, values, following)
        _prefetch_qparams(following, size, page)
        a, b, c, d = zero_i32, zero_i32, zero_i32, zero_i32
        for index in range(8):
            p, q = load_u8x64(source + index * 128), load_u8x64(source + index * 128 + 64)
            prefetch(ahead + index * 128)
            prefetch(ahead + index * 128 + 64)
            word = broadcast_u8x4(words + index * 4)
            a, b = dot(a, p, word), dot(b, high_nibbles_in_place(p), word)
            c, d = dot(c, q, word), dot(d, high_nibbles_in_place(q), word)
        factor = load_f32(qparams + FACTORS)
        scale, rest = factor * load_f32(words + 32), splat_f32(factor * load_f32(words + 40) * _MEAN_CODE)
        low, high = splat_f32(scale), splat_f32(scale * np.float32(1 / 16))
        offset = splat_f32(load_f32(qparams + FACTORS + 4) * load_f32(words + 36))
        w = _add_page(w, sub_i32(a, b), low, rest, qparams, offset)
        x = _add_page(x, b, high, rest, qparams + 16, offset)
        y = _add_page(y, sub_i32(c, d), low, rest, qparams + 32, offset)
        z = _add_page(z, d, high, rest, qparams + 48, offset)
    store_f32x16(result, w)
    store_f32x16(result + 64, x)
    store_f32x16(result + 128, y)
    store_f32x16(result + 192, z)


@inline_jit()
def _add_page(acc, products, scale, rest, qparams, offset):
    """acc + the contributions of a page's codes and offsets, of 16 channels."""
    acc = fma(fma(to_f32(products), scale, rest), load_u8x16(qparams), acc)
    return fma(load_i8x16(qparams + OFFSETS), offset, acc)


@inline_jit()
def _weighted_sum_int8(values, following, first, weights, count, inverse, result):
    """result [D] = (result + `count` values of the int8 pages from `first` on, times their weights) times `inverse`.

    Other arguments are addresses; the weights are overwritten. Prefetches `following`.
    """
    tiles = (count + LANES - 1) // LANES
    absmax = splat_f32(MIN_ABSMAX)
    for tile in range(tiles):
        scales = load_bf16x16(int8_page(values, first + tile // 2) + SCALES + tile % 2 * 32)
        scaled = mul(load_f32x16(weights + tile * 64), scales)
        store_f32x16(weights + tile * 64, scaled)
        absmax = maximum(absmax, scaled)
    scale = reduce_max(absmax) / _MAX_TWO_BYTES
    high, low = splat_i32(np.int32(0)), splat_i32(np.int32(0))
    for tile in range(tiles):
        high_codes, low_codes = _two_bytes(mul(load_f32x16(weights + tile * 64), splat_f32(np.float32(1) / scale)))
        store_as_i8x16(weights + tile * 64, high_codes)
        store_as_i8x16(weights + tile * 64 + LANES, low_codes)
        high, low = add_i32(high, high_codes), add_i32(low, low_codes)
    # The zero point's contribution, subtracted from the start.
    high_start = splat_i32(np.int32(np.float32(-ZERO_POINT) * reduce_add(to_f32(high))))
    low_start = splat_i32(np.int32(np.float32(-ZERO_POINT) * reduce_add(to_f32(low))))
    a, b, c, d, e, f, g, h = high_start, low_start, high_start, low_start, high_start, low_start, high_start, low_start
    for tile in range(tiles):
        page, ahead = int8_page(values, first + tile // 2), int8_page(following, first + tile // 2)
        prefetch(ahead + SCALES)
        for index in range(4):
            within = (tile % 2 * 4 + index) * BLOCK_BYTES
            words = weights + tile * 64 + index * 4
            p, q, r, s = _load_block(page + within, ahead + within)
            a, b = _add_products(a, b, p, words, words + LANES)
            c, d = _add_products(c, d, q, words, words + LANES)
            e, f = _add_products(e, f, r, words, words + LANES)
            g, h = _add_products(g, h, s, words, words + LANES)
    factor, norm = splat_f32(scale), splat_f32(inverse)
    store_f32x16(result, mul(fma(_from_two_bytes(a, b), factor, load_f32x16(result)), norm))
    store_f32x16(result + 64, mul(fma(_from_two_bytes(c, d), factor, load_f32x16(result + 64)), norm))
    store_f32x16(result + 128, mul(fma(_from_two_bytes(e, f), factor, load_f32x16(result + 128)), norm))
    store_f32x16(result + 192, mul(fma(_from_two_bytes(g, h), factor, load_f32x16(result + 192)), norm))
