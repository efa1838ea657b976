"""The script that compares two hosts: silent where nothing changed, and finds what would break an entry."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import comfy_host

sys.path.append(str(comfy_host.PACK_ROOT / "tests"))

import host_changes
from host_source import Host

HOST = comfy_host.find_host()
FAMILIES = host_changes.load_families()
FLUX = "comfy/ldm/flux"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Flux's files of the host, and a git clone of them: a host that may be changed."""
    for part in (FLUX, "comfy/ldm/hunyuan_video"):
        shutil.copytree(HOST / part, tmp_path / part)
    shutil.copy(HOST / "comfy/ldm/common_dit.py", tmp_path / "comfy/ldm")
    return tmp_path


@pytest.fixture(autouse=True)
def only_flux_and_hunyuan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two families are enough for what is tried here."""
    families = [family for family in FAMILIES if family.name in ("Flux", "HunyuanVideo")]
    monkeypatch.setattr(host_changes, "load_families", lambda: families)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def report(old: Path, new: Path | str) -> tuple[str, int]:
    lines, status = host_changes.report(Host.parse(str(old)), Host.parse(str(new)))
    return "\n".join(lines), status


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_entry_holds_in_this_host(family: Any) -> None:
    """And of every list of blocks it is known what they take, and who calls them."""
    names = map(host_changes.full_name, family.classes)
    looks = [host_changes.relied_on(Host.parse(str(HOST)), family, name) for name in names]
    for relied in filter(None, looks):
        assert not relied.problems
        assert sum(about.endswith(".forward takes") for about in relied.facts) >= bool(family.stages)
        assert any("calls the blocks" in about for about in relied.facts) == bool(family.stages)


def test_nothing_changed(copy: Path) -> None:
    change(copy / FLUX / "layers.py", "# prepare image for attention", "# another comment")
    text, status = report(HOST, copy)
    assert status == 0
    assert text.split() == ["Unchanged:", "Flux,", "HunyuanVideo"]


def test_an_argument_that_moved_breaks_the_entry(copy: Path) -> None:
    change(
        copy / FLUX / "layers.py",
        "self, img: Tensor, txt: Tensor, vec",
        "self, txt: Tensor, img: Tensor, vec",
    )
    text, status = report(HOST, copy)
    assert status == 2
    assert "DoubleStreamBlock.forward takes (txt, img, vec" in text
    assert "the entry has 'img' at place 0" in text


def test_what_a_block_returns(copy: Path) -> None:
    change(copy / FLUX / "layers.py", "return img, txt", "return txt, img")
    text, status = report(HOST, copy)
    assert status == 1
    assert "DoubleStreamBlock.forward returns:" in text
    assert "+(txt, img)" in text


def test_a_list_and_a_class_that_are_gone(copy: Path) -> None:
    change(copy / FLUX / "model.py", "self.single_blocks =", "self.other_blocks =")
    change(copy / "comfy/ldm/hunyuan_video/model.py", "class HunyuanVideo(", "class HunyuanVideo3(")
    text, status = report(HOST, copy)
    assert status == 2
    assert "Flux makes no list 'single_blocks'" in text
    assert "not in the new host; it was in the old one" in text
    assert "\n  new" in report(copy, HOST)[0]


def test_states_of_a_git_clone(copy: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        subprocess.run(["git", "-C", str(copy), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    git("tag", "first")
    change(copy / FLUX / "model.py", "img = block(img, vec=vec", "img = block(img.clone(), vec=vec")
    git("commit", "-qam", "second")

    text, status = report(f"{copy}@first", f"{copy}@HEAD")

    assert status == 1
    assert "Flux.forward_orig, which calls the blocks:" in text
    assert "img.clone()" in text
    assert report(f"{copy}@first", f"{copy}@first")[1] == 0


def test_no_host_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no ComfyUI"):
        Host.parse(str(tmp_path))


def test_the_hosts_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From 0.8.0 to 0.33.0 the order of HunyuanVideo's joint sequence turned round."""
    hosts = {comfy_host.host_version(host): str(host) for host in comfy_host.find_hosts()}
    if not {"0.8.0", "0.33.0"} <= hosts.keys():
        pytest.skip("needs both hosts")
    monkeypatch.setattr(sys, "argv", ["host_changes.py", hosts["0.8.0"], hosts["0.33.0"]])

    assert host_changes.main() == 1

    said = capsys.readouterr().out
    assert "-    img = torch.cat((img, txt), 1)" in said
    assert "+    img = torch.cat((txt, img), 1)" in said
    assert "Read what changed" in said
