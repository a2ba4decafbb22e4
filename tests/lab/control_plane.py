"""A control plane and a CA client on grpcio: what istiod and ztunnel look like from the other side, scripted by a test."""
import ipaddress
import queue
import threading
import time
from concurrent import futures

import grpc

from tests.lab.messages import ADDRESS, AUTHORIZATION, CREATE_CERTIFICATE, DELTA, authorization, ca, discovery, workload


def ip_bytes(text):
    return ipaddress.ip_address(text).packed


def make_workload(name, ip=None, namespace="default", service_account=None, node="n1", hbone=True, services=None, **fields):
    """An Address with a workload, as istiod would send it. `services`: {"ns/host": {80: 8080}}."""
    message = workload.Address()
    w = message.workload
    w.uid = f"Kubernetes//Pod/{namespace}/{name}"
    w.name, w.namespace, w.node = name, namespace, node
    w.service_account = service_account or name
    w.canonical_name, w.canonical_revision, w.workload_name = name, "latest", name
    w.workload_type = 2
    w.cluster_id = "Kubernetes"
    if ip:
        w.addresses.extend(ip_bytes(i) for i in ([ip] if isinstance(ip, str) else ip))
    w.tunnel_protocol = 1 if hbone else 0
    for key, ports in (services or {}).items():
        entry = w.services.add(key=key)
        for service_port, target_port in ports.items():
            entry.value.ports.add(service_port=service_port, target_port=target_port)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(w, field).extend(value)
        else:
            setattr(w, field, value)
    return w.uid, message


def make_service(name, vip, ports, namespace="default"):
    message = workload.Address()
    s = message.service
    s.name, s.namespace, s.hostname, s.canonical = name, namespace, f"{name}.{namespace}.svc.cluster.local", True
    s.addresses.add(address=ip_bytes(vip))
    for service_port, target_port in ports.items():
        s.ports.add(service_port=service_port, target_port=target_port)
    return f"{namespace}/{s.hostname}", message


def make_policy(name, namespace="default", action="DENY", scope="NAMESPACE", matches=None):
    """One group, one clause, the given matches (dicts of field -> list)."""
    message = authorization.Authorization(name=name, namespace=namespace)
    message.action = {"ALLOW": 0, "DENY": 1}[action]
    message.scope = {"GLOBAL": 0, "NAMESPACE": 1, "WORKLOAD_SELECTOR": 2}[scope]
    if matches is not None:
        clause = message.groups.add().rules.add()
        for fields in matches:
            match = clause.matches.add()
            for field, values in fields.items():
                if field in ("destination_ports", "not_destination_ports"):
                    getattr(match, field).extend(values)
                elif field in ("principals", "not_principals", "namespaces", "not_namespaces"):
                    for value in values:
                        item = getattr(match, field).add()
                        if value == "*":
                            item.presence.SetInParent()
                        else:
                            item.exact = value
    return f"{namespace}/{name}", message


class Stream:
    """One delta stream as the server sees it."""

    def __init__(self, context):
        self.context = context
        self.metadata = dict(context.invocation_metadata())
        self.requests = []
        self.out = queue.Queue()
        self.is_open = True

    def send(self, response):
        self.out.put(response)


class ControlPlane:
    """Delta ADS and the CA on one port. Resources are (name -> message); every first request of a type is answered with all of them."""

    def __init__(self, port=0, certificate=None, key=None, ca_handler=None, host="127.0.0.1"):
        self.resources = {ADDRESS: {}, AUTHORIZATION: {}}
        self.streams = []
        self.certificate_requests = []
        self.ca_handler = ca_handler
        self.auto_answer = True
        self.on_demand = None  # request -> (resources with aliases, removed names) or None, for Address requests
        self.refusal = None  # (status, message) to end every new stream with at once
        self.nonce = 0
        self.changed = threading.Condition()
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
        self.server.add_generic_rpc_handlers((self._handlers(),))
        address = f"{host}:{port}"
        if certificate:
            credentials = grpc.ssl_server_credentials([(open(key, "rb").read(), open(certificate, "rb").read())])
            self.port = self.server.add_secure_port(address, credentials)
        else:
            self.port = self.server.add_insecure_port(address)
        self.server.start()

    def _handlers(self):
        methods = {
            DELTA.rsplit("/", 1)[1]: grpc.stream_stream_rpc_method_handler(
                self._delta, discovery.DeltaDiscoveryRequest.FromString, discovery.DeltaDiscoveryResponse.SerializeToString)
        }
        certificates = {
            "CreateCertificate": grpc.unary_unary_rpc_method_handler(
                self._create_certificate, ca.IstioCertificateRequest.FromString, ca.IstioCertificateResponse.SerializeToString)
        }
        discovery_handler = grpc.method_handlers_generic_handler(DELTA.rsplit("/", 2)[1], methods)
        ca_handler = grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", certificates)

        class Both(grpc.GenericRpcHandler):
            def service(self, call):
                return discovery_handler.service(call) or ca_handler.service(call)

        return Both()

    def _delta(self, requests, context):
        if self.refusal:
            context.abort(*self.refusal)
        stream = Stream(context)
        with self.changed:
            self.streams.append(stream)
            self.changed.notify_all()

        def read():
            try:
                for request in requests:
                    with self.changed:
                        stream.requests.append(request)
                        self.changed.notify_all()
                    if self.on_demand and request.type_url == ADDRESS and not request.response_nonce:
                        answer = self.on_demand(request)
                        if answer:
                            stream.send(self.response(ADDRESS, *answer))
                    elif self.auto_answer and not request.response_nonce:
                        stream.send(self.response(request.type_url, self.resources.get(request.type_url, {})))
            except grpc.RpcError:
                pass
            finally:
                stream.is_open = False
                stream.out.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            item = stream.out.get()
            if item is None:
                return
            if isinstance(item, grpc.StatusCode):
                context.abort(item, "scripted")
            yield item

    def _create_certificate(self, request, context):
        self.certificate_requests.append((request, dict(context.invocation_metadata())))
        if self.ca_handler is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no CA here")
        return self.ca_handler(request, context)

    def response(self, type_url, resources, removed=(), aliases=None):
        self.nonce += 1
        response = discovery.DeltaDiscoveryResponse(system_version_info=f"v{self.nonce}", type_url=type_url, nonce=f"n{self.nonce}")
        for name, message in resources.items():
            value = message if isinstance(message, bytes) else message.SerializeToString()
            item = response.resources.add(name=name, version="" if type_url == AUTHORIZATION else f"{hash(value) & 0xffffffff:x}")
            item.aliases.extend((aliases or {}).get(name, ()))
            item.resource.type_url = type_url
            item.resource.value = value
        response.removed_resources.extend(removed)
        return response

    def set(self, type_url, *pairs):
        """Adds or replaces resources and pushes them to the open streams."""
        update = dict(pairs)
        self.resources[type_url].update(update)
        for stream in self.streams:
            if stream.is_open:
                stream.send(self.response(type_url, update))

    def remove(self, type_url, *names):
        for name in names:
            self.resources[type_url].pop(name, None)
        for stream in self.streams:
            if stream.is_open:
                stream.send(self.response(type_url, {}, names))

    def wait(self, predicate, timeout=30):
        """Until predicate(self) is true."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not predicate(self):
                left = deadline - time.monotonic()
                assert left > 0, f"timed out; requests: {[s.requests for s in self.streams]}"
                self.changed.wait(min(left, 0.5))

    def answers(self, type_url):
        """ACKs and NACKs of a type, over all streams."""
        return [r for s in self.streams for r in s.requests if r.type_url == type_url and r.response_nonce]

    def stop(self):
        self.server.stop(0)


class DeltaClient:
    """A ztunnel-like client of a workload API."""

    def __init__(self, target, root=None, token=None, node="ztunnel~10.0.0.1~zt.istio-system~istio-system.svc.cluster.local",
                 metadata=None, override=None):
        options = [("grpc.max_receive_message_length", 200 << 20)]
        if override:
            options.append(("grpc.ssl_target_name_override", override))
        if root:
            self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(open(root, "rb").read()), options)
        else:
            self.channel = grpc.insecure_channel(target, options)
        self.out = queue.Queue()
        call = self.channel.stream_stream(DELTA, discovery.DeltaDiscoveryRequest.SerializeToString,
                                          discovery.DeltaDiscoveryResponse.FromString)
        headers = [("clusterid", "Kubernetes")] + ([("authorization", f"Bearer {token}")] if token else [])
        self.node, self.metadata = node, metadata or {"NAMESPACE": "istio-system"}
        self.call = call(iter(self.out.get, None), metadata=headers, timeout=120)
        self.responses = queue.Queue()
        self.status = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for response in self.call:
                self.responses.put(response)
        except grpc.RpcError as error:
            self.status = (error.code(), error.details())
        self.responses.put(None)

    def subscribe(self, type_url, subscribe=(), unsubscribe=(), versions=None, with_node=True):
        request = discovery.DeltaDiscoveryRequest(type_url=type_url)
        if with_node:
            request.node.id = self.node
            for key, value in self.metadata.items():
                entry = request.node.metadata.fields.add()
                entry.key, entry.value.string_value = key, value
        request.resource_names_subscribe.extend(subscribe)
        request.resource_names_unsubscribe.extend(unsubscribe)
        for name, version in (versions or {}).items():
            request.initial_resource_versions.add(key=name, value=version)
        self.out.put(request)

    def ack(self, response, error=None):
        request = discovery.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error is not None:
            request.error_detail.message = error
        self.out.put(request)

    def next(self, timeout=30):
        return self.responses.get(timeout=timeout)

    def close(self):
        self.out.put(None)
        self.channel.close()


def request_certificate(target, root, token, csr, identity=None, ttl=86400, override=None):
    """CreateCertificate; returns the chain or raises grpc.RpcError."""
    options = [("grpc.ssl_target_name_override", override)] if override else []
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(open(root, "rb").read()), options) as channel:
        call = channel.unary_unary(CREATE_CERTIFICATE, ca.IstioCertificateRequest.SerializeToString, ca.IstioCertificateResponse.FromString)
        request = ca.IstioCertificateRequest(csr=csr, validity_duration=ttl)
        if identity:
            entry = request.metadata.fields.add()
            entry.key, entry.value.string_value = "ImpersonatedIdentity", identity
        headers = [("clusterid", "Kubernetes")] + ([("authorization", f"Bearer {token}")] if token else [])
        return list(call(request, metadata=headers, timeout=30).cert_chain)
