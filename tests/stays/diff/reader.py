"""What Python reads in JSON-RPC bodies. Input: frames of a length (4 bytes, little endian) and a body; length 0: answer
what is open. Output: a line for each body, the canonical text of its id, method and params, or REFUSED."""

import json
import struct
import sys


def canonical(value):
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return "#" + struct.pack(">d", value).hex()
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    members = (f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value))
    return "{" + ",".join(members) + "}"


def read(body):
    message = json.loads(body, parse_int=float)
    return canonical({key: message[key] for key in ("id", "method", "params") if key in message})


def main():
    source, out = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        (length,) = struct.unpack("<I", head)
        if length == 0:
            out.flush()
            continue
        try:
            line = read(source.read(length)).encode()
        except ValueError as error:
            line = f"REFUSED {error}".encode("utf-8", "backslashreplace").replace(b"\n", b" ")
        out.write(line + b"\n")


main()
