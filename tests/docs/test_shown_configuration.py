"""What the pages show in other languages can be read by what would read it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from django.template import Engine
from django.template.backends.django import get_installed_libraries

from django_multisession.testing.rows import for_each
from tests.docs.pages import Block, blocks


def read_nginx(text: str, directory: Path) -> None:
    """Read it with nginx where there is one; else see that every line is a directive or a brace."""
    assert text.count("{") == text.count("}")
    depth = 0
    for line in text.splitlines():
        code = line.split("#")[0].strip()
        assert not code or re.fullmatch(r"[a-z_]+( [^;{}]+)?(;| \{)|\}", code), line
        depth += code.count("{") - code.count("}")
        assert depth >= 0, line
    nginx = shutil.which("nginx")
    if nginx is not None:
        # Certificates are the site's own.
        http = re.sub(r"listen (\d+) ssl;", "listen 127.0.0.1:0;", text)
        configuration = directory / "nginx.conf"
        configuration.write_text(f"pid {directory}/pid;\nevents {{}}\nhttp {{\n{http}\n}}\n")
        subprocess.run([nginx, "-t", "-c", configuration], check=True, timeout=30)


def read_html(text: str, directory: Path) -> None:
    Engine(libraries=get_installed_libraries()).from_string(text)


def read_ini(text: str, directory: Path) -> None:
    configparser.ConfigParser(interpolation=None).read_string(text)


def read_json(text: str, directory: Path) -> None:
    json.loads(text)


def read_toml(text: str, directory: Path) -> None:
    tomllib.loads(text)


READERS: dict[str, Callable[[str, Path], None]] = {
    "html+django": read_html,
    "ini": read_ini,
    "json": read_json,
    "nginx": read_nginx,
    "toml": read_toml,
}


def runs(block: Block) -> bool:
    # Text is a picture or an example of output, unless it says that it is a file.
    return block.language in READERS or (block.language == "text" and not block.file)


@for_each("block", [block for block in blocks() if block.language in READERS])
def test_what_is_shown_can_be_read(block: Block, tmp_path: Path, settings: object) -> None:
    READERS[block.language](block.text, tmp_path)


@for_each("broken", ["server {\n", "listen 80\n", "server {\n}\n}\n{\n"])
def test_a_broken_nginx_configuration_is_noticed(broken: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        read_nginx(broken, tmp_path)
