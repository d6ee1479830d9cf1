"""The message tf.train.Example, described in code, so that TFRecord files can be read without TensorFlow.

It lives in a descriptor pool of its own: TensorFlow, if it is loaded too, registers the same names in the default one.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FieldProto = descriptor_pb2.FieldDescriptorProto
PACKAGE = "tensorflow"
# message -> [(field, number, type, repeated)]; a type with a capital letter is a message
MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "BytesList": [("value", 1, "bytes", True)],
    "FloatList": [("value", 1, "float", True)],
    "Int64List": [("value", 1, "int64", True)],
    "Feature": [
        ("bytes_list", 1, "BytesList", False),
        ("float_list", 2, "FloatList", False),
        ("int64_list", 3, "Int64List", False),
    ],
    "Features": [("feature", 1, "Features.FeatureEntry", True)],
    "Example": [("features", 1, "Features", False)],
}


@functools.cache
def example_class() -> Any:
    """The message class of Example."""
    file = descriptor_pb2.FileDescriptorProto(name="recserve/example.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
        if name == "Feature":
            message.oneof_decl.add(name="kind")
            for member in message.field:
                member.oneof_index = 0
        if name == "Features":  # map<string, Feature> is a repeated nested message
            entry = message.nested_type.add(name="FeatureEntry")
            entry.options.map_entry = True
            _add_field(entry, "key", 1, "string", False)
            _add_field(entry, "value", 2, "Feature", False)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Example"))


def _add_field(message: Any, name: str, number: int, kind: str, repeated: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = FieldProto.LABEL_REPEATED if repeated else FieldProto.LABEL_OPTIONAL
    if kind[0].isupper():
        field.type, field.type_name = FieldProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(FieldProto, f"TYPE_{kind.upper()}")
