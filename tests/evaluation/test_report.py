import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import av
import cv2
import numpy as np
import pytest

from robowm.evaluation import pages, report
from robowm.evaluation.metrics import paired, summarise
from robowm.evaluation.open_loop import OpenLoopConfig, RankingConfig, pose_errors, rank_candidates
from robowm.evaluation.report import Report
from robowm.evaluation.rollout import evaluate, film
from robowm.tracking.video import encode_mp4

from . import toys

VOID = {"meta", "link", "br", "img", "input", "path", "use", "rect", "circle"}


class Outline(HTMLParser):
    """Fails on elements that do not nest; keeps every address that the page refers to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.addresses, self.text = [], [], []
        self.feed(page)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data"):
                self.addresses.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def evaluation(agents):
    results = {
        name: evaluate(toys.make_env, lambda env, a=action: toys.Steady(a), 6)
        for name, action in agents.items()
    }
    rows = [{"agent": name, **summarise(found)} for name, found in results.items()]
    first, *others = results
    common = {"task": "point", "checkpoint": None, "split": "test", "seed": 0}
    if not others:
        return common | rows[0], results
    pairs = {name: paired(results[first], results[name]) for name in others}
    return {**common, "rows": rows, "paired": pairs}, results


AGENTS = {"planner": (0.8, 0.0, 1.0), "nothing": (0.0, 0.0, -1.0)}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    data, results = evaluation(AGENTS)
    frames = film(toys.make_env, results["planner"][0], size=(32, 32))
    path = tmp_path_factory.mktemp("report") / "report.html"
    pages.evaluation_page(data, [("planner, seed 0: success", frames)]).write(path)
    return path.read_text(), data, frames


def test_the_page_needs_nothing_but_itself(page):
    addresses = Outline(page[0]).addresses
    assert len([a for a in addresses if a.startswith("data:video/mp4")]) == 1
    assert len([a for a in addresses if a.startswith("data:image/png")]) == 1
    outside = [a for a in addresses if not a.startswith(("data:", "#"))]
    assert not outside
    assert "@import" not in page[0]
    assert not re.findall(r"url\((?!#)", page[0])


def test_the_embedded_film_is_the_film_in_h264(page):
    (source,) = (a for a in Outline(page[0]).addresses if a.startswith("data:video/mp4"))
    with av.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(shown) == len(page[2])
    assert np.abs(np.stack(shown).astype(int) - page[2]).mean() < 6  # compressed


def test_tables_stand_before_plots_and_plots_before_films(page):
    places = [page[0].index(mark) for mark in ("<table", "<svg", "<img", "<video")]
    assert places == sorted(places)


def test_the_table_says_what_the_numbers_are(page):
    text, data, _ = page
    row = data["rows"][0]
    cells = re.search(r'<tr class="first">(.*?)</tr>', text).group(1)
    assert "<td>planner</td>" in cells
    low, high = 100 * row["success_low"], 100 * row["success_high"]
    assert f"<small>[{low:.0f}, {high:.0f}]</small>" in cells
    assert f"<td>{row['position_error_cm']:.1f}<small>" in cells
    assert "rotation, °" not in text.partition("Every episode")[0]  # this task has none


def test_one_agent_has_no_comparison(tmp_path):
    data, _ = evaluation({"planner": AGENTS["planner"]})
    pages.evaluation_page(data).write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    Outline(text)
    assert "The same starts" not in text
    assert "<video" not in text


def test_imagination_with_and_without_its_parts(tmp_path):
    episodes, model = [toys.episode(seed) for seed in range(3)], toys.PointModel(0.004)
    pose = pose_errors(model, episodes, toys.spec(), OpenLoopConfig(context=3))
    ranked = rank_candidates(model, toys.make_env, episodes, RankingConfig(3, 8, 3)).to_dict()
    data = {"task": "point", "checkpoint": "c", "episodes": 3, "context": 3}
    clip = encode_mp4(np.zeros((3, 16, 16, 3), np.uint8), 10)
    strip = np.zeros((8, 32, 3), np.uint8)
    whole = pages.imagination_page(
        data | {"pose": pose, "ranking": ranked}, [("film", clip)], [("film", strip)]
    )
    whole.write(tmp_path / "whole.html")
    text = (tmp_path / "whole.html").read_text()
    Outline(text)
    assert text.count("<svg") == 3
    assert text.count(">film<") == 1  # the strip's caption speaks for both
    assert f"{pose['position_cm']['imagined']['mean'][4]:.1f}<small>" in text
    bare = pages.imagination_page(data | {"pose": None, "ranking": None})
    bare.write(tmp_path / "bare.html")
    text = (tmp_path / "bare.html").read_text()
    Outline(text)
    assert "<section" not in text


def test_texts_are_escaped(tmp_path):
    nasty = "<script>alert('x & y')</script>"
    page = Report(nasty, nasty, nasty)
    page.section(nasty, report.table([nasty], [[nasty], [(nasty, nasty)]]), note=nasty)
    colours = report.key({nasty: (1, 2, 3)})
    page.section(nasty, report.headline({nasty: nasty}), colours, folded=True)
    page.section("picture", report.image(np.zeros((4, 4, 3), np.uint8), nasty))
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert html.escape(nasty) in text
    Outline(text)


def test_an_embedded_picture_is_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = re.search(r"base64,([^\"]+)", report.image(picture, "noise")).group(1)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoded, picture)


def test_json_is_standard_and_whole(tmp_path):
    path = tmp_path / "report.json"
    data, _ = evaluation(AGENTS)
    report.write_json(path, data)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == data
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(path, {"success": float("nan")})
    assert json.loads(path.read_text()) == data  # what was there stays
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_numbers_for_people():
    assert report.number(None) == report.number(float("nan")) == "–"
    assert report.number(1.26, 1, " cm") == "1.3 cm"
