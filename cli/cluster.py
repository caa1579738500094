"""A Ray cluster that stands in Kubernetes."""

from typing import Annotated

import typer

from anchorface.cli.app import app, told


@app.command("ray-cluster")
@told
def ray_cluster(
    name: Annotated[str, typer.Argument(help="Of the cluster.")],
    image: Annotated[str, typer.Option(help="Container image, built from infra/images.")],
    cpus: Annotated[int, typer.Option(help="CPUs of each worker.")],
    memory: Annotated[int, typer.Option(help="GiB of each worker.")],
    nodes: Annotated[int, typer.Option(help="Workers at most: Ray's autoscaler starts with one.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs of each worker.")] = 0,
    feed_nodes: Annotated[int, typer.Option(help="Workers without GPUs beside them, at most.")] = 0,
    feed_cpus: Annotated[int, typer.Option(help="CPUs of each of those.")] = 0,
    queue: Annotated[str, typer.Option(help="Kueue's queue; it admits all workers at once.")] = "",
    preemptible: Annotated[bool, typer.Option("--preemptible", help="Workers may stand on spot nodes.")] = False,
) -> None:
    """Print a RayCluster and the policy of its network, for `kubectl apply -f -`; work goes there with --on ray."""
    import os

    from anchorface.infra.launch.kubernetes import SITE
    from anchorface.infra.launch.resources import Resources
    from anchorface.infra.manifests import rayjob
    from anchorface.infra.manifests.site import read_site

    site = read_site(os.environ.get(SITE, ""))
    asked = Resources(nodes=nodes, cpus=cpus, gpus=gpus, memory_gib=memory, feed_nodes=feed_nodes, feed_cpus=feed_cpus,
                      queue=queue, preemptible=preemptible, image=image)
    made = (rayjob.ray_cluster(name, asked, site), rayjob.network_policy(name, site))
    print("---\n".join(map(rayjob.text, made)), end="")
