"""What a process holds in memory."""

from pathlib import Path


def status_mb(field: str, pid: int | str = "self") -> float:
    """A figure of a process's memory (Linux), in MiB: `VmHWM` is the peak, `VmRSS` what is resident now."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]) / 1024
