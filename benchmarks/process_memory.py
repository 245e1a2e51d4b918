"""What a process holds in memory, and what it has taken of the processor (Linux)."""

import os
from pathlib import Path


def status_mb(field: str, pid: int | str = "self") -> float:
    """A figure of a process's memory (Linux), in MiB: `VmHWM` is the peak, `VmRSS` what is resident now."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
