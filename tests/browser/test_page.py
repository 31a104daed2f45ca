"""The page of `vtorque policy show --format html` in a real browser: Debian's chromium, driven over WebDriver."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.browser import contrast
from tests.spec.helpers import ROOT
from tests.test_cli import vtorque

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTHS = {"desktop": 1280, "phone": 390, "small phone": 320}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = vtorque("policy", "show", "--site", ROOT / "tests/browser/site", "--format", "html")
    assert done.returncode == 0, done.stderr
    path = tmp_path_factory.mktemp("page") / "offer.html"
    path.write_text(done.stdout)
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service(driver)) as found:
        yield found


def shown(
    chromium: webdriver.Chrome, page: Path, width: int = 1280, scheme: str = "light", *, script: bool = True
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media, "media": ""})
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    chromium.get(page.as_uri())


def test_it_opens_without_a_word_on_the_console(chromium: webdriver.Chrome, page: Path) -> None:
    shown(chromium, page)
    assert chromium.title == "What jobs may ask for at vulcan"
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    text = chromium.find_element(By.TAG_NAME, "body").text
    for words in ("batch.walltime", "at most 24:00:00", "for group students: at most 4", "rocky-9-openfoam", "184GiB"):
        assert words in text
    asked = [entry["message"] for entry in chromium.get_log("performance")]
    assert [one for one in asked if "requestWillBeSent" in one and '"url":"http' in one] == []


def test_the_console_would_have_told(chromium: webdriver.Chrome, page: Path, tmp_path: Path) -> None:
    """A page whose script is not the one that its policy names: the log is no empty promise."""
    (tmp_path / "bad.html").write_text(page.read_text().replace('"use strict";', '"use strict"; "changed";'))
    shown(chromium, tmp_path / "bad.html")
    entries = chromium.get_log("browser")
    assert any("Content Security Policy" in entry["message"] for entry in entries)
    assert not chromium.find_element(By.ID, "filter").is_displayed()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_sticks_out(chromium: webdriver.Chrome, page: Path, width: int) -> None:
    shown(chromium, page, width)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    outside = chromium.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.offsetParent && !e.closest('pre, thead')"
        " && e.getBoundingClientRect().right > arguments[0] + 0.5).map(e => e.outerHTML.slice(0, 80))",
        width,
    )
    assert outside == []


def test_the_filter(chromium: webdriver.Chrome, page: Path) -> None:
    shown(chromium, page)
    rows = chromium.find_elements(By.CSS_SELECTOR, "table.filtered tbody tr")
    before = [row for row in rows if row.is_displayed()]
    assert len(before) == len(rows) > 30
    words = chromium.find_element(By.ID, "words")
    words.send_keys("group STUDENTS")
    left = [row.find_element(By.TAG_NAME, "th").text.split()[0] for row in rows if row.is_displayed()]
    assert left == ["batch.nodes", "image", "vcpus", "memory", "rocky-9", "rocky-9-openfoam"]
    assert chromium.find_element(By.ID, "count").text == f"{len(left)} of {len(rows)}"
    words.clear()
    words.send_keys("x")
    words.send_keys("\b")
    assert all(row.is_displayed() for row in rows)


def test_it_works_without_javascript(chromium: webdriver.Chrome, page: Path) -> None:
    shown(chromium, page, script=False)
    try:
        assert not chromium.find_element(By.ID, "words").is_displayed()
        assert len(chromium.find_elements(By.CSS_SELECTOR, "#field-table tbody tr")) > 30
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_hostile_description_is_text(chromium: webdriver.Chrome, page: Path) -> None:
    shown(chromium, page)
    assert chromium.title == "What jobs may ask for at vulcan"  # the script in it would have set another
    assert len(chromium.find_elements(By.TAG_NAME, "script")) == 1
    assert '<script>document.title="taken"</script> & ParaView' in chromium.find_element(By.ID, "image-table").text


@pytest.mark.parametrize("width", [1280, 390])
def test_tables_are_tables_to_a_screen_reader(chromium: webdriver.Chrome, page: Path, width: int) -> None:
    shown(chromium, page, width)
    tree = chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node.get("role", {}).get("value") for node in tree if not node["ignored"]]
    assert roles.count("table") == 5
    assert roles.count("columnheader") == 4 + 5 + 3 + 4 + 2
    assert roles.count("rowheader") == len(chromium.find_elements(By.CSS_SELECTOR, "tbody tr"))
    names = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "table"]
    assert all(names)
    assert [len(chromium.find_elements(By.TAG_NAME, f"h{level}")) for level in (1, 2)] == [1, 6]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(chromium: webdriver.Chrome, page: Path, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    shown(chromium, page, scheme=scheme)
    pairs = chromium.execute_script(contrast.COLOURS)
    assert len(pairs) > 6
    assert {f"{pair}": round(contrast.ratio(*pair), 1) for pair in pairs if contrast.ratio(*pair) < 4.5} == {}


def test_it_prints(chromium: webdriver.Chrome, page: Path) -> None:
    shown(chromium, page, scheme="dark")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not chromium.find_element(By.ID, "filter").is_displayed()
    body = chromium.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
    assert chromium.execute_cdp_cmd("Page.printToPDF", {})["data"].startswith("JVBER")  # %PDF
