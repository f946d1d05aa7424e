"""Reads safetensors files with nothing but the standard library."""
import array
import json
import struct

CODES = {"F32": "f", "F64": "d", "I32": "i", "I64": "q"}


def load(path):
    """{name: (dtype, shape, values)}, values being an array.array, or raw bytes for dtypes Python has no type for."""
    with open(path, "rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = data[begin:end]
        if entry["dtype"] in CODES:
            values = array.array(CODES[entry["dtype"]], values)
        tensors[name] = (entry["dtype"], entry["shape"], values)
    return tensors
