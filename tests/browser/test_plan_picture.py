"""The SVG of `vtorque plan` in a real browser: what is measured there is what people see."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium import webdriver

from tests.browser.test_page import chromium, shown  # noqa: F401 - the fixture
from tests.render.pictures import PICTURES
from vtorque_spec.render import plan_svg

pytestmark = pytest.mark.browser

MEASURED = """
const page = document.documentElement.getBoundingClientRect();
const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const inside = (a, b) => a[0] >= b[0] && a[1] >= b[1] && a[2] <= b[2] && a[3] <= b[3];
const threads = [...document.querySelectorAll("g > title")].map(title => title.parentElement);
return {
  threads: threads.map(thread => {
    const rect = box(thread.querySelector("rect")), texts = [...thread.querySelectorAll("text")];
    return {
      name: thread.querySelector("title").textContent,
      sizes: texts.map(text => parseFloat(getComputedStyle(text).fontSize)),
      inside: texts.every(text => box(text)[0] >= rect[0] && box(text)[2] <= rect[2]),
      apart: texts.length === 2 && texts[0].getAttribute("y") < texts[1].getAttribute("y"),
    };
  }),
  outside: [...document.querySelectorAll("text, rect")].filter(e => !e.closest("defs") &&
    !inside(box(e), [page.left - 1, page.top - 1, page.right + 1, page.bottom + 1])).map(e => e.outerHTML),
};
"""


@pytest.fixture(params=PICTURES)
def measured(request: pytest.FixtureRequest, chromium: webdriver.Chrome, tmp_path: Path) -> dict[str, Any]:  # noqa: F811
    path = tmp_path / f"{request.param}.svg"
    path.write_text(plan_svg.svg(PICTURES[request.param]))
    shown(chromium, path)
    root = ElementTree.parse(path).getroot()
    size = {name: int(root.get(name) or 0) for name in ("width", "height")}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": False})
    found: dict[str, Any] = chromium.execute_script(MEASURED)
    return found | {"cpus": sum(len(core.cpus) for cell in PICTURES[request.param].cells for core in cell.cores)}


def test_every_thread_is_legible(measured: dict[str, Any]) -> None:
    threads = measured["threads"]
    assert len(threads) == measured["cpus"]
    assert [thread for thread in threads if not thread["inside"] or not thread["apart"]] == []
    assert {size >= 11 for thread in threads for size in thread["sizes"]} == {True}


def test_nothing_sticks_out(measured: dict[str, Any]) -> None:
    assert measured["outside"] == []


def test_it_loads_nothing_and_has_a_name(chromium: webdriver.Chrome, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "plan.svg"
    path.write_text(plan_svg.svg(PICTURES["four-cells"]))
    chromium.get_log("performance")
    chromium.get_log("browser")
    shown(chromium, path)
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    asked = [entry["message"] for entry in chromium.get_log("performance")]
    assert [one for one in asked if re.search(r'requestWillBeSent.*"url":"(?!file:)', one)] == []
    tree = chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    images = [node for node in tree if node.get("role", {}).get("value") in ("image", "img", "SvgRoot")]
    assert [node["name"]["value"] for node in images] == ["cavity on a node of class `thin`"]
    assert "guest 2: 10 vCPUs on CPUs 12-21" in images[0]["description"]["value"]
