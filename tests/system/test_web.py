"""The local page as people use it: a real browser, real agents, and nobody else let in."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.figures import record
from tests.system.fleet import Device, Fleet, until

VIEWS = ("overview", "timeline", "conflicts", "held", "settings")
NINE = "".join(f"line {n}\n" for n in range(1, 10))
HOSTILE = "<img src=x onerror=alert(1)>\u202egpj.exe"
PASSWORD = "correct-horse-battery"
PICTURES = os.environ.get("AUTOSYNC_PICTURES")
"""A folder for pictures of what is to be seen; `make pictures` keeps them in docs/images."""
expect.set_options(timeout=30_000)


@dataclass
class Desk:
    """Laptop and desktop, and a browser that shows the laptop's page."""

    fleet: Fleet
    served: subprocess.Popen[str]
    page: Page
    wrong: list[str] = field(default_factory=list)
    """What the browser complained about, and what it asked of anybody else."""
    asked: list[str] = field(default_factory=list)

    @property
    def laptop(self) -> Device:
        return self.fleet.devices[0]

    @property
    def desktop(self) -> Device:
        return self.fleet.devices[1]

    @property
    def address(self) -> str:
        """The page's, without the view."""
        return self.page.url.partition("#")[0]

    def go(self, view: str) -> None:
        """Show a view by the link that is there for it."""
        self.page.locator(f'nav a[href="#/{view}"]').click()
        expect(self.page.locator(f'nav a[href="#/{view}"]')).to_have_attribute("aria-current", "page")

    def focused(self) -> Locator:
        return self.page.locator(":focus")

    def tab_to(self, words: str) -> Locator:
        """Press the tabulator until what has the focus says ``words``."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.textContent").startswith(words):
                return self.focused()
        raise AssertionError(f"no tabulator leads to {words!r}")


def keep_picture(page: Page, name: str, scheme: Literal["light", "dark"] = "light") -> None:
    """Keep what is to be seen, if that is asked for, without what only this test has: its folder and its server."""
    if PICTURES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("scrollTo(0, 0)")
        page.evaluate(
            "() => { for (const one of document.querySelectorAll('.where')) one.textContent = '/home/you/notes';"
            " for (const one of document.querySelectorAll('.toast, .channels li:has(.warn)')) one.remove(); }"
        )
        page.screenshot(path=Path(PICTURES) / f"web-{name}.png")
        page.emulate_media(color_scheme="light", reduced_motion="reduce")


def serve(
    laptop: Device, *options: str, environment: dict[str, str] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """Start `autosync web` and return it with its link."""
    command = [sys.executable, "-m", "autosync", "--config", str(laptop.config), "web", "--json", *options]
    served = subprocess.Popen(
        command,
        cwd=laptop.home,
        env=laptop.environment | (environment or {}),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert served.stdout is not None
    with served.stdout as told:
        return served, json.loads(told.readline())["url"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One fleet and one browser for all tests of this module; each leaves both devices equal."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "run tests/install-debian"
    xmpp = f"xmpp: {{jid: me@example.invalid, host: 127.0.0.1, port: 9, password: {PASSWORD}}}\n"
    with Fleet(tmp_path_factory.mktemp("web") / "fleet") as fleet, sync_playwright() as playwright:
        fleet.clone(fleet.seed({"plan.txt": NINE, "src/main.py": "print('hello')\n"}, hub=False), "laptop", "desktop")
        root = fleet.devices[0].root  # as people have it: what is configured is a link
        root.rename(root.with_name("elsewhere"))
        root.symlink_to("elsewhere")
        fleet.configure(fleet.devices, top=xmpp)
        fleet.start()
        fleet.equal()
        served, link = serve(fleet.devices[0])
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        desk = Desk(fleet, served, page)
        page.on("console", lambda message: desk.wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: desk.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: desk.wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: desk.asked.append(request.url))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (e) => console.error(`CSP ${e.violatedDirective} ${e.blockedURI}`))"
        )
        page.goto(link)
        yield desk
        browser.close()
        served.kill()
        served.wait()


@pytest.fixture(autouse=True)
def undisturbed(desk: Desk) -> Iterator[None]:
    """Whatever is done: no error in the console, nothing that the policy refused, nothing asked of anybody else."""
    yield
    origin = desk.address.split("/")[2]
    assert desk.wrong == []
    assert {url.split("/")[2] for url in desk.asked} == {origin}


def test_the_first_view_says_whether_the_devices_hold_the_same_tree(desk: Desk) -> None:
    page, tree = desk.page, desk.laptop.status()["tree"]
    expect(page.locator(".summary")).to_contain_text("Every device in reach holds the same tree.")
    expect(page).to_have_title("Overview – autosync")
    expect(page.locator("#device")).to_have_text("laptop")
    rows = page.locator("table.devices tbody tr")
    expect(rows).to_have_count(2)
    for row, words in ((rows.nth(0), "this device"), (rows.nth(1), "holds the same tree")):
        expect(row).to_contain_text(words)
        expect(row.locator("code.id")).to_have_attribute("title", tree)
    confirmed = next(p["confirmed"] for p in desk.laptop.status()["peers"])
    assert confirmed["tree"] == tree
    shown = rows.nth(1).locator("time").get_attribute("datetime")
    assert shown is not None and shown.startswith(confirmed["time"][:16])
    # The secret is in no place where somebody could find it later.
    assert "key=" not in page.url
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    assert page.evaluate("document.referrer") == ""


def test_a_working_copy_that_waits_is_said_to(desk: Desk) -> None:
    page, rebase = desk.page, desk.laptop.root / ".git/rebase-merge"
    desk.go("overview")
    rebase.mkdir()  # as git does for as long as a rebase is in progress
    desk.laptop.write("waits.txt", "for the rebase\n")
    expect(page.locator(".says")).to_contain_text("It waits: a rebase is in progress")
    expect(page.locator(".summary")).to_contain_text("1 working copy waits.")
    rebase.rmdir()
    desk.laptop.ask("sync")
    expect(page.locator(".summary")).to_contain_text("Every device in reach holds the same tree.")
    desk.fleet.equal()


def test_what_sums_it_up_claims_no_more_than_was_confirmed(desk: Desk) -> None:
    def summary(*states: str, phase: str = "watching", vcs: str = "git", pending: int = 0) -> list[str]:
        devices = [{"id": "0", "device": "laptop", "this": True, "state": "this"}]
        devices += [{"id": f"{n}", "device": f"d{n}", "this": False, "state": s} for n, s in enumerate(states, 1)]
        one = {"name": "notes", "phase": phase, "vcs": vcs, "pending": pending, "halt": None, "held": {"count": 0}}
        told: list[str] = desk.page.evaluate(
            "async (all) => (await import(location.pathname + 'words.js')).summary(all)",
            {"workspaces": [{**one, "devices": devices}], "conflicts": []},
        )
        return told

    same, way = "Every device in reach holds the same tree.", "Changes are on their way."
    assert summary("equal") == ["good", same, ""]
    assert summary("equal", "away") == ["good", same, "1 device is out of reach, and will catch up."]
    others = "Every other device at work holds the same tree."
    assert summary("equal", "paused") == ["good", others, "Paused there: d2."]
    assert summary("equal", "halted") == ["warn", others, "Halted there: d2."]
    assert summary("paused", "halted") == ["warn", "No other device is at work.", "Halted there: d2. Paused there: d1."]
    assert summary("paused", "behind") == ["busy", way, "Paused there: d1."]
    assert summary("away", "revoked")[:2] == ["idle", "No other device is in reach."]
    assert summary("revoked")[:2] == ["idle", "This device is alone so far."]
    assert summary("something newer")[:2] == ["busy", way]
    assert summary("equal", phase="waiting")[:2] == ["warn", "1 working copy waits."]
    assert summary("equal", phase="applying")[:2] == summary("equal", pending=1)[:2] == ["busy", way]
    assert summary("equal", phase="paused")[:2] == ["idle", "Everything is paused."]
    assert summary("equal", vcs="command") == ["good", "Every device in reach has what was pushed.", ""]


def test_what_happens_is_shown_as_it_happens(desk: Desk) -> None:
    desk.go("overview")
    desk.page.evaluate(
        "() => { const told = document.getElementById('told'); window.spoken = [];"
        " new MutationObserver(() => window.spoken.push(told.textContent)).observe(told, {childList: true}); }"
    )
    desk.desktop.write("todo.md", "- buy milk\n")
    first = desk.page.locator(".activity li.applied").first
    expect(first).to_contain_text("todo.md")
    expect(first).to_contain_text("Arrived from desktop")
    expect(first.locator(".chip")).to_contain_text([re.compile("lan|straight"), re.compile(r"\d m?s")])
    until(lambda: "Arrived from desktop: todo.md" in " ".join(desk.page.evaluate("window.spoken")))
    desk.fleet.equal()
    (arrived,) = [a for a in desk.laptop.activities("applied") if a["paths"] == ["todo.md"]]
    assert arrived["latency_ms"] > 0
    expect(desk.page.locator(".summary")).to_contain_text("holds the same tree")
    keep_picture(desk.page, "overview")


def test_a_conflict_is_shown_side_by_side_and_finished_by_the_keyboard(desk: Desk) -> None:
    laptop, desktop, page = desk.laptop, desk.desktop, desk.page
    desktop.ask("pause")
    laptop.write("plan.txt", NINE.replace("line 5", "line 5 by laptop"))
    desktop.write("plan.txt", NINE.replace("line 5", "line 5 by desktop"))
    until(lambda: laptop.activities("saved")[-1]["paths"] == ["plan.txt"])
    desktop.ask("resume")
    expect(page.locator('nav a[href="#/conflicts"] .badge')).to_have_text("1")
    desk.fleet.equal()
    desk.go("conflicts")
    expect(desk.focused()).to_have_id("main")
    differs = page.locator("table.compare tr.changed")
    expect(differs).to_have_count(1)
    expect(differs).to_contain_text("line 5 by laptop")
    expect(differs).to_contain_text("line 5 by desktop")
    sides = page.locator(".side")
    expect(sides.nth(0)).to_contain_text("Mine by laptop")
    expect(sides.nth(1)).to_contain_text("Theirs by desktop")
    keep_picture(page, "conflicts")
    button = desk.tab_to("Keep mine")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    expect(button).to_have_accessible_name("Keep mine of plan.txt")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("No conflict.")
    expect(page.locator('nav a[href="#/conflicts"] .badge')).to_have_count(0)
    until(lambda: desktop.read("plan.txt") == NINE.replace("line 5", "line 5 by laptop"))
    desk.fleet.equal()
    assert laptop.ask("conflicts")["conflicts"] == []


def test_a_snapshot_shows_what_it_changed_and_brings_it_back(desk: Desk) -> None:
    laptop, desktop, page = desk.laptop, desk.desktop, desk.page
    laptop.save("src/main.py", "print('hello, world')\n")
    desk.fleet.equal()
    desk.go("timeline")
    row = page.locator("button.row").first
    expect(row).to_contain_text("src/main.py")
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator("table.diff tr.minus")).to_contain_text("print('hello')")
    expect(page.locator("table.diff tr.plus")).to_contain_text("print('hello, world')")
    expect(row).to_have_attribute("aria-pressed", "true")
    keep_picture(page, "timeline", "dark")

    page.get_by_role("button", name="Restore the version before of src/main.py").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("src/main.py")
    assert Axe().run(page).response["violations"] == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert laptop.read("src/main.py") == "print('hello, world')\n"

    page.get_by_role("button", name="Restore the version before of src/main.py").click()
    dialog.get_by_role("button", name="Restore").click()
    until(lambda: desktop.read("src/main.py") == "print('hello')\n")
    desk.fleet.equal()
    page.get_by_role("button", name="Undo the last change").click()  # which was the restoring
    dialog.get_by_role("button", name="Undo").click()
    until(lambda: desktop.read("src/main.py") == "print('hello, world')\n")
    desk.fleet.equal()

    page.get_by_role("button", name="Undo the last change").click()
    expect(dialog).to_contain_text("src/main.py")
    laptop.write("meanwhile.txt", "not what was confirmed\n")
    dialog.get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_contain_text("notes has changed since you were asked: nothing was restored.")
    assert laptop.read("meanwhile.txt") == "not what was confirmed\n"
    assert laptop.read("src/main.py") == "print('hello, world')\n"
    desk.fleet.equal()

    page.get_by_label("File or folder").fill("plan.txt")
    page.keyboard.press("Enter")
    expect(page.locator("button.row").first).to_contain_text("plan.txt")
    expect(page.locator(".snapshots")).not_to_contain_text("src/main.py")


def test_names_of_files_are_text_and_nothing_else(desk: Desk) -> None:
    desk.go("overview")
    desk.desktop.write(HOSTILE, "hostile\n")
    shown = HOSTILE.replace("\u202e", "\\u202e")
    expect(desk.page.locator(".activity li.applied").first).to_contain_text(shown)
    desk.go("timeline")
    expect(desk.page.locator("button.row").first).to_contain_text(shown)
    assert desk.page.locator("img[src=x]").count() == 0
    desk.fleet.equal()


def test_a_conflict_of_a_name_that_is_no_text_is_finished_too(desk: Desk) -> None:
    laptop, desktop, page = desk.laptop, desk.desktop, desk.page
    name = os.fsdecode(b"<i>caf\xe9 \"'.txt")
    desktop.ask("pause")
    laptop.write(name, "by laptop\n")
    desktop.write(name, "by desktop\n")
    until(lambda: not laptop.status()["pending"] and "caf" in laptop.activities("saved")[-1]["paths"][0])
    desktop.ask("resume")
    desk.go("conflicts")
    expect(page.locator("table.compare tr.changed")).to_contain_text("by desktop")
    expect(page.locator(".conflict h2")).to_have_text("<i>caf\\xe9 \"'.txt")
    page.get_by_role("button", name="Keep theirs").click()
    expect(page.locator("main")).to_contain_text("No conflict.")
    until(lambda: laptop.read(name) == "by desktop\n")
    desk.fleet.equal()


def test_what_is_held_is_told_and_let_go(desk: Desk) -> None:
    page, name = desk.page, "<b>&amp;.pem"
    desk.laptop.write(name, "-----BEGIN PRIVATE KEY-----\n")
    expect(page.locator('nav a[href="#/held"] .badge')).to_have_text("1")
    desk.go("held")
    expect(page.locator("main")).to_contain_text("looks like a secret by its name")
    page.get_by_role("button", name=f"Release {name}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Release {name}?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert desk.laptop.status()["held"]["count"] == 1
    page.get_by_role("button", name="Release all").click()
    expect(dialog).to_contain_text("Release 1 path?")
    desk.laptop.write("later.pem", "-----BEGIN PRIVATE KEY-----\n")  # which nobody has agreed to
    until(lambda: desk.laptop.status()["held"]["count"] == 2)
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator("#toasts")).to_contain_text("2 paths are held back in notes by now, not 1")
    assert desk.laptop.status()["held"]["count"] == 2
    os.unlink(desk.laptop.root / "later.pem")
    expect(page.locator('nav a[href="#/held"] .badge')).to_have_text("1")
    page.get_by_role("button", name=f"Release {name}").click()
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator("main")).to_contain_text("Nothing is held back.")
    until(lambda: desk.desktop.read(name) is not None)
    desk.fleet.equal()


def test_settings_name_the_place_to_change_them_and_no_secret(desk: Desk) -> None:
    page = desk.page
    desk.go("settings")
    lines = desk.laptop.config.read_text().splitlines()
    row = page.get_by_role("row", name=re.compile("^state-dir "))
    expect(row).to_contain_text(f"line {lines.index('state-dir: state') + 1}")
    expect(page.get_by_role("row", name=re.compile("^xmpp.password "))).to_contain_text("set, not shown")
    expect(page.get_by_role("row", name=re.compile("^commits "))).to_contain_text("default")
    assert PASSWORD not in page.content()
    assert desk.fleet.key.read_text().strip() not in page.content()
    # Every key that is shown can be written: the example has it.
    example = (Path(__file__).parents[2] / "examples/.autosync-example").read_text()
    for key in page.locator("table.settings th code").all_inner_texts():
        assert f"{key.rpartition('.')[2]}:" in example, key


def test_all_of_it_is_reached_without_a_mouse(desk: Desk) -> None:
    page = desk.page
    page.reload()
    page.keyboard.press("Tab")
    expect(desk.focused()).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(desk.focused()).to_have_id("main")
    for view, words in zip(VIEWS, ("Overview", "Timeline", "Conflicts", "Held back", "Settings"), strict=True):
        page.locator("nav a").first.focus()
        while not page.evaluate("document.activeElement.textContent").startswith(words):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(f"#/{view}$"))
        expect(page.locator("h1")).to_have_text(words)
        expect(desk.focused()).to_have_id("main")


def test_every_view_is_accessible_in_any_colours_and_width(desk: Desk) -> None:
    page, axe = desk.page, Axe()
    desk.laptop.write("id_rsa", "secret\n")  # so that there is something to see
    until(lambda: desk.laptop.status()["held"]["count"] == 1)
    for scheme, width in (("light", 1280), ("dark", 400)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        for view in VIEWS:
            page.goto(f"{desk.address}#/{view}")
            expect(page.locator("main h1")).to_be_attached()
            expect(page.locator("main")).not_to_contain_text("…")  # nothing is being asked for any more
            response = axe.run(page).response
            assert len(response["passes"]) > 10
            found = response["violations"]
            assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == [], (view, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (view, width)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1280, "height": 900})
    os.unlink(desk.laptop.root / "id_rsa")
    desk.fleet.equal()


def test_an_agent_that_ends_is_told_and_its_return_too(desk: Desk) -> None:
    page = desk.page
    desk.go("overview")
    desk.laptop.end()
    expect(page.locator("h1")).to_have_text("The agent is not running")
    expect(page.locator("pre.command")).to_have_text(f"autosync --config {desk.laptop.config} run")
    expect(page.locator("#told")).to_have_text("The agent is not running.")
    assert Axe().run(page).response["violations"] == []
    expect(page.locator("#line-words")).to_have_text("Agent not running")
    desk.laptop.start()
    expect(page.locator(".summary")).to_contain_text("holds the same tree")
    expect(page.locator("#line-words")).to_have_text("Live")
    desk.fleet.equal()


def test_the_process_that_serves_it_keeps_strangers_out(desk: Desk) -> None:
    place = desk.laptop.state / "web.json"
    told = json.loads(place.read_text())
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    own = f"127.0.0.1:{told['port']}"
    bearer = {"Authorization": f"Bearer {told['bearer']}"}

    def get(path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=30)
        connection.request("GET", path, headers={"Host": own, **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    assert get(told["root"], **bearer)[0] == 200
    attempts = [
        get(told["root"])[0],
        get(told["root"] + "news")[0],
        get("/")[0],
        get(told["root"], **bearer, Host="evil.example")[0],
    ]
    root = told["root"]
    for path in (
        "../../config.yaml",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "static/main.js",
        "main.js/",
        "main.js%00",
        "__init__.py",
    ):
        attempts.append(get(root + path, **bearer)[0])
    assert attempts == [403, 403, 404, 421, *[404] * 7]
    record("bad inputs refused", len(attempts))
    # A second call lets another browser into the same page.
    browser, opened = desk.laptop.home / "browser", desk.laptop.home / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o700)
    again, link = serve(desk.laptop, "--open", environment={"BROWSER": str(browser)})
    assert again.wait(30) == 0
    assert opened.read_text().strip() == link
    assert link.startswith(f"http://{own}{root}?key=")
    assert get(link.removeprefix(f"http://{own}"))[0] == 303


def test_it_ends_when_told_and_says_so_in_the_browser(desk: Desk) -> None:
    desk.served.send_signal(signal.SIGTERM)
    assert desk.served.wait(30) == 0
    assert not (desk.laptop.state / "web.json").exists()
    expect(desk.page.locator("#line-words")).to_have_text("Page not served")
    expect(desk.page.locator("main")).to_contain_text("Open it again with autosync web --open.")
    desk.wrong = [one for one in desk.wrong if "ERR_CONNECTION_REFUSED" not in one and "ERR_INCOMPLETE" not in one]
