"""Which container that has ended is started again."""

from kubedyno.cluster.kubelet.runs import ContainerRun, PodRun


def comes_again(run: PodRun, container: ContainerRun) -> bool:
    """Say whether a container that has ended is to be started again.

    Its own rules come first, then its own policy, then the pod's (kubecontainer.ShouldContainerBeRestarted).
    """
    plan, code = container.plan, container.exit_code
    if container in run.ephemeral:
        return False
    if plan.sidecar:
        return True
    if any((code in codes) is (operator == "In") for operator, codes in plan.restart_rules):
        return True
    policy = plan.restart_policy or run.plan.facts.restart_policy
    if container in run.init:
        return policy != "Never" and code != 0
    return policy == "Always" or (policy == "OnFailure" and code != 0)
