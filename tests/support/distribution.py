"""Another Linux distribution, as far as OpenSSL knows it from this one."""

from pathlib import Path


class Distribution:
    """Another distribution's /etc and /usr/lib/ssl, which a command sees in a mount namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self._roots = {"/etc": directory / "etc", "/usr/lib/ssl": directory / "ssl"}
        for root in self._roots.values():
            root.mkdir()
        for name in ("group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd"):
            (self._roots["/etc"] / name).write_bytes(Path("/etc", name).read_bytes())
        mounts = "".join(f"mount --bind {root} {place} && " for place, root in self._roots.items())
        self.within = ["unshare", "--mount", "sh", "-c", f'{mounts} exec "$@"', "sh"]

    def put(self, name: str, content: str) -> None:
        """Add a file, by its absolute name."""
        root = next(root for root in self._roots if name.startswith(f"{root}/"))
        path = self._roots[root] / name.removeprefix(f"{root}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
