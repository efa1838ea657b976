"""Names and tooltips in other languages: the same keys everywhere, English as the nodes have it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from english import Texts, of_nodes

from adacorrection.adacorrection_core.sentences import SENTENCES
from adacorrection.adacorrection_core.stats import Reason
from comfy_host import PACK_ROOT

FOLDER = PACK_ROOT / "locales"
FILES = ("main", "nodeDefs", "settings")
LANGUAGES = ("en", "ja", "ko", "zh")
SCRIPTS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]", "ko": r"[\uac00-\ud7af]"}

every_language = pytest.mark.parametrize("language", LANGUAGES)


def load(language: str, name: str) -> Texts:
    return json.loads((FOLDER / language / f"{name}.json").read_text(encoding="utf-8"))


def leaves(texts: Texts, path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def test_english_is_what_the_nodes_say(pack: ModuleType) -> None:
    """To write it anew: python tests/host/english.py"""
    assert load("en", "nodeDefs") == of_nodes(pack)


@pytest.mark.parametrize("name", FILES)
@every_language
def test_keys_are_the_same(language: str, name: str) -> None:
    english, other = dict(leaves(load("en", name))), dict(leaves(load(language, name)))
    assert list(other) == list(english)
    assert [key for key, text in other.items() if not text.strip()] == []


def test_english_sentences_are_what_the_server_says() -> None:
    says = load("en", "main")["adacorrectionSays"]
    assert says["sentences"] == SENTENCES
    assert says["reasons"] == {reason.value: reason.value for reason in Reason}


@pytest.mark.parametrize("name", FILES)
@every_language
def test_what_is_filled_in_is_the_same(language: str, name: str) -> None:
    filled = {
        path: (set(re.findall(r"{\w+}", text)), set(re.findall(r"{\w+}", own)))
        for (path, text), (_, own) in zip(leaves(load("en", name)), leaves(load(language, name)), strict=True)
    }
    assert [path for path, (english, own) in filled.items() if english != own] == []


@pytest.mark.parametrize("language", SCRIPTS)
def test_sentences_are_translated(language: str) -> None:
    says = dict(leaves(load(language, "main")["adacorrectionSays"]))
    assert [key for key, text in says.items() if not re.search(SCRIPTS[language], text)] == []


@pytest.mark.parametrize("language", SCRIPTS)
def test_tooltips_are_translated(language: str) -> None:
    texts = dict(leaves(load(language, "nodeDefs")))
    said = {key: text for key, text in texts.items() if key.endswith(("tooltip", "description"))}
    assert [key for key, text in said.items() if not re.search(SCRIPTS[language], text)] == []


def test_there_are_no_other_languages_or_files() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(LANGUAGES)
    for language in LANGUAGES:
        assert {path.name for path in (FOLDER / language).iterdir()} == {f"{name}.json" for name in FILES}


def test_host_hands_them_out(server: Any) -> None:
    handed = server.get("/i18n").json()
    for language in LANGUAGES:
        assert handed[language]["nodeDefs"].items() >= load(language, "nodeDefs").items()
