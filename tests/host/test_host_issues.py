"""docs/host_issues.md: what it says of ComfyUI's own faults is true of the hosts that it names."""

import contextlib
import io
import re
from dataclasses import dataclass

import pytest

import comfy_host
import tiny_models

PAGE = (comfy_host.PACK_ROOT / "docs" / "host_issues.md").read_text()


@dataclass(frozen=True)
class Issue:
    """One section of the page."""

    title: str
    hosts: tuple[str, ...]
    code: str
    output: str
    takes_a_device: bool


def issues() -> list[Issue]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        hosts = re.search(r"Shows in ([\d., ]+\d)(\.|, on the second device)", section)
        code, output = re.findall(r"```(?:python|text)\n(.*?)```", section, flags=re.DOTALL)
        assert hosts, section
        title, takes_a_device = section.splitlines()[0], hosts.group(2) != "."
        found.append(Issue(title, tuple(hosts.group(1).split(", ")), code, output, takes_a_device))
    return found


@pytest.mark.parametrize("issue", issues(), ids=lambda issue: issue.title)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_issue(issue: Issue) -> None:
    if tiny_models.comfyui_version not in issue.hosts:
        pytest.skip(f"not known of ComfyUI {tiny_models.comfyui_version}")
    if issue.takes_a_device and not comfy_host.ON_SECOND_DEVICE:
        pytest.skip("shows on the second device only")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(issue.code, issue.title, "exec"), {})  # noqa: S102
    assert said.getvalue() == issue.output
