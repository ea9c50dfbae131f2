"""Builds docker/Dockerfile, from a binary that is there already and base images that are loaded."""

EPOCH = 1_700_000_000  # what every file is dated
BUILD_MAX = 600.0  # seconds


def build(docker, context, base, *more):
    """Without a cache: each time all of it is done."""
    docker(
        "build", "--file", f"{context}/docker/Dockerfile", "--no-cache", "--progress", "plain",
        "--build-arg", "BINARY=prebuilt", "--build-arg", f"BUILD_IMAGE={base}", "--build-arg", f"BASE_IMAGE={base}",
        "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "--build-arg", "VERSION=test", *more, context, patience=BUILD_MAX,
    )


def health(docker, container):
    """What the engine says of a container's health check."""
    return docker.inspect(container)["State"].get("Health", {}).get("Status")
