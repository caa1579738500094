"""Schemas of Kubernetes' objects, closed: a key that they do not have is an error, and not ignored."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.35"


@cache
def of_ray(folder: Path, kind: str) -> dict[str, Any]:
    """The closed schema of KubeRay's RayJob or RayCluster, from its CustomResourceDefinition.

    A CRD has the schema of an object without what every object has: its metadata are those of Kubernetes.
    """
    definition = yaml.load((folder / f"ray.io_{kind.lower()}s.yaml").read_text(), Loader=yaml.CSafeLoader)
    version = next(each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}}
    return close(schema)


def close(schema: Any) -> Any:
    """Refuse unknown keys wherever a schema lists those that it knows, but for metadata, which CRDs leave open."""
    if isinstance(schema, dict):
        listed = isinstance(schema.get("properties"), dict)
        if listed and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
        for value in list(schema.values()):
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)
    return schema


def check(manifest: dict[str, Any], folder: Path) -> None:
    """Validate an object: KubeRay's by its CRD, the others by Kubernetes' own schemas, both closed."""
    if manifest["apiVersion"] == "ray.io/v1":
        jsonschema.Draft202012Validator(of_ray(folder, manifest["kind"])).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
