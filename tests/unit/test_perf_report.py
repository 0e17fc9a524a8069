"""What perf/run makes of its slices: medians, intervals, ratios, verdicts and tables."""

import errno
import os
import random
from pathlib import Path

import pytest

from perf.harness import command, report
from perf.harness.bench import Measured
from perf.harness.figures import Against, Figure, Slice, Subject, Target
from perf.harness.logins import Logins
from perf.harness.machine import Cores, SetupError
from perf.harness.main import is_whole, parser
from perf.harness.measure import Processor
from perf.harness.profile import Profile, place, stacks, table
from perf.harness.proxies import fastmail_variant, other_settings
from perf.harness.ratios import estimate, ratio
from perf.harness.results import Results

NGINX, FASTMAIL = Subject("nginx 1.22.1"), Subject("fastmail")
COST = Figure("processor time per login", "µs", 1e6, target=Target(0.6, 0.4))


def slices(figure: Figure, *values: float) -> list[Slice]:
    return [Slice({figure.title: value}) for value in values]


def rows(figure: Figure, found: dict[Subject, list[Slice]], baseline: str = NGINX.proxy) -> list[report.Row]:
    return report.rows([figure], found, baseline)


# -- estimates -----------------------------------------------------------------------------------


def test_the_interval_holds_the_median_of_the_distribution_about_as_often_as_it_says() -> None:
    chance = random.Random(1)
    hits = 0
    for _ in range(60):
        found = estimate([chance.gauss(100, 10) for _ in range(20)])
        assert found.low <= found.median <= found.high
        hits += found.low <= 100 <= found.high
    assert 51 <= hits <= 60


def test_the_same_slices_give_the_same_interval() -> None:
    assert estimate([3.0, 1.0, 2.0, 5.0]) == estimate([3.0, 1.0, 2.0, 5.0])


def test_one_value_is_its_own_interval() -> None:
    found = estimate([7.0])
    assert (found.median, found.low, found.high) == (7.0, 7.0, 7.0)


def test_a_ratio_is_taken_within_rounds_so_that_what_disturbs_both_does_not_count() -> None:
    found = ratio([5.0, 50.0, 500.0], [10.0, 100.0, 1000.0])
    assert (found.median, found.low, found.high) == (0.5, 0.5, 0.5)


def test_slices_without_a_partner_are_a_mistake() -> None:
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


# -- verdicts ------------------------------------------------------------------------------------


def test_a_target_is_met_when_the_upper_end_of_the_interval_meets_it() -> None:
    nginx = slices(COST, *[100e-6] * 20)
    steady = rows(COST, {NGINX: nginx, FASTMAIL: slices(COST, *[60e-6] * 20)})[1]
    assert steady.meets(0.6) is True
    assert steady.meets(0.59) is False

    spread = [50e-6 + 2e-6 * number for number in range(20)]
    wide = rows(COST, {NGINX: nginx, FASTMAIL: slices(COST, *spread)})[1]
    assert wide.ratio is not None
    between = (wide.ratio.median + wide.ratio.high) / 2
    assert wide.ratio.median < between
    assert wide.meets(between) is False


def test_a_limit_in_units_belongs_to_what_has_to_be_reached() -> None:
    memory = Figure("memory per idle session", "bytes", target=Target(0.05, 0.03, limit=512))
    found = {NGINX: slices(memory, 20000, 20000), FASTMAIL: slices(memory, 600, 600)}
    cells = report.nginx_table(rows(memory, found), NGINX.proxy, several=False)[1]
    assert cells[-2:] == ["0.05 met; under 512 bytes not met", "0.03 met"]


def test_without_the_other_proxy_nothing_is_judged() -> None:
    [row] = rows(COST, {FASTMAIL: slices(COST, 60e-6)})
    assert row.ratio is None
    assert row.meets(1.0) is None
    assert len(report.nginx_table([row], NGINX.proxy, several=False)) == 1


def test_nothing_is_compared_with_nothing() -> None:
    """Memory of a few idle sessions can be 0."""
    found = {NGINX: slices(COST, 1e-6, 0.0), FASTMAIL: slices(COST, 1e-6, 1e-6)}
    assert [row.ratio for row in rows(COST, found)] == [None, None]


# -- what a figure is held against -----------------------------------------------------------------


def test_figures_against_nginx_compare_like_with_like() -> None:
    found = {
        Subject("nginx 1.22.1", "2 workers"): slices(COST, 200e-6),
        NGINX: slices(COST, 100e-6),
        Subject("fastmail", "2 workers"): slices(COST, 100e-6),
    }
    assert [row.ratio and row.ratio.median for row in rows(COST, found)] == [None, None, 0.5]


def test_figures_against_its_own_compare_a_proxy_with_itself() -> None:
    own = Figure("beside idle sessions", "µs", 1e6, Against.OWN, Target(1.1, 1.0))
    found = {
        NGINX: slices(own, 100e-6),
        Subject("nginx 1.22.1", "9,000 idle"): slices(own, 130e-6),
        FASTMAIL: slices(own, 50e-6),
        Subject("fastmail", "9,000 idle"): slices(own, 52e-6),
    }
    made = report.own_table(rows(own, found))
    assert made[1] == ["beside idle sessions", "nginx 1.22.1", "100.0 µs", "130.0 µs",
                       "1.300 [1.300–1.300]", "", ""]  # fmt: skip
    assert made[2] == ["beside idle sessions", "fastmail", "50.0 µs", "52.0 µs",
                       "1.040 [1.040–1.040]", "1.1 met", "1 not met"]  # fmt: skip


def test_figures_against_nothing_are_judged_themselves() -> None:
    count = Figure("wake-ups per accepted connection", "", 1.0, Against.NOTHING, Target(1.1, 1.0))
    [row] = rows(count, {FASTMAIL: slices(count, 1.0, 1.0, 1.0)})
    assert row.meets(1.0) is True


# -- tables ----------------------------------------------------------------------------------------


def test_the_spread_names_a_figure_once_and_shows_the_middle_half() -> None:
    found = {NGINX: slices(COST, 1e-6, 2e-6, 3e-6, 4e-6, 5e-6), FASTMAIL: slices(COST, 1e-6)}
    made = report.spread_table(rows(COST, found, baseline=""))
    assert [line[0] for line in made[1:]] == [COST.title, ""]
    assert made[1][4:6] == ["2.00–4.00", "5"]


def test_markdown_has_as_many_cells_in_each_line() -> None:
    found = {NGINX: slices(COST, 100e-6), FASTMAIL: slices(COST, 60e-6)}
    lines = report.markdown(report.nginx_table(rows(COST, found), NGINX.proxy, several=True)).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[1].startswith("| --- |")


# -- profiles --------------------------------------------------------------------------------------

SCRIPT = """\
\tffffffff81e0 tcp_ack+0x1f ([kernel.kallsyms])
\tffffffff81d0 __x64_sys_sendto+0x20 ([kernel.kallsyms])
\tffffffff81c0 entry_SYSCALL_64_after_hwframe+0x76 ([kernel.kallsyms])
\t    7f11 __send+0x14 (/usr/lib/x86_64-linux-gnu/libc.so.6)

\tffffffff81e1 tcp_close+0x1f ([kernel.kallsyms])
\tffffffff81d1 task_work_run+0x20 ([kernel.kallsyms])
\tffffffff81c0 entry_SYSCALL_64_after_hwframe+0x76 ([kernel.kallsyms])

\t    7f12 [unknown] (/usr/sbin/nginx)

\t    7f13 memcpy (deleted)+0x1 (/srv/fastmail/_speedups.cpython-311-x86_64-linux-gnu.so)
"""


def test_samples_belong_to_the_system_call_or_the_library_that_they_were_in() -> None:
    assert [place(stack) for stack in stacks(SCRIPT.splitlines())] == [
        (True, "sendto"),
        (True, "close"),
        (False, "nginx"),
        (False, "fastmail's engine"),
    ]


def test_a_profile_shows_times_and_calls_of_both_side_by_side() -> None:
    profiles = {
        "nginx": Profile({"nginx": 5.0}, {"sendto": 40.0}, {"sendto": 8.0}),
        "fastmail": Profile({"fastmail's engine": 3.0}, {"sendto": 30.0}, {"sendto": 6.0}),
    }
    assert table(profiles) == [
        ["where", "nginx, µs", "fastmail, µs", "nginx, calls", "fastmail, calls"],
        ["**user code**", "5.0", "3.0", "", ""],
        ["nginx", "5.0", "0.0", "", ""],
        ["fastmail's engine", "0.0", "3.0", "", ""],
        ["**kernel**", "40.0", "30.0", "8.0", "6.0"],
        ["sendto", "40.0", "30.0", "8.0", "6.0"],
        ["**all**", "45.0", "33.0", "", ""],
    ]


# -- notes -----------------------------------------------------------------------------------------


def loaded(others: float = 0.0, workers: int = 1) -> Slice:
    title = Logins("imap").title
    return Slice({title: 1e-3}, Processor(0.5, 1, 1), workers, others, seconds=1.0, done=500)


def test_two_workers_share_what_they_used() -> None:
    title = Logins("imap").title
    alone, both = (report.rows([Figure(title)], {NGINX: [loaded(workers=n)]}, "")[0].note for n in (1, 2))
    assert (alone, both) == ("500/s, worker 50% busy", "500/s, each worker 25% busy")


def test_what_others_took_is_no_more_than_the_coarse_ticks_say_together() -> None:
    """A slice that ends between ticks has some too many, another as many too few."""
    results = Results([], [NGINX.proxy])
    results.add(Measured(Logins("imap"), {NGINX: [loaded(0.02), loaded(-0.02)]}))
    assert results.text().endswith("Others took 0% of the core's time while its proxy was under load.")


def test_nothing_is_asked_of_other_settings() -> None:
    nginx = slices(COST, *[100e-6] * 20)
    subjects = [Subject(variant.name) for variant in (fastmail_variant(), *other_settings())]
    found = rows(COST, {NGINX: nginx, **{subject: slices(COST, *[60e-6] * 20) for subject in subjects}})
    assert [row.target is not None for row in found] == [False, True, False, False]


def test_fastmail_is_measured_as_packaged() -> None:
    text = (Path(__file__).parents[2] / "packaging/fastmail.conf").read_text()
    (directive,) = fastmail_variant().extra
    assert f"\n    {directive}\n" in text
    assert [variant.extra for variant in other_settings()] == [
        ("auth_http_keepalive 0;",), ("auth_http_keepalive 16;",),
    ]  # fmt: skip


# -- the command line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        ("", True),
        ("--nginx /usr/local/sbin/nginx --certificates ecdsa,rsa --rounds 40 --proxy-core 1", True),
        ("--quick", False),
        ("--scenario logins", False),
        ("--protocols imap", False),
        ("--certificates rsa", False),
        ("--keepalive 0", False),
        ("--slice 0.1", False),
        ("--auth loadgen", False),
        ("--self-check", False),
    ],
)
def test_only_what_is_measured_as_described_becomes_the_page_of_results(arguments: str, whole: bool) -> None:
    assert is_whole(parser().parse_args(arguments.split())) is whole


def test_proxy_and_load_never_share_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert Cores.chosen() == Cores(0, 1)
    assert Cores.chosen(proxy=1) == Cores(1, 0)
    assert Cores.chosen(load=0) == Cores(1, 0)
    with pytest.raises(SetupError, match="two cores are needed"):
        Cores.chosen(1, 1)
    with pytest.raises(SetupError, match="cannot run on core 2: there are 0, 1"):
        Cores.chosen(2)


def test_a_full_disk_is_said_with_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    def work() -> int:
        with command.writing(page):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert command.run("perf/run", work) == 1
    assert capsys.readouterr().err == f"perf/run: {page}: No space left on device\n"
