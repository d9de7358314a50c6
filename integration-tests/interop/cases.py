"""The records that the vectors are made of: always the same."""

import base64
import hashlib


def noise(name, length):
    blocks = (length + 31) // 32
    return b"".join(hashlib.sha256(f"{name} {at}".encode()).digest() for at in range(blocks))[:length]


def record(key, data, hash_key=None):
    return {"key": key, "hash": hash_key, "data": base64.b64encode(data).decode()}


# 2^128 - 1, and numbers that JavaScript does not take for the index of an array.
TOP = "340282366920938463463374607431768211455"
MIDDLE = "170141183460469231731687303715884105728"


def cases():
    return {
        "one": [record("customer-7", b"ordered")],
        "same-key": [record("customer-7", noise("same", at)) for at in range(40)],
        "many-keys": [record(f"customer-{at}", noise("many", 20)) for at in range(300)],
        "keys-return": [record(f"customer-{at * 7 % 5}", noise(f"return {at}", at)) for at in range(50)],
        "explicit-hashes": [
            record("a", b"first", TOP),
            record("b", b"second", MIDDLE),
            record("a", b"third", MIDDLE),
            record("c", b"fourth", TOP),
        ],
        "some-explicit": [
            record("a", b"with", MIDDLE),
            record("a", b"without"),
            record("b", b"without too"),
            record("b", b"with another", TOP),
        ],
        "empty-data": [record("a", b""), record("b", b"x"), record("a", b"")],
        "other-scripts": [record(key, key.encode()) for key in ("Зоя", "注文", "ñandú", "🦀", "é" * 256)],
        "long-data": [record("a", noise("long", length)) for length in (127, 128, 16383, 16384, 20000)],
        "aggregate-within": [record("a", b"\xf3\x89\x9a\xc2" + noise("within", 40))],
    }
