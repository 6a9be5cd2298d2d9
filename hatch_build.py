"""Makes the package's links and its page on an index from the one address of the repository in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RepositoryAddress(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        repository = self.config["repository"]
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(readme, f"{repository}/blob/main")}
        metadata["urls"] = {
            "Homepage": repository,
            "Documentation": f"{repository}/tree/main/docs",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
            "Issues": f"{repository}/issues",
            "Security": f"{repository}/security/policy",
        }


def absolute(text: str, base: str) -> str:
    """Return Markdown with its relative links made absolute: an index has the page and not the files."""
    return re.sub(r"\]\((?!https?://|#)", f"]({base}/", text)
