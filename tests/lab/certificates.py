"""A certificate authority of the `openssl` command, for peers that are not ours."""
import os
import subprocess
import tempfile

from tests.lab.topology import run_directory

LEAF_CONFIG = """
[req]
distinguished_name=dn
[dn]
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage={usage}
subjectAltName=critical,{names}
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
"""


def openssl(*arguments, input=None):
    result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, input=input)
    if result.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {result.stderr.decode()}")
    return result.stdout


def spiffe(service_account, namespace="default", trust_domain="cluster.local"):
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


class Authority:
    """A self-signed root and the leaves it issues; everything is files in one folder."""

    def __init__(self, name="root", existing=None, kind="P-256"):
        """A fresh one, or with `existing` = (certificate, key) one that somebody else made. `kind`: of its key and its leaves'."""
        self.kind = kind
        self.issuer = None  # its own certificate, where that is not the root
        self.chain = ""  # what stands between its leaves and the root
        self.directory = tempfile.mkdtemp(prefix="ca-", dir=run_directory())
        self.key = os.path.join(self.directory, f"{name}-key.pem")
        self.root = os.path.join(self.directory, f"{name}.pem")
        self.count = 0
        if existing:
            self.root, self.key = existing
            return
        config = self._config(names="URI:spiffe://unused", usage="serverAuth")
        self._make_key(self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/O={name}", "-days", "30", "-config", config, "-extensions", "root",
                "-out", self.root)

    def _make_key(self, path):
        if self.kind.startswith("RSA-"):
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{self.kind[4:]}", "-out", path)
        elif self.kind == "Ed25519":
            openssl("genpkey", "-algorithm", "ED25519", "-out", path)
        else:
            openssl("ecparam", "-name", {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}[self.kind], "-genkey", "-noout", "-out", path)

    def intermediate(self, kind="P-256"):
        """An authority under this one: its leaves come with its certificate, and are trusted by this one's root."""
        self.count += 1
        base = os.path.join(self.directory, f"intermediate-{self.count}")
        under = Authority(existing=(self.root, base + "-key.pem"), kind=kind)
        under._make_key(under.key)
        config = self._config("URI:spiffe://unused", "serverAuth")
        openssl("req", "-new", "-key", under.key, "-subj", f"/O=intermediate-{self.count}", "-config", config, "-out", base + ".csr")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.root, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                "-extfile", config, "-extensions", "root", "-out", base + ".pem")
        under.issuer, under.chain = base + ".pem", open(base + ".pem").read()
        return under

    def _config(self, names, usage):
        path = os.path.join(self.directory, f"openssl-{self.count}.cnf")
        with open(path, "w") as file:
            file.write(LEAF_CONFIG.format(names=names, usage=usage))
        return path

    def leaf(self, *names, usage="serverAuth,clientAuth", start=None, end=None):
        """(certificate, key, root) for names such as "URI:spiffe://..." or plain SPIFFE URIs; `end` e.g. "20200101000000Z"."""
        self.count += 1
        names = ",".join(n if ":" in n.split("//")[0] and not n.startswith("spiffe:") else f"URI:{n}" for n in names)
        config = self._config(names, usage)
        base = os.path.join(self.directory, f"leaf-{self.count}")
        key, request, certificate = base + "-key.pem", base + ".csr", base + ".pem"
        self._make_key(key)
        openssl("req", "-new", "-key", key, "-subj", "/", "-config", config, "-out", request)
        if end:
            database = os.path.join(self.directory, f"db-{self.count}")
            os.makedirs(database)
            open(os.path.join(database, "index.txt"), "w").close()
            ca_config = os.path.join(database, "ca.cnf")
            with open(config) as source, open(ca_config, "w") as file:
                file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}/index.txt\nnew_certs_dir={database}\nrand_serial=yes\n"
                           f"default_md=sha256\npolicy=p\n[p]\norganizationName=optional\n" + source.read())
            openssl("ca", "-batch", "-config", ca_config, "-cert", self.root, "-keyfile", self.key, "-in", request, "-out", certificate,
                    "-notext", "-extensions", "leaf", "-startdate", start or "20200101000000Z", "-enddate", end, "-subj", "/O=expired")
        else:
            digest = [] if self.kind == "Ed25519" else ["-sha256"]
            openssl("x509", "-req", "-in", request, "-CA", self.issuer or self.root, "-CAkey", self.key, "-CAcreateserial", "-days", "2", *digest,
                    "-extfile", config, "-extensions", "leaf", "-out", certificate)
            with open(certificate, "a") as file:
                file.write(self.chain)
        return certificate, key, self.root

    def sign_request(self, csr_pem, identity):
        """What a CA answers to CreateCertificate: [leaf, root]."""
        self.count += 1
        base = os.path.join(self.directory, f"signed-{self.count}")
        with open(base + ".csr", "w") as file:
            file.write(csr_pem)
        config = self._config(f"URI:{identity}", "serverAuth,clientAuth")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.root, "-CAkey", self.key, "-CAcreateserial", "-days", "1", "-sha256",
                "-extfile", config, "-extensions", "leaf", "-out", base + ".pem")
        return [open(base + ".pem").read(), open(self.root).read()]

    def revocations(self, *certificates, path=None):
        """A revocation list (PEM) that names the given certificates; written beside `path` and renamed, as a ConfigMap is."""
        self.count += 1
        base = os.path.join(self.directory, f"crl-{self.count}")
        with open(base + ".txt", "w") as index:
            for certificate in certificates:
                serial = openssl("x509", "-in", certificate, "-noout", "-serial").decode().strip().split("=")[1]
                index.write(f"R\t351231235959Z\t260101000000Z\t{serial}\tunknown\t/O=revoked\n")
        with open(base + ".cnf", "w") as config:
            config.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={base}.txt\ndefault_md=sha256\ndefault_crl_days=30\n")
        openssl("ca", "-gencrl", "-config", base + ".cnf", "-keyfile", self.key, "-cert", self.root, "-out", base + ".pem")
        if path:
            os.rename(base + ".pem", path)
        return path or base + ".pem"
