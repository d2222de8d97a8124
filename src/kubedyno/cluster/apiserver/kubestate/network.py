"""Services, EndpointSlices, Ingresses and NetworkPolicies."""

from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples


def service(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Service."""
    spec = obj.get("spec") or {}
    add.add(
        "kube_service_info",
        cluster_ip=spec.get("clusterIP", ""),
        external_name=spec.get("externalName", ""),
        load_balancer_ip=spec.get("loadBalancerIP", ""),
        external_traffic_policy=spec.get("externalTrafficPolicy", ""),
    )
    add.add("kube_service_spec_type", type=spec.get("type", ""))
    for address in spec.get("externalIPs") or ():
        add.add("kube_service_spec_external_ip", external_ip=address)
    for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        labels = {"ip": ingress.get("ip", ""), "hostname": ingress.get("hostname", "")}
        add.add("kube_service_status_load_balancer_ingress", **labels)
    add.times("kube_service_", meta, deletion_timestamp="deletionTimestamp")


def endpoint_slice(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of an EndpointSlice."""
    add.add("kube_endpointslice_info", addresstype=obj.get("addressType", ""))
    for endpoint in obj.get("endpoints") or ():
        conditions, target = endpoint.get("conditions") or {}, endpoint.get("targetRef") or {}
        labels = {
            **{name: _said(conditions.get(name)) for name in ("ready", "serving")},
            "hostname": endpoint.get("hostname", ""),
            "terminating": _said(conditions.get("terminating")),
            "targetref_kind": target.get("kind", ""),
            "targetref_name": target.get("name", ""),
            "targetref_namespace": target.get("namespace", ""),
            "endpoint_nodename": endpoint.get("nodeName", ""),
            "endpoint_zone": endpoint.get("zone", ""),
        }
        for address in endpoint["addresses"]:
            add.add("kube_endpointslice_endpoints", **labels, address=address)
            for hint in (endpoint.get("hints") or {}).get("forZones") or ():
                add.add("kube_endpointslice_endpoints_hints", address=address, for_zone=hint["name"])
    for port in obj.get("ports") or ():
        labels = {"port_name": port.get("name") or "", "port_protocol": port.get("protocol") or ""}
        add.add("kube_endpointslice_ports", **labels, port_number=str(port.get("port") or ""))


def _said(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def ingress(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of an Ingress."""
    spec = obj.get("spec") or {}
    add.add("kube_ingress_info", ingressclass=_class_of(meta, spec))
    add.add("kube_ingress_metadata_resource_version", float(meta["resourceVersion"]))
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            backend = path.get("backend") or {}
            where = {"host": rule.get("host", ""), "path": path.get("path", ""), "path_type": path.get("pathType", "")}
            if "service" in backend:
                port = backend["service"].get("port") or {}
                labels = {
                    "service_name": backend["service"]["name"],
                    "service_port": str(port.get("name") or port.get("number") or 0),
                }
            else:
                resource = backend.get("resource") or {}
                labels = {
                    "resource_api_group": resource.get("apiGroup") or "",
                    "resource_kind": resource.get("kind", ""),
                    "resource_name": resource.get("name", ""),
                }
            add.add("kube_ingress_path", **where, **labels)
    for tls in spec.get("tls") or ():
        for host in tls.get("hosts") or ():
            add.add("kube_ingress_tls", tls_host=host, secret=tls.get("secretName", ""))


def _class_of(meta: Object, spec: Object) -> str:
    annotations = meta.get("annotations") or {}
    return str(spec.get("ingressClassName") or annotations.get("kubernetes.io/ingress.class") or "_default")


def network_policy(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a NetworkPolicy."""
    spec = obj.get("spec") or {}
    add.add("kube_networkpolicy_spec_ingress_rules", len(spec.get("ingress") or ()))
    add.add("kube_networkpolicy_spec_egress_rules", len(spec.get("egress") or ()))
