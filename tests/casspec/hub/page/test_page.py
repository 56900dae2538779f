"""The page at `/` in a real browser: what it shows, and that all of it works by keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from casspec.storage.jobs.documents import Job, JobProgress, JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.hub.hubs import serving
from tests.casspec.hub.seeding import seed_jobs, seed_profiles
from tests.storage import samples
from tests.tuner.report_page import pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow


@pytest.fixture
def url(repository: Repository) -> Iterator[str]:
    with serving(repository) as url:
        yield url


def calibrated(repository: Repository, seed: int, **changes: object) -> CascadeProfile:
    settings = samples.SETTINGS | {"seed": seed}
    calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
    profile = repository.save_profile(calibration, samples.profile(seed=seed, **changes))
    repository.finish(calibration)
    return profile


def submit(repository: Repository, model: str = "reference") -> Job:
    return repository.jobs.submit(JobRequest(model=model, device="cpu"))


def opened(page: Page, url: str, address: str = "") -> None:
    page.goto(f"{url}/{address}")
    page.wait_for_selector("#state.good")


def pressed_to(page: Page, key: str) -> None:
    """Goes on by Tab until the element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement?.dataset.key ?? ''") == key:
            return
    raise AssertionError(f"Tab never reaches {key}")


def test_an_empty_hub_says_what_to_type(page: Page, url: str) -> None:
    opened(page, url)
    assert "casspec job submit smollm2 --quick" in page.inner_text("main")
    assert "casspec calibrate smollm2 --quick" in page.inner_text("main")
    opened(page, url, "#/jobs")
    page.wait_for_selector("h1:text('Jobs')")
    assert "casspec job submit smollm2 --quick" in page.inner_text("main")


def test_jobs_show_live_progress_and_lead_to_their_profile(page: Page, url: str, repository: Repository) -> None:
    job, profile = submit(repository), calibrated(repository, 1)
    opened(page, url)
    row = page.locator(f"[data-job='{job.job_id}']")
    assert "queued" in row.inner_text()
    claim = repository.jobs.claim("one", Place("cpu", "here"))
    assert claim is not None
    repository.jobs.tell(claim, JobProgress(stage="search", done=3, total=9, estimate_s=7200.0))
    row.get_by_text("search 3 of 9 · about 2 h left").wait_for()
    assert row.locator("progress").get_attribute("value") == "3"
    repository.jobs.finish(claim, profile.content_hash())
    row.get_by_role("link", name=profile.profile_id).click()
    page.get_by_role("heading", name="tiny on test processor").wait_for()


def test_a_job_is_cancelled_by_keyboard_after_a_question(page: Page, url: str, repository: Repository) -> None:
    job = submit(repository)
    opened(page, url)
    pressed_to(page, f"cancel-{job.job_id}")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Let it run"
    page.keyboard.press("Escape")
    page.wait_for_selector("#confirm", state="hidden")
    assert repository.jobs.get(job.job_id).status == "queued"
    pressed_to(page, f"cancel-{job.job_id}")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(f"[data-job='{job.job_id}'] .badge.cancelled").wait_for()
    assert repository.jobs.get(job.job_id).status == "cancelled"


def test_jobs_are_paged_and_chosen_by_status(page: Page, url: str, repository: Repository) -> None:
    seed_jobs(repository, 60)
    opened(page, url, "#/jobs")
    assert page.locator("[data-job]").count() == 25
    first = page.locator("[data-job]").first.get_attribute("data-job")
    page.get_by_role("link", name="Earlier", exact=True).click()
    page.get_by_role("heading", name="Earlier jobs").wait_for()
    assert page.locator(f"[data-job='{first}']").count() == 0
    page.get_by_role("link", name=re.compile("^failed")).click()
    page.locator(".chip[aria-current]", has_text="failed").wait_for()
    assert set(page.locator("[data-job] .badge").all_inner_texts()) == {"failed"}


def test_a_matrix_shows_speed_and_age_by_model_and_device(page: Page, url: str, repository: Repository) -> None:
    seed_profiles(repository, 30)
    opened(page, url, "#/profiles")
    matrix = page.get_by_role("region", name="Profiles by model and device")
    assert [text.split("\n")[0] for text in matrix.locator("thead th").all_inner_texts()] == [
        "Model",
        "NVIDIA A100 80GB",
        "NVIDIA H200",
        "NVIDIA L4",
    ]
    assert re.search(r"\d\.\d\d×\s+\d+ tok/s\s+bfloat16 · \d+ (d|h|min|y) ago", matrix.inner_text())
    assert matrix.locator(".badge.production").count() > 0


def test_a_profile_is_compared_with_another(page: Page, url: str, repository: Repository) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2, predicted_speedup={"greedy": 1.75})
    opened(page, url, f"#/profile/{second.profile_id}")
    page.get_by_label(f"Compare with {first.profile_id}").check()
    page.get_by_role("link", name=f"Compare with {first.profile_id}").click()
    page.get_by_role("heading", name="What differs").wait_for()
    told = page.get_by_role("region", name="speed").inner_text()
    assert re.search(r"predicted, greedy\s+1.5\s+1.75", told)


def test_a_profile_is_promoted_after_a_question(page: Page, url: str, repository: Repository) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2)
    repository.set_alias("production", first.profile_id)
    opened(page, url, f"#/profile/{second.profile_id}")
    page.get_by_role("button", name="Promote").first.click()
    dialog = page.get_by_role("dialog")
    assert f"{first.profile_id} has production now and gives it up" in dialog.inner_text()
    page.keyboard.press("Enter")
    page.locator("h1 .badge.production").wait_for()
    assert repository.alias_holders(second)["production"] == second.content_hash()


def test_a_promotion_that_somebody_forestalled_is_refused_in_the_dialog(
    page: Page, url: str, repository: Repository
) -> None:
    first, second = calibrated(repository, 1), calibrated(repository, 2)
    opened(page, url, f"#/profile/{second.profile_id}")
    page.get_by_role("button", name="Promote").first.click()
    repository.set_alias("production", first.profile_id)
    page.keyboard.press("Enter")
    page.get_by_text(f"profile {first.profile_id} has it now").wait_for()
    assert repository.alias_holders(second)["production"] == first.content_hash()


def test_a_report_opens_as_it_is(page: Page, url: str, repository: Repository) -> None:
    profile = repository.save_profile(None, pages.profile())
    opened(page, url, f"#/profile/{profile.profile_id}")
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Open the report").click()
    popup.value.get_by_role("heading", name="tiny on test processor").wait_for()
    assert popup.value.evaluate("getComputedStyle(document.body).maxWidth") != "none"


def test_names_are_text_and_never_markup(page: Page, url: str, repository: Repository) -> None:
    name = "<img src=x onerror=document.title=1>"
    calibration = repository.calibration(samples.model(name=name), samples.device(), "float32", samples.SETTINGS)
    repository.save_profile(calibration.calibration_id, samples.profile(model=samples.model(name=name)))
    submit(repository, name)
    opened(page, url)
    assert page.inner_text("main").count(name) >= 2
    assert page.locator("main img").count() == 0


def test_it_follows_a_dark_room(browser: Browser, url: str) -> None:
    backs = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        opened(page, url)
        backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert backs == ["rgb(246, 247, 249)", "rgb(17, 20, 24)"]


def test_a_locked_hub_asks_for_a_token_and_sends_the_sessions_own(page: Page, url: str, repository: Repository) -> None:
    job, sent = submit(repository), []
    inside: list[bool] = []

    def session(route: Route) -> None:
        if route.request.method == "POST":
            told = json.loads(route.request.post_data or "{}")
            if told != {"token": "right"}:
                route.fulfill(status=401, json={"error": {"message": "this token is not known"}})
                return
            inside.append(True)
            route.fulfill(json={"csrf": "abc"})
        elif inside:
            route.fulfill(json={"csrf": "abc"})
        else:
            route.fulfill(status=401, json={"error": {"message": "no session"}})

    page.route("**/session", session)
    page.on("request", lambda request: sent.append((request.method, request.headers.get("x-csrf-token"))))
    page.goto(url)
    for token in ("wrong", "right"):
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        if token == "wrong":
            page.get_by_text("this token is not known").wait_for()
    page.wait_for_selector("#state.good")
    assert page.get_by_role("button", name="Log out").is_visible()
    page.get_by_role("button", name=f"Cancel job {job.job_id}").click()
    page.get_by_role("button", name="Cancel the job").click()
    page.locator(f"[data-job='{job.job_id}'] .badge.cancelled").wait_for()
    assert ("POST", "abc") in sent


def test_a_hub_that_is_away_is_told_and_found_again(page: Page, url: str) -> None:
    opened(page, url)
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_text("not reached").wait_for()
    page.unroute("**/v1/**")
    page.wait_for_selector("#state.good")
