"""The page in a real browser: nothing fails, nothing is asked of anybody, nothing that a model wrote is executed."""

import json
import pathlib
import random
import shutil
import time

import pytest
from run_folders import write_run

from urlvr_jax.report import completions, opened, page

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
pytest.importorskip("bokeh", reason="pip install 'urlvr_jax[report]'")
CHROME, DRIVER = "/usr/bin/chromium", shutil.which("chromedriver")
if not pathlib.Path(CHROME).exists() or not DRIVER:
    pytest.skip("no browser here: apt-get install chromium chromium-driver", allow_module_level=True)

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--window-size=1280,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def shown(browser, file, *folders):
    """Open the page of runs and wait until all is drawn; milliseconds until it could be used."""
    file.write_text(page.html(*opened.arms_of(map(str, folders))), encoding="utf-8")
    for log in ("browser", "performance"):
        browser.get_log(log)  # of the page before
    browser.get(file.as_uri())
    return drawn(browser)


def drawn(browser):
    for _ in range(300):
        found = browser.execute_script("return {...document.documentElement.dataset}")
        if "drawn" in found:
            return int(found["interactive"])
        time.sleep(0.1)
    raise AssertionError(f"not drawn: {found}, {browser.get_log('browser')}")


def assert_quiet(browser, file):
    """No error on the console, and no request but for the page itself."""
    errors = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not errors
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} <= {file.as_uri()}


def two_rewards(folder):
    for seed in range(3):
        write_run(folder / f"a{seed}", seed, accuracy=(0.3, 0.6, 0.1), alarm=30, votes=True, texts=["Q1+2?", "3"], **{"reward.name": "self_certainty"})  # fmt: skip
        write_run(
            folder / f"b{seed}",
            seed,
            votes=True,
            texts=["Q3+4?", "7"],
            **{"reward.name": "majority_voting"},
        )


def wide(browser):
    """Whether something is wider than the window."""
    return browser.execute_script("return document.documentElement.scrollWidth > innerWidth + 1")


def test_one_run(browser, tmp_path):
    shown(browser, tmp_path / "page.html", write_run(tmp_path / "a", texts=["hello"]))
    assert_quiet(browser, tmp_path / "page.html")
    assert "hello" in browser.find_element("tag name", "body").text


def test_two_rewards_of_three_seeds(browser, tmp_path):
    two_rewards(tmp_path / "runs")
    shown(browser, tmp_path / "page.html", tmp_path / "runs")
    charts = browser.execute_script("return document.querySelectorAll('.plot').length")
    figures = browser.execute_script("return Bokeh.documents.length")
    assert charts == figures > 10
    points = "return Bokeh.documents[0].roots()[0].renderers.filter(r => r.tags[1] == 'line').map(r => Array.from(r.data_source.get_column('x')))"
    assert browser.execute_script(points) == [[0, 10, 20, 30, 40]] * 2
    browser.execute_script(
        "const s = document.getElementById('axis'); s.value = 'peak'; s.dispatchEvent(new Event('change'))"
    )
    assert browser.execute_script(points)[0] == [-20, -10, 0, 10, 20]
    browser.execute_script("document.querySelector('[data-arm]').click()")
    assert browser.execute_script(points)[0] == []
    field = browser.find_element("id", "search")
    field.send_keys("q3+4")
    assert "4 found" in browser.find_element("id", "found").text
    tips = "return [...document.querySelectorAll('.what button')].every(b => b.nextElementSibling.textContent.length > 20)"
    assert browser.execute_script(tips)
    theme = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(theme)
    browser.find_element("id", "theme").click()
    assert browser.execute_script(theme) != before
    assert_quiet(browser, tmp_path / "page.html")


def test_the_page_fits_a_phone_and_paper(browser, tmp_path):
    two_rewards(tmp_path / "runs")
    shown(browser, tmp_path / "page.html", tmp_path / "runs")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})  # fmt: skip
    time.sleep(0.5)
    assert not wide(browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(paper) > 100_000
    assert_quiet(browser, tmp_path / "page.html")


def test_ten_runs_of_a_thousand_steps_are_small_and_quick(browser, tmp_path):
    for i in range(10):
        write_run(
            tmp_path / "runs" / str(i),
            0,
            steps=1000,
            every=50,
            texts=["x" * 500] * 20,
            **{"optim.lr": 1e-4 * (i + 1)},
        )
    file = tmp_path / "page.html"
    until = shown(browser, file, tmp_path / "runs")
    assert file.stat().st_size < 3e6
    assert until < 6000, "2 seconds where nothing else runs"
    assert_quiet(browser, file)


WORDS = (
    "<script>document.title='hacked'</script>", "</script><script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">", "<svg/onload=document.title='hacked'>", "\u202e\u2066\u200f",
    "<iframe srcdoc='<script>top.document.title=1</script>'>", "\x1b[31m\x1b]0;x\x07", "<style>*{display:none}</style>",
    "<base href=//evil>", "<meta http-equiv=refresh content='0;url=//evil'>", "{{constructor.constructor('x')()}}",
    "<!--", "-->", "]]>", "&#60;b&#62;", "\u0000", "ﷺ" * 50, "Z̛̖͓̞͓̀" * 40, "\u2028\u2029", "<details open ontoggle=document.title='hacked'>",
)  # fmt: skip


def test_a_thousand_hostile_strings_are_read_and_not_obeyed(browser, tmp_path, monkeypatch):
    rng = random.Random(0)
    texts = ["".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 4))) for _ in range(998)]
    texts += ["b" * 1_000_000, b"\xff\xfe broken".decode("utf-8", "replace")]
    monkeypatch.setattr(completions, "ROWS", 1000)
    monkeypatch.setattr(completions, "MOST_TEXT", 10**9)
    write_run(tmp_path / "runs" / "a", steps=4, texts=texts)
    file = tmp_path / "page.html"
    shown(browser, file, tmp_path / "runs")
    assert "hacked" not in browser.title and not wide(browser)
    assert (
        browser.execute_script(
            "return document.querySelectorAll('.text script, .text img, .text iframe, .text style').length"
        )
        == 0
    )
    assert browser.execute_script("return document.querySelectorAll('.cards > div').length") == 2000
    assert_quiet(browser, file)
