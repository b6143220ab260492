"""What a test asks of the browser that opened a report."""

from __future__ import annotations

import json

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait


def wait_until_drawn(browser: webdriver.Chrome) -> None:
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.charts") == "drawn"
    )


def requested(browser: webdriver.Chrome) -> set[str]:
    """What was asked for since the start, but for what the browser's own start page is made of."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome://")}
