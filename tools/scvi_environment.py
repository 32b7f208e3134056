"""An environment for scvi-tools, which pins its dependencies: in ``_build/scvi``, made when first asked for."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / "_build" / "scvi"
PACKAGES = ("torch==2.13.0", "scvi-tools==1.4.2")


def run(module: str, *arguments: str) -> bool:
    """Run a module of this repository there; say False where scvi-tools cannot be installed."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        if subprocess.run(command, check=False).returncode:
            return False
        (ENVIRONMENT / "installed").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-m", module, *arguments], check=True, cwd=ROOT, env=environment)
    return True
