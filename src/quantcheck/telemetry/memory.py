"""What an engine's processes hold in memory."""

import psutil

__all__ = ["process_memory", "process_tree"]


def process_tree(pid: int) -> list[psutil.Process]:
    """Process `pid` and its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def process_memory(pid: int) -> dict[str, int | str | None]:
    """Memory of process `pid` and its descendants, in bytes.

    `rss_bytes`: resident set sizes, added up; pages that several processes share (a mapped weights file) count whole
    in each. `pss_bytes`: proportional set sizes, in which a shared page counts by share (Linux only). `processes`: how
    many were added up. A figure that cannot be had is None and `missing` says why.
    """
    rss = pss = 0
    reason: str | None = None
    counted = 0
    for process in process_tree(pid):
        try:
            rss += process.memory_info().rss
            counted += 1
        except psutil.NoSuchProcess:
            continue
        try:
            full = process.memory_full_info()
            if hasattr(full, "pss"):
                pss += full.pss
            else:
                reason = "this system does not tell proportional set sizes"
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            reason = f"not permitted to read the memory map of process {process.pid}"
    if not counted:
        return {"rss_bytes": None, "pss_bytes": None, "processes": 0, "missing": f"process {pid} is gone"}
    return {"rss_bytes": rss, "pss_bytes": None if reason else pss, "processes": counted, "missing": reason}
