"""The pages in a real browser: widths, colours, languages, sorting and searching, paper."""

from pathlib import Path

import pytest

from ecgclip.report.card import card_command
from ecgclip.report.compare import compare_command
from ecgclip.report.run_page import report_command
from tests.report.browser import Tab, browse, chromium

pytest.importorskip("aiohttp", reason="speaks to the browser")
pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine: apt-get install chromium")

WIDTHS = (1280, 820, 360)
OVERFLOW = "document.documentElement.scrollWidth-document.documentElement.clientWidth"
CONTRAST = """(function(){
var lum=function(c){var v=c.match(/[\\d.]+/g).slice(0,3).map(function(x){x/=255;return x<=.03928?x/12.92:Math.pow((x+.055)/1.055,2.4)});
return .2126*v[0]+.7152*v[1]+.0722*v[2]};
var back=function(e){for(;e;e=e.parentElement){var b=getComputedStyle(e).backgroundColor;if(b!=='rgba(0, 0, 0, 0)')return b}
return 'rgb(255,255,255)'};
var worst=21;document.querySelectorAll('h1,h2,p,td,th,dt,dd,summary,nav a,.notice,figcaption,button').forEach(function(e){
if(!e.getClientRects().length)return;
var a=lum(getComputedStyle(e).color),b=lum(back(e));worst=Math.min(worst,(Math.max(a,b)+.05)/(Math.min(a,b)+.05))});return worst})()"""


@pytest.fixture(scope="module")
def pages(run: Path, other_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    report_command([str(run), "--out", str(folder / "report.html")])
    compare_command([str(run), str(other_run), "--out", str(folder / "compare.html"), "--replicates", "20"])
    card_command([str(run), "--out", str(folder / "card.md")])
    return [folder / "report.html", folder / "compare.html"]


def test_a_page_fits_every_width_is_readable_in_light_and_dark_and_asks_nobody(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        for page in pages:
            for width in WIDTHS:
                for dark in (False, True):
                    for lang in ("ja", "en"):
                        await tab.show(page, width=width, dark=dark, query=f"?lang={lang}")
                        where = (page.name, width, dark, lang)
                        assert await tab.run(OVERFLOW) <= 0, where
                        assert await tab.run("document.documentElement.lang") == lang
                        assert await tab.run("document.querySelectorAll('section').length") >= 6, where
                        assert tab.said == [] and tab.asked == [], where
                    assert await tab.run(CONTRAST) >= 4.5, where

    browse(tmp_path, visit)


def test_the_switches_change_language_and_colours_and_are_remembered(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        seen = "document.querySelector('#sets h2').innerText"
        paper = "getComputedStyle(document.body).backgroundColor"
        await tab.show(pages[0])
        assert await tab.run(seen) == "ラベルの集合ごとの成績"
        await tab.run("document.querySelector('[data-switch=lang]').click()")
        assert await tab.run(seen) == "By set of labels"
        light = await tab.run(paper)
        await tab.run("document.querySelector('[data-switch=theme]').click()")
        assert await tab.run(paper) != light
        await tab.show(pages[0])
        assert await tab.run(seen) == "By set of labels" and await tab.run(paper) != light
        await tab.show(pages[0], query="?lang=ja")
        assert await tab.run(seen) == "ラベルの集合ごとの成績"

    browse(tmp_path, visit)


def test_the_table_of_labels_sorts_and_searches_in_both_languages(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        table = "document.querySelector('#every-label')"
        column = f"Array.from({table}.tHead.rows[0].cells).findIndex(function(cell){{return cell.innerText.trim()==='n'}})"
        values = f"Array.from({table}.tBodies[0].rows).map(function(row){{return +row.cells[{column}].dataset.key}})"
        shown = (
            f"Array.from({table}.tBodies[0].rows).filter(function(row){{return !row.hidden}}).map(function(row){{return row.innerText}})"
        )

        async def search(text: str) -> list[str]:
            await tab.run(f"(function(){{var box=document.querySelector('[data-find]');box.value={text!r};box.oninput()}})()")
            return list(await tab.run(shown))

        for page in pages:
            await tab.show(page)
            click = f"{table}.tHead.rows[0].cells[{column}].querySelector('button').click()"
            await tab.run(click)
            falling = await tab.run(values)
            await tab.run(click)
            assert falling == sorted(falling, reverse=True) and await tab.run(values) == sorted(falling)
            everything = await search("")
            assert len(everything) == len(falling) > 40
            for text in ("心房細動", "atrial fibrillation", "AFIB", "ＡＦＩＢ"):
                assert ["心房細動" in row for row in await search(text)] == [True], text
            assert await search("nothing like it") == []

    browse(tmp_path, visit)


def test_pointing_at_the_map_of_similarities_tells_names_and_value(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        await tab.show(pages[0])
        await tab.run("""(function(){var svg=document.querySelector('.matrix svg');svg.scrollIntoView();
            var box=svg.querySelector('.cells').getBoundingClientRect();
            svg.dispatchEvent(new PointerEvent('pointermove',{clientX:box.left+1,clientY:box.top+1}))})()""")
        told = await tab.run("document.querySelector('.matrix .tell').innerText")
        first, _, rest = told.partition(" × ")
        assert rest.startswith(first) and rest.endswith("1.00")

    browse(tmp_path, visit)


def test_without_a_script_the_page_is_whole_in_japanese_with_the_english_beside_it(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        await tab.show(pages[0], width=360, script=False)
        # The protocol runs expressions where the page's own scripts may not run.
        assert await tab.run("document.querySelector('#sets h2').innerText") == "ラベルの集合ごとの成績By set of labels"
        assert await tab.run("document.querySelector('.switches').hidden") is True
        assert await tab.run(OVERFLOW) <= 0

    browse(tmp_path, visit)


def test_on_paper_everything_is_open_light_and_within_the_sheet(pages: list[Path], tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        for page in pages:
            await tab.show(page, width=700, dark=True)
            await tab.run("dispatchEvent(new Event('beforeprint'))")
            await tab.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
            assert await tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert await tab.run("Array.from(document.querySelectorAll('details')).every(function(part){return part.open})")
            assert await tab.run("getComputedStyle(document.querySelector('nav')).display") == "none"
            assert await tab.run(OVERFLOW) <= 0
            await tab.call("Emulation.setEmulatedMedia", media="")

    browse(tmp_path, visit)
